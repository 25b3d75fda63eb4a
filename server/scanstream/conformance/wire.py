"""Connections below HTTP and WebSockets: half a request, a handshake to be looked at, a reader that reads nothing."""

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import anyio
import msgspec
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSStream
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from scanstream.conformance.asking import JSON, MOST_BYTES, Server, ServerGone
from scanstream.conformance.promise import Broken, NotTried, expect
from scanstream.proxies import proxy_of

RECEIVE_BUFFER = 32 * 1024
"""Bytes that the system takes for a reader that is to read nothing. With much fewer a sender waits for its timer before
each piece, as the window is never as large as half of the largest it has seen (RFC 9293, section 3.8.6.2.1)."""
READING_BUFFER = 1024 * 1024
"""The same for one that reads."""
MOST_TAKEN = 64 * 1024
"""Bytes of one reading."""
SEND_SECONDS = 1.0
"""For a message; a server that is not read from need not read either."""
LONGEST_HEAD = 64 * 1024
CLOSED = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class Wire:
    """One connection, as bytes."""

    def __init__(self, stream: ByteStream, url: str, headers: Sequence[tuple[str, str]]) -> None:
        self.stream = stream
        parts = urlsplit(url)
        self.url = url
        self.headers = headers
        """What says who asks."""
        self.path = parts.path
        """The server is below."""
        self.host = parts.netloc.rpartition("@")[2]

    def head(self, method: str, path: str, **headers: str) -> bytes:
        """The head of a request; underscores in the names of headers are hyphens."""
        named = {"host": self.host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        lines = [f"{method} {self.path}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
        return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in self.headers), "", ""]).encode("latin-1")

    async def say(self, data: bytes) -> bool:
        """These bytes, if the other side takes them: whether it does."""
        try:
            await self.stream.send(data)
        except CLOSED:
            return False
        return True

    async def answer(self) -> tuple[int, dict[str, str]]:
        """The head of what is answered: its status, and its headers in small letters; (0, none) if it hangs up.

        :raises Broken: if it is none of HTTP
        """
        came = bytearray()
        while b"\r\n\r\n" not in came:
            part = await self.take()
            if not part:
                return 0, {}
            came += part
            expect(len(came) <= LONGEST_HEAD, "a head of at most 64 KiB", "more")
        first, *lines = came.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        status = first.split(" ")[1:2]
        expect(first.startswith("HTTP/1.") and status[0].isdigit(), "an answer in HTTP", first)
        named = (line.partition(":") for line in lines)
        return int(status[0]), {name.lower(): value.strip() for name, _, value in named}

    async def take(self) -> bytes:
        """What comes next; nothing once the other side has hung up."""
        try:
            return await self.stream.receive(MOST_TAKEN)
        except CLOSED:
            return b""


@asynccontextmanager
async def wired(server: Server, *, reads_little: bool = False) -> AsyncIterator[Wire]:
    """A connection that has said nothing yet.

    :raises NotTried: if a proxy of ours stands between
    :raises ServerGone: if there is none
    """
    url = server.next_url()
    if proxy_of(url) is not None:
        raise NotTried("a proxy leads to this server, and would be what is judged: name its host in NO_PROXY")
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    try:
        plain = await anyio.connect_tcp(host, parts.port or (443 if secure else 80))
        if reads_little:
            _held(plain, RECEIVE_BUFFER)
        stream: ByteStream = plain
        if secure:
            assert not isinstance(server.tls, bool)
            stream = await TLSStream.wrap(plain, hostname=host, ssl_context=server.tls, standard_compatible=False)
    except OSError as error:
        raise ServerGone(f"{url}: {error}") from error
    try:
        yield Wire(stream, url, server.credential)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)


def _held(stream: ByteStream, size: int) -> None:
    """So many bytes the system takes for a reader that does not read them."""
    stream.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)  # noqa: S610


class Unread:
    """A WebSocket of which nothing is read but what is asked for."""

    def __init__(self, wire: Wire, protocol: ClientProtocol) -> None:
        self._wire = wire
        self._protocol = protocol

    @property
    def close_code(self) -> int | None:
        """With what the server has closed it."""
        closed = self._protocol.close_rcvd
        return None if closed is None else closed.code

    async def say(self, **message: Any) -> bool:
        """A message, if the server takes it within a moment: whether it does."""
        self._protocol.send_text(msgspec.json.encode(message))
        return await self.flush()

    async def raw(self, data: bytes) -> bool:
        """Bytes, in place of frames."""
        return await self._wire.say(data)

    async def flush(self) -> bool:
        """Send what there is to be sent: whether the server has taken it."""
        with anyio.move_on_after(SEND_SECONDS):
            return all([await self._wire.say(data) for data in self._protocol.data_to_send()])
        return False

    async def take(self) -> list[dict[str, Any]] | None:
        """Read a little: the messages that are whole with it; None once it is closed.

        :raises Broken: if what came is no WebSocket's
        """
        data = await self._wire.take()
        if not data:
            return None
        self._protocol.receive_data(data)
        frames = [event for event in self._protocol.events_received() if isinstance(event, Frame)]
        if self._protocol.state is not State.OPEN:
            return None
        await self.flush()  # pongs
        whole = [frame.data for frame in frames if frame.opcode is Opcode.TEXT and frame.fin]
        return [msgspec.json.decode(data) for data in whole]

    async def answers(self) -> bool:
        """Read on, as fast as others do, until it answers a ping; False if it is closed instead."""
        _held(self._wire.stream, READING_BUFFER)
        if not await self.say(type="ping", id="still"):
            return False
        while (messages := await self.take()) is not None:
            if any(message.get("id") == "still" for message in messages):
                return True
        return False


@asynccontextmanager
async def unread(server: Server) -> AsyncIterator[Unread]:
    """A WebSocket in JSON.

    :raises Broken: if there is no handshake
    """
    async with wired(server, reads_little=True) as wire:
        protocol = ClientProtocol(
            parse_uri(f"ws{wire.url.removeprefix('http')}/ws"), subprotocols=[Subprotocol(JSON)], max_size=MOST_BYTES
        )
        request = protocol.connect()
        request.headers.update(wire.headers)
        protocol.send_request(request)
        reader = Unread(wire, protocol)
        await reader.flush()
        while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
            data = await wire.take()
            protocol.receive_data(data) if data else protocol.receive_eof()
        protocol.events_received()
        if protocol.handshake_exc is not None:
            raise Broken("a WebSocket at /ws", protocol.handshake_exc)
        yield reader
