"""A scan explained: its life as a timeline, what it waits for, and for whom nodes are named."""

from typing import Any

import pytest
from hypothesis import given
from msgspec.structs import replace

from conftest import Serve
from scanstream.about import node_name
from scanstream.log.entry import AnyEntry, CancelRequested, Queued, Registered
from scanstream.log.scanlog import ScanLog
from scanstream.scans.explaining import MOST_MOMENTS, Life, Rooms, waits
from support.histories import done, failed, histories, planned, registered, started
from support.nats import NatsServer
from support.script import scripting
from support.wire import discover, request, until_terminal

pytestmark = pytest.mark.anyio


async def explained(url: str, scan_id: str, status: int = 200) -> dict[str, Any]:
    answer = await request(url, "GET", f"/opportunities/explain/{scan_id}")
    assert answer.status == status, answer
    body: dict[str, Any] = answer.json()
    return body


async def test_a_scan_is_explained_while_it_waits_runs_and_when_it_has_ended(serve: Serve) -> None:
    async with serve(workers=1, max_running=1) as url, scripting() as script:
        first = (await discover(url, script.request(shards=3))).json()["scan_id"]
        shard = await script.started()
        second = (await discover(url, script.request(shards=1, force_refresh=True))).json()["scan_id"]
        while (waiting := await explained(url, second))["phase"] != "queued":
            pass
        [place] = waiting["waits_for"]
        assert place["what"] == "place"
        assert place["why"] == "Scans at work: 1, of at most 1 (--max-running); this one is next"
        running = await explained(url, first)
        [wait] = running["waits_for"]
        assert (wait["what"], running["strategies"]["scripted"]["running_here"]) == ("shards", 1)
        assert "Shards at work here: 1, of 3 that are missing" in wait["why"]
        assert [moment["what"] for moment in running["timeline"]] == [
            "registered",
            "queued",
            "planned",
            "shard_started",
        ]
        await shard.tell("find 2", "end")
        await (await script.started()).tell("fail it broke")
        for _ in range(2):
            await (await script.started()).tell("end")
        for scan_id in (first, second):
            await until_terminal(url, scan_id)
        ended = await explained(url, "latest")
        assert (ended["scan_id"], ended["waits_for"]) == (second, [])
        told = await explained(url, first)
    what = [moment["what"] for moment in told["timeline"]]
    assert what[:3] == ["registered", "queued", "planned"]
    assert what[-1] == "ended"
    assert (what.count("shard_done"), what.count("shard_failed"), told["left_out"]) == (2, 1, 0)
    at = [moment["at"] for moment in told["timeline"] if "shard" not in moment]
    assert at == sorted(at)
    assert {moment["by"] for moment in told["timeline"] if moment["what"] != "ended"} == {node_name()}
    life = told["strategies"]["scripted"]
    assert (life["total_shards"], life["done"], life["failed"], life["opportunities_found"]) == (3, 2, 1, 2)
    assert [len(life["slowest"]), len(life["failures"])] == [2, 1]
    assert "it broke" in life["failures"][0]["detail"]


async def test_what_never_was_is_not_explained(serve: Serve) -> None:
    async with serve(workers=0) as url:
        assert (await explained(url, "scan_" + "0" * 42, 404))["status"] == "not_found"
        assert (await explained(url, "x", 404))["status"] == "not_found"
        scan_id = (await discover(url)).json()["scan_id"]
        while (told := await explained(url, scan_id))["phase"] == "init" or not told["waits_for"]:
            pass
    assert told["waits_for"][0]["what"] in ("plan", "worker")


REGISTERED = registered("a", at=1000)


def life_of(shards: int, *, who: bool = True) -> Life:
    """A scan of one strategy, each tenth of whose shards fails; the one with the highest number takes longest."""
    entries: list[AnyEntry] = [REGISTERED, Queued(at=1001), planned(at=1100, a=shards)]
    for number in range(shards):
        at = 1200 + 10 * number
        entries.append(started("a", number, at))
        entries.append(failed("a", number, at + 5) if number % 10 == 9 else done("a", number, at + 5, elapsed=number))
    log = scan_with(*entries[1:])
    life = Life(log, who=who)
    for entry in entries:
        life.take(replace(entry, by="n:1"))
        life.take(entry)  # a second outcome means nothing
    return life


def test_four_thousand_shards_are_summed_up() -> None:
    life = life_of(4000)
    timeline = life.timeline()
    assert [moment.what for moment in timeline if moment.what != "registered"][-1] == "ended"
    assert len(timeline) < 10
    assert life.left_out > 4000
    told = life.strategies({})["a"]
    assert (told.done, told.failed, told.missing) == (3600, 400, 0)
    assert [shard.shard for shard in told.slowest] == [3998, 3997, 3996, 3995, 3994]
    assert [shard.shard for shard in told.failures] == [9, 19, 29, 39, 49]
    assert told.began_after_ms == 100


def test_few_shards_are_told_one_by_one_and_nodes_only_to_those_who_operate() -> None:
    for who in (True, False):
        life = life_of(10, who=who)
        timeline = life.timeline()
        assert sum(moment.what == "shard_done" for moment in timeline) == 9
        assert len(timeline) < MOST_MOMENTS
        assert {moment.by for moment in timeline if moment.what == "shard_done"} == (
            {"n:1"} if who else {timeline[0].detail}
        )


@given(histories())
def test_whatever_a_store_holds_is_explained_and_counted_as_the_fold_counts_it(entries: list[AnyEntry]) -> None:
    first, *rest = entries
    assert isinstance(first, Registered)
    log = scan_with(*rest, first=first)
    life = Life(log, who=True)
    for entry in entries:
        life.take(entry)
    assert len(life.timeline()) + life.left_out <= len(entries) + 1
    told = life.strategies({})
    for name, tally in (log.folded.tallies or {}).items():
        assert told[name].done == tally.measured
        assert told[name].done + told[name].failed == tally.completed


async def test_a_scan_on_nats_is_explained(nats: NatsServer, serve: Serve) -> None:
    async with serve(workers=1, engine=nats.url, namespace="explained") as url:
        scan_id = (await discover(url)).json()["scan_id"]
        await until_terminal(url, scan_id)
        told = await explained(url, scan_id)
    what = [moment["what"] for moment in told["timeline"]]
    assert (what[:3], what[-1]) == (["registered", "queued", "planned"], "ended")
    assert told["strategies"]["tsmom"]["done"] == 1
    assert {moment["by"] for moment in told["timeline"] if moment["what"] != "ended"} == {node_name()}


class Lacking:
    def __init__(self, *what: str) -> None:
        self.what = list(what)

    def current(self) -> list[str]:
        return self.what


class Abilities:
    def __init__(self, *lacks: str) -> None:
        self.lacks = lacks

    def lacking(self, wants: Any) -> list[str]:
        return [name for name in wants if name in self.lacks]


def rooms(**more: Any) -> Rooms:
    usual: dict[str, Any] = {
        "rank": lambda _: None,
        "runner": None,
        "machine": Lacking(),
        "writing": Lacking(),
        "skills": Abilities(),
        "running": lambda: 4,
        "max_running": 4,
    }
    return Rooms(**{**usual, **more})


def scan_with(*entries: AnyEntry, first: Registered = REGISTERED) -> ScanLog:
    log = ScanLog(first, "e")
    for seq, entry in enumerate(entries, start=2):
        log.apply(seq, entry)
    return log


QUEUED, PLANNED = Queued(at=1001), planned(at=1002, a=2)


@pytest.mark.parametrize(
    ("entries", "state", "shared", "expected", "words"),
    [
        ([], {}, False, ["ack"], "on its way to the client"),
        ([QUEUED], {"rank": lambda _: 3}, False, ["place"], "this one has 2 before it"),
        ([QUEUED], {}, False, ["plan"], "being asked how much"),
        ([QUEUED], {}, True, ["plan"], "A node with workers is to plan it"),
        ([QUEUED], {"skills": Abilities("a")}, True, ["strategy", "plan"], "No node that runs shards has a"),
        ([QUEUED, PLANNED], {}, False, ["worker"], "start it with --workers"),
        ([QUEUED, PLANNED], {}, True, ["worker"], "others may have some at work"),
        ([QUEUED, PLANNED], {"machine": Lacking("memory")}, False, ["machine", "worker"], "out of memory"),
        ([QUEUED, PLANNED], {"writing": Lacking("x")}, False, ["store", "worker"], "The store does not take"),
        ([QUEUED, PLANNED, CancelRequested(at=1003)], {}, False, ["stop"], "It is cancelled"),
    ],
)
def test_what_a_scan_waits_for_is_told(
    entries: list[AnyEntry], state: dict[str, Any], shared: bool, expected: list[str], words: str
) -> None:
    told = waits(scan_with(*entries), rooms(**state), shared)
    assert [wait.what for wait in told] == expected
    assert any(words in wait.why for wait in told), told
