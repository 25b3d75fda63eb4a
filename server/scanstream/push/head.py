"""HEAD: what a GET would say of its answer, at once, also where the answer is a stream or would be waited for."""

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadRule:
    """ASGI middleware: a HEAD is answered once the head is known, however long the body lives (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self.inner = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and end what would make a body."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.inner(scope, receive, send)
            return

        async def head_only(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                body.cancel()

        with anyio.CancelScope() as body:
            await self.inner(scope, receive, head_only)
