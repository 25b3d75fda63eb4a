"""A proxy that does what bad networks do to clients: on purpose, one fault at a time or several.

    python tests/wire/proxy.py http://127.0.0.1:8000 --refuse-upgrade 403 --bad-gateway-every 5

or, in a test, `with running(url, Faults(reset_every=3)) as proxy:`; the faults may be changed while it runs. It needs
anyio only, and knows HTTP/1.1 just well enough: a request a connection, WebSockets without compression. What clients
tried, and when, is in `proxy.attempts`.
"""

import argparse
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.from_thread import start_blocking_portal
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream

if __name__ == "__main__":  # as a program it is not told where its neighbours are
    sys.path.insert(0, str(Path(__file__).parent.parent))

from wire.faults import Events, Faults, Frames, Head, Kept, Messages, Through, closing, polled, with_fields
from wire.odd import ANSWERS, Answer, Socket

__all__ = ["RUNGS", "Attempt", "Faults", "Proxy", "running"]

RUNGS = ("websocket", "stream", "longpoll", "poll")
MOST_HEAD = 64 * 1024
MOST_BODY = 64 * 1024 * 1024
CHUNK = 64 * 1024
MOST_LATE = 1000
"""Pieces that are on their way at once, while everything is late."""
LOOK_SECONDS = 0.05
LAST_DATA_AT = 52
"""Where struct tcp_info (linux/tcp.h) has the milliseconds since data came last."""
GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, anyio.IncompleteRead, OSError)
UP, DOWN = "up", "down"


class Attempt(NamedTuple):
    """One request of a client."""

    at: float
    """time.monotonic() as it came: the kernel knows when that was, however busy we are (Linux)."""
    method: str
    target: str
    upgrade: bool
    rung: str = ""
    """One of RUNGS; empty for what follows no scan."""


class Proxy:
    """A listener before a server."""

    def __init__(self, upstream: str, faults: Faults) -> None:
        parsed = urlsplit(upstream)
        self._upstream = parsed.hostname or "127.0.0.1", parsed.port or 80
        self.faults = faults
        self.attempts: list[Attempt] = []
        self.url = ""
        self.muted: list[float] = []
        """When what is open fell silent, by time.monotonic(): one for each connection on which that was felt."""
        self._open: set[SocketStream] = set()
        self._frozen_at = -1.0
        self._harmed = False
        """Whether the last answer came to harm, of those that do so now and then."""

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

    def freeze(self) -> float:
        """On connections that are open now nothing passes any more, either way; new ones are fine. When that was."""
        self._frozen_at = time.monotonic()
        return self._frozen_at

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
        attempt = _attempt(head, time.monotonic() - _since_data(client))
        self.attempts.append(attempt)
        every = self.faults.bad_gateway_every
        if self.faults.hang_up:
            return
        if every and len(self.attempts) % every == 0:
            await client.send(self._bad(attempt))
        elif attempt.upgrade and self.faults.refuse_upgrade:
            await client.send(_page(self.faults.refuse_upgrade, "No WebSockets here"))
        elif attempt.rung == "stream" and self.faults.refuse_streams:
            await client.send(_page(self.faults.refuse_streams, "No streams here"))
        else:
            await self._forward(client, reader, head, body, attempt)

    def _bad(self, attempt: Attempt) -> bytes:
        status = self.faults.bad_status
        fields = {"retry-after": self.faults.bad_retry_after}
        if 300 <= status < 400:
            fields["location"] = attempt.target
        return _page(status, "None of ours", fields)

    async def _forward(
        self, client: SocketStream, reader: BufferedByteReceiveStream, head: Head, body: bytes, attempt: Attempt
    ) -> None:
        await anyio.sleep(self.faults.delay)
        try:
            server = await anyio.connect_tcp(*self._upstream)
        except OSError:
            await client.send(_page(502, "Bad Gateway"))
            return
        async with server:
            answers = BufferedByteReceiveStream(server)
            if attempt.upgrade:
                await server.send(head.having(sec_websocket_extensions=""))
                await self._websocket(client, reader, server, answers)
            else:
                changed = self.faults.inject or Frames(self.faults).harmed or self.faults.odd in ANSWERS
                asked = head.old() if changed else head
                await server.send(asked.having(connection="close", accept_encoding="") + body)
                discover = attempt.target.endswith("/discover")
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._until_left, reader, tasks.cancel_scope)
                    with suppress(*GONE):
                        await self._answer(client, answers, attempt.at, discover=discover)
                    tasks.cancel_scope.cancel()

    async def _answer(
        self, client: SocketStream, answers: BufferedByteReceiveStream, began: float, *, discover: bool
    ) -> None:
        head = Head.read(await answers.receive_until(b"\r\n\r\n", MOST_HEAD))
        if discover and self.faults.swallow_acks > 0:
            self.faults.swallow_acks -= 1
            await _reset(client)
            return
        if self._frozen_at > began or (discover and self.faults.hold_acks > 0):
            self.faults.hold_acks -= discover
            await anyio.sleep_forever()
        kind = head.value("content-type")
        await anyio.sleep(self.faults.delay)
        frames = Frames(self.faults)
        if (self.faults.inject or frames.harmed) and kind.startswith("application/json"):
            body = await _whole(answers, head.value("content-length"))
            body = with_fields(body) if self.faults.inject else polled(body, frames)
            await self._send(client, head.having(content_length=str(len(body))) + body, [0])
            return
        if (odd := ANSWERS.get(self.faults.odd)) is not None:
            self._harmed = not self._harmed
            await self._oddly(client, answers, odd(head, self._harmed))
            return
        await client.send(head.having())
        streamed = kind.startswith("text/event-stream")
        kept = Kept()
        through: Through = _as_it_is
        if streamed and self.faults.buffer_streams:
            through = kept.through
        elif streamed and (self.faults.inject or frames.harmed):
            through = Events(self.faults).through
        await self._pump(answers, client, DOWN, through, muted=streamed)
        await client.send(kept.data)

    async def _oddly(self, client: SocketStream, answers: BufferedByteReceiveStream, answer: Answer) -> None:
        await client.send(answer.head)
        with suppress(*GONE):
            while True:
                await client.send(answer.through(await answers.receive(CHUNK)))
        await client.send(answer.tail())

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
        await anyio.sleep(self.faults.delay)
        await client.send(head.having())
        if " 101 " not in head.first:
            return
        if self.faults.close_at_once:
            await client.send(closing(1001))
            return
        oddly = Socket(self.faults.odd)
        messages = Messages(self.faults, oddly.through)

        async def up() -> None:
            await self._pump(requests, server, UP, _as_it_is, muted=True)
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(up)
            await self._pump(answers, client, DOWN, messages.through, muted=True, over=lambda: oddly.over)
            tasks.cancel_scope.cancel()
        if messages.swallowed:
            await _reset(client)

    async def _pump(
        self,
        source: BufferedByteReceiveStream,
        target: SocketStream,
        way: str,
        through: Through,
        *,
        muted: bool,
        over: Callable[[], bool] = lambda: False,
    ) -> None:
        """Bytes from one side to the other, as the faults have it, until either has gone. What is mute stays so."""
        began, silent = time.monotonic(), False
        late, due = anyio.create_memory_object_stream[tuple[float, bytes]](MOST_LATE)
        async with late, due, anyio.create_task_group() as tasks:
            tasks.start_soon(self._deliver, due, target, [0] if way == DOWN else None, tasks.cancel_scope)
            with suppress(*GONE):
                while True:
                    data = through(await source.receive(CHUNK))
                    mute = muted and self.faults.mute in (way, "both")
                    if not silent and mute and time.monotonic() - began >= self.faults.mute_after:
                        silent = True
                        self.muted.append(began + self.faults.mute_after)
                    if not silent and began > self._frozen_at:
                        await late.send((anyio.current_time() + self.faults.delay, data))
                    if over():
                        break
            late.close()  # what is on its way arrives

    async def _deliver(
        self,
        due: MemoryObjectReceiveStream[tuple[float, bytes]],
        target: SocketStream,
        gone: list[int] | None,
        pump: anyio.CancelScope,
    ) -> None:
        with suppress(*GONE):
            async for at, data in due:
                await anyio.sleep_until(at)
                await self._send(target, data, gone)
        pump.cancel()

    async def _send(self, target: SocketStream, data: bytes, gone: list[int] | None) -> None:
        """To the other side; a client's connection may end in the midst of it. `gone`: bytes so far."""
        if gone is not None and self.faults.odd == "byte by byte":
            for begin in range(len(data)):
                await target.send(data[begin : begin + 1])
            return
        if gone is None or not self.faults.drop_after:
            await target.send(data)
            return
        left = self.faults.drop_after - gone[0]
        gone[0] += len(data)
        await target.send(data[: max(0, left)])
        if left < len(data):
            await _reset(target)
            raise anyio.EndOfStream


def _since_data(stream: SocketStream) -> float:
    """Seconds since a client has sent something; 0 where the kernel does not tell, or the connection was reset."""
    if sys.platform != "linux":
        return 0.0
    raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610  # not Django
    try:
        told = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, LAST_DATA_AT + 4)
    except (OSError, ValueError):  # uvloop says the second
        return 0.0
    return int.from_bytes(told[LAST_DATA_AT:], sys.byteorder) / 1000


def _attempt(head: Head, at: float) -> Attempt:
    """What a request is, seen from the ladder."""
    method, target, _ = head.first.split(" ", 2)
    upgrade = head.value("upgrade").lower() == "websocket"
    path = target.partition("?")[0]
    rung = ""
    if upgrade:
        rung = "websocket"
    elif path.endswith("/opportunities/follow"):
        rung = "stream" if "text/event-stream" in head.value("accept") else "longpoll"
    elif "/opportunities/status/" in path:
        rung = "poll"
    return Attempt(at, method, target, upgrade, rung)


async def _whole(answers: BufferedByteReceiveStream, length: str) -> bytes:
    """The body of an answer; without a length it ends with the connection."""
    if length:
        return await answers.receive_exactly(min(int(length), MOST_BODY))
    body = b""
    with suppress(anyio.EndOfStream):
        while len(body) < MOST_BODY:
            body += await answers.receive(CHUNK)
    return body


def _page(status: int, words: str, more: dict[str, str] | None = None) -> bytes:
    body = f"<html><body><h1>{status} {words}</h1></body></html>".encode()
    told = {"content-type": "text/html", "content-length": str(len(body)), "connection": "close", **(more or {})}
    fields = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value)
    return f"HTTP/1.1 {status} {words}\r\n{fields}\r\n".encode() + body


def _as_it_is(data: bytes) -> bytes:
    return data


async def _reset(stream: SocketStream) -> None:
    """End a connection with RST: nothing that is on its way arrives."""
    with suppress(OSError, ValueError):  # uvloop has no descriptor any more where it is closed already
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
