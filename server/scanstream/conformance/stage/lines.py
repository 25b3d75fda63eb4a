"""HTTP/1.1 and WebSockets on one port, as little of them as a scripted server needs: one request a connection."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import anyio
import msgspec
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

MOST_HEAD = 64 * 1024
PIECE = 64 * 1024
PACKED = Subprotocol("scanstream.v1.msgpack")
GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)
UNFIT = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What reading a request raises that is none, or none of the protocol's."""
WORDS = {200: "OK", 202: "Accepted", 204: "No Content", 304: "Not Modified"}


class Cut(Exception):
    """The script ends this connection here, without a word."""


class Asked(NamedTuple):
    """A request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    @property
    def upgrade(self) -> bool:
        """Whether it wants a WebSocket."""
        return self.headers.get("upgrade", "").lower() == "websocket"


class Reply(NamedTuple):
    """An answer in one piece."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


def as_json(status: int, told: Any, **headers: str) -> Reply:
    """An answer in JSON; underscores in the names of headers are hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, msgspec.json.encode(told), {"content-type": "application/json", **named})


class Line:
    """One connection, from the server's side."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._reader = BufferedByteReceiveStream(stream)
        self._head = b""

    async def asked(self) -> Asked:
        """The request."""
        self._head = await self._reader.receive_until(b"\r\n\r\n", MOST_HEAD)
        first, *fields = self._head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        pairs = [field.partition(":") for field in fields]
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if headers.get("expect", "").lower() == "100-continue":
            await self._stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        content = await self._content(headers)
        parts = urlsplit(target)
        body = msgspec.json.decode(content) if content else None
        return Asked(method, parts.path, dict(parse_qsl(parts.query)), headers, body)

    async def _content(self, headers: Mapping[str, str]) -> bytes:
        """What a request has behind its head, in one piece or in chunks."""
        if headers.get("transfer-encoding", "").lower() != "chunked":
            length = int(headers.get("content-length", 0))
            return await self._reader.receive_exactly(length) if length else b""
        content = b""
        while size := int((await self._reader.receive_until(b"\r\n", MOST_HEAD)).partition(b";")[0], 16):
            content += await self._reader.receive_exactly(size)
            await self._reader.receive_exactly(2)
        while await self._reader.receive_until(b"\r\n", MOST_HEAD):
            pass
        return content

    async def answer(self, reply: Reply) -> None:
        """All of it; then the connection ends."""
        length = {} if reply.status in (204, 304) else {"content-length": str(len(reply.body))}
        await self._stream.send(_head(reply.status, {**reply.headers, **length}) + reply.body)

    async def begin_events(self) -> None:
        """An event stream: it ends with the connection."""
        headers = {"content-type": "text/event-stream", "cache-control": "no-cache"}
        await self._stream.send(_head(200, headers) + b"retry: 500\n\n")

    async def event(self, message: dict[str, Any], named: bool, written: Callable[[bytes], bytes]) -> None:
        """One event.

        :param named: whether its cursor is its id, too
        :param written: how it goes out
        """
        cursor = f"id: {message['cursor']}\n" if named and "cursor" in message else ""
        event = f"event: {message['type']}\n{cursor}data: ".encode() + msgspec.json.encode(message) + b"\n\n"
        await self.send(written(event))

    async def send(self, data: bytes) -> None:
        """Bytes as they are."""
        await self._stream.send(data)

    async def upgraded(self) -> "Socket":
        """The WebSocket that was asked for.

        :raises Cut: if it is no handshake
        """
        return await Socket.opened(self._stream, self._head + b"\r\n\r\n")

    async def until_gone(self) -> None:
        """Wait until the other side has left."""
        try:
            while await self._stream.receive(PIECE):
                pass
        except GONE:
            return


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    fields = {**headers, "connection": "close"}
    lines = [
        f"HTTP/1.1 {status} {WORDS.get(status, 'As Told')}",
        *(f"{name}: {value}" for name, value in fields.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Socket:
    """A WebSocket that speaks plain values, in the format that was offered first."""

    def __init__(self, stream: SocketStream, protocol: ServerProtocol) -> None:
        self._stream = stream
        self._protocol = protocol
        self._turn = anyio.Lock()
        self.following: dict[str, anyio.CancelScope] = {}
        """By scan, what is told on it."""
        self.frozen = False
        """Whether nothing is answered any more, not even pings of the transport."""

    @classmethod
    async def opened(cls, stream: SocketStream, head: bytes) -> "Socket":
        """With the handshake that begins like this."""
        ours = [Subprotocol("scanstream.v1.json"), PACKED]
        protocol = ServerProtocol(subprotocols=ours, max_size=None)
        protocol.receive_data(head)
        requests = [event for event in protocol.events_received() if isinstance(event, Request)]
        if not requests:
            raise Cut
        protocol.send_response(protocol.accept(requests[0]))
        socket = cls(stream, protocol)
        await socket._flush()
        if protocol.state is not State.OPEN:
            raise Cut from InvalidHandshake("no handshake")
        return socket

    async def send(self, message: dict[str, Any]) -> None:
        """One message.

        :raises Cut: if the socket is closed
        """
        if self.frozen:
            return
        if self._protocol.state is not State.OPEN:
            raise Cut
        if self._protocol.subprotocol == PACKED:
            self._protocol.send_binary(msgspec.msgpack.encode(message))
        else:
            self._protocol.send_text(msgspec.json.encode(message))
        await self._flush()

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye."""
        if self._protocol.state is not State.OPEN:
            raise Cut
        self._protocol.send_close(code, reason)
        await self._flush()

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """What the client says, until it leaves."""
        while self._protocol.state is State.OPEN:
            self._protocol.receive_data(await self._stream.receive(PIECE))
            for event in self._protocol.events_received():
                if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY):
                    packed = event.opcode is Opcode.BINARY
                    yield (msgspec.msgpack if packed else msgspec.json).decode(event.data)
            await self._flush()

    async def _flush(self) -> None:
        async with self._turn:
            data = b"".join(self._protocol.data_to_send())
            if data and not self.frozen:
                await self._stream.send(data)


def leaf(error: BaseException) -> BaseException:
    """Of errors that came together, one."""
    return leaf(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


Serving = Callable[[Line], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serving) -> AsyncIterator[str]:
    """Answer on a free port of loopback; gives the address."""

    async def one(stream: SocketStream) -> None:
        async with stream:
            try:
                await serve(Line(stream))
            except (*GONE, Cut, anyio.IncompleteRead, anyio.DelimiterNotFound):
                await anyio.aclose_forcefully(stream)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610  # not Django
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, one)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            tasks.cancel_scope.cancel()
