"""One contract, every door: the same ten scenarios over WebSocket in both formats, SSE, long poll and poll."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus

from conftest import Serve
from scanstream.client.mirror import Mirror
from scanstream.server import serving
from scanstream.settings import Settings
from support.readers import READERS, Dropped, PollReader, Reader
from support.script import scripting
from support.wire import discover, results, until_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("door", READERS, ids=lambda door: door.name)]

Door = type[Reader]
MANY = 1201


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    """One server for all that does it no harm: each scan is its test's own."""
    async with serving(Settings(port=0, data=":memory:", workers=1, compression="deflate")) as url:
        yield url


async def start(url: str, request: dict[str, Any]) -> str:
    """A scan's id."""
    return str((await discover(url, request)).json()["scan_id"])


async def to_the_end(door: Door, url: str, scan_id: str, mirror: Mirror) -> list[dict[str, Any]]:
    """The frames that come to whoever holds this, also where they had been told that it was the end."""
    mirror.ended = False
    async with door.open(url, scan_id, mirror) as reader:
        await reader.until_end()
    return reader.frames


async def assert_whole(url: str, scan_id: str, mirror: Mirror) -> None:
    """The mirror is the server's state and results: nothing lost, nothing twice."""
    final = await until_terminal(url, scan_id)
    assert {name: final[name] for name in mirror.state} == mirror.state
    assert final.keys() - mirror.state.keys() == {"cursor"}
    answer = (await results(url, scan_id)).json()
    assert answer["total_opportunities"] == len(mirror.opportunities)
    in_order = sorted(mirror.opportunities, key=lambda found: (-found["confidence_score"], found["id"]))
    assert answer["opportunities"] == in_order


async def test_catch_up(url: str, door: Door) -> None:
    scan_id = await start(url, many(shards=1, found=MANY))
    await until_terminal(url, scan_id)
    async with door.open(url, scan_id) as reader:
        await reader.until_end()
    frames = reader.frames[:-1]
    assert frames[0]["type"] == "snapshot"
    assert [len(frame["opportunities"]) for frame in frames] == [500, 500, 201]
    assert [frame.get("more", False) for frame in frames] == [True, True, False]
    if not issubclass(door, PollReader):
        assert all((frame["patch"], frame["skipped"]) == ({}, 0) for frame in frames[1:])
        assert len({frame["cursor"].partition(".")[0] for frame in frames}) == 1
    await assert_whole(url, scan_id, reader.mirror)


def runs(done: int, mirror: Mirror) -> bool:
    """Whether the scan runs, and so many shards have their outcome."""
    return status_of(mirror) == "running" and bool(mirror.state["progress"]["shards_completed"] == done)


async def test_live(url: str, door: Door) -> None:
    async with scripting() as script:
        scan_id = await start(url, script.request(shards=2))
        async with door.open(url, scan_id) as reader:
            for done in range(2):
                shard = await script.started()
                await reader.until(partial(runs, done))
                await shard.tell("find 2", "end")
                await reader.until(partial(holds, 2 * done + 2))
            await reader.until_end()
        await assert_whole(url, scan_id, reader.mirror)


async def test_resume(url: str, door: Door) -> None:
    async with scripting() as script:
        scan_id = await start(url, script.request(shards=3))
        mirror = Mirror()
        for done in range(3):
            shard = await script.started()
            async with door.open(url, scan_id, mirror) as reader:
                await reader.until(partial(holds, 2 * done))
                if done:
                    assert reader.frames[0]["offset"] == 2 * done - 2
                    assert reader.frames[0]["type"] == "update"
            await shard.tell("find 2", "end")
        async with door.open(url, scan_id, mirror) as reader:
            await reader.until_end()
        await assert_whole(url, scan_id, mirror)


async def test_resume_in_mid_chunk(url: str, door: Door) -> None:
    scan_id = await start(url, many(shards=1, found=MANY))
    await until_terminal(url, scan_id)
    mirror = Mirror()
    for held in (500, 1000):
        async with door.open(url, scan_id, mirror) as reader:
            await reader.step()
            assert len(mirror.opportunities) == held
    async with door.open(url, scan_id, mirror) as reader:
        await reader.until_end()
    await assert_whole(url, scan_id, mirror)


async def test_foreign_epoch(url: str, door: Door) -> None:
    one, other = [await start(url, many(shards=1, found=count)) for count in (3, 4)]
    mirror = Mirror()
    await to_the_end(door, url, one, mirror)
    first = (await to_the_end(door, url, other, mirror))[0]
    assert (first["type"], first["offset"]) == ("snapshot", 0)
    assert mirror.state["scan_id"] == other
    await assert_whole(url, other, mirror)


async def test_too_old(url: str, door: Door) -> None:
    async with scripting() as script:
        held_up = await start(url, script.request(shards=1))
        hold = await script.started()
        scan_id = await start(url, many(shards=300, found=1))
        mirror = Mirror()
        async with door.open(url, scan_id, mirror) as reader:
            await reader.step()
        cursor = mirror.cursor
        await hold.tell("end")
        assert (await until_terminal(url, scan_id))["cursor"].partition("-")[2].partition(".")[0] > "600"
        async with door.open(url, scan_id, mirror) as reader:
            await reader.until_end()
            first = reader.frames[0]
        if not issubclass(door, PollReader):
            assert first["type"] == "update"
            assert first["patch"]["scan_id"] == scan_id
            assert first["skipped"] == seq(first["cursor"]) - seq(cursor) - 1 > 512
        await assert_whole(url, scan_id, mirror)
        await until_terminal(url, held_up)


async def test_closed_before(url: str, door: Door) -> None:
    scan_id = await start(url, many(shards=1, found=3))
    mirror = Mirror()
    await to_the_end(door, url, scan_id, mirror)
    frames = await to_the_end(door, url, scan_id, mirror)
    assert len([frame for frame in frames if frame["type"] != "end"]) <= issubclass(door, PollReader)
    await assert_whole(url, scan_id, mirror)


async def test_closed_while(url: str, door: Door) -> None:
    async with scripting() as script:
        scan_id = await start(url, script.request(shards=1))
        shard = await script.started()
        async with door.open(url, scan_id) as reader:
            await reader.until(lambda mirror: status_of(mirror) == "running")
            await shard.tell("find 1", "fail on purpose")
            await reader.until_end()
        assert reader.frames[-1]["type"] == "end"
        assert reader.frames[-1]["status"] == reader.mirror.state["status"] == "failed"
        await assert_whole(url, scan_id, reader.mirror)


async def test_slow(url: str, door: Door) -> None:
    async with scripting() as script:
        held_up = await start(url, script.request(shards=1))
        hold = await script.started()
        scan_id = await start(url, many(shards=200, found=5))
        async with door.open(url, scan_id) as reader:
            await reader.step()
            await hold.tell("end")
            await until_terminal(url, scan_id)
            await reader.until_end()
            revisions = seq(reader.mirror.cursor)
        if issubclass(door, PollReader):
            assert len(reader.frames) <= 1000 / 500 + 3
        else:
            assert len(reader.frames) < revisions / 2
        await assert_whole(url, scan_id, reader.mirror)
        await until_terminal(url, held_up)


async def test_drain(serve: Serve, door: Door, tmp_path: Path) -> None:
    mirror = Mirror()
    async with scripting() as script, anyio.create_task_group() as tasks:
        async with serve(data=str(tmp_path), workers=1) as url:
            scan_id = await start(url, script.request(shards=2))
            await (await script.started()).tell("find 1", "end")
            await script.started()
            await tasks.start(_until_dropped, door, url, scan_id, mirror)
        async with serve(data=str(tmp_path), workers=1) as url:
            await (await script.started()).tell("find 1", "end")
            async with door.open(url, scan_id, mirror) as reader:
                await reader.until_end()
            await assert_whole(url, scan_id, mirror)
    assert len(mirror.opportunities) == 2


async def _until_dropped(door: Door, url: str, scan_id: str, mirror: Mirror, *, task_status: TaskStatus[None]) -> None:
    async with door.open(url, scan_id, mirror) as reader:
        await reader.until(lambda mirror: len(mirror.opportunities) == 1)
        task_status.started()
        with pytest.raises(Dropped):
            await reader.until_end()


def many(shards: int, found: int) -> dict[str, Any]:
    """A scan that finds so many in each of so many shards, at once."""
    parameters = {"scripted": {"shards": shards, "found": found}}
    return {"strategy_ids": ["scripted"], "parameters": parameters, "force_refresh": True}


def holds(count: int, mirror: Mirror) -> bool:
    """Whether the mirror has a state, and so many opportunities."""
    return bool(mirror.state) and len(mirror.opportunities) == count


def status_of(mirror: Mirror) -> str | None:
    """Of the scripted strategy."""
    strategy = mirror.state.get("strategies", {}).get("scripted")
    return strategy and str(strategy["status"])


def seq(cursor: str | None) -> int:
    """The entry that a cursor stands at."""
    assert cursor is not None
    return int(cursor.partition("-")[2].partition(".")[0])
