"""Two nodes on NATS keep every promise: behind a proxy that goes to the other one with each connection, and by name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import cycle
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from conformance.judged import APART, judged, scripted, told
from onemachine.cluster import Cluster
from scanstream.conformance.judging import HOLDS
from scanstream.conformance.promise import CHECKS

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.timeout(500)]

LONG = scripted(shards=16, found=2, pause=0.1)
"""What can be cancelled before a cluster of several workers has done it, on a busy machine, too."""
PIECE = 64 * 1024
GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError, RuntimeError)
"""The last is what uvloop says of a connection that it has closed."""


@asynccontextmanager
async def switching(urls: list[str]) -> AsyncIterator[str]:
    """A proxy: each connection goes to the next of these."""
    upstreams = cycle([urlsplit(url).port or 0 for url in urls])

    async def pass_on(source: SocketStream, target: SocketStream) -> None:
        with suppress(*GONE):
            while True:
                await target.send(await source.receive(PIECE))
        with suppress(*GONE):
            await target.send_eof()

    async def serve(client: SocketStream) -> None:
        with suppress(*GONE):
            server = await anyio.connect_tcp("127.0.0.1", next(upstreams))
            async with client, server, anyio.create_task_group() as tasks:
                tasks.start_soon(pass_on, client, server)
                await pass_on(server, client)
                tasks.cancel_scope.cancel()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610  # not Django
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("behind", ["a proxy", "their names"])
async def test_a_cluster_keeps_all_promises(cluster: Cluster, behind: str) -> None:
    urls = [node.url for node in cluster.web]
    assert len(urls) == 2
    async with switching(urls) as proxy:
        verdicts = await judged([proxy] if behind == "a proxy" else urls, *(CHECKS.keys() - APART), long=LONG)
    others = [verdict for verdict in verdicts if verdict.outcome != HOLDS]
    assert not others, told(*others)
