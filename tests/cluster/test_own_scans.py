"""How many scans one principal has is counted over all nodes, by what each of them has read."""

from pathlib import Path

import anyio
import msgspec
import pytest

from cluster.harness import quick
from scanstream.core import Core, open_core
from scanstream.errors import TooManyScans
from scanstream.model import DiscoverRequest, Principal
from scanstream.settings import Settings
from support.nats import NatsServer, options

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

MOST = 5
ANN, BEN = Principal("ann"), Principal("ben")


async def registered(core: Core, principal: Principal) -> bool:
    """Whether one more scan of this principal's was let in here."""
    try:
        await core.desk.register(principal, msgspec.convert(quick(), DiscoverRequest))
    except TooManyScans:
        return False
    return True


async def test_the_scans_of_one_are_counted_over_all_nodes(nats: NatsServer, tmp_path: Path) -> None:
    """One after the other no node lets in one too many; of a burst at all of them each lets in what it may alone."""
    shared = {"engine": nats.url, "namespace": options(nats).namespace, "workers": 0, "port": 0, "max_own_scans": MOST}
    one = Settings(data=str(tmp_path / "one"), **shared)  # type: ignore[arg-type]  # each of its kind
    two = Settings(data=str(tmp_path / "two"), **shared)  # type: ignore[arg-type]
    async with open_core(one) as here, open_core(two) as there:
        nodes = [here, there]
        for number in range(2 * MOST):
            assert await registered(nodes[number % 2], ANN) == (number < MOST)
            await nodes[(number + 1) % 2].store.barrier()
        accepted: list[bool] = []

        async def burst(core: Core) -> None:
            accepted.append(await registered(core, BEN))

        async with anyio.create_task_group() as bursts:
            for _ in range(10 * MOST):
                for core in nodes:
                    bursts.start_soon(burst, core)
        print("of a burst on two nodes were let in:", sum(accepted))
        assert MOST <= sum(accepted) <= len(nodes) * MOST
        for core in nodes:
            await core.store.barrier()
            assert core.engine.owners.unfinished(BEN) == sum(accepted)
            assert not await registered(core, BEN)
