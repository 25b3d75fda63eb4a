"""A round of the sweeper looks at what is due, and not at all scans there are."""

from collections import OrderedDict
from typing import Any, cast

import pytest

from scanstream.log.entry import Queued
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.model import ScanId
from scanstream.scans import sweeper as module
from scanstream.scans.sweeper import UNRELEASED_AFTER_SECONDS, Sweeper
from support.histories import NOON, registered

pytestmark = pytest.mark.anyio


class Hands:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    hands = Hands()
    monkeypatch.setattr(module, "time", hands)
    return hands


def waiting(number: int) -> ScanLog:
    """A scan that was registered and may not start yet."""
    return ScanLog(registered("a", scan_id=ScanId(f"scan_{number}")), "epoch")


async def test_only_those_are_started_that_have_waited_long_enough(hands: Hands) -> None:
    released: list[str] = []
    sweeper = Sweeper(cast(Store, None), cast(Hub, None), released.append)  # it walks over nothing of the hub's
    logs = [waiting(number) for number in range(3)]
    sweeper.notice(logs[0])
    sweeper.notice(logs[1])
    logs[1].apply(2, Queued(at=NOON))
    sweeper.notice(logs[1])
    hands.at += UNRELEASED_AFTER_SECONDS - 1
    sweeper.notice(logs[2])
    await sweeper._start(UNRELEASED_AFTER_SECONDS)
    assert released == []
    hands.at += 1
    await sweeper._start(UNRELEASED_AFTER_SECONDS)
    assert released == ["scan_0"]
    hands.at += UNRELEASED_AFTER_SECONDS
    await sweeper._start(UNRELEASED_AFTER_SECONDS)
    assert released == ["scan_0", "scan_2"]


async def test_a_round_touches_none_of_those_that_are_not_due(hands: Hands) -> None:
    touched: list[Any] = []

    class Watched(OrderedDict[Any, Any]):
        def items(self) -> Any:
            for item in super().items():
                touched.append(item)
                yield item

    sweeper = Sweeper(cast(Store, None), cast(Hub, None), lambda _: None)
    sweeper._unreleased = Watched()
    for number in range(1000):
        sweeper.notice(waiting(number))
    for _ in range(10):
        await sweeper._start(UNRELEASED_AFTER_SECONDS)
    assert len(touched) == 10
