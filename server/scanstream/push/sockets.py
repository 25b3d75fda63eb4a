"""The WebSocket door: who is let in, and which format is spoken with them."""

from functools import partial

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send

from scanstream.errors import ScanstreamError
from scanstream.push.callers import let_in
from scanstream.push.codec import CODECS, JSON
from scanstream.push.forwarded import route_path
from scanstream.push.outlet import GONE, PlainOutlet, Start
from scanstream.push.problem import refuse
from scanstream.push.transport.ready_made import EXTENSION, ReadyMadeOutlet
from scanstream.push.websocket import Common, Connection
from scanstream.security.caller import EVERYBODY, Caller
from scanstream.security.seats import NO_SEAT, payer

PATH = "/ws"
NO_ONE = Caller(None, frozenset())
"""On a connection that is refused."""


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

    def __init__(self, common: Common, start: Start) -> None:
        self._common = common
        self._start = start

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection: until its end on a plain server, until it is let in where frames are taken ready-made."""
        await receive()  # `websocket.connect`
        caller, refusal = EVERYBODY, None
        if self._common.vigil is not None:
            caller, refusal = await self._judged(scope)
        seat = NO_SEAT  # whoever may not come in takes none away from those who may
        try:
            if refusal is None:
                seat = self._common.seats.take(payer(caller.principal, scope.get("client")))
        except ScanstreamError as error:
            await refuse(error, scope, receive, send)
            return
        codec = next((codec for codec in CODECS if codec.subprotocol in scope["subprotocols"]), None)
        try:
            await send({"type": "websocket.accept", "subprotocol": codec.subprotocol if codec else None, "headers": []})
        except GONE:
            seat.leave()
            return  # it has left before it was let in
        fast: ReadyMadeOutlet | None = scope.get("extensions", {}).get(EXTENSION)
        connect = partial(Connection, self._common, scope, send, codec or JSON, caller, seat)
        if fast is not None:
            connection = connect(fast, self._start)
            if refusal is None:
                connection.listen(fast)
            else:
                await connection.refused(refusal)
            return
        async with anyio.create_task_group() as tasks:
            connection = connect(PlainOutlet(send, tasks.start_soon), tasks.start_soon)
            await (connection.serve(receive) if refusal is None else connection.refused(refusal))
            tasks.cancel_scope.cancel()

    async def _judged(self, scope: Scope) -> tuple[Caller, ScanstreamError | None]:
        """Who connects, and why they may not. That is said on the open connection: a page cannot see why one fails."""
        try:
            caller = await let_in(self._common.guard, scope)
            if caller.principal is not None:
                caller.starts()
        except ScanstreamError as error:
            return NO_ONE, error
        return caller, None
