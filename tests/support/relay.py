"""A network between a node and a server, and what networks do: it falls silent, one way or both, or is not there.

What was sent into the silence arrives when it is over, also what a peer sent that has long given up: so does TCP's.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.memory import MemoryObjectReceiveStream

UP, DOWN = "up", "down"
"""To the server, and from it."""
CHUNK = 64 * 1024
MOST_UNDER_WAY = 10_000
GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError, RuntimeError)
"""The last is what uvloop says of a connection that it has closed."""


class Relay:
    """Connections to a port of this machine, through another one."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self.port = 0
        self._passing = {UP: anyio.Event(), DOWN: anyio.Event()}
        self._held: dict[SocketStream, anyio.Event] = {}
        """What is open; what goes to the server on it waits for this, too."""
        self.held_back = b""
        """What has come for the server on connections that are held."""
        self._away = False
        self.heal()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._held)

    def mute(self, *ways: str) -> None:
        """Nothing passes any more, this way or these; of new connections, neither."""
        for way in ways:
            self._passing[way] = anyio.Event()

    def hold(self) -> None:
        """What is sent to the server on the connections that are open now is under way; new ones are fine."""
        for client in self._held:
            self._held[client] = anyio.Event()

    def heal(self) -> None:
        """Everything passes again, what was held back first."""
        self._away = False
        for passing in (*self._passing.values(), *self._held.values()):
            passing.set()

    async def cut(self) -> None:
        """All connections end, and new ones do as soon as they are made, until it is healed."""
        self._away = True
        for stream in tuple(self._held):
            await anyio.aclose_forcefully(stream)

    async def serve(self, client: SocketStream) -> None:
        """One connection."""
        with suppress(*GONE):
            async with client:
                if self._away:
                    return
                self._held[client] = anyio.Event()
                self._held[client].set()
                server = await anyio.connect_tcp("127.0.0.1", self._upstream)
                async with server, anyio.create_task_group() as tasks:
                    tasks.start_soon(self._pass, client, server, UP)
                    await self._pass(server, client, DOWN)
                    tasks.cancel_scope.cancel()
        self._held.pop(client, None)

    async def _pass(self, source: SocketStream, target: SocketStream, way: str) -> None:
        """What comes is read at once, so that it is under way also when its sender is gone, and let through in time."""
        read, under_way = anyio.create_memory_object_stream[bytes](MOST_UNDER_WAY)
        async with under_way, anyio.create_task_group() as tasks:
            tasks.start_soon(self._let_through, under_way, source, target, way)
            async with read:
                with suppress(*GONE):
                    async for data in _chunks(source):
                        if way == UP and not self._held[source].is_set():
                            self.held_back += data
                        await read.send(data)

    async def _let_through(
        self, under_way: MemoryObjectReceiveStream[bytes], source: SocketStream, target: SocketStream, way: str
    ) -> None:
        with suppress(*GONE):
            async for data in under_way:
                await self._passing[way].wait()
                if way == UP:
                    await self._held[source].wait()
                await target.send(data)
        with suppress(*GONE):
            await target.send_eof()


async def _chunks(source: SocketStream) -> AsyncIterator[bytes]:
    with suppress(anyio.EndOfStream):
        while True:
            yield await source.receive(CHUNK)


@asynccontextmanager
async def relay(upstream: int) -> AsyncIterator[Relay]:
    """A network to the port `upstream`, until the end of the block."""
    one = Relay(upstream)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    one.port = listener.extra(SocketAttribute.local_port)  # noqa: S610  # not Django
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, one.serve)
        try:
            yield one
        finally:
            one.heal()
            tasks.cancel_scope.cancel()
