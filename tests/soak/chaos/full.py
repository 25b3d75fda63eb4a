"""A store without room: SQLite's database may not grow, JetStream has reached the limit of each server of NATS.

It is so until somebody was refused for it, and some time longer; then there is room again.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
import nats
import nats.errors
from anyio import to_thread
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError, ServiceUnavailableError

from cluster.harness import LOST
from onemachine.nats import Nats, NatsServer
from onemachine.node import STOP_SECONDS, Web
from soak.chaos.kinds import KINDS
from support.wire import discover

if TYPE_CHECKING:
    from soak.chaos.trouble import Trouble

PATIENCE = 60.0
KIND = "real"
"""What is asked for meanwhile: a scan as anybody's."""
ROOM_BYTES = 2 * 1024 * 1024
"""What JetStream may still take, of each server, as it comes to be limited."""
LEFT_BYTES = 16 * 1024
"""What may be left: less than the message that was refused."""
FILLER = "FILLER"
FILL_BYTES = (256 * 1024, 16 * 1024, 1024)
"""One after the other, as long as they fit: scans that expire may make room as fast as others take what is left."""
FILL_SECONDS = 3.0
ASK_SECONDS = 3.0
UNLIMITED = 0
LIMIT = re.compile(r"sync_interval: always(, max_file_store: \d+)?")
"""In a server's configuration (deploy/onemachine/nats.py)."""


async def sqlite_full(trouble: "Trouble") -> None:
    """SQLite refuses to grow the database."""
    [server] = trouble.world.web
    lever = trouble.world.lever(server)
    pages = await lever.ask("full")
    try:
        await _until_refused(trouble)
    finally:
        assert await lever.ask("room") > pages


async def nats_full(trouble: "Trouble") -> None:
    """JetStream takes no more: what it holds, and a little, is all that each server may hold. Then none of them leads.

    The little is used up by a stream of somebody else's, and then by scans.
    """
    servers = trouble.world.cluster.nats
    most = await _used(servers) + ROOM_BYTES
    await _limit(servers, most)
    try:
        await _fill(servers)
        await _until_refused(trouble)
        used = await _used(servers)
        assert used > most - LEFT_BYTES, f"refused with {used} of {most} bytes used"
    finally:
        await _limit(servers, UNLIMITED)
        await _clear(servers)


async def _fill(servers: Nats) -> None:
    async with _connected(servers) as stream:
        await _answered(partial(stream.add_stream, name=FILLER, subjects=[FILLER], num_replicas=len(servers.servers)))
        for size in FILL_BYTES:
            with suppress(nats.errors.Error, TimeoutError):  # once the limit is reached, nobody leads it any more
                for _ in range(2 * ROOM_BYTES // size):
                    await stream.publish(FILLER, bytes(size), timeout=FILL_SECONDS)


async def _clear(servers: Nats) -> None:
    async with _connected(servers) as stream:
        with suppress(NotFoundError):  # an earlier try has done it
            await _answered(partial(stream.delete_stream, FILLER))


async def _answered(ask: Callable[[], Awaitable[object]]) -> None:
    """Ask until there is an answer: what whoever led had in flight as it stopped, nobody answers."""
    with anyio.fail_after(PATIENCE):
        while True:
            with suppress(nats.errors.TimeoutError, nats.errors.NoRespondersError, ServiceUnavailableError):
                await ask()
                return
            await anyio.sleep(0.2)


@asynccontextmanager
async def _connected(servers: Nats) -> AsyncIterator[JetStreamContext]:
    connection = await nats.connect([server.url for server in servers.servers])
    try:
        yield connection.jetstream(timeout=ASK_SECONDS)
    finally:
        await connection.close()


async def _used(servers: Nats) -> int:
    """Bytes that count, of the server that has the most."""
    return max([await to_thread.run_sync(_storage, server) for server in servers.servers])


def _storage(server: NatsServer) -> int:
    return int(server.ask("/jsz")["storage"])


async def _limit(servers: Nats, size: int) -> None:
    """It reads its limit as it starts."""
    limit = f", max_file_store: {size}" if size else ""
    for server in servers.servers:
        text, count = LIMIT.subn(f"sync_interval: always{limit}", server.file.read_text())
        assert count == 1, text
        server.file.write_text(text)
    async with anyio.create_task_group() as ends:
        for server in servers.servers:
            ends.start_soon(server.stop, STOP_SECONDS)
    await servers.start()


async def _until_refused(trouble: "Trouble") -> None:
    with anyio.fail_after(PATIENCE):
        while not await _refused(trouble, trouble.web()):  # noqa: ASYNC110  # it asks another process
            await anyio.sleep(0.05)
    await trouble.breathe(1.0, 4.0)


async def _refused(trouble: "Trouble", server: Web) -> bool:
    """Whether a scan is refused as the store takes nothing; one that is not is promised as any."""
    owner = trouble.world.principals[0]
    with suppress(*LOST):
        answer = await discover(server.url, KINDS[KIND], trouble.world.headers(owner))
        if answer.status == 202:
            trouble.acked(answer.json()["scan_id"], KIND, owner)
        elif answer.json()["code"] == "store_unavailable":
            trouble.ledger.told["store_unavailable"] += 1
            return True
    return False
