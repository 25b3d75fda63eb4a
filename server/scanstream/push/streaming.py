"""An answer that is made piece by piece, as its reader takes it: it ends when that leaves, or may have it no longer."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from typing import ClassVar

import anyio.lowlevel
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from scanstream.errors import Unauthorized
from scanstream.push.line import HOLD, Hold, Line
from scanstream.push.presence import while_there
from scanstream.push.refused import hung_up


class Nobody:
    """Who waits for nothing any more: a `Waiting`."""

    patient: ClassVar[bool] = False

    def leave(self) -> None:
        """See `Waiting.leave`."""

    def resume(self) -> None:
        """See `Waiting.resume`."""


class PiecewiseResponse(Response):
    """What its generator yields. Whether the reader takes any is for the transport to judge."""

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        headers: Mapping[str, str],
        media_type: str,
        good: Callable[[], bool] = lambda: True,
    ) -> None:
        """:param good: asked before each piece: whether what the reader has shown is; else it is hung up on, so that
        nobody takes what has come for the whole
        """
        super().__init__(None, 200, headers, media_type)
        if "content-length" not in headers:
            del self.headers["content-length"]
        self._pieces = pieces
        self._good = good
        self._is_over = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all pieces, while listening for the reader's leaving."""
        await self._begin(send)
        await self._go_on(receive, send)
        if self._is_over:
            hung_up(Unauthorized.code)
            hold: Hold | None = scope.get("extensions", {}).get(HOLD)
            if hold is not None:
                hold(_broken_off)  # a server that knows no lines closes what is not complete

    async def _begin(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

    async def _go_on(self, receive: Receive, send: Send) -> None:
        with suppress(ClientDisconnect):
            async with aclosing(self._pieces), while_there(receive):
                await self._send_all(send)

    async def _send_all(self, send: Send) -> None:
        async for piece in self._pieces:
            self._is_over = not self._good()
            if self._is_over:
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await anyio.lowlevel.checkpoint()  # one that has left takes all at once, and others wait meanwhile
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _broken_off(line: Line) -> Nobody:
    line.break_off()
    return Nobody()
