"""The WebSocket door: one connection follows many scans, each from a position of its own.

Two tasks a connection: one receives and answers, one pushes. A subscription is a position, no queue: whatever the
client has not taken yet is conflated into its next frame. Of a scan that has ended it is no more than that: its log is
held only on its turn.
"""

import logging
from contextlib import suppress
from functools import partial
from typing import NoReturn

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec import UNSET, UnsetType
from starlette.websockets import WebSocket

from scanstream.errors import (
    Internal,
    InvalidJson,
    InvalidMessage,
    Restarting,
    ScanstreamError,
    StoreUnavailable,
    TooManySubscriptions,
)
from scanstream.log.cursor import START, parse
from scanstream.message import (
    MOST_FOLLOWED,
    Ack,
    AckBody,
    Cancel,
    ClientMessage,
    Discover,
    Done,
    Ping,
    Pong,
    ServerMessage,
    Subscribe,
    Unsubscribe,
)
from scanstream.model import DiscoverRequest, IdempotencyKey, Principal, ScanId
from scanstream.push.codec import CODECS, JSON, Payload, error_message
from scanstream.push.desk import Desk, released
from scanstream.push.drain import Drain
from scanstream.push.ended import Ended, Place
from scanstream.push.fanout import Fanout
from scanstream.push.forwarded import below, prefix_here
from scanstream.push.outlet import GONE, Outlet, OutletClosed, PlainOutlet
from scanstream.push.query import idempotency_key
from scanstream.push.subscription import Subscription

MOST_MALFORMED = 10
"""Messages in a row that are none: then the other side does not speak this protocol."""

logger = logging.getLogger("scanstream")


class Connection:
    """One WebSocket from its accept to its end."""

    def __init__(self, websocket: WebSocket, principal: Principal, desk: Desk, fanout: Fanout, drain: Drain) -> None:
        self._websocket = websocket
        self._principal = principal
        self._prefix = prefix_here(websocket.scope)
        self._desk = desk
        self._fanout = fanout
        self._drain = drain
        offered = websocket.scope["subprotocols"]
        self._chosen = next((codec for codec in CODECS if codec.subprotocol in offered), None)
        self._codec = self._chosen or JSON
        self._outlet: Outlet = PlainOutlet(websocket.send)
        self._subscriptions: dict[ScanId, Subscription] = {}
        self._ready: dict[ScanId, None] = {}
        self._ended = Ended(partial(desk.find, principal), fanout, self._codec)
        self._ended_is_next = False
        self._woken = anyio.Event()
        self._malformed = 0

    async def serve(self) -> None:
        """Talk until one side leaves."""
        try:
            await self._websocket.accept(subprotocol=self._chosen.subprotocol if self._chosen else None)
        except GONE:
            return  # it has left before it was let in
        try:
            with self._drain.attending(self._notice):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._guarded_push, tasks)
                    await self._receive()
                    tasks.cancel_scope.cancel()
        finally:
            for subscription in self._subscriptions.values():
                subscription.close()
            self._ended.let_go()

    async def _receive(self) -> None:
        while True:
            event = await self._websocket.receive()
            if event["type"] == "websocket.disconnect":
                return
            payload = event.get("text" if self._codec.text else "bytes")
            if payload is None:
                kind = "text" if self._codec.text else "binary"
                await self._close(1003, f"{self._codec.subprotocol} takes {kind} frames only")
                return
            try:
                await self._answer(payload)
            except OutletClosed:
                return
            if self._malformed >= MOST_MALFORMED:
                await self._close(1008, f"{MOST_MALFORMED} malformed messages in a row")
                return

    async def _answer(self, payload: Payload) -> None:
        message: ClientMessage | None = None
        try:
            message = self._codec.decode_message(payload)
            self._malformed = 0
            await self._handle(message)
        except ScanstreamError as error:
            self._malformed += isinstance(error, InvalidJson | InvalidMessage)
            await self._say(error_message(error, message.id if message else self._codec.id_of(payload)))
        except OutletClosed:
            raise
        except Exception:
            logger.exception("a defect in answering a %s", type(message).__name__)
            defect = Internal("The server failed on this message; its log says why", retry_after=1)
            await self._say(error_message(defect, message.id if message else UNSET))

    async def _handle(self, message: ClientMessage) -> None:
        match message:
            case Discover():
                await self._discover(message)
            case Subscribe():
                await self._subscribe(message)
            case Unsubscribe():
                await self._unsubscribe(message)
            case Cancel():
                log = await self._desk.cancel(self._principal, message.scan_id)
                await self._say(Done(id=message.id, scan_id=log.scan_id))
            case Ping():
                await self._say(Pong(id=message.id))

    async def _discover(self, message: Discover) -> None:
        request = self._codec.decode_request(message.request)
        key = idempotency_key("idempotency_key", message.idempotency_key)
        ack = await self._ack_of(request, key)
        with released(self._desk, ack.scan_id):
            await self._introduce(ack, message.id)

    async def _ack_of(self, request: DiscoverRequest, key: IdempotencyKey | None) -> AckBody:
        """Of a connection that is full only for a scan that it follows already: nothing is registered before that."""
        if not self._full:
            return await self._desk.register(self._principal, request, key, prefix=self._prefix)
        ack = await self._desk.answered(self._principal, request, key)
        if ack is None or not self._follows(ack.scan_id):
            self._refuse_too_many()
        return ack

    async def _introduce(self, body: AckBody, message_id: str | UnsetType) -> None:
        """The ack and, unless the scan is followed here already, its first frame: handed over together."""
        ack = self._ack(body, message_id)
        if self._follows(body.scan_id):
            await self._say(ack)
            return
        log = await self._desk.find(self._principal, body.scan_id)
        await self._start(Subscription(log, START), ack)

    async def _subscribe(self, message: Subscribe) -> None:
        log = await self._desk.find(self._principal, message.scan_id)
        position = await self._desk.place(log, parse(message.since) if message.since is not None else None)
        if self._full and not self._follows(log.scan_id):
            self._refuse_too_many()
        subscription = Subscription(log, position, message.only)
        await self._start(subscription, self._ack(self._desk.acknowledge(log, position), message.id))

    async def _unsubscribe(self, message: Unsubscribe) -> None:
        """After the ack no frame of the scan follows; of one that is not followed it never would have."""
        log = await self._desk.find(self._principal, message.scan_id)
        async with self._outlet.lock:
            self._drop(log.scan_id)
            await self._outlet.send(self._codec.encode(Done(id=message.id, scan_id=log.scan_id)))

    def _follows(self, scan_id: ScanId) -> bool:
        return scan_id in self._subscriptions or scan_id in self._ended

    @property
    def _full(self) -> bool:
        return len(self._subscriptions) + len(self._ended) >= MOST_FOLLOWED

    def _refuse_too_many(self) -> NoReturn:
        raise TooManySubscriptions(f"This connection follows {MOST_FOLLOWED} scans; open another")

    async def _start(self, subscription: Subscription, ack: Ack) -> None:
        """Follow from now on, in place of an older subscription to the same scan."""
        scan_id = subscription.log.scan_id
        async with self._outlet.lock:
            self._drop(scan_id)
            subscription.open(self._fanout, partial(self._notice_news, scan_id))
            self._subscriptions[scan_id] = subscription
            if subscription.news:
                await self._advance(subscription, self._codec.encode(ack))
                return
            if subscription.log.ended:
                self._park(subscription)
            await self._outlet.send(self._codec.encode(ack))
            self._come_back(subscription)

    def _ack(self, body: AckBody, message_id: str | UnsetType) -> Ack:
        return Ack(id=message_id, **msgspec.structs.asdict(below(self._prefix, body)))

    def _drop(self, scan_id: ScanId) -> None:
        self._ended.drop(scan_id)
        old = self._subscriptions.pop(scan_id, None)
        if old is not None:
            old.close()

    def _park(self, subscription: Subscription) -> None:
        """The scan has ended: what its reader lacks is told on its turn, and its log need not wait for that."""
        scan_id = subscription.log.scan_id
        self._drop(scan_id)
        self._ended.park(scan_id, Place(subscription.position, subscription.only))
        self._woken.set()

    def _notice_news(self, scan_id: ScanId) -> None:
        """If it has ended while its reader is being sent something, nobody knows for how long that will take."""
        subscription = self._subscriptions[scan_id]
        if subscription.log.ended and self._outlet.lock.locked():
            self._park(subscription)
        else:
            self._wake(scan_id)

    def _come_back(self, subscription: Subscription) -> None:
        """Once it was told something: there may be more, unless it was parked or dropped over that."""
        scan_id = subscription.log.scan_id
        if self._subscriptions.get(scan_id) is subscription and subscription.due:
            self._wake(scan_id)

    def _wake(self, scan_id: ScanId) -> None:
        self._ready[scan_id] = None
        self._woken.set()

    def _notice(self) -> None:
        """The server is about to restart."""
        self._woken.set()

    async def _guarded_push(self, tasks: TaskGroup) -> None:
        with suppress(OutletClosed):
            try:
                await self._push()
            except StoreUnavailable as error:
                await self._say(error_message(error))
                await self._close(1013, "a scan cannot be read now; reconnect with your cursors")
        tasks.cancel_scope.cancel()

    async def _push(self) -> None:
        while not self._drain.begun:
            if self._ended and (self._ended_is_next or not self._ready):
                self._ended_is_next = False
                await self._push_ended(next(iter(self._ended)))
            elif self._ready:
                self._ended_is_next = True
                await self._push_live(next(iter(self._ready)))
            else:
                self._woken = anyio.Event()
                await self._woken.wait()
        await self._say(error_message(Restarting("The server restarts; come back", retry_after=1)))
        await self._close(1012, "restart; reconnect with your cursors")

    async def _push_live(self, scan_id: ScanId) -> None:
        del self._ready[scan_id]
        async with self._outlet.lock:
            subscription = self._subscriptions.get(scan_id)
            if subscription is not None:
                await self._advance(subscription)

    async def _push_ended(self, scan_id: ScanId) -> None:
        """Its log is fetched before the outlet is taken: meanwhile it may be dropped, or be read from elsewhere."""
        await self._ended.take_up(scan_id)
        async with self._outlet.lock:
            message = self._ended.next(scan_id)
            if message is not None:
                await self._outlet.send(message.payload)

    async def _advance(self, subscription: Subscription, *before: Payload) -> None:
        """Send what comes next, if anything. What is left of a scan that has ended is parked before that."""
        message = subscription.next(self._codec)
        if message is None:
            return
        subscription.position = message.position
        if message.last:
            self._drop(subscription.log.scan_id)
        elif subscription.log.ended:
            self._park(subscription)
        await self._outlet.send(*before, message.payload)
        self._come_back(subscription)

    async def _say(self, message: ServerMessage) -> None:
        async with self._outlet.lock:
            await self._outlet.send(self._codec.encode(message))

    async def _close(self, code: int, reason: str) -> None:
        async with self._outlet.lock:
            with suppress(*GONE):
                await self._websocket.close(code, reason)
