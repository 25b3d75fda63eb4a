"""The WebSocket door: one connection follows many scans, each from a position of its own.

Two tasks a connection: one receives and answers, one pushes. A subscription is a position, no queue: whatever the
client has not taken yet is conflated into its next frame.
"""

from contextlib import ExitStack, suppress
from functools import partial
from typing import NamedTuple

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec import UnsetType
from starlette.websockets import WebSocket

from scanstream.errors import (
    InvalidJson,
    InvalidMessage,
    ScanstreamError,
    TooManySubscriptions,
)
from scanstream.log.cursor import START, Position, parse
from scanstream.log.scanlog import ScanLog
from scanstream.message import Ack, AckBody, ClientMessage, Discover, End, Ping, Pong, Subscribe
from scanstream.model import EVENTS_PATH, Principal, ScanId
from scanstream.push.codec import decode_message, decode_request, encode, error_message, id_of
from scanstream.push.desk import Desk, released
from scanstream.push.fanout import Channel, Fanout
from scanstream.push.outlet import ABORT_EXTENSION, GONE, Outlet, OutletClosed, PlainOutlet, Stalled

SUBPROTOCOL = "scanstream.v1.json"
MOST_SUBSCRIPTIONS = 256
MOST_MALFORMED = 10
"""Messages in a row that are none: then the other side does not speak this protocol."""


class Subscription:
    """One scan on one connection: where its reader is."""

    def __init__(self, log: ScanLog, position: Position) -> None:
        self.log = log
        self.position = position
        self.channel: Channel
        self.following = ExitStack()


class Limits(NamedTuple):
    """What one connection may."""

    stall_seconds: float = 60.0
    subscriptions: int = MOST_SUBSCRIPTIONS


class Connection:
    """One WebSocket from its accept to its end."""

    def __init__(self, websocket: WebSocket, principal: Principal, desk: Desk, fanout: Fanout, limits: Limits) -> None:
        self._websocket = websocket
        self._principal = principal
        self._desk = desk
        self._fanout = fanout
        self._limits = limits
        self._outlet: Outlet = PlainOutlet(websocket.send, stall_seconds=limits.stall_seconds)
        self._subscriptions: dict[ScanId, Subscription] = {}
        self._ready: dict[ScanId, None] = {}
        self._woken = anyio.Event()
        self._malformed = 0

    async def serve(self) -> None:
        """Talk until one side leaves."""
        offered = self._websocket.scope["subprotocols"]
        await self._websocket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._guarded_push, tasks)
                await self._receive()
                tasks.cancel_scope.cancel()
        finally:
            for subscription in self._subscriptions.values():
                subscription.following.close()

    async def _receive(self) -> None:
        while True:
            event = await self._websocket.receive()
            if event["type"] == "websocket.disconnect":
                return
            text = event.get("text")
            if text is None:
                await self._close(1003, "this subprotocol takes text frames only")
                return
            try:
                await self._answer(text)
            except (OutletClosed, Stalled) as gone:
                self._leave(gone)
                return
            if self._malformed >= MOST_MALFORMED:
                await self._close(1008, f"{MOST_MALFORMED} malformed messages in a row")
                return

    async def _answer(self, text: str) -> None:
        message: ClientMessage | None = None
        try:
            message = decode_message(text)
            await self._handle(message)
            self._malformed = 0
        except ScanstreamError as error:
            self._malformed += isinstance(error, InvalidJson | InvalidMessage)
            await self._say(encode(error_message(error, message.id if message else id_of(text))))

    async def _handle(self, message: ClientMessage) -> None:
        match message:
            case Discover():
                await self._discover(message)
            case Subscribe():
                await self._subscribe(message)
            case Ping():
                await self._say(encode(Pong(id=message.id)))

    async def _discover(self, message: Discover) -> None:
        self._refuse_too_many()
        request = decode_request(b"" if isinstance(message.request, UnsetType) else message.request)
        ack = await self._desk.register(self._principal, request)
        with released(self._desk, ack.scan_id):
            await self._introduce(ack, message.id)

    async def _introduce(self, body: AckBody, message_id: str | UnsetType) -> None:
        """The ack and, unless the scan is followed here already, its first frame: handed over together."""
        ack = encode(Ack(id=message_id, **msgspec.structs.asdict(body)))
        if body.scan_id in self._subscriptions:
            await self._say(ack)
            return
        log = await self._desk.find(self._principal, body.scan_id)
        await self._start(Subscription(log, START), ack)

    async def _subscribe(self, message: Subscribe) -> None:
        log = await self._desk.find(self._principal, message.scan_id)
        position = await self._desk.place(log, parse(message.since) if message.since is not None else None)
        old = self._subscriptions.get(log.scan_id)
        if old is None:
            self._refuse_too_many()
        state = log.folded.state
        ack = Ack(
            id=message.id,
            success=True,
            scan_id=log.scan_id,
            status=state.status,
            cursor=str(log.cursor(position)),
            message=state.message,
            poll_url=state.poll_url,
            results_url=state.results_url,
            events_url=EVENTS_PATH + log.scan_id,
            polling_interval_seconds=1,
            estimated_completion_seconds=state.estimated_time_remaining_seconds or 0.0,
            filters=state.filters,
        )
        await self._start(Subscription(log, position), encode(ack))

    def _refuse_too_many(self) -> None:
        most = self._limits.subscriptions
        if len(self._subscriptions) >= most:
            raise TooManySubscriptions(f"This connection follows {most} scans already; open another")

    async def _start(self, subscription: Subscription, ack: str) -> None:
        """Follow from now on, in place of an older subscription to the same scan."""
        scan_id = subscription.log.scan_id
        async with self._outlet.lock:
            self._drop(scan_id)
            wake = partial(self._wake, scan_id)
            subscription.channel = subscription.following.enter_context(self._fanout.following(scan_id, wake))
            self._subscriptions[scan_id] = subscription
            if subscription.log.news(subscription.position):
                await self._frame(subscription, ack)
            else:
                await self._outlet.send(ack)
        if subscription.log.ended or subscription.log.news(subscription.position):
            self._wake(scan_id)

    def _drop(self, scan_id: ScanId) -> None:
        old = self._subscriptions.pop(scan_id, None)
        if old is not None:
            old.following.close()

    def _wake(self, scan_id: ScanId) -> None:
        self._ready[scan_id] = None
        self._woken.set()

    async def _guarded_push(self, tasks: TaskGroup) -> None:
        try:
            await self._push()
        except (OutletClosed, Stalled) as gone:
            self._leave(gone)
            tasks.cancel_scope.cancel()

    async def _push(self) -> None:
        while True:
            while self._ready:
                scan_id = next(iter(self._ready))
                del self._ready[scan_id]
                async with self._outlet.lock:
                    subscription = self._subscriptions.get(scan_id)
                    if subscription is not None:
                        await self._advance(subscription)
            self._woken = anyio.Event()
            await self._woken.wait()

    async def _advance(self, subscription: Subscription) -> None:
        """One frame; at the end of a terminal scan `end`."""
        log = subscription.log
        if log.news(subscription.position):
            await self._frame(subscription)
            if log.ended or log.news(subscription.position):
                self._wake(log.scan_id)
        elif log.ended:
            end = End(
                scan_id=log.scan_id, cursor=str(log.cursor(subscription.position)), status=log.folded.state.status
            )
            self._drop(log.scan_id)
            await self._outlet.send(encode(end))

    async def _frame(self, subscription: Subscription, *before: str) -> None:
        """Send the next frame; the position moves only once the transport has it."""
        text, position = subscription.channel.frame(subscription.log, subscription.position)
        await self._outlet.send(*before, text)
        subscription.position = position

    async def _say(self, text: str) -> None:
        async with self._outlet.lock:
            await self._outlet.send(text)

    async def _close(self, code: int, reason: str) -> None:
        async with self._outlet.lock:
            with suppress(*GONE):
                await self._websocket.close(code, reason)

    def _leave(self, gone: OutletClosed | Stalled) -> None:
        extension = self._websocket.scope["extensions"].get(ABORT_EXTENSION)
        if isinstance(gone, Stalled) and extension is not None:
            extension["expel"](1013, "no byte taken; reconnect with your cursors")
