"""Whoever works on a scan knows what the store knew when it was asked."""

from typing import Any, cast

import pytest

from scanstream.errors import StoreUnavailable
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import ScanId
from scanstream.scans.budget import Budgets, Clock
from scanstream.scans.shortages import Shortages
from scanstream.scans.view import View
from support.histories import SCAN, planned, registered

pytestmark = pytest.mark.anyio


class Behind:
    """A store and the hub of a node that has read nothing of late."""

    def __init__(self, *, shared: bool = True, away: int = 0) -> None:
        self.shared = shared
        self.asked = 0
        self._away = away
        self._log = ScanLog(registered("a"), "epoch")
        self._known = False

    async def barrier(self) -> None:
        self.asked += 1
        if self.asked <= self._away:
            raise StoreUnavailable("away", retry_after=1)
        self._known = True
        self._log.apply(2, planned(a=1))

    def get(self, scan_id: ScanId) -> ScanLog | None:
        return self._log if self._known and scan_id == SCAN else None

    def view(self) -> View:
        return View(cast(Store, self), cast(Hub, self), Shortages(Budgets(Clock())))


async def test_a_node_that_is_behind_catches_up_before_it_says_what_a_scan_is() -> None:
    behind = Behind()
    log = await behind.view().planned(SCAN)
    assert log is not None
    assert log.folded.tallies is not None
    assert behind.asked == 1
    assert await behind.view().planned(SCAN) is log
    assert behind.asked == 1  # what has a plan is known
    assert await behind.view().newest(SCAN) is log
    assert behind.asked == 2


async def test_a_store_of_ones_own_has_nothing_that_is_not_read() -> None:
    behind = Behind(shared=False)
    assert await behind.view().newest(SCAN) is None
    assert behind.asked == 0


async def test_while_the_store_is_away_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[Any] = []

    async def wait(_: Shortages, *why: object) -> None:
        waits.append(why)

    monkeypatch.setattr(Shortages, "wait", wait)
    assert await Behind(away=2).view().newest(SCAN) is not None
    assert len(waits) == 2
