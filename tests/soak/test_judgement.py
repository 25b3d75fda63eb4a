"""Chaos is judged by what can fail: each promise is broken on purpose, and named (soak/chaos)."""

import sqlite3
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from cluster.harness import ended
from scanstream.engines.schema import DATABASE
from soak.chaos.auditor import Auditor
from soak.chaos.held import Held, left_over
from soak.chaos.kinds import KINDS
from soak.chaos.ledger import Ledger
from soak.chaos.world import World, on_sqlite
from support.wire import discover

pytestmark = pytest.mark.anyio

RETENTION = 60.0
IDS = ["a", "b", "c"]
EXPIRES = "2999-01-01T00:00:00.000Z"
STATE: dict[str, Any] = {"status": "complete", "total_opportunities": 3, "strategies": {}, "expires_at": EXPIRES}
LACKING = {"status": "complete", "total_opportunities": 3}
BEGUN = {**STATE, "status": "scanning"}


def written(*, cancelled: bool = False, status: str = "complete", ids: list[str] | None = None) -> Ledger:
    """One scan that was acked, followed and polled as it should be; or not quite."""
    found = IDS if ids is None else ids
    state = {**STATE, "status": status, "total_opportunities": len(set(found))}
    ledger = Ledger({"some": set(IDS)}, RETENTION)
    ledger.acked("s", "some", "ann", "key")
    if cancelled:
        ledger.cancelled("s")
    ledger.ended("s", deepcopy(state), [*found])
    ledger.saw("s", "a client", [*found], deepcopy(state))
    return ledger


def _seen(ids: list[str], **more: Any) -> Callable[[Ledger], object]:
    return lambda ledger: ledger.saw("s", "another", ids, {**STATE, **more})


def _shows(**more: Any) -> Callable[[Ledger], object]:
    state = {"status": "complete", "total_opportunities": 3, **more}
    return lambda ledger: ledger.saw("s", "the page", IDS, state, part=True)


def _gone_at_once(ledger: Ledger) -> None:
    ledger.acked("s2", "some", "ann")
    ledger.gone("s2", "somebody")


BROKEN: dict[str, Callable[[Ledger], object]] = {
    "was lost: somebody was told that it is not there": lambda ledger: ledger.absent("s", "somebody"),
    "was lost: somebody was told that it has expired, before its time": lambda ledger: ledger.gone("s", "somebody"),
    "s2 was lost: somebody was told that it has expired": _gone_at_once,
    "s2 (some) has no end: it was never seen": lambda ledger: ledger.acked("s2", "some", "ann"),
    "has no end: {'status': 'scanning'": lambda ledger: ledger.ended("s", BEGUN, IDS),
    "the key key was answered with s2, and before with s": lambda ledger: ledger.acked("s2", "some", "ann", "key"),
    "s was asked for as some, and answers a request for other": lambda ledger: ledger.acked("s", "other", "ann"),
    "s was given to ben, who may not have it: it is ann's": lambda ledger: ledger.acked("s", "some", "ben", "key"),
    "s was given to somebody, who may not have it: 410": lambda ledger: ledger.given("s", "somebody", 410),
    "s was refused to somebody, who may have it: 404": lambda ledger: ledger.refused("s", "somebody", 404),
    "the page holds another state: {'status': 'complete', 'total_opportunities': 4}": _shows(total_opportunities=4),
    "'strategies': {'some': {}}} and not": _shows(strategies={"some": {}}),
    "its results: 1 opportunities are there twice: ['b']": lambda ledger: ledger.ended("s", STATE, [*IDS, "b"]),
    "its results: 1 opportunities are lost: ['c']": lambda ledger: ledger.ended("s", STATE, IDS[:2]),
    "its results: 1 opportunities that no such scan finds: ['x']": lambda ledger: ledger.ended("s", STATE, [*IDS, "x"]),
    "another: 1 opportunities are there twice": _seen([*IDS, "a"]),
    "another: 2 opportunities are lost": _seen(IDS[:1]),
    "another holds other opportunities than the results": _seen(IDS[:1]),
    "another holds another state": _seen(IDS, phase="running"),
    "another holds another state: {'status'": lambda ledger: ledger.saw("s", "another", IDS, LACKING),
    "3 opportunities, and the state says 2": lambda ledger: ledger.ended("s", {**STATE, "total_opportunities": 2}, IDS),
    "cancelled, and nobody has asked for that": lambda ledger: ledger.ended("s", {**STATE, "status": "cancelled"}, IDS),
    "its results: failed: {'code': 'odd'}": lambda ledger: ledger.ended(
        "s", {**STATE, "status": "failed", "error": {"code": "odd"}}, IDS
    ),
    "s has ended as complete, and later as cancelled": lambda ledger: ledger.ended(
        "s", {**STATE, "status": "cancelled"}, IDS
    ),
    "somebody has not come to the end of s": lambda ledger: ledger.stuck("s", "somebody", "it is at k-3.0"),
}


@pytest.mark.parametrize("told", BROKEN)
def test_the_ledger_names_what_was_broken(told: str) -> None:
    ledger = written()
    _shows()(ledger)
    assert ledger.acked("s3", "some", "ben", "key"), "the same key of somebody else is another"
    del ledger.scans["s3"]
    assert ledger.faults() == []
    BROKEN[told](ledger)
    assert any(told in fault for fault in ledger.faults()), ledger.faults()


def test_a_cancelled_scan_may_have_found_less_and_an_expired_one_be_gone() -> None:
    assert written(cancelled=True, status="cancelled", ids=["a"]).faults() == []
    assert written(cancelled=True, status="cancelled", ids=["x"]).faults()
    over = written()
    over.scans["s"].state["expires_at"] = over.scans["s"].seen[0].state["expires_at"] = "2026-01-01T00:00:00.000Z"
    over.gone("s", "somebody")
    assert over.faults() == []
    unseen = written()
    unseen.acked("s2", "some", "ann")
    unseen.alive("s2", time.monotonic() - RETENTION)
    unseen.gone("s2", "somebody")
    assert unseen.faults() == []
    jumped = written()
    jumped.jumped()
    jumped.gone("s", "somebody")
    assert jumped.faults() == []


def test_a_crowd_that_lacks_somebody_shows_nothing_of_them() -> None:
    ledger = written()
    assert ledger.missed(["a client"]) == []
    assert ledger.missed(["a client", "the page"]) == ["the crowd was to have the page, and not one came to an end"]


def test_what_is_left_over_is_named() -> None:
    start = {"web-1": Held(100, 3, 3, {"pipe": 2, "/dev/null": 1}, {"serve": 1, "sweep": 2})}
    now = start["web-1"]
    assert left_over(start, start) == []
    assert left_over(start, {"web-1": now._replace(resident=110, processes=2, descriptors={}, tasks={})}) == []
    for more in (
        now._replace(resident=111),
        now._replace(processes=4),
        now._replace(descriptors={"pipe": 3, "/dev/null": 1}),
        now._replace(descriptors={"pipe": 2, "/dev/null": 1, "netlink": 2}),
        now._replace(tasks={"serve": 1, "sweep": 2, "other": 1}),
    ):
        assert len(left_over(start, {"web-1": more})) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is told by /proc")
async def test_a_server_that_leaks_and_forgets_is_found_out(tmp_path: Path) -> None:
    async with on_sqlite(tmp_path, RETENTION) as world:
        await _leaks(world)
        await _forgets(world, tmp_path)


async def _leaks(world: World) -> None:
    [server] = world.web
    await world.complete(server.url, "quick")
    start = await world.held()
    for kind, count, told in (("descriptors", 2, "2 descriptors"), ("tasks", 3, "3 tasks"), ("memory", 40, "MB of")):
        await world.lever(server).ask("leak", kind, count)
        assert any(told in fault for fault in left_over(start, await world.held())), kind


async def _forgets(world: World, directory: Path) -> None:
    """A scan that was acknowledged is deleted behind the server's back; another one never gets on."""
    [server] = world.web
    ledger = Ledger({"quick": {"nothing"}}, RETENTION)
    owner = world.principals[0]
    scan_id = (await discover(server.url, KINDS["quick"], world.headers(owner))).json()["scan_id"]
    await ended(server.url, scan_id, headers=world.headers(owner))
    ledger.acked(scan_id, "quick", owner)
    server.kill()
    with sqlite3.connect(_database(directory)) as database:
        database.execute("DELETE FROM entries WHERE scan_id = ?", (scan_id,))
        database.execute("DELETE FROM scans WHERE scan_id = ?", (scan_id,))
    await world.whole()
    with anyio.fail_after(30):
        async with anyio.create_task_group() as audits:
            await Auditor(world, ledger, Random(1), audits).audit(scan_id)
    assert [fault for fault in ledger.faults() if f"{scan_id} was lost: an auditor" in fault]
    assert (await discover(server.url, KINDS["steady"], world.headers(owner))).status == 202
    assert await world.unfinished() == ["web-1 has 1 scans that have not ended"]


def _database(directory: Path) -> Path:
    return next(directory.rglob(DATABASE))
