"""Who waits for what: each retry has one owner, each lack is said once, and what was begun goes on when it is over."""

import errno
import logging
import os
import shutil
from pathlib import Path
from typing import Any, cast

import anyio
import msgspec
import pytest
from msgspec.structs import replace

from scans.planted import panel, piece
from scanstream.core import Core, open_core
from scanstream.errors import NotFound, Overloaded, Shortage, StoreUnavailable
from scanstream.log.entry import AnyEntry, CancelRequested, Queued
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.market.panels import open_panels
from scanstream.market.synthetic import SyntheticMarket
from scanstream.model import ANYONE, DiscoverRequest, ScanId
from scanstream.panel import Panel
from scanstream.scans import ages, desk, shortages, sweeper, tries
from scanstream.scans.ages import Ages
from scanstream.scans.appending import Appender
from scanstream.scans.budget import Budgets, Clock
from scanstream.scans.inquiry import Inquiry
from scanstream.scans.readiness import Readiness
from scanstream.scans.returns import NotHere
from scanstream.scans.shortages import Pause, Shortages
from scanstream.scans.tries import Tries
from scanstream.scans.work import cuts, shard
from scanstream.scans.work.processes import WorkerDied, pause_after
from scanstream.scans.work.shard import Outcome
from scanstream.settings import Settings
from scanstream.strategies.installed import registry
from support.histories import NOON, SCAN, registered

pytestmark = pytest.mark.anyio


def cancelled_log(name: str = "scan_1") -> ScanLog:
    """A scan that was cancelled before it began."""
    log = ScanLog(registered("a", scan_id=ScanId(name)), "epoch")
    log.apply(2, CancelRequested(at=NOON))
    assert log.ended
    return log


class Moody:
    """A store that is away for the first so many calls."""

    def __init__(self, away: int = 0, gone: bool = False) -> None:
        self.away = away
        self.gone = gone
        self.appended: list[AnyEntry] = []
        self.calls = 0

    async def append(self, _: str, *entries: AnyEntry) -> None:
        self.calls += 1
        if self.calls <= self.away:
            raise StoreUnavailable("The disk is full")
        if self.gone:
            raise NotFound("no such scan")
        self.appended += (replace(entry, by="") for entry in entries)  # whichever node

    async def probe(self) -> None:
        await self.append("probe")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of a hundredth."""
    monkeypatch.setattr(shortages, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(shortages, "LONGEST_PAUSE_SECONDS", 0.02)


def waiting() -> Shortages:
    """Nothing lacks yet."""
    return Shortages(Budgets(Clock()))


async def test_an_append_waits_until_there_is_room_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    store, lacks = Moody(away=5), waiting()
    with caplog.at_level(logging.WARNING, "scanstream"):
        await Appender(cast(Store, store), lacks).append(SCAN, Queued(at=NOON))
    assert (store.appended, store.calls) == ([Queued(at=NOON)], 6)
    assert [record.getMessage() for record in caplog.records] == [
        "running scans wait for the store: The disk is full",
        "the store is back: scans go on",
    ]
    assert lacks.current() == []


async def test_what_is_appended_carries_the_time_of_a_store_that_others_share() -> None:
    store = Moody()
    await Appender(cast(Store, store), waiting(), lambda: 17).append(SCAN, Queued(at=NOON), CancelRequested(at=NOON))
    assert store.appended == [Queued(at=17), CancelRequested(at=17)]


async def test_an_append_to_a_scan_that_is_gone_is_nobodys_business() -> None:
    store = Moody(gone=True)
    await Appender(cast(Store, store), waiting()).append(SCAN, Queued(at=NOON))
    assert store.appended == []


def test_pauses_grow_up_to_the_longest() -> None:
    pause = Pause()
    assert [pause.next() for _ in range(4)] == [0.01, 0.02, 0.02, 0.02]


async def never(_: str) -> bool:
    """Market data that cannot be had again."""
    return False


async def test_what_lacks_something_is_tried_until_it_does_not_and_new_work_is_refused_meanwhile() -> None:
    machine = waiting()
    answers: list[Outcome | Exception] = [
        Shortage("no process", lacking="processes"),
        OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
        RuntimeError("can't start new thread"),
        Outcome(lacking="memory", begun=False),
        Outcome(elapsed_ms=7),
    ]
    refused: list[str] = []

    async def attempt() -> Outcome:
        try:
            machine.refuse()
        except Shortage as error:
            refused.append(error.detail)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    outcome = await Tries(machine, never).until_possible(attempt, "digest")
    assert outcome.elapsed_ms == 7
    assert len(refused) == 4
    assert "processes" in refused[0]
    machine.refuse()


@pytest.mark.parametrize("shared", [True, False])
async def test_what_this_machine_lacks_for_long_is_for_another_where_there_is_one(
    shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tries, "PATIENCE_SECONDS", 0.05)
    begun = anyio.current_time()

    async def attempt() -> Outcome:
        over = not shared and anyio.current_time() - begun > 0.3  # where there is another, this one lacks it for ever
        return Outcome(elapsed_ms=7) if over else Outcome(lacking="room on the disk", begun=False)

    doing = Tries(waiting(), never, shared=shared).until_possible(attempt, "digest")
    if shared:
        with pytest.raises(NotHere):
            await doing
    else:
        assert (await doing).elapsed_ms == 7


async def test_what_is_wrong_is_not_tried_again_and_a_strategys_own_lack_is_an_answer() -> None:
    async def broken() -> Outcome:
        raise ZeroDivisionError

    async def own() -> Outcome:
        return Outcome(lacking="memory", begun=True)

    with pytest.raises(ZeroDivisionError):
        await Tries(waiting(), never).until_possible(broken, "digest")
    assert (await Tries(waiting(), never).until_possible(own, "digest")).lacking == "memory"


@pytest.mark.parametrize("again", [True, False])
async def test_market_data_that_is_not_whole_is_written_anew_once(
    again: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """And the log says what became of it, once for all shards that find out."""
    asked: list[str] = []
    attempts: list[int] = []

    async def restore(digest: str) -> bool:
        asked.append(digest)
        return again

    async def attempt() -> Outcome:
        attempts.append(1)
        return Outcome(unmapped=True)

    one = Tries(waiting(), restore)
    assert (await one.until_possible(attempt, "digest")).unmapped
    assert (asked, len(attempts)) == (["digest"], 2 if again else 1)
    await one.until_possible(attempt, "digest")
    assert ["its scans fail" in message for message in caplog.messages] == ([] if again else [True])


async def test_market_data_that_cannot_be_written_anew_is_waited_for() -> None:
    answers: list[Shortage | bool] = [
        Shortage("The disk is full", lacking="room on the disk"),
        Shortage("still", lacking="room"),
        True,
    ]
    outcomes = [Outcome(unmapped=True), Outcome(unmapped=True), Outcome(unmapped=True), Outcome(elapsed_ms=1)]

    async def restore(_: str) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Shortage):
            raise answer
        return answer

    async def attempt() -> Outcome:
        return outcomes.pop(0)

    assert (await Tries(waiting(), restore).until_possible(attempt, "digest")).elapsed_ms == 1
    assert not answers


async def test_saved_market_data_that_the_machine_does_not_let_be_written_is_a_shortage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels = await open_panels(SyntheticMarket(), tmp_path)
    digest = panels.current.digest
    shutil.rmtree(tmp_path / digest)
    with monkeypatch.context() as full:
        full.setattr(Panel, "_write", _full)
        with pytest.raises(Shortage):
            await panels.restore(digest)
    assert await panels.restore(digest)
    assert not await panels.restore("another")  # of that one nobody has the data any more


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_pauses_between_deaths_leave_the_machine_time_to_get_memory_back() -> None:
    own, killed = (WorkerDied(1, killed=killed) for killed in (False, True))
    assert sum(pause_after(killed, attempt) for attempt in (1, 2)) >= 5
    assert sum(pause_after(own, attempt) for attempt in (1, 2)) <= 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_worker_that_cannot_map_the_market_data_for_now_says_what_lacks(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Path) -> Panel:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cuts, "mapped", refused)
    monkeypatch.setattr(shard, "prepare", lambda *_: None)
    [encoded] = shard.run(piece(panel().save(tmp_path), DiscoverRequest(), "tsmom"), str(tmp_path), os.getpid())
    outcome = msgspec.msgpack.decode(encoded, type=Outcome)
    assert (bool(outcome.lacking), outcome.begun, outcome.unmapped) == (True, False, False)


async def test_a_server_is_ready_while_its_store_writes() -> None:
    store, machine, leaves = Moody(away=1), waiting(), [False]
    readiness = Readiness(cast(Store, store), machine, lambda: leaves[0])
    with pytest.raises(StoreUnavailable):
        await readiness.require()
    with pytest.raises(StoreUnavailable):  # an answer holds for a second, however many ask
        await readiness.require()
    assert store.calls == 1
    readiness._asked_at = float("-inf")
    await readiness.require()
    await machine.wait("processes", "none", Pause())
    with pytest.raises(Shortage):
        await readiness.require()
    leaves[0] = True
    with pytest.raises(Exception, match="stops"):
        await readiness.require()


def test_the_age_of_a_scan_is_not_of_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 100.0
    known = Ages(300, lambda: at)
    log = cancelled_log()
    monkeypatch.setattr(ages, "now", lambda: log.folded.at + 60_000)
    assert known.of(log) == 60  # ended before this process: nobody else can tell
    monkeypatch.setattr(ages, "now", lambda: log.folded.at - 3_600_000)
    assert known.of(log) == float("inf")
    known.notice(log)
    at = 130.0
    assert known.of(log) == 30
    at = 1000.0
    known.notice(cancelled_log("scan_2"))
    assert len(known._ended) == 1


def test_on_a_store_that_others_share_the_age_of_a_scan_is_by_its_time() -> None:
    at = 0.0
    log = cancelled_log()
    known = Ages(300, lambda: at, lambda: log.folded.at + 60_000)
    known.notice(log)  # heard of late
    assert known.of(log) == 60
    assert Ages(300, common=lambda: log.folded.at - 2).of(log) == 0, "another node is a moment ahead"


async def test_on_a_full_disk_a_release_has_one_owner_however_often_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweeper, "INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(sweeper, "UNRELEASED_AFTER_SECONDS", 0.0)
    async with open_core(Settings(port=0, data=":memory:", workers=1)) as core:
        scans = [await _registered(core) for _ in range(20)]
        tasks = len(anyio.get_running_tasks())
        append = core.store.append
        refused: list[Any] = []

        async def full(*arguments: Any) -> None:
            refused.append(arguments)
            raise StoreUnavailable("The disk is full", retry_after=5)

        monkeypatch.setattr(core.store, "append", full)
        for scan_id in scans:
            core.desk.release(scan_id)
        with anyio.fail_after(20):
            while len(refused) < 400:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert len(anyio.get_running_tasks()) <= tasks + len(scans)
        monkeypatch.setattr(core.store, "append", append)
        with anyio.fail_after(30):
            for scan_id in scans:
                await core.hub.until(scan_id, lambda log: log.ended)
        for scan_id in scans:
            history = await core.store.history(scan_id)
            assert history is not None
            assert sum(isinstance(entry, Queued) for entry in history) == 1


async def _registered(core: Core) -> Any:
    request = DiscoverRequest(symbols=["BTC/USDT"], strategy_ids=["tsmom"], force_refresh=True)
    request = replace(request, parameters={"tsmom": {"walk_forward": 0}})
    return (await core.desk.register(ANYONE, request)).scan_id


async def test_a_request_does_not_wait_for_ever_until_its_parameters_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others' plug-ins may hold the processes in which that is done."""
    monkeypatch.setattr(desk, "JUDGED_SECONDS", 0.05)
    monkeypatch.setattr(Inquiry, "judged", lambda *_: anyio.sleep_forever())
    async with open_core(Settings(port=0, data=":memory:", workers=0)) as core:
        own = replace(registry()["tsmom"], own_parse=True)
        monkeypatch.setattr(core.desk, "_strategies", {"tsmom": own})
        monkeypatch.setattr(core.desk, "_judging", [own])
        with pytest.raises(Overloaded) as refused, anyio.fail_after(20):
            await core.desk.register(ANYONE, DiscoverRequest(parameters={"tsmom": {"lookback": 10}}))
    assert refused.value.retry_after == 5
