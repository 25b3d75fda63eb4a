"""The queue of scans is the list that it seems to be, and its places are counted without walking over it."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from scanstream.model import ScanId
from scanstream.scans.queue import Queue


@given(st.lists(st.sampled_from(["join", "join", "leave"]), max_size=60), st.randoms(use_true_random=False))
def test_each_has_the_place_that_it_has_in_a_list(moves: list[str], random: Random) -> None:
    queue, plain = Queue(), list[ScanId]()
    names = iter(ScanId(f"scan_{number}") for number in range(100))
    for move in moves:
        if move == "join":
            plain.append(next(names))
            queue.join(plain[-1])
        elif move == "leave":
            gone = random.choice([*plain, ScanId("scan_unknown")])
            queue.leave(gone)
            plain = [name for name in plain if name != gone]
        assert len(queue) == len(plain)
        assert [queue.rank(name) for name in plain] == list(range(1, len(plain) + 1))
        assert all(name in queue for name in plain)
        assert queue.rank(ScanId("scan_unknown")) is None


def test_nothing_is_remembered_of_those_that_have_gone() -> None:
    queue = Queue()
    for number in range(1000):
        queue.join(ScanId(f"scan_{number}"))
    for number in range(999):
        queue.leave(ScanId(f"scan_{(number * 7) % 1000}"))
    assert len(queue) == 1
    queue.leave(next(iter(queue._numbers)))
    assert not queue._left
