"""Connections spread over the web nodes that take new work: bytes are passed on, nothing is looked at."""

import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from http.client import HTTPException
from urllib.parse import urlsplit

import anyio
from anyio import to_thread
from anyio.abc import SocketStream

CHUNK = 64 * 1024
ASK_SECONDS = 1.0
ROUND_SECONDS = 0.5
GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError, RuntimeError)
"""The other side is no longer there; the last is what uvloop says of a transport that it has closed."""


class Backend:
    """One web node."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ready = True
        self.connections = 0

    def ask(self) -> bool:
        """Whether it takes new work."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=ASK_SECONDS) as answer:  # noqa: S310  # http
                ready: bool = answer.status == 200
        except (OSError, HTTPException):
            return False
        return ready


class Balancer:
    """Each new connection goes to the node that has the fewest; to one that is not ready only where none is."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.backends = [Backend(url) for url in urls]

    @asynccontextmanager
    async def open(self, port: int) -> AsyncIterator[str]:
        """Listen here; gives the address."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(self._look)
            tasks.start_soon(listener.serve, self._pass_on)
            yield f"http://127.0.0.1:{port}"
            tasks.cancel_scope.cancel()

    async def _look(self) -> None:
        while True:
            for backend in self.backends:
                backend.ready = await to_thread.run_sync(backend.ask, abandon_on_cancel=True)
            await anyio.sleep(ROUND_SECONDS)

    async def _pass_on(self, client: SocketStream) -> None:
        async with client:
            for backend in sorted(self.backends, key=lambda one: (not one.ready, one.connections)):
                address = urlsplit(backend.url)
                try:
                    node = await anyio.connect_tcp(address.hostname or "", address.port or 80)
                except OSError:  # it is just being restarted: the next one
                    continue
                backend.connections += 1
                try:
                    await _joined(client, node)
                finally:
                    backend.connections -= 1
                return


async def _joined(one: SocketStream, other: SocketStream) -> None:
    async with other, anyio.create_task_group() as tasks:
        tasks.start_soon(_copy, one, other)
        tasks.start_soon(_copy, other, one)


async def _copy(source: SocketStream, target: SocketStream) -> None:
    """Until one side is gone; an end is passed on, as the other direction may go on."""
    try:
        while True:
            await target.send(await source.receive(CHUNK))
    except anyio.EndOfStream:
        with suppress(*GONE):
            await target.send_eof()
    except GONE:
        await target.aclose()
        await source.aclose()
