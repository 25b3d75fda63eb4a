"""A feed of prices over HTTP, for strategies that wait for input; a test says when it answers, and how."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

LONGEST_HEAD = 65536


class Feed:
    """Answers `?symbol=…` with the price, 404 where it has none."""

    def __init__(self, port: int, unanswered: MemoryObjectReceiveStream[anyio.Event]) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self.prices: dict[str, float] = {}
        self.broken = False
        """It answers 500."""
        self.silent = False
        """It never answers."""
        self._unanswered = unanswered

    async def asked(self) -> anyio.Event:
        """The next question that gets no answer: its event is set when the one who asked is gone."""
        return await self._unanswered.receive()

    def answer(self, symbol: str) -> bytes:
        """The response to a question."""
        price = self.prices.get(symbol)
        status = "500 Broken" if self.broken else "404 Unknown" if price is None else "200 OK"
        body = f'{{"price": {price}}}'
        return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


@asynccontextmanager
async def feeding() -> AsyncIterator[Feed]:
    """A feed on a free port, gone after the block."""
    send, receive = anyio.create_memory_object_stream[anyio.Event](1000)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with send, receive, listener, anyio.create_task_group() as tasks:
        feed = Feed(listener.extra(SocketAttribute.local_port), receive)  # noqa: S610  # not of Django
        tasks.start_soon(listener.serve, lambda stream: _serve(stream, feed, send))
        yield feed
        tasks.cancel_scope.cancel()


async def _serve(stream: SocketStream, feed: Feed, unanswered: MemoryObjectSendStream[anyio.Event]) -> None:
    async with stream:
        received = BufferedByteReceiveStream(stream)
        gone = anyio.Event()
        try:
            while True:
                head = await received.receive_until(b"\r\n\r\n", LONGEST_HEAD)
                if feed.silent:
                    unanswered.send_nowait(gone)
                    continue  # the next that comes is the end of the connection
                [symbol] = parse_qs(urlsplit(head.split()[1].decode()).query)["symbol"]
                await stream.send(feed.answer(symbol))
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
            gone.set()
