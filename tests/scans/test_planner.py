"""A scan that cannot be planned ends as failed; the server and the other scans go on."""

from dataclasses import replace
from pathlib import Path

import anyio
import msgspec
import pytest

from scans.planted import Planted, panel
from scanstream.core import Core, open_core
from scanstream.log.entry import Cut, Planned, ShardFailed
from scanstream.log.hub import Hub
from scanstream.model import ANYONE, DiscoverRequest, Problem, ScanId
from scanstream.panel import Panel
from scanstream.scans.calls import LocalCalls
from scanstream.scans.planner import plan
from scanstream.scans.work.planning import parts
from scanstream.scans.work.processes import Processes
from scanstream.settings import Settings
from scanstream.strategies.installed import admit
from support.histories import registered
from support.script import scripting


async def end_of_a_scan(core: Core) -> tuple[str, str]:
    """Register, release, and wait: (status, code of the error)."""
    request = DiscoverRequest(symbols=["BTC/USDT"], force_refresh=True)
    ack = await core.desk.register(ANYONE, request)
    core.desk.release(ack.scan_id)
    await core.hub.until(ack.scan_id, lambda log: log.ended)
    state = (await core.desk.find(ANYONE, ack.scan_id)).folded.state
    return state.status, state.error.code if isinstance(state.error, Problem) else ""


class OfFunding(Planted):
    """Needs what not every market has."""

    needs = ("candles", "funding")


def planned(seen: Panel) -> tuple[dict[str, Cut], list[ShardFailed]]:
    """The plan of a scan with one strategy that needs funding."""
    answers = parts(DiscoverRequest(), ["planted"], seen, {"planted": admit(OfFunding(lambda *_: []))})
    first, *rest = plan(registered("planted"), answers)
    assert isinstance(first, Planned)
    assert all(isinstance(entry, ShardFailed) for entry in rest)
    return first.cuts, [entry for entry in rest if isinstance(entry, ShardFailed)]


def test_what_the_market_has_not_is_a_note() -> None:
    cuts, failures = planned(panel())
    assert cuts["planted"].shards == 0
    assert cuts["planted"].note == "Nothing to scan: planted needs funding, and the market synthetic has none"
    assert failures == []


def test_what_the_market_failed_to_give_is_an_error() -> None:
    cuts, failures = planned(replace(panel(), failed={"funding": "HTTP 500"}))
    assert cuts["planted"].shards == 1
    (failure,) = failures
    assert (failure.reason, failure.code) == ("failed", "invalid_market")
    assert failure.detail == "The market synthetic could not give its funding: HTTP 500"


@pytest.mark.anyio
async def test_a_defect_in_planning_is_the_scans_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> bytes:
        raise SystemError("a defect below")

    async with open_core(Settings(port=0, data=":memory:", workers=1)) as core:
        with monkeypatch.context() as patched:
            patched.setattr(Processes, "run", broken)
            assert await end_of_a_scan(core) == ("failed", "internal")
        assert await end_of_a_scan(core) == ("complete", "")


@pytest.mark.anyio
async def test_a_feed_that_ends_before_the_planner_is_told_to_is_no_failure_of_its(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As at a stop, where all parts are cancelled at once, and the feed may be heard to end before one's own end."""
    feed, run = anyio.CancelScope(), Hub.run

    async def ending(hub: Hub) -> None:
        with feed:
            await run(hub)
        await anyio.sleep_forever()

    monkeypatch.setattr(Hub, "run", ending)
    async with scripting() as script, open_core(Settings(port=0, data=":memory:", workers=1)) as core:
        ack = await core.desk.register(ANYONE, msgspec.convert(script.request(shards=1), DiscoverRequest))
        core.desk.release(ack.scan_id)
        await script.started()
        feed.cancel()
        await anyio.wait_all_tasks_blocked()


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["gone", "damaged"])
async def test_the_current_market_data_is_written_anew_where_it_is_not_whole(tmp_path: Path, how: str) -> None:
    async with open_core(Settings(port=0, data=str(tmp_path), workers=1)) as core:
        folder = tmp_path / "market" / core.panels.current.digest
        if how == "gone":
            folder.rename(tmp_path / "elsewhere")
        else:
            (folder / "close.npy").unlink()
            (folder / "close.npy").write_bytes(b"damaged")
        assert await end_of_a_scan(core) == ("complete", "")


@pytest.mark.anyio
async def test_market_data_that_is_gone_for_good_is_the_scans_failure(tmp_path: Path) -> None:
    async with open_core(Settings(port=0, data=str(tmp_path), workers=1)) as core:
        older = core.panels.current.select(["BTC/USDT", "ETH/USDT"])  # was never saved

        async def given() -> Panel:
            return older

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(core.desk, "_panel", given)
            assert await end_of_a_scan(core) == ("failed", "invalid_market")
        assert await end_of_a_scan(core) == ("complete", "")


@pytest.mark.anyio
async def test_a_cancelled_scan_leaves_its_place_and_the_queue_of_shards() -> None:
    async with open_core(Settings(port=0, data=":memory:", workers=0, max_running=1)) as core:
        for _ in range(3):  # each is let in, although nobody works on any
            ack = await core.desk.register(ANYONE, DiscoverRequest(strategy_ids=["tsmom"], force_refresh=True))
            core.desk.release(ack.scan_id)
            with anyio.fail_after(10):
                await core.hub.until(ack.scan_id, lambda log: log.folded.state.phase == "running")
                await core.desk.cancel(ANYONE, ack.scan_id)
                await core.hub.until(ack.scan_id, lambda log: log.ended)
        with anyio.fail_after(10):
            while "scanstream_shards_waiting 0.0" not in core.metrics.own().decode():  # noqa: ASYNC110
                await anyio.sleep(0.01)  # the end is known before the place is left


@pytest.mark.anyio
async def test_a_scan_whose_shards_cannot_be_cleared_away_leaves_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where NATS hangs just then: what is left in the queue is nobody's work, a place that is kept is one less."""

    async def hang(_: ScanId) -> None:
        await anyio.sleep_forever()

    async with open_core(Settings(port=0, data=":memory:", workers=0, max_running=1)) as core:
        monkeypatch.setattr(core.conducting.planner._jobs, "drop", hang)
        for _ in range(2):
            ack = await core.desk.register(ANYONE, DiscoverRequest(strategy_ids=["tsmom"], force_refresh=True))
            core.desk.release(ack.scan_id)
            with anyio.fail_after(10):
                await core.hub.until(ack.scan_id, lambda log: log.folded.state.phase == "running")
                await core.desk.cancel(ANYONE, ack.scan_id)
                await core.hub.until(ack.scan_id, lambda log: log.ended)


@pytest.mark.anyio
async def test_scans_that_are_cancelled_while_they_are_planned_cost_no_process() -> None:
    async def one(*, cancelled: bool) -> None:
        ack = await core.desk.register(ANYONE, DiscoverRequest(force_refresh=True))
        core.desk.release(ack.scan_id)
        with anyio.fail_after(30):
            await core.hub.until(ack.scan_id, lambda log: log.folded.state.phase != "init")
            calls = core.engine.calls
            assert isinstance(calls, LocalCalls)
            while ack.scan_id not in calls._granted:  # noqa: ASYNC110  # who is let in is not told
                await anyio.sleep(0.001)
            if not cancelled:
                await core.hub.until(ack.scan_id, lambda log: log.folded.state.phase == "running")
            await core.desk.cancel(ANYONE, ack.scan_id)

    async with open_core(Settings(port=0, data=":memory:", workers=0, max_running=1)) as core:
        await one(cancelled=False)
        processes = core.conducting.planning.pids()
        for _ in range(10):
            await one(cancelled=True)
        await one(cancelled=False)
        assert core.conducting.planning.pids() == processes
