"""What nodes leave behind that end, in whatever way: nothing that is acked is lost, and nothing stays in NATS."""

import random
import signal
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest
from anyio import to_thread

from cluster.harness import PATIENCE, Load, planned
from onemachine.cluster import Cluster, running
from onemachine.nats import NatsServer
from onemachine.node import STOP_SECONDS
from scanstream.engines.nats.connection import Connection, connected
from scanstream.engines.nats.options import NatsOptions

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


class Kept(NamedTuple):
    """What NATS has, beside the logs of scans."""

    streams: list[str]
    consumers: dict[str, int]
    """How many each stream has."""
    panels: int
    """Messages in the bucket of panels."""
    jobs: int
    """Shards in the queue."""


async def kept(connection: Connection) -> Kept:
    """As it is now."""
    ask = connection.request_api
    streams = sorted((await ask("STREAM.NAMES", {}))["streams"])
    states = {name: (await ask(f"STREAM.INFO.{name}"))["state"] for name in streams}
    consumers = {name: state["consumer_count"] for name, state in states.items()}
    return Kept(streams, consumers, states["OBJ_PANELS"]["messages"], states["JOBS"]["messages"])


async def ended(cluster: Cluster, chance: random.Random, every: bool) -> None:
    """End a web node, or each node and server of NATS, in one way or the other, and start it again."""
    for program in [*cluster.nodes, *cluster.nats.servers] if every else [chance.choice(cluster.web)]:
        if chance.random() < 0.5:
            await to_thread.run_sync(program.kill)
        else:
            program.send(signal.SIGTERM)
            await program.until_gone(STOP_SECONDS + 30)
        program.start()
        await (program.until_ready() if isinstance(program, NatsServer) else program.until_serving())


@pytest.mark.parametrize(("webs", "everything"), [(3, 1), pytest.param(50, 5, marks=pytest.mark.soak)])
@pytest.mark.timeout(1800)
async def test_nodes_that_come_and_go_leave_nothing_behind(
    tmp_path: Path, webs: int, everything: int, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster, chance = planned(tmp_path, nodes=(1, 2, 2)), random.Random(webs)
    load = Load(cluster, callers=2)
    async with (
        running(cluster),
        connected(NatsOptions(servers=(cluster.nats.servers[0].url,))) as connection,
    ):
        before = await kept(connection)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(load.run)
            for number in range(webs + everything):
                await load.goes_on()
                await ended(cluster, chance, number >= webs)
            await load.goes_on()
            tasks.cancel_scope.cancel()
        await load.check()
        with anyio.fail_after(PATIENCE):
            while (after := await kept(connection)) != before:  # noqa: ASYNC110  # NATS tells nobody
                await anyio.sleep(0.5)
    with capsys.disabled():
        print(f"\n{webs} and {everything} × all: {len(load.acked)} acked, none lost; {after}; {dict(load.told)}")
