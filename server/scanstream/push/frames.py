"""Encoded frames that several readers want: kept as long as they are of use, within bounds.

Readers of one scan are mostly at the same position, so few frames serve all of them. Somebody who asks from a thousand
different positions gets a thousand frames encoded, and they are forgotten as quickly.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sized
from typing import Generic, TypeVar

MOST_SCAN_FRAMES = 64
MOST_SCAN_BYTES = 4 * 1024 * 1024
MOST_BYTES = 32 * 1024 * 1024
"""Over all scans."""


Frame = TypeVar("Frame", bound=Sized)


class FrameCache(Generic[Frame]):
    """Frames by scan and by what they are; the oldest are forgotten first."""

    def __init__(
        self, *, scan_frames: int = MOST_SCAN_FRAMES, scan_bytes: int = MOST_SCAN_BYTES, bytes: int = MOST_BYTES
    ) -> None:
        self._scan_frames = scan_frames
        self._scan_bytes = scan_bytes
        self._bytes = bytes
        self._scans: OrderedDict[str, OrderedDict[Hashable, Frame]] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self.bytes = 0
        """What is kept."""

    def get(self, scan_id: str, key: Hashable) -> Frame | None:
        """The frame, if it is still there."""
        frames = self._scans.get(scan_id)
        return None if frames is None else frames.get(key)

    def put(self, scan_id: str, key: Hashable, frame: Frame) -> None:
        """Keep a frame; older ones of this scan, then whole scans, make room for it."""
        frames = self._scans.setdefault(scan_id, OrderedDict())
        self._scans.move_to_end(scan_id)
        frames[key] = frame
        self._weigh(scan_id, len(frame))
        while len(frames) > self._scan_frames or self._sizes[scan_id] > self._scan_bytes:
            _, oldest = frames.popitem(last=False)
            self._weigh(scan_id, -len(oldest))
        while self.bytes > self._bytes:
            self.drop(next(iter(self._scans)))

    def _weigh(self, scan_id: str, more: int) -> None:
        self._sizes[scan_id] = self._sizes.get(scan_id, 0) + more
        self.bytes += more

    def drop(self, scan_id: str) -> None:
        """Forget a scan's frames: it has gone on, or nobody follows it."""
        self._scans.pop(scan_id, None)
        self.bytes -= self._sizes.pop(scan_id, 0)
