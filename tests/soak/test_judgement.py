"""Chaos is judged by what can fail: each promise is broken on purpose, and named (soak/chaos)."""

import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import anyio
import msgspec
import pytest

from cluster.harness import ended
from scanstream.engines.schema import DATABASE
from scanstream.notify.signing import signed
from soak.chaos.auditor import Auditor
from soak.chaos.crowd import Crowd, Member
from soak.chaos.held import Held, left_over
from soak.chaos.hooks import Hooks
from soak.chaos.kinds import KINDS
from soak.chaos.ledger import Ledger
from soak.chaos.strangers import Strangers
from soak.chaos.world import World, on_sqlite
from support.receiver import Received, Receiver
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


SECRET, OTHER_SECRET = (f"whsec_{sign * 43}=" for sign in "AE")
TOLD: dict[str, Any] = {
    "type": "scan.complete",
    "data": {**STATE, "cursor": "k-3.3", "opportunities": [{"id": one} for one in IDS]},
}


class Elsewhere:
    """Somebody was promised to be told of that scan's end, and was, the second time."""

    def __init__(self) -> None:
        self.ledger = written()
        self.hooks = Hooks(Receiver(1, "http"))
        self.url = self.hooks.address("s")
        self.hooks.promised(self.url, {"notification_id": "msg", "signing_secret": SECRET})
        [self.notice] = self.hooks.notices.values()
        self.given_up: dict[str, float] = {}

    def comes(self, body: Any = TOLD, *, name: str = "msg", secret: str = SECRET, taken: int = 1) -> None:
        """A message comes."""
        encoded = msgspec.json.encode(body)
        headers = {key.lower(): value for key, value in signed(secret, name, 1, encoded).items()}
        self.notice.came.append(Received("POST /s/0 HTTP/1.1", headers, encoded))
        self.notice.taken += taken

    def data(self, **more: Any) -> None:
        """The same, with something else in it."""
        self.comes({**TOLD, "data": {**TOLD["data"], **more}})

    def faults(self) -> list[str]:
        """What is judged."""
        return self.hooks.faults(self.ledger, self.given_up)


def _strange(elsewhere: Elsewhere) -> None:
    elsewhere.hooks.strange.append(Received("POST /strangers HTTP/1.1", {}, b""))


def _untold(elsewhere: Elsewhere) -> None:
    elsewhere.notice.taken = 0
    elsewhere.notice.came.clear()


def _given_up_early(elsewhere: Elsewhere) -> None:
    _untold(elsewhere)
    elsewhere.given_up["s"] = time.time()


def _other_secret(elsewhere: Elsewhere) -> None:
    url = elsewhere.hooks.address("s")
    elsewhere.hooks.promised(url, {"notification_id": "msg_2", "signing_secret": OTHER_SECRET})
    elsewhere.hooks.notices[f"/s/{len(elsewhere.hooks.notices) - 1}"].taken = 1


UNTRUE: dict[str, Callable[[Elsewhere], object]] = {
    "/s/0 (msg) was never told of the end of s, as promised": _untold,
    "(msg) was never told of the end of s": _given_up_early,
    "POST /strangers HTTP/1.1 was told, and nobody has asked for it": _strange,
    "(msg): it is called msg_other": lambda elsewhere: elsewhere.comes(name="msg_other"),
    "(msg): its signature is wrong": lambda elsewhere: elsewhere.comes(secret=OTHER_SECRET),
    "has another secret than other addresses there of ann": _other_secret,
    "(msg): it is not the same as the first time": lambda elsewhere: elsewhere.data(cursor="k-4.3"),
    "(msg): it tells another state": lambda elsewhere: elsewhere.data(phase="running"),
    "(msg): it is called scan.complete, and tells cancelled": lambda elsewhere: elsewhere.data(status="cancelled"),
    "it: 1 opportunities are there twice: ['a']": lambda elsewhere: elsewhere.data(
        opportunities=[{"id": one} for one in ["a", *IDS]]
    ),
    "it: 1 opportunities are lost: ['c']": lambda elsewhere: elsewhere.data(
        opportunities=[{"id": one} for one in IDS[:2]]
    ),
    "it tells 3 opportunities of 3, and that there are more": lambda elsewhere: elsewhere.data(more=True),
    "it: 1 opportunities that no such scan finds: ['x']": lambda elsewhere: elsewhere.data(
        opportunities=[{"id": "x"}], more=True
    ),
}


def test_of_a_scan_whose_end_nobody_saw_before_it_expired_nobody_need_be_told() -> None:
    elsewhere = Elsewhere()
    elsewhere.ledger.acked("s2", "some", "ann")
    elsewhere.comes()
    elsewhere.hooks.promised(elsewhere.hooks.address("s2"), {"notification_id": "msg_2", "signing_secret": SECRET})
    elsewhere.given_up["s2"] = time.time()
    assert any("was never told of the end of s2" in fault for fault in elsewhere.faults())
    elsewhere.ledger.alive("s2", time.monotonic() - RETENTION)
    elsewhere.ledger.gone("s2", "somebody")
    assert elsewhere.faults() == []
    elsewhere.given_up.clear()
    assert any("was never told of the end of s2" in fault for fault in elsewhere.faults()), "a server says so"


@pytest.mark.parametrize("told", UNTRUE)
def test_what_was_told_elsewhere_is_judged(told: str) -> None:
    elsewhere = Elsewhere()
    elsewhere.comes(taken=0)
    assert any("was never told" in fault for fault in elsewhere.faults()), "refused is not told"
    elsewhere.given_up["s"] = time.time()
    assert elsewhere.faults() == [], "what was refused may be given up"
    elsewhere.given_up.clear()
    elsewhere.comes()
    assert elsewhere.faults() == []
    UNTRUE[told](elsewhere)
    assert any(told in fault for fault in elsewhere.faults()), elsewhere.faults()


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


MUTANTS = {
    "doubles-in-polls": "opportunities are there twice",
    "loses-in-streams": "was told what does not fit",
}
"""Promises that the product itself breaks (chaos/inside/mutants.py), each with what the judgement says."""
MORE_MUTANTS = {
    "gives-away": "was given to",
    "loses-in-results": "its results: 1 opportunities are lost",
    "refuses-tokens": "was refused to has the scan token, who may have it",
    "signs-with-another-secret": "its signature is wrong",
}
FOUND_SECONDS = 60.0
"""In which a small crowd has met what is wrong: mostly within two."""
SPARE_SECONDS = 8.0
"""In which auditors come twice, and a receiver that has refused has heard of it again."""


@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is told by /proc")
@pytest.mark.parametrize(
    ("mutant", "told"),
    [*MUTANTS.items(), *(pytest.param(*one, marks=pytest.mark.soak) for one in MORE_MUTANTS.items())],
)
async def test_a_product_that_breaks_its_word_is_found_out(mutant: str, told: str, tmp_path: Path) -> None:
    async with on_sqlite(tmp_path, RETENTION) as world:
        ledger = await _ledger(world, "quick")
        world.retention = 1.0  # for the auditors, who come back within half of it
        await world.lever(world.web[0]).ask("breaks", mutant)
        async with _few(world, ledger):
            with anyio.move_on_after(FOUND_SECONDS):
                while not any(told in fault for fault in _faults(world, ledger)):  # noqa: ASYNC110  # clients tell nobody
                    await anyio.sleep(0.1)
        assert any(told in fault for fault in _faults(world, ledger)), _faults(world, ledger)


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is told by /proc")
@pytest.mark.parametrize("mutant", ["", "tells-nobody"])
async def test_one_that_tells_nobody_elsewhere_is_found_out_and_a_sound_one_is_without_fault(
    mutant: str, tmp_path: Path
) -> None:
    async with on_sqlite(tmp_path, RETENTION) as world:
        ledger = await _ledger(world, "quick", "steady", "shared")
        world.retention = SPARE_SECONDS  # for the auditors
        if mutant:
            await world.lever(world.web[0]).ask("breaks", mutant)
        async with _few(world, ledger):
            await anyio.sleep(SPARE_SECONDS)
        await anyio.sleep(SPARE_SECONDS)
        faults = _faults(world, ledger)
        assert all("was never told of the end of" in fault for fault in faults), faults
        assert bool(faults) == bool(mutant)


async def _ledger(world: World, *kinds: str) -> Ledger:
    return Ledger({kind: await world.complete(world.urls[0], kind) for kind in kinds}, RETENTION)


@asynccontextmanager
async def _few(world: World, ledger: Ledger) -> AsyncIterator[None]:
    """A small crowd: two over all doors, one who looks on, and a stranger; each comes to its end."""
    assert world.keys is not None
    async with anyio.create_task_group() as audits, anyio.create_task_group() as tasks:
        crowd = Crowd(world, ledger, 1, audits)
        crowd.kinds = [*ledger.expected]
        members: list[Member] = [crowd.wander, crowd.wander, crowd.look_on, Strangers(crowd, world.keys).stranger]
        tasks.start_soon(crowd.run, members, 0.3)
        yield
        crowd.over = True


def _faults(world: World, ledger: Ledger) -> list[str]:
    return [*ledger.faults(), *world.hooks.faults(ledger, world.given_up())]


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
