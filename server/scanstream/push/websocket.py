"""The WebSocket door: one connection follows many scans, each from a position of its own.

Messages are answered one after the other; what is pushed between the answers is a matter of push/following.py. Where
the server takes ready-made frames a connection that is idle has no task: its next message comes to a callback, and is
answered in a task of its own.
"""

import logging
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import anyio
import msgspec
from msgspec import UNSET, UnsetType
from starlette.types import ASGIApp, Receive, Scope, Send

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
from scanstream.push.attendance import Attendance
from scanstream.push.codec import CODECS, JSON, Codec, Payload, error_message
from scanstream.push.desk import Desk, released
from scanstream.push.drain import Drain
from scanstream.push.fanout import Fanout
from scanstream.push.following import Following
from scanstream.push.forwarded import below, prefix_here, route_path
from scanstream.push.outgoing import Outgoing
from scanstream.push.outlet import GONE, Outlet, OutletClosed, PlainOutlet, Start
from scanstream.push.query import idempotency_key
from scanstream.push.transport.ready_made import EXTENSION, ReadyMadeOutlet

MOST_MALFORMED = 10
"""Messages in a row that are none: then the other side does not speak this protocol."""

PATH = "/ws"

logger = logging.getLogger("scanstream")


class SocketsFirst:
    """ASGI middleware: a WebSocket goes to its door at once; nothing of what serves requests is for it."""

    def __init__(self, app: ASGIApp, door: "SocketDoor") -> None:
        self.inner = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on whatever is none, or is none of this server's."""
        at_door = scope["type"] == "websocket" and route_path(scope) == PATH
        await (self._door if at_door else self.inner)(scope, receive, send)


class SocketDoor:
    """The ASGI application behind `PATH`."""

    def __init__(self, principal: Principal, desk: Desk, fanout: Fanout, drain: Drain, attendance: Attendance) -> None:
        self.principal = principal
        self.desk = desk
        self.fanout = fanout
        self.drain = drain
        self.attendance = attendance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection: until its end on a plain server, until it is let in where frames are taken ready-made."""
        await receive()  # `websocket.connect`
        codec = next((codec for codec in CODECS if codec.subprotocol in scope["subprotocols"]), None)
        try:
            await send({"type": "websocket.accept", "subprotocol": codec.subprotocol if codec else None, "headers": []})
        except GONE:
            return  # it has left before it was let in
        fast: ReadyMadeOutlet | None = scope.get("extensions", {}).get(EXTENSION)
        if fast is not None:
            Connection(self, scope, send, codec or JSON, fast, self.attendance.start).listen(fast)
            return
        async with anyio.create_task_group() as tasks:
            connection = Connection(
                self, scope, send, codec or JSON, PlainOutlet(send, tasks.start_soon), tasks.start_soon
            )
            await connection.serve(receive)
            tasks.cancel_scope.cancel()


class Connection:
    """One WebSocket from its accept to its end."""

    __slots__ = ("_codec", "_door", "_following", "_malformed", "_outlet", "_prefix", "_send", "_start")

    def __init__(self, door: SocketDoor, scope: Scope, send: Send, codec: Codec, outlet: Outlet, start: Start) -> None:
        self._door = door
        self._prefix = prefix_here(scope)
        self._send = send
        self._codec = codec
        self._outlet = outlet
        self._start = start
        self._following = Following(outlet, codec, door.fanout, partial(door.desk.find, door.principal), start)
        self._following.failed = self._fail
        self._following.delayed = self._say_delayed
        self._malformed = 0
        door.drain.attend(self._dismiss)

    # Taking messages

    async def serve(self, receive: Receive) -> None:
        """Talk until one side leaves."""
        try:
            with suppress(OutletClosed):
                while (event := await receive())["type"] != "websocket.disconnect":
                    await self._take(event)
        finally:
            self._leave()

    def listen(self, outlet: ReadyMadeOutlet) -> None:
        """Talk from now on, without a task that waits."""
        outlet.then(partial(self._called, outlet))

    def _called(self, outlet: ReadyMadeOutlet, event: Any) -> None:
        if event["type"] == "websocket.disconnect":
            self._leave()
        else:
            self._start(partial(self._answered, outlet, event))

    async def _answered(self, outlet: ReadyMadeOutlet, event: Any) -> None:
        with suppress(OutletClosed):
            await self._take(event)
        if outlet.closed:
            self._leave()
        else:
            self.listen(outlet)

    def _leave(self) -> None:
        self._door.drain.depart(self._dismiss)
        self._following.close()
        self._outlet.shut()

    async def _take(self, event: Any) -> None:
        payload = event.get("text" if self._codec.text else "bytes")
        if payload is None:
            kind = "text" if self._codec.text else "binary"
            await self._close(1003, f"{self._codec.subprotocol} takes {kind} frames only")
            return
        await self._answer(payload)
        self._following.fill()  # what has waited for the answer to be taken
        if self._malformed >= MOST_MALFORMED:
            await self._close(1008, f"{MOST_MALFORMED} malformed messages in a row")

    # Answering

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

    @property
    def _desk(self) -> Desk:
        return self._door.desk

    @property
    def _principal(self) -> Principal:
        return self._door.principal

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
        if ack is None or ack.scan_id not in self._following:
            self._refuse_too_many()
        return ack

    async def _introduce(self, body: AckBody, message_id: str | UnsetType) -> None:
        """The ack and, unless the scan is followed here already, its first frame, for which the ack does not wait."""
        ack = self._ack(body, message_id)
        if body.scan_id in self._following:
            await self._say(ack)
            return
        log = self._desk.held(self._principal, body.scan_id) or await self._desk.find(self._principal, body.scan_id)
        await self._say(ack)
        self._following.begin(log, START, None)
        await self._outlet.handed()

    async def _subscribe(self, message: Subscribe) -> None:
        """Follow from now on, in place of an older subscription to the same scan."""
        log = await self._desk.find(self._principal, message.scan_id)
        position = await self._desk.place(log, parse(message.since) if message.since is not None else None)
        if self._full and log.scan_id not in self._following:
            self._refuse_too_many()
        await self._outlet.clear()
        self._outlet.put(self._encoded(self._ack(self._desk.acknowledge(log, position), message.id)))
        self._following.begin(log, position, message.only)

    async def _unsubscribe(self, message: Unsubscribe) -> None:
        """After the ack no frame of the scan follows; of one that is not followed it never would have."""
        scan_id = ScanId(message.scan_id)
        if scan_id not in self._following:
            scan_id = (await self._desk.find(self._principal, scan_id)).scan_id
        self._following.drop(scan_id)
        await self._say(Done(id=message.id, scan_id=scan_id))

    @property
    def _full(self) -> bool:
        return len(self._following) >= MOST_FOLLOWED

    def _refuse_too_many(self) -> NoReturn:
        raise TooManySubscriptions(f"This connection follows {MOST_FOLLOWED} scans; open another")

    def _ack(self, body: AckBody, message_id: str | UnsetType) -> Ack:
        return Ack(id=message_id, **msgspec.structs.asdict(below(self._prefix, body)))

    def _encoded(self, message: ServerMessage) -> Outgoing:
        return Outgoing(self._codec.encode(message))

    async def _say(self, message: ServerMessage) -> None:
        """Answer, once there is room."""
        await self._outlet.clear()
        self._outlet.put(self._encoded(message))
        self._outlet.flush()

    # The end

    def _dismiss(self) -> None:
        """The server is about to restart."""
        self._following.close()
        self._start(self._say_goodbye)

    async def _say_goodbye(self) -> None:
        with suppress(OutletClosed):
            await self._say(error_message(Restarting("The server restarts; come back", retry_after=1)))
            await self._close(1012, "restart; reconnect with your cursors")

    async def _fail(self, error: Exception) -> None:
        """A scan cannot be told."""
        logger.error("a defect in telling a scan", exc_info=error)
        with suppress(OutletClosed):
            await self._say(error_message(Internal("The server failed on a scan; its log says why", retry_after=1)))
            await self._close(1013, "a scan cannot be read now; reconnect with your cursors")

    async def _say_delayed(self, error: StoreUnavailable) -> None:
        """A scan that has ended is told later, on this connection: nobody has to come back for it."""
        with suppress(OutletClosed):
            await self._say(error_message(error))

    async def _close(self, code: int, reason: str) -> None:
        """Say goodbye, once there is room."""
        await self._outlet.clear()
        self._following.close()
        with suppress(*GONE):
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        self._outlet.shut()
