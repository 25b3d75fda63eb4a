"""The web page and its files, with the headers that confine a page to what is its own."""

import html
from collections.abc import Callable
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scanstream.push import confined
from scanstream.push.shelf import Shelf, Text

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
"""Content Security Policy (W3C, level 3): what the page may load, ask, and be framed by. Nothing is inline."""
CONFINED = {
    **confined.CONFINED,
    "content-security-policy": "; ".join(f"{name} {sources}" for name, sources in POLICY.items()),
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""Also what a leak would cost: a link names a scan, so no other site is told where a visitor came from."""
MARKET = 'data-market=""'
"""Where the page has the name of what is scanned, so that its first paint can say what is generated."""
GENERATED = "synthetic"
"""The name of that: where a credential is asked for strangers are told no other, as it may be that of a directory."""
ASKS = 'data-asks="no"'
"""Where the contract for people has that this server asks who is there: its examples show a credential then."""


class PageDoor:
    """`/`, `/docs`, and what is below `/static`."""

    def __init__(self, directory: Path, market: Callable[[], str], *, asks: bool) -> None:
        """`market`: the name of what is scanned just now; `asks`: whether a credential is asked for."""
        self._text = (directory / "index.html").read_text()
        reference = (directory / "docs.html").read_text()
        self._reference = Text(reference.replace(ASKS, ASKS.replace("no", "yes") if asks else ASKS, 1).encode())
        self._market = market
        self._asks = asks
        self._shelf = Shelf(directory)
        self._page: tuple[str, Text] | None = None
        """For the market of this name."""
        self.files: ASGIApp = Confined(self._shelf)

    async def page(self, request: Request) -> Response:
        """The page, which names the market before any script of it has run."""
        market = self._market()
        if self._asks and market != GENERATED:
            market = ""
        if self._page is None or self._page[0] != market:
            named = f'data-market="{html.escape(market)}"'
            self._page = (market, Text(self._text.replace(MARKET, named, 1).encode()))
        return self._confined(self._page[1], request)

    async def reference(self, request: Request) -> Response:
        """The contract for people, which its scripts make from the documents for machines."""
        return self._confined(self._reference, request)

    def _confined(self, text: Text, request: Request) -> Response:
        answer = self._shelf.answer(text, request, "text/html")
        answer.headers.update(CONFINED)  # of a 304 as well: its headers replace those that a cache has of the page
        return answer


class Confined:
    """ASGI middleware: adds `CONFINED` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.inner = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and complete the head of the answer."""

        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message.get("headers", ())))
                headers.update(CONFINED)
                message = {**message, "headers": headers.raw}
            await send(message)

        await self.inner(scope, receive, completed)
