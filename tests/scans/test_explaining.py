"""What is told of a scan's life where several nodes let scans in."""

import pytest

from scanstream.log.entry import AnyEntry, Queued
from scanstream.log.scanlog import ScanLog
from scanstream.scans.explaining import Life
from support.histories import NOON, planned, registered

GO, WAITS = Queued(at=NOON + 5), Queued(at=NOON + 1, waits=True)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([GO], ["queued"]),
        ([WAITS, GO], ["queued", "let_in"]),
        ([WAITS, GO, GO], ["queued", "let_in", "queued"]),
        ([GO, WAITS], ["queued", "queued"]),
    ],
)
def test_that_it_is_let_in_is_told_of_one_that_had_to_wait(entries: list[AnyEntry], told: list[str]) -> None:
    first = registered("a")
    life = Life(ScanLog(first, "epoch"), who=False)
    for entry in (first, *entries, planned(a=1)):
        life.take(entry)
    assert [moment.what for moment in life.timeline()] == ["registered", *told, "planned"]
