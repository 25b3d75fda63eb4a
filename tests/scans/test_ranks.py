"""The place of a scan that waits is told by the logs alone: by whoever has read them, whoever conducts what."""

from msgspec.structs import replace

from scanstream.log.entry import Cancelled, CancelRequested, Queued
from scanstream.log.scanlog import ScanLog
from scanstream.model import Principal, ScanId
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


def test_what_scans_share_goes_to_principals_first_and_of_ones_part_to_each_scan() -> None:
    """So many shards each has in the queue that nodes share: one scan of a second principal has as much as four."""
    ranks = Ranks(8)
    for number, owner in enumerate("aaaab"):
        log = ScanLog(replace(registered("s", scan_id=ScanId(f"scan_{number}")), principal=Principal(owner)), "epoch")
        for seq, entry in enumerate((Queued(at=NOON), planned(s=1)), start=2):
            log.apply(seq, entry)  # type: ignore[arg-type]  # one of the entries
        ranks.notice(log)
    assert [ranks.sharing(Principal(owner)) for owner in "ab"] == [8, 2]
    assert ranks.sharing(Principal("c")) == 2, "who has nothing yet has a part, too, once they have"
    ranks.notice(_ended(log))
    assert ranks.sharing(Principal("a")) == 4, "alone, they have all, as ever"


def _ended(log: ScanLog) -> ScanLog:
    log.apply(log.seq + 1, CancelRequested(at=NOON))
    log.apply(log.seq + 1, Cancelled(at=NOON))
    return log
