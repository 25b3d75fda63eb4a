"""When the time of scans is over no node holds anything of them, whichever of them has deleted what was kept."""

import asyncio
import gc
import os
import secrets
from pathlib import Path

import anyio
import pytest

from scanstream.core import Core, open_core
from scanstream.errors import Expired
from scanstream.model import ANYONE, DiscoverRequest, ScanId
from scanstream.settings import Settings
from support.nats import NatsServer
from support.until import until

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

RETENTION = 2.0
AT_ONCE = 32
WARM = 200
MEGABYTE = 1024 * 1024


def resident() -> int:
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def scanned(scans: int, *cores: Core) -> list[str]:
    """So many scans, each begun on one node and ended from another; until none of their nodes has anything of them."""
    numbers, made = iter(range(scans)), list[str]()

    async def begin_and_end() -> None:
        for number in numbers:
            here, there = cores[number % 2], cores[1 - number % 2]
            ack = await here.desk.register(ANYONE, DiscoverRequest(force_refresh=True, strategy_ids=["tsmom"]))
            here.desk.release(ScanId(ack.scan_id))
            assert (await there.desk.cancel(ANYONE, ack.scan_id)).scan_id == ack.scan_id
            made.append(ack.scan_id)

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_ONCE):
            tasks.start_soon(begin_and_end)
    await until(lambda: not any(core.hub.finished_bytes() or core.hub.unfinished() for core in cores), 120)
    return made


@pytest.mark.parametrize("scans", [400, pytest.param(2000, marks=pytest.mark.soak)])
@pytest.mark.timeout(400)
async def test_no_node_holds_anything_of_what_has_expired(
    nats: NatsServer, tmp_path: Path, scans: int, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = {"engine": nats.url, "namespace": f"t{secrets.token_hex(4)}", "workers": 0, "retention": RETENTION}

    def node(name: str) -> Settings:
        return Settings(port=0, data=str(tmp_path / name), fresh=0.0, **shared)  # type: ignore[arg-type]

    async with open_core(node("one")) as one, open_core(node("two")) as two:
        await scanned(WARM, one, two)
        gc.collect()
        before, tasks = resident(), len(asyncio.all_tasks())
        made = await scanned(scans, one, two)
        for core in (one, two):
            assert await core.desk.newest(ANYONE, 100) == []
            for scan_id in made[:: len(made) // 20]:
                with pytest.raises(Expired):
                    await core.desk.find(ANYONE, scan_id)
        gc.collect()
        grown = (resident() - before) / MEGABYTE
        assert len(asyncio.all_tasks()) == tasks
    with capsys.disabled():
        print(f"\n{scans} scans have expired on two nodes: {grown:.1f} MB more")
    assert grown < 20
