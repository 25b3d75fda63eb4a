"""A WebSocket: one connection follows many scans, each from a position of its own.

Messages are answered one after the other; what is pushed between the answers is a matter of push/following.py. Where
the server takes ready-made frames a connection that is idle has no task: its next message comes to a callback, and is
answered in a task of its own.
"""

import logging
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, NoReturn

import msgspec
from msgspec import UNSET, UnsetType
from starlette.types import Receive, Scope, Send

from scanstream.about import mention
from scanstream.errors import (
    Forbidden,
    Internal,
    Restarting,
    ScanstreamError,
    StoreUnavailable,
    TooManySubscriptions,
    Unauthorized,
)
from scanstream.log.cursor import START, parse
from scanstream.message import (
    Ack,
    AckBody,
    Authenticate,
    Cancel,
    ClientMessage,
    Discover,
    Done,
    Ping,
    Pong,
    Renewed,
    ServerMessage,
    Subscribe,
    Unsubscribe,
)
from scanstream.model import DiscoverRequest, IdempotencyKey, ScanId
from scanstream.push.callers import known
from scanstream.push.codec import Codec, Payload, error_message
from scanstream.push.credentials import credential_of, unauthorized
from scanstream.push.desk import Desk, released
from scanstream.push.drain import Drain
from scanstream.push.fanout import Fanout
from scanstream.push.following import Following
from scanstream.push.forwarded import below, prefix_here
from scanstream.push.manners import Bounds, Manners, farewell
from scanstream.push.outgoing import Outgoing
from scanstream.push.outlet import GONE, Outlet, OutletClosed, Start
from scanstream.push.query import idempotency_key
from scanstream.push.refused import counted
from scanstream.push.share import with_token
from scanstream.push.transport.ready_made import ReadyMadeOutlet
from scanstream.push.vigil import Vigil, is_over
from scanstream.security.caller import Caller
from scanstream.security.guard import Guard
from scanstream.security.seats import RETRY_SECONDS, Seat, Seats

logger = logging.getLogger("scanstream")


class Common(NamedTuple):
    """What all connections have in common."""

    desk: Desk
    fanout: Fanout
    drain: Drain
    guard: Guard
    vigil: Vigil | None
    seats: Seats
    bounds: Bounds


class Connection:
    """One WebSocket from its accept to its end."""

    __slots__ = (
        *("_caller", "_codec", "_common", "_following", "_manners", "_outlet", "_prefix", "_seat", "_send", "_start"),
    )

    def __init__(
        self,
        common: Common,
        scope: Scope,
        send: Send,
        codec: Codec,
        caller: Caller,
        seat: Seat,
        outlet: Outlet,
        start: Start,
    ) -> None:
        self._common = common
        self._caller = caller
        self._prefix = prefix_here(scope)
        self._send = send
        self._codec = codec
        self._outlet = outlet
        self._start = start
        self._following = Following(outlet, codec, common.fanout, partial(common.desk.find, caller.owner), start)
        self._following.failed = self._fail
        self._following.delayed = self._say_delayed
        self._manners = Manners(common.bounds.messages)
        self._seat = seat
        common.drain.attend(self._dismiss)
        if common.vigil is not None:
            common.vigil.attend(self._expel, caller)

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
        self._common.drain.depart(self._dismiss)
        if self._common.vigil is not None:
            self._common.vigil.depart(self._expel)
        self._following.close()
        self._outlet.shut()
        self._seat.leave()

    async def _take(self, event: Any) -> None:
        payload = event.get("text" if self._codec.text else "bytes")
        if payload is None:
            kind = "text" if self._codec.text else "binary"
            await self._close(1003, f"{self._codec.subprotocol} takes {kind} frames only")
            return
        await self._answer(payload)
        self._following.fill()  # what has waited for the answer to be taken
        if fault := self._manners.fault:
            await self._close(1008, fault)

    # Answering

    async def _answer(self, payload: Payload) -> None:
        message: ClientMessage | None = None
        try:
            self._manners.speak()
            message = self._codec.decode_message(payload)
            self._manners.read()
            await self._handle(message)
        except ScanstreamError as error:
            counted(error)
            self._manners.refused(error)
            await self._say(error_message(error, message.id if message else self._codec.id_of(payload)))
            if isinstance(error, Unauthorized) and not isinstance(message, Authenticate):
                await self._close(*farewell(error))
        except OutletClosed:
            raise
        except Exception:
            mention(getattr(message, "scan_id", ""))
            logger.exception("a defect in answering a %s", type(message).__name__)
            defect = Internal("The server failed on this message; its log says why", retry_after=1)
            counted(defect)
            await self._say(error_message(defect, message.id if message else UNSET))

    async def _handle(self, message: ClientMessage) -> None:
        if isinstance(message, Authenticate):
            await self._authenticate(message)
            return
        if is_over(self._common.vigil, self._caller):
            raise unauthorized()
        match message:
            case Discover():
                await self._discover(message)
            case Subscribe():
                await self._subscribe(message)
            case Unsubscribe():
                await self._unsubscribe(message)
            case Cancel():
                log = await self._desk.cancel(self._caller.cancels(message.scan_id), message.scan_id)
                await self._say(Done(id=message.id, scan_id=log.scan_id))
            case Ping():
                await self._say(Pong(id=message.id))

    @property
    def _desk(self) -> Desk:
        return self._common.desk

    async def _authenticate(self, message: Authenticate) -> None:
        """Go on with another credential of the same caller: what is followed here stays its owner's.

        :raises Unauthorized: if it is none
        :raises Forbidden: if it is somebody else's, or gives less; the old one counts as before
        """
        if (vigil := self._common.vigil) is not None:
            caller = await known(vigil.guard, credential_of(message.token))
            if not self._caller.may_become(caller):
                raise Forbidden("This credential is another caller's, or gives less; connect anew with it")
            self._caller = caller
            vigil.attend(self._expel, caller)
        await self._say(Renewed(id=message.id))

    async def _discover(self, message: Discover) -> None:
        request = self._codec.decode_request(message.request)
        key = idempotency_key("idempotency_key", message.idempotency_key)
        ack = await self._ack_of(request, key)
        with released(self._desk, ack.scan_id):
            await self._introduce(ack, message.id)

    async def _ack_of(self, request: DiscoverRequest, key: IdempotencyKey | None) -> AckBody:
        """Of a connection that is full only for a scan that it follows already: nothing is registered before that."""
        principal = self._caller.starts()
        if not self._full:
            return await self._desk.register(principal, request, key, prefix=self._prefix)
        ack = await self._desk.answered(principal, request, key)
        if ack is None or ack.scan_id not in self._following:
            self._refuse_too_many()
        return ack

    async def _introduce(self, body: AckBody, message_id: str | UnsetType) -> None:
        """The ack and, unless the scan is followed here already, its first frame, for which the ack does not wait."""
        ack = self._ack(body, message_id)
        if body.scan_id in self._following:
            await self._say(ack)
            return
        owner = self._caller.owner
        log = self._desk.held(owner, body.scan_id) or await self._desk.find(owner, body.scan_id)
        await self._say(ack)
        self._common.fanout.resumes.took("websocket", log, None, START, given=False)
        self._following.begin(log, START, None)
        await self._outlet.handed()

    async def _subscribe(self, message: Subscribe) -> None:
        """Follow from now on, in place of an older subscription to the same scan."""
        resumes, given = self._common.fanout.resumes, message.since is not None
        with resumes.sought("websocket"):
            log = await self._desk.find(self._caller.reads(message.scan_id), message.scan_id)
        cursor = parse(message.since) if message.since is not None else None
        position = await self._desk.place(log, cursor)
        if self._full and log.scan_id not in self._following:
            self._refuse_too_many()
        resumes.took("websocket", log, cursor, position, given=given)
        await self._outlet.clear()
        self._outlet.put(self._encoded(self._ack(self._desk.acknowledge(log, position), message.id)))
        self._following.begin(log, position, message.only)

    async def _unsubscribe(self, message: Unsubscribe) -> None:
        """After the ack no frame of the scan follows; of one that is not followed it never would have."""
        scan_id = ScanId(message.scan_id)
        if scan_id not in self._following:
            scan_id = (await self._desk.find(self._caller.reads(scan_id), scan_id)).scan_id
        self._following.drop(scan_id)
        await self._say(Done(id=message.id, scan_id=scan_id))

    @property
    def _full(self) -> bool:
        return len(self._following) >= self._common.bounds.followed

    def _refuse_too_many(self) -> NoReturn:
        most = self._common.bounds.followed
        detail = f"This connection follows {most} scans; leave one with unsubscribe, or open another connection"
        raise TooManySubscriptions(detail, retry_after=RETRY_SECONDS)

    def _ack(self, body: AckBody, message_id: str | UnsetType) -> Ack:
        body = with_token(below(self._prefix, body), self._caller, self._common.guard)
        return Ack(id=message_id, **msgspec.structs.asdict(body))

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
        self._start(partial(self._say_goodbye, Restarting("The server restarts; come back", retry_after=1)))

    def _expel(self) -> None:
        """See `Vigil.attend`."""
        self._following.close()
        self._start(partial(self._say_goodbye, unauthorized()))

    async def refused(self, error: ScanstreamError) -> None:
        """This one may not come in."""
        if self._common.vigil is not None:
            self._common.vigil.depart(self._expel)
        try:
            await self._say_goodbye(error)
        finally:
            self._leave()

    async def _say_goodbye(self, error: ScanstreamError) -> None:
        counted(error)
        with suppress(OutletClosed):
            await self._say(error_message(error))
            await self._close(*farewell(error))

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
