"""Status answers that are kept: those of now, within bounds, and no longer than their logs."""

import gc

import msgspec

from scanstream.log.entry import Queued
from scanstream.log.scanlog import ScanLog
from scanstream.model import ScanId
from scanstream.push.answers import StatusAnswers
from support.histories import NOON, registered


def log_of(number: int) -> ScanLog:
    return ScanLog(registered("tsmom", scan_id=ScanId(f"scan_{number}")), "k3f9")


def test_an_answer_is_made_once_for_all_and_again_when_the_scan_or_its_place_has_gone_on() -> None:
    ranks: dict[str, int] = {}
    answers, log = StatusAnswers(ranks.get), log_of(1)
    first = answers.whole(log)
    assert answers.whole(log) is first
    assert msgspec.json.decode(first.body)["cursor"] == "k3f9-1.0"
    ranks[log.scan_id] = 3
    queued = answers.whole(log)
    assert (msgspec.json.decode(queued.body)["rank"], answers.of(log).tag) == (3, "k3f9-1-3")
    log.apply(2, Queued(at=NOON))
    later = answers.whole(log)
    assert (msgspec.json.decode(later.body)["cursor"], answers.of(log).tag) == ("k3f9-2.0", "k3f9-2-3")
    assert len(answers) == 1


def test_the_tag_is_known_before_there_is_a_body() -> None:
    answers = StatusAnswers(lambda _: None)
    assert (answers.of(log_of(1)).tag, answers.of(log_of(1)).whole) == ("k3f9-1", None)


def test_they_are_bounded_by_count_and_by_bytes() -> None:
    logs = [log_of(number) for number in range(20)]
    few = StatusAnswers(lambda _: None, most=5)
    for log in logs:
        few.whole(log)
        assert len(few) <= 5
    size = few.bytes // 5
    small = StatusAnswers(lambda _: None, most_bytes=3 * size)
    for log in logs:
        assert small.whole(log) == few.whole(log)
        assert small.bytes <= 3 * size
    assert 2 <= len(small) <= 3
    none = StatusAnswers(lambda _: None, most_bytes=size // 2)
    assert none.whole(logs[0]) == few.whole(logs[0])
    assert (len(none), none.bytes) == (0, 0)


def test_they_go_with_their_scan() -> None:
    answers = StatusAnswers(lambda _: None)
    logs = [log_of(number) for number in range(3)]
    for log in logs:
        answers.whole(log)
    answers.notice(logs[0])
    assert len(answers) == 2
    del logs, log
    gc.collect()
    assert (len(answers), answers.bytes) == (0, 0)
