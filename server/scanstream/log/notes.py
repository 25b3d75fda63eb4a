"""The notes of a strategy's shards as one: equal ones once, those of the lowest shards first, never more than 4 KB.

Whatever the order in which they come, the same notes make the same text: which groups are told follows from the lowest
shard of each, and a group that was left out comes back only by a shard of its own, which brings its text with it. So
no text needs to be held that is not told, and memory is bounded by the number of shards.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

MOST_BYTES = 4096
_ROOM = MOST_BYTES - len("; … and 4,096 more".encode())
_COUNT = len(" (4,096 shards)")
LONGEST = _ROOM - _COUNT
"""Bytes of one note; what is longer is cut off."""
CUT = " …"


class Group(Struct, frozen=True):
    """Shards that say the same."""

    first: int
    """The lowest of them."""
    count: int
    size: int
    """Bytes that it takes."""
    text: str
    """Empty where it is not told."""


class Notes(Struct, frozen=True):
    """What the shards so far have noted."""

    groups: Mapping[bytes, Group] = {}
    """By a digest of the text."""
    within: tuple[bytes, ...] = ()
    """Those that are told, in the order of their lowest shards: all until the first for which there is no room …"""
    beyond: float = math.inf
    """… and the lowest shard of that one."""

    def __bool__(self) -> bool:
        """Whether anything was noted."""
        return bool(self.groups)

    def add(self, shard: int, text: str) -> "Notes":
        """With the note of one more shard. However many groups there are, only those that are told are looked at."""
        digest = hashlib.blake2s(text.encode(), digest_size=16).digest()
        told = _cut(text)
        group = self.groups.get(digest) or Group(shard, 0, len(told.encode()) + _COUNT + len("; "), told)
        group = replace(group, first=min(group.first, shard), count=group.count + 1, text=told)
        if digest not in self.within and group.first > self.beyond:
            return replace(self, groups={**self.groups, digest: replace(group, text="")})
        groups = {**self.groups, digest: group}
        order = sorted({*self.within, digest}, key=lambda name: groups[name].first)
        within = _that_fit(groups, order)
        for name in order[len(within) :]:
            groups[name] = replace(groups[name], text="")
        beyond = self.beyond if len(within) == len(order) else groups[order[len(within)]].first
        return Notes(groups, within, beyond)

    def told(self) -> str:
        """All of them in one text; how many more there are, where that would be too long."""
        groups = [self.groups[name] for name in self.within]
        texts = [one.text if one.count == 1 else f"{one.text} ({one.count:,} shards)" for one in groups]
        more = len(self.groups) - len(groups)
        return "; ".join([*texts, *([f"… and {more:,} more"] if more else [])])


def _that_fit(groups: Mapping[bytes, Group], order: Sequence[bytes]) -> tuple[bytes, ...]:
    """Of these groups those that there is room for, up to the first that does not fit."""
    room = _ROOM + len("; ")
    for count, name in enumerate(order):
        room -= groups[name].size
        if room < 0:
            return tuple(order[:count])
    return tuple(order)


def _cut(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= LONGEST:
        return text
    return encoded[: LONGEST - len(CUT.encode())].decode(errors="ignore") + CUT
