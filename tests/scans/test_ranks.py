"""What those that run have to share is divided by principals, and of one's part by their scans."""

from collections import Counter

from msgspec.structs import replace

from scanstream.log.entry import Cancelled, CancelRequested, Queued
from scanstream.log.scanlog import ScanLog
from scanstream.model import Principal, ScanId
from scanstream.scans.calls import LocalCalls
from scanstream.scans.ranks import Ranks, Share
from support.histories import NOON, planned, registered


def test_what_scans_share_goes_to_principals_first_and_of_ones_part_to_each_scan() -> None:
    """So many shards each has in the queue that nodes share: one scan of a second principal has as much as four."""
    ranks, logs = Ranks(LocalCalls(8)), list[ScanLog]()
    for number, owner in enumerate("aaaab"):
        log = ScanLog(replace(registered("s", scan_id=ScanId(f"scan_{number}")), principal=Principal(owner)), "epoch")
        for seq, entry in enumerate((Queued(at=NOON), planned(s=1)), start=2):
            log.apply(seq, entry)  # type: ignore[arg-type]  # one of the entries
        ranks.notice(log)
        logs.append(log)
    assert [ranks.sharing(Principal(owner)) for owner in "ab"] == [Share(2, 4, 4), Share(2, 1, 4)]
    assert ranks.sharing(Principal("c")) == Share(2, 1, 4), "who has nothing yet has a part, too, once they have"
    ranks.notice(_ended(log))
    assert ranks.sharing(Principal("a")) == Share(1, 4, 4), "alone, they have all, as ever"
    for fewer, log in enumerate(logs[:4], start=1):
        ranks.notice(_ended(log))
        assert ranks.sharing(Principal("b")) == Share(1, 1, max(1, 4 - fewer))
    assert ranks._owners == Counter()


def _ended(log: ScanLog) -> ScanLog:
    log.apply(log.seq + 1, CancelRequested(at=NOON))
    log.apply(log.seq + 1, Cancelled(at=NOON))
    return log
