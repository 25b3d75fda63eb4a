"""A proxy that does what bad networks do to clients: on purpose, one fault at a time or several.

    python tests/wire/proxy.py http://127.0.0.1:8000 --refuse-upgrade 403 --bad-gateway-every 5

or, in a test, `with running(url, Faults(reset_every=3)) as proxy:`; the faults may be changed while it runs. It needs
anyio only, and knows HTTP/1.1 just well enough: a request a connection, WebSockets without compression. What clients
tried, and when, is in `proxy.attempts`.
"""

import argparse
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.from_thread import start_blocking_portal
from anyio.streams.buffered import BufferedByteReceiveStream

MOST_HEAD = 64 * 1024
MOST_BODY = 64 * 1024 * 1024
CHUNK = 64 * 1024
LOOK_SECONDS = 0.05
HELD = 64 * 1024
"""Bytes of a stream that a buffering proxy keeps back."""
GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, anyio.IncompleteRead, OSError)
UP, DOWN = "up", "down"
UNKNOWN_MESSAGE = {"type": "weather", "scan_id": "scan_of_the_sky", "cursor": "zz-9.9", "state": {"status": "sunny"}}
UNKNOWN_FIELDS = {"x_unknown": [1, {"deep": None}], "zzz": "new in version 2"}


@dataclass
class Faults:
    """What is wrong with the network; all at once if several are set. Connections look at it as they go on."""

    refuse_upgrade: int = field(default=0, metadata={"help": "answer WebSocket handshakes with this status"})
    close_at_once: bool = field(default=False, metadata={"help": "accept WebSockets, and close them at once"})
    mute: str = field(default="", metadata={"help": "let open sockets fall silent: up, down or both"})
    mute_after: float = field(default=1.0, metadata={"help": "seconds after which they do"})
    drop_after: int = field(default=0, metadata={"help": "cut every connection after so many bytes to the client"})
    delay: float = field(default=0.0, metadata={"help": "seconds that every byte is late, each way"})
    reset_every: float = field(default=0.0, metadata={"help": "seconds after which all connections are reset"})
    buffer_streams: bool = field(default=False, metadata={"help": "keep event streams back until 64 KiB are there"})
    bad_gateway_every: int = field(default=0, metadata={"help": "answer every so many-th request with 502 and HTML"})
    swallow_acks: int = field(default=0, metadata={"help": "lose so many answers to discover, and the connection"})
    inject: bool = field(default=False, metadata={"help": "add message types and fields that nobody knows"})


class Attempt(NamedTuple):
    """One request of a client."""

    at: float
    """time.monotonic()"""
    method: str
    target: str
    upgrade: bool


class Head(NamedTuple):
    """The first line and the fields of a request or an answer."""

    first: str
    fields: list[tuple[str, str]]

    @classmethod
    def read(cls, raw: bytes) -> "Head":
        """As it came, without the empty line at its end."""
        first, *lines = raw.decode("latin-1").split("\r\n")
        return cls(first, [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)])

    def value(self, name: str) -> str:
        """Of a field; empty where there is none."""
        return next((value for known, value in self.fields if known.lower() == name), "")

    def having(self, **changed: str) -> bytes:
        """As bytes, with other values of some fields; an empty one leaves the field out."""
        names = {name.replace("_", "-"): value for name, value in changed.items()}
        kept = [(name, value) for name, value in self.fields if name.lower() not in names]
        lines = [self.first, *(f"{name}: {value}" for name, value in [*kept, *names.items()] if value)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Proxy:
    """A listener before a server."""

    def __init__(self, upstream: str, faults: Faults) -> None:
        parsed = urlsplit(upstream)
        self._upstream = parsed.hostname or "127.0.0.1", parsed.port or 80
        self.faults = faults
        self.attempts: list[Attempt] = []
        self.url = ""
        self._open: set[SocketStream] = set()

    async def serve(self, port: int, started: Callable[[], None]) -> None:
        """Until cancelled."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
        self.url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"  # noqa: S610
        started()
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(self._resets)
            await listener.serve(self._connection, tasks)

    def most_attempts(self, seconds: float, rung: Callable[[Attempt], bool] = lambda _: True) -> int:
        """The most that were made within any span of so many seconds."""
        times = [attempt.at for attempt in self.attempts if rung(attempt)]
        return max((sum(begin <= at < begin + seconds for at in times) for begin in times), default=0)

    async def reset(self) -> None:
        """Every connection to a client ends in a reset (RST)."""
        for stream in tuple(self._open):
            await _reset(stream)

    async def _resets(self) -> None:
        last = time.monotonic()
        while True:
            await anyio.sleep(LOOK_SECONDS)
            if 0 < self.faults.reset_every <= time.monotonic() - last:
                await self.reset()
                last = time.monotonic()

    async def _connection(self, client: SocketStream) -> None:
        self._open.add(client)
        with suppress(*GONE):
            async with client:
                await self._exchange(client)
        self._open.discard(client)

    async def _exchange(self, client: SocketStream) -> None:
        """One request, and its answer or its WebSocket."""
        reader = BufferedByteReceiveStream(client)
        head = Head.read(await reader.receive_until(b"\r\n\r\n", MOST_HEAD))
        body = await reader.receive_exactly(int(head.value("content-length") or 0))
        method, target, _ = head.first.split(" ", 2)
        upgrade = head.value("upgrade").lower() == "websocket"
        self.attempts.append(Attempt(time.monotonic(), method, target, upgrade))
        every = self.faults.bad_gateway_every
        if every and len(self.attempts) % every == 0:
            await client.send(_page(502, "Bad Gateway"))
        elif upgrade and self.faults.refuse_upgrade:
            await client.send(_page(self.faults.refuse_upgrade, "No WebSockets here"))
        else:
            async with await anyio.connect_tcp(*self._upstream) as server:
                answers = BufferedByteReceiveStream(server)
                await anyio.sleep(self.faults.delay)
                if upgrade:
                    await server.send(head.having(sec_websocket_extensions=""))
                    await self._websocket(client, reader, server, answers)
                else:
                    await server.send(head.having(connection="close", accept_encoding="") + body)
                    await self._answer(client, reader, answers, discover=target.endswith("/discover"))

    async def _answer(
        self,
        client: SocketStream,
        requests: BufferedByteReceiveStream,
        answers: BufferedByteReceiveStream,
        *,
        discover: bool,
    ) -> None:
        head = Head.read(await answers.receive_until(b"\r\n\r\n", MOST_HEAD))
        kind, length = head.value("content-type"), head.value("content-length")
        if discover and self.faults.swallow_acks > 0:
            self.faults.swallow_acks -= 1
            await _reset(client)
            return
        if self.faults.inject and length and kind.startswith("application/json"):
            body = _with_fields(await answers.receive_exactly(min(int(length), MOST_BODY)))
            await self._send(client, head.having(content_length=str(len(body))) + body, [0])
            return
        await client.send(head.having())
        streamed = kind.startswith("text/event-stream")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._until_left, requests, tasks.cancel_scope)
            kept = _Kept(HELD if streamed and self.faults.buffer_streams else 0)
            with suppress(*GONE):
                await self._pump(answers, client, DOWN, kept.through, muted=streamed)
            with suppress(*GONE):
                await client.send(kept.data)
            tasks.cancel_scope.cancel()

    async def _until_left(self, requests: BufferedByteReceiveStream, scope: anyio.CancelScope) -> None:
        """A client that has left is nobody to answer."""
        with suppress(*GONE):
            while True:
                await requests.receive(CHUNK)
        scope.cancel()

    async def _websocket(
        self,
        client: SocketStream,
        requests: BufferedByteReceiveStream,
        server: SocketStream,
        answers: BufferedByteReceiveStream,
    ) -> None:
        head = Head.read(await answers.receive_until(b"\r\n\r\n", MOST_HEAD))
        await client.send(head.having())
        if " 101 " not in head.first:
            return
        if self.faults.close_at_once:
            await client.send(_frame(8, struct.pack(">H", 1001)))
            return
        messages = _Messages(self.faults)

        async def up() -> None:
            with suppress(*GONE):
                await self._pump(requests, server, UP, _as_it_is, muted=True)
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(up)
            with suppress(*GONE):
                await self._pump(answers, client, DOWN, messages.through, muted=True)
            tasks.cancel_scope.cancel()
        if messages.swallowed:
            await _reset(client)

    async def _pump(
        self,
        source: BufferedByteReceiveStream,
        target: SocketStream,
        way: str,
        through: Callable[[bytes], bytes],
        *,
        muted: bool,
    ) -> None:
        """Bytes from one side to the other, as the faults have it."""
        began, gone = time.monotonic(), [0]
        while True:
            data = through(await source.receive(CHUNK))
            silent = muted and self.faults.mute in (way, "both") and time.monotonic() - began >= self.faults.mute_after
            if silent:
                await anyio.sleep_forever()
            await anyio.sleep(self.faults.delay)
            await self._send(target, data, gone if way == DOWN else None)

    async def _send(self, target: SocketStream, data: bytes, gone: list[int] | None) -> None:
        """To the other side; a client's connection may end in the midst of it. `gone`: bytes so far."""
        if gone is None or not self.faults.drop_after:
            await target.send(data)
            return
        left = self.faults.drop_after - gone[0]
        gone[0] += len(data)
        await target.send(data[: max(0, left)])
        if left < len(data):
            await _reset(target)
            raise anyio.EndOfStream


class _Kept:
    """What a proxy that buffers has of an answer, and has not passed on: nothing, in the time that a scan takes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.data = b""

    def through(self, data: bytes) -> bytes:
        """All that there is, once it is much."""
        self.data += data
        if len(self.data) < self._most:
            return b""
        passed, self.data = self.data, b""
        return passed


class _Messages:
    """The messages of one WebSocket, on their way to the client."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held = b""
        self.swallowed = False

    def through(self, data: bytes) -> bytes:
        """Whole frames only, changed as the faults have it; the end where an answer to discover is swallowed."""
        self._held += data
        out = b""
        while (size := _size(self._held)) is not None:
            whole, self._held = self._held[:size], self._held[size:]
            out += self._message(whole)
        return out

    def _message(self, whole: bytes) -> bytes:
        if whole[0] & 15 != 1:
            return whole
        message = json.loads(whole[_header(whole) :])
        if message["type"] == "ack" and "poll_url" in message and self._faults.swallow_acks > 0:
            self._faults.swallow_acks -= 1
            self.swallowed = True
            raise anyio.EndOfStream
        if not self._faults.inject:
            return whole
        return _frame(1, json.dumps(UNKNOWN_MESSAGE).encode()) + _frame(1, _with_fields(json.dumps(message).encode()))


def _header(data: bytes) -> int:
    """Bytes of a server's frame header (RFC 6455, section 5.2; never masked)."""
    return {126: 4, 127: 10}.get(data[1] & 127, 2)


def _size(data: bytes) -> int | None:
    """Bytes of the first frame, header and all; None while they are not all there."""
    if len(data) < 2 or len(data) < _header(data):
        return None
    header = _header(data)
    length = int.from_bytes(data[2:header]) if header > 2 else data[1] & 127
    return header + length if len(data) >= header + length else None


def _frame(opcode: int, data: bytes) -> bytes:
    length = len(data)
    if length < 126:
        return bytes([128 | opcode, length]) + data
    return (
        bytes([128 | opcode, 126 if length < 1 << 16 else 127]) + length.to_bytes(2 if length < 1 << 16 else 8) + data
    )


def _with_fields(body: bytes) -> bytes:
    """A JSON object with more fields than anybody knows, on its first two levels."""
    told: dict[str, Any] = json.loads(body)
    deeper = {
        key: {**value, **UNKNOWN_FIELDS} if key in ("state", "progress") and isinstance(value, dict) else value
        for key, value in told.items()
    }
    return json.dumps({**deeper, **UNKNOWN_FIELDS}).encode()


def _page(status: int, words: str) -> bytes:
    body = f"<html><body><h1>{status} {words}</h1></body></html>".encode()
    fields = f"Content-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return f"HTTP/1.1 {status} {words}\r\n{fields}\r\n".encode() + body


def _as_it_is(data: bytes) -> bytes:
    return data


async def _reset(stream: SocketStream) -> None:
    """End a connection with RST: nothing that is on its way arrives."""
    with suppress(OSError):
        raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await anyio.aclose_forcefully(stream)


@contextmanager
def running(upstream: str, faults: Faults | None = None, port: int = 0) -> Iterator[Proxy]:
    """A proxy in a thread of its own, until the end of the block."""
    proxy = Proxy(upstream, faults or Faults())
    with start_blocking_portal() as portal:

        async def serve(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            await proxy.serve(port, task_status.started)

        future, _ = portal.start_task(serve)
        try:
            yield proxy
        finally:
            future.cancel()


def main() -> None:
    """As a program: every fault is a flag."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("upstream", help="the server, http://HOST:PORT")
    asked.add_argument("--port", type=int, default=0, help="where to listen (a free one)")
    for fault in fields(Faults):
        flag = "--" + fault.name.replace("_", "-")
        if isinstance(fault.default, bool):
            asked.add_argument(flag, action="store_true", help=fault.metadata["help"])
        else:
            asked.add_argument(flag, type=type(fault.default), default=fault.default, help=fault.metadata["help"])
    given = vars(asked.parse_args())
    proxy = Proxy(given.pop("upstream"), Faults(**{key: value for key, value in given.items() if key != "port"}))
    with suppress(KeyboardInterrupt):
        anyio.run(proxy.serve, given["port"], lambda: print(f"The proxy listens on {proxy.url}", flush=True))


if __name__ == "__main__":
    main()
