"""Finished scans in memory: bounded in bytes, and the one that is asked for stays."""

import pytest
from msgspec.structs import replace

from scanstream.log import finished
from scanstream.log.entry import CancelRequested, Registered, decode, encode
from scanstream.log.finished import FinishedScans
from scanstream.log.scanlog import ScanLog
from scanstream.log.weight import weight
from scanstream.model import DiscoverRequest, ScanId
from support.histories import NOON, registered

KILO = 1000


class Weighed(ScanLog):
    """An ended log as heavy as a test wants it."""

    def __init__(self, name: str, kilobytes: int) -> None:
        super().__init__(registered("a", scan_id=ScanId(name)), "k3f9")
        self.apply(2, CancelRequested(at=NOON))
        self.kilobytes = kilobytes

    @property
    def weight(self) -> int:
        """What the test says."""
        return KILO * self.kilobytes


class Room:
    """Finished scans by name, on a clock of their own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.followed: set[str] = set()
        self.scans = FinishedScans(self.followed.__contains__, lambda: self.now)

    def keep(self, *names: str, kilobytes: int = 10, asked: bool = False) -> None:
        """Hold these."""
        for name in names:
            self.scans.keep(Weighed(name, kilobytes), asked=asked)

    @property
    def names(self) -> str:
        """Who is held."""
        assert self.scans.weight == sum(log.weight for log in self.scans)
        return "".join(log.scan_id for log in self.scans)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    """For 50 kilobytes, and 150 with what is asked for; a large one has more than 20."""
    monkeypatch.setattr(finished, "FINISHED_BYTES", 50 * KILO)
    monkeypatch.setattr(finished, "ASKED_BYTES", 150 * KILO)
    monkeypatch.setattr(finished, "LARGE", 20 * KILO)
    monkeypatch.setattr(finished, "ROOM", 50)
    return Room()


def test_the_least_recently_asked_for_goes_first(room: Room) -> None:
    room.keep(*"abcde")
    room.scans.ask(ScanId("a"))
    room.scans.ask(ScanId("c"))
    room.now = 60
    room.keep("f")
    assert room.names == "eacf"  # two went: there is room for the next one, too
    room.keep("g")
    assert room.names == "eacfg"


def test_what_was_asked_for_a_moment_ago_stays_beside_the_others(room: Room) -> None:
    room.keep("A", kilobytes=60, asked=True)
    room.keep(*"bcdef")
    assert room.names == "Abcdef"
    room.now = finished.ASKED_SECONDS - 1
    room.keep("g")
    assert room.names == "Adefg"
    room.scans.ask(ScanId("A"))
    room.now += finished.ASKED_SECONDS - 1
    room.keep("h")
    assert "A" in room.names


def test_a_large_one_that_nobody_asks_for_any_more_goes_before_the_small_ones(room: Room) -> None:
    room.keep("A", kilobytes=60, asked=True)
    room.keep(*"bcd")
    room.now = finished.ASKED_SECONDS + 1
    list(room.scans.look())
    assert room.names == "bcd"


def test_one_that_is_heavier_than_all_room_is_held_until_the_next_comes(room: Room) -> None:
    room.keep(*"bc")
    room.keep("A", kilobytes=500)
    assert room.names == "A"
    room.keep("d")
    assert room.names == "d"


def test_what_is_followed_stays_whatever_it_weighs(room: Room) -> None:
    room.followed |= {"A", "B"}
    room.keep("A", "B", kilobytes=200)
    room.keep(*"cde")
    assert "A" in room.names
    assert "B" in room.names
    room.followed.clear()
    list(room.scans.look())
    assert room.names == "cde"


def test_also_what_is_asked_for_is_bounded(room: Room) -> None:
    room.keep(*"abcdefghijklmnopqrstuvwxyz", asked=True)
    assert room.names == "lmnopqrstuvwxyz"


def test_a_log_that_is_weighed_anew_counts_once(room: Room) -> None:
    room.keep("a", kilobytes=40)
    room.keep("a", kilobytes=4)
    room.keep(*"bcd")
    assert room.names == "abcd"
    assert room.scans.pop(ScanId("a")) is not None
    assert room.scans.pop(ScanId("a")) is None
    assert room.names == "bcd"


def test_weight_counts_all_that_is_held_and_shared_things_once() -> None:
    text = "x" * 10_000
    assert 10_000 < weight([text, text], {text: (text,)}) < 11_000
    assert weight({"a": [1.5, {"b": text}]}) > 10_000
    endless: list[object] = []
    endless.append(endless)
    assert weight(endless) < 200


def test_what_a_request_names_is_held_once() -> None:
    """The entry's request and its filters, the state and its document: four places for one list."""
    names = [f"{number}m" for number in range(1, 9_000)]
    given = {"preferred_timeframes": list(names), "capital_usd": 5.0}
    request = DiscoverRequest(preferred_timeframes=names, capital_usd=5.0)
    stored = decode(encode(replace(registered("a"), request=request, filters=given)))
    assert isinstance(stored, Registered)
    log = ScanLog(stored, "k3f9")
    log.apply(2, CancelRequested(at=NOON))
    assert log.document["filters"] == given
    assert weight(log.folded, log.document) < weight(names) + 10_000


def test_those_whose_time_is_over_are_found_without_the_others(room: Room) -> None:
    room.keep(*"abc", kilobytes=1)
    [expires_at] = {log.folded.expires_at for log in room.scans}
    assert expires_at is not None
    assert list(room.scans.due(expires_at - 1)) == []
    room.scans.pop(ScanId("b"))
    assert [log.scan_id for log in room.scans.due(expires_at)] == ["a", "c"]
    assert list(room.scans.due(expires_at)) == []
    room.scans.pop(ScanId("a"))
    room.keep("a", kilobytes=1)  # read again, and over still
    assert [log.scan_id for log in room.scans.due(expires_at)] == ["a"]


def test_of_those_that_were_let_go_of_nothing_is_remembered(room: Room) -> None:
    for number in range(5000):
        room.keep(f"scan_{number}", kilobytes=1)
    assert len(room.scans) <= 50
    assert len(room.scans._expiries) == len(room.scans)
    held = {log.scan_id for log in room.scans}
    due = [log.scan_id for log in room.scans.due(NOON + 10**9)]
    assert sorted(due) == sorted(held)


def test_many_that_have_to_go_at_once_go_some_at_a_time(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished, "MOST_AT_ONCE", 3)
    room.keep(*"abcdefghijklmno", asked=True)
    room.now = finished.ASKED_SECONDS + 1  # all of them at the same moment
    room.keep("p")
    assert len(room.scans._asked) == 12
    for more in range(2, 6):
        room.keep("pqrst"[more - 1])
        assert len(room.scans._asked) == 15 - 3 * more
    assert len(room.scans) == 20
    room.keep("u", kilobytes=19)
    assert len(room.scans) == 18  # 21, less 3
    steps = sum(1 for _ in room.scans.look())
    assert room.names == "mnou"
    assert steps == 14


def test_those_that_were_followed_are_looked_at_one_by_one(room: Room) -> None:
    room.followed |= set("ABCDEFG")
    room.keep(*"ABCDEFG", kilobytes=30)
    room.followed -= set("ABCDEF")
    looking = room.scans.look()
    before = len(room.scans)
    for _ in range(3):
        next(looking)
        assert len(room.scans) == before
    room.keep("h")  # somebody else comes meanwhile
    assert room.scans.pop(ScanId("D")) is not None
    list(looking)
    assert room.names == "FGh"  # for one of them there is room


def test_nobody_walks_over_all_that_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished, "FINISHED_BYTES", 2000 * KILO)
    questions: list[str] = []

    def followed(scan_id: str) -> bool:
        questions.append(scan_id)
        return scan_id == "scan_7"

    at = 0.0
    scans = FinishedScans(followed, lambda: at)
    for number in range(3000):
        scans.keep(Weighed(f"scan_{number}", 1), asked=number % 2 == 0)
        assert len(questions) <= number
    assert len(scans) == 3000
    questions.clear()
    list(scans.look())
    assert questions == []
    at += finished.ASKED_SECONDS + 1
    list(scans.look())
    assert (len(questions), len(scans)) == (3000 - len(scans) + 1, len(scans))
    questions.clear()
    list(scans.look())
    assert questions == ["scan_7"]
