"""The server that is judged, as a client without any library of ours sees it: questions, streams and sockets."""

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from scanstream.client.addresses import shown
from scanstream.client.certificates import untaken
from scanstream.client.websocket import Dialled
from scanstream.conformance import strictly
from scanstream.conformance.events import MESSAGES
from scanstream.conformance.promise import Broken, Cut, expect
from scanstream.conformance.trace import Trace
from scanstream.proxies import proxy_of

JSON, MSGPACK = "scanstream.v1.json", "scanstream.v1.msgpack"
ANSWER_SECONDS = 75.0
"""A wait of 60 s, the longest there is, and what a busy server needs beside."""
MOST_BYTES = 64 * 1024 * 1024
"""Of one message: larger than any that a server sends."""


class ServerGone(Exception):
    """Nobody answers at the address any more, or what does is no HTTP server."""


class Unwelcome(Exception):
    """There is a scanstream server, which refuses what it is asked first; says why, and what to do."""


class Answer(NamedTuple):
    """An HTTP answer."""

    asked: str
    status: int
    headers: httpx.Headers
    body: bytes

    def json(self) -> Any:
        """The body, read strictly.

        :raises Broken: if it is no JSON
        """
        return strictly.from_json(self.body)

    def object(self) -> dict[str, Any]:
        """The body as an object.

        :raises Broken: if it is none
        """
        told = self.json()
        if not isinstance(told, dict):
            raise Broken("a JSON object", told)
        return told

    def being(self, *statuses: int) -> "Answer":
        """Itself, if its status is one of these.

        :raises Broken: if not
        """
        wanted = " or ".join(map(str, statuses))
        expect(self.status in statuses, f"{wanted} to {self.asked}", f"{self.status} {self.body[:300]!r}")
        return self


class Server:
    """One server, or several nodes of one: connection after connection goes to the next of the addresses."""

    def __init__(self, urls: Sequence[str], token: str | None, trace: Trace) -> None:
        self.urls = [url.rstrip("/") for url in urls]
        self.trace = trace
        self._turn = 0
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self.tls = _tls(self.urls)
        self._clients: dict[str, httpx.AsyncClient] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Server"]:
        """Connections are made in here, a new one for each question."""
        limits = httpx.Limits(max_keepalive_connections=0)
        try:
            for url in self.urls:
                self._clients[url] = httpx.AsyncClient(
                    timeout=ANSWER_SECONDS,
                    limits=limits,
                    trust_env=False,
                    proxy=proxy_of(url),
                    verify=self.tls,
                    headers=self._headers,
                )
            yield self
        finally:
            for client in self._clients.values():
                await client.aclose()

    def shown(self, token: str) -> "Server":
        """The same server, to which another credential is shown; it is to be opened."""
        return Server(self.urls, token, self.trace)

    @property
    def credential(self) -> list[tuple[str, str]]:
        """The header that says who asks."""
        return [*self._headers.items()]

    def next_url(self) -> str:
        """Where the next connection goes."""
        self._turn += 1
        return self.urls[self._turn % len(self.urls)]

    async def get(self, path: str, **headers: str) -> Answer:
        """GET; underscores in the names of headers are hyphens."""
        return await self.ask("GET", path, headers=headers)

    async def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """POST with a JSON body, or with bytes as they are."""
        return await self.ask("POST", path, body, headers)

    async def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One question on a connection of its own.

        :raises ServerGone: if there is no answer
        """
        async with self.answering(method, path, body, headers) as response:
            try:
                content = await _whole(response)
            except httpx.HTTPError as error:
                raise ServerGone(f"{method} {path}: the answer broke off ({error!r})") from error
            self.trace.came(str(response.status_code), content)
            return Answer(f"{method} {path}", response.status_code, response.headers, content)

    @asynccontextmanager
    async def answering(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[httpx.Response]:
        """An answer that may go on: its body is to be read.

        :raises ServerGone: if there is none
        """
        content = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        named = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        if content is not None:
            named = {"content-type": "application/json", **named}
        self.trace.asked(f"{method} {path}{_told(named)}", content)
        url = self.next_url()
        request = self._clients[url].build_request(method, url + path, content=content, headers=named)
        try:
            response = await self._clients[url].send(request, stream=True)
        except httpx.HTTPError as error:
            raise _gone(f"{method} {shown(url)}{path}", url, error) from error
        try:
            yield response
        finally:
            await response.aclose()

    @asynccontextmanager
    async def socket(self, *offered: str, only: int | None = None) -> AsyncIterator["Socket"]:
        """A WebSocket; JSON is offered unless something else is.

        :param only: the number of the address that it goes to
        :raises ServerGone: if there is no handshake
        """
        url = self.next_url() if only is None else self.urls[only % len(self.urls)]
        secure: dict[str, Any] = {"ssl": self.tls} if url.startswith("https:") else {}
        protocols = [Subprotocol(one) for one in offered] or None
        opening = connect(
            f"ws{url.removeprefix('http')}/ws",
            create_connection=Dialled,
            subprotocols=protocols,
            additional_headers=self._headers,
            compression=None,
            max_size=MOST_BYTES,
            ping_interval=None,
            close_timeout=1,
            proxy=proxy_of(url),
            **secure,
        )
        try:
            connection = await opening
        except InvalidStatus as error:
            raise Broken("a WebSocket at /ws", f"HTTP {error.response.status_code}") from error
        except (InvalidHandshake, OSError, EOFError) as error:
            raise _gone(f"{shown(url)}/ws", url, error) from error
        self.trace.noted(f"a WebSocket is open ({connection.subprotocol or 'no subprotocol'})")
        try:
            yield Socket(connection, self.trace)
        except BaseException:
            connection.transport.abort()  # a goodbye would wait, maybe in a scope that is cancelled
            raise
        await connection.close()


async def _whole(response: httpx.Response) -> bytes:
    """The body of an answer.

    :raises Broken: if it is larger than any that a server gives
    """
    content = bytearray()
    async for part in response.aiter_bytes():
        content += part
        expect(len(content) <= MOST_BYTES, f"at most {MOST_BYTES >> 20} MiB in one answer", "more, and it goes on")
    return bytes(content)


def _gone(what: str, url: str, error: BaseException) -> ServerGone:
    """Why there is no answer; of a certificate that is not taken, what to do."""
    if (reason := untaken(error)) is not None:
        return ServerGone(f"The certificate of {shown(url)} {reason.says}: {reason.do}")
    return ServerGone(f"{what}: {str(error) or type(error).__name__}")


def _tls(urls: Sequence[str]) -> ssl.SSLContext | bool:
    """To make one takes long, and none is needed without https; it trusts whom our clients trust."""
    return httpx.create_ssl_context() if any(urlsplit(url).scheme == "https" for url in urls) else False


def _told(headers: Mapping[str, str]) -> str:
    kept = {name: value for name, value in headers.items() if name != "content-type"}
    return f" {kept}" if kept else ""


class Socket:
    """A WebSocket that speaks plain values, read strictly."""

    def __init__(self, connection: ClientConnection, trace: Trace) -> None:
        self.connection = connection
        self._packed = connection.subprotocol == MSGPACK
        self._trace = trace

    @property
    def name(self) -> str:
        """Of its format."""
        return "msgpack" if self._packed else "json"

    async def send(self, **message: Any) -> None:
        """One message; what is None is left out."""
        told = {name: value for name, value in message.items() if value is not None}
        self._trace.asked(f"ws {self.name}", told)
        packed = msgspec.msgpack.encode(told) if self._packed else msgspec.json.encode(told).decode()
        await self.connection.send(packed)

    async def raw(self, data: str | bytes) -> None:
        """Anything."""
        self._trace.asked(f"ws {self.name}, raw", data)
        await self.connection.send(data)

    async def receive(self) -> dict[str, Any]:
        """The next message of a type that the protocol knows.

        :raises Broken: if it is none, of the wrong kind, or the socket is closed instead
        """
        while (message := await self._next())["type"] not in MESSAGES:
            pass
        return message

    async def _next(self) -> dict[str, Any]:
        try:
            data = await self.connection.recv()
        except ConnectionClosed as closed:
            self._trace.noted(f"the socket is closed: {closed}")
            raise Cut("a message on the WebSocket", f"closed: {closed}") from closed
        if isinstance(data, bytes) != self._packed:
            raise Broken(f"{'binary' if self._packed else 'text'} frames of {self.name}", type(data).__name__)
        message = strictly.from_messagepack(data) if isinstance(data, bytes) else strictly.from_json(data)
        self._trace.came(f"ws {self.name}", message)
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise Broken("a message: an object with a type", message)
        return message

    async def until(self, kind: str, message_id: str | None = None) -> dict[str, Any]:
        """The next message of this type (with this id, where given); what comes before it is passed over."""
        while True:
            message = await self.receive()
            if message["type"] == kind and message_id in (None, message.get("id")):
                return message

    async def closed(self) -> int | None:
        """Wait until the server closes it: with which code."""
        try:
            while True:
                await self.connection.recv()
        except ConnectionClosed:
            self._trace.noted(f"the socket is closed: {self.connection.close_code}")
            return self.connection.close_code
