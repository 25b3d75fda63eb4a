"""The cache of frames: what it gives back is what was put in, and it never holds more than it may."""

from hypothesis import given
from hypothesis import strategies as st

from scanstream.push.frames import FrameCache


class Frame(bytes):
    """Something encoded; each is itself."""


PUTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.integers(0, 60), st.booleans()), max_size=80)


@given(PUTS)
def test_it_is_bounded_by_count_and_by_bytes_and_tells_the_truth(puts: list[tuple[str, int, int, bool]]) -> None:
    cache = FrameCache[Frame](scan_frames=5, scan_bytes=100, bytes=180)
    truth: dict[tuple[str, int], Frame] = {}
    for scan_id, key, size, drop in puts:
        if drop:
            cache.drop(scan_id)
            assert all(cache.get(scan_id, number) is None for number in range(31))
        if cache.get(scan_id, key) is None:
            truth[scan_id, key] = Frame(bytes(size))
            cache.put(scan_id, key, truth[scan_id, key])
        held = {name: [cache.get(name, number) for number in range(31)] for name in "abc"}
        sizes = {name: sum(len(frame) for frame in frames if frame) for name, frames in held.items()}
        assert cache.bytes == sum(sizes.values()) <= 180
        assert all(size <= 100 for size in sizes.values())
        assert all(sum(frame is not None for frame in frames) <= 5 for frames in held.values())
        for name, frames in held.items():
            assert all(frame is None or frame is truth[name, number] for number, frame in enumerate(frames))


def test_the_newest_is_kept_and_the_oldest_goes() -> None:
    cache = FrameCache[Frame](scan_frames=2, scan_bytes=100, bytes=1000)
    for key in range(4):
        cache.put("a", key, Frame(b"x"))
    assert [cache.get("a", key) is not None for key in range(4)] == [False, False, True, True]


def test_one_that_is_larger_than_all_that_may_be_held_is_not_held() -> None:
    cache = FrameCache[Frame](scan_frames=2, scan_bytes=10, bytes=1000)
    cache.put("a", 1, Frame(bytes(11)))
    assert (cache.get("a", 1), cache.bytes) == (None, 0)
