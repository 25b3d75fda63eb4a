"""The place of a scan that waits is told by the logs alone: by whoever has read them, whoever conducts what."""

from scanstream.log.entry import Cancelled, CancelRequested, Queued
from scanstream.log.scanlog import ScanLog
from scanstream.model import ScanId
from scanstream.scans.ranks import Ranks
from support.histories import NOON, planned, registered


class House:
    """Scans that were registered, each told to everybody as it goes on."""

    def __init__(self, places: int, scans: int) -> None:
        self.ranks = Ranks(places)
        self.logs = [ScanLog(registered("a", scan_id=ScanId(f"scan_{number}")), "epoch") for number in range(scans)]
        for log in self.logs:
            self.ranks.notice(log)

    def go(self, *numbers: int) -> None:
        """These may start."""
        for number in numbers:
            self.apply(number, Queued(at=NOON))

    def apply(self, number: int, entry: object) -> None:
        """The log goes on."""
        log = self.logs[number]
        log.apply(log.seq + 1, entry)  # type: ignore[arg-type]  # one of the entries
        self.ranks.notice(log)

    def told(self) -> list[int | None]:
        """The place of each."""
        return [self.ranks.rank(log.scan_id) for log in self.logs]


def test_the_first_of_them_have_the_free_places_before_they_are_planned() -> None:
    house = House(places=2, scans=5)
    assert house.told() == [None] * 5
    house.go(1, 0, 2, 3)
    assert house.told() == [None, None, 1, 2, None]
    assert house.ranks.waiting() == 2
    house.apply(0, planned(a=1))
    assert house.told() == [None, None, 1, 2, None]


def test_who_ends_makes_a_place_for_the_next_in_the_order_in_which_they_may_start() -> None:
    house = House(places=1, scans=4)
    house.go(3, 2, 1, 0)
    assert house.told() == [3, 2, 1, None]
    house.apply(3, planned(a=1))
    house.apply(3, CancelRequested(at=NOON))
    assert house.told() == [3, 2, 1, None]
    house.apply(3, Cancelled(at=NOON))
    assert house.told() == [2, 1, None, None]
    house.apply(1, CancelRequested(at=NOON))
    assert house.told() == [2 - 1, None, None, None]
    assert house.ranks.waiting() == 1


def test_where_more_run_than_may_all_others_wait() -> None:
    house = House(places=1, scans=4)
    house.go(0, 1, 2, 3)
    for number in (0, 1):
        house.apply(number, planned(a=1))
    assert house.told() == [None, None, 1, 2]
    house.apply(0, CancelRequested(at=NOON))
    house.apply(0, Cancelled(at=NOON))
    assert house.told() == [None, None, 1, 2]
