"""The test's side of the scripted strategy: learns which shard runs, and tells it what to do."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from anyio.streams.text import TextStream


class RunningShard:
    """A shard that waits for its next word."""

    def __init__(self, number: int, pid: int, stream: TextStream) -> None:
        self.number = number
        self.pid = pid
        """Of the worker process that runs it."""
        self._stream = stream
        self._left = anyio.Event()

    async def tell(self, *words: str) -> None:
        """`find N`, `fail TEXT`, `hang`, `die` or `end`; several are obeyed in this order."""
        await self._stream.send("".join(f"{word}\n" for word in words))

    async def until_gone(self) -> None:
        """Its worker has ended with it, or has died."""
        await self._left.wait()

    def left(self) -> None:
        """Its connection is closed."""
        self._left.set()


class Script:
    """Where the shards of one test report."""

    def __init__(self, path: Path, arrivals: MemoryObjectReceiveStream[RunningShard]) -> None:
        self._path = path
        self._arrivals = arrivals

    def request(self, shards: int, **more: Any) -> dict[str, Any]:
        """A discover request for a scan that follows this script."""
        parameters = {"scripted": {"shards": shards, "control": str(self._path)}}
        return {"strategy_ids": ["scripted"], "parameters": parameters, **more}

    async def started(self) -> RunningShard:
        """The next shard that a worker takes up."""
        return await self._arrivals.receive()


@asynccontextmanager
async def scripting() -> AsyncIterator[Script]:
    """A script for one test."""
    send, receive = anyio.create_memory_object_stream[RunningShard](1000)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "script"
        listener = await anyio.create_unix_listener(path)
        async with send, receive, listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, lambda stream: _greet(stream, send))
            yield Script(path, receive)
            tasks.cancel_scope.cancel()


async def _greet(stream: SocketStream, arrivals: MemoryObjectSendStream[RunningShard]) -> None:
    async with stream:
        text = TextStream(stream)
        try:
            number, pid = (await text.receive()).split()
        except (anyio.EndOfStream, anyio.BrokenResourceError):  # ended before its first word: it has never started
            return
        shard = RunningShard(int(number), int(pid), text)
        arrivals.send_nowait(shard)
        # cancelled in its own wait, anyio's stream may have its future set once more, which is an error in uvloop
        await anyio.wait_readable(stream.extra(SocketAttribute.raw_socket))  # noqa: S610  # not Django
        try:
            await text.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            shard.left()
