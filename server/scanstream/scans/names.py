"""Names as callers write them: a list, or a text with commas; in any case of letters where that is unambiguous."""

from collections.abc import Collection, Iterator
from heapq import nsmallest

from scanstream.errors import MOST_ERRORS, FieldError
from scanstream.model import MOST_NAMES

AT_ONCE = 500
"""Names that are looked up before somebody else has a turn."""


class KnownNames:
    """The names of one kind that there are, ready to be looked up: a request may name ten thousand."""

    def __init__(self, known: Collection[str], unknown: str) -> None:
        """:param unknown: what is said before a name that is none of them"""
        self._known = frozenset(known)
        self._ordered = sorted(self._known)
        self._unknown = unknown
        self._folded: dict[str, str] = {}
        """As written in small letters → the one that is meant."""
        self._several: dict[str, list[str]] = {}
        """… and those of which that is not clear."""
        for name in known:
            written = name.casefold()
            if (other := self._folded.setdefault(written, name)) != name:
                self._several.setdefault(written, [other]).append(name)
        for written in self._several:
            del self._folded[written]

    def resolve(self, field: str, written: Collection[str], found: set[str]) -> Iterator[FieldError | None]:
        """Put the names that are meant into `found`, and give what is wrong with the others, one by one, in order.

        None where somebody else may have a turn.
        """
        others = list(set(written) - self._known)
        found |= set(written).difference(others)
        unknown: list[str] = []
        for start in range(0, len(others), AT_ONCE):
            yield None
            for name in others[start : start + AT_ONCE]:
                if (meant := self._folded.get(name.casefold())) is None:
                    unknown.append(name)
                else:
                    found.add(meant)
        yield None
        for name in nsmallest(MOST_ERRORS + 1, unknown):  # no more of them are looked at
            yield FieldError(field, self._why(name))

    def _why(self, name: str) -> str:
        """What is wrong with a name that means none."""
        if several := self._several.get(name.casefold()):
            return f"{name!r} may be {' or '.join(map(repr, several[:5]))}; write it as it is there"
        return f"{self._unknown} {name!r}"

    def in_order(self, found: Collection[str]) -> list[str]:
        """These names of them, sorted."""
        return list(self._ordered) if len(found) == len(self._ordered) else sorted(found)


def listed(value: list[str] | str) -> set[str]:
    """The names in a list, or in a text with commas between them.

    :raises ValueError: if there are none, or too many
    """
    items = value.split(",", MOST_NAMES) if isinstance(value, str) else value
    if len(items) > MOST_NAMES:
        raise ValueError(f"names more than {MOST_NAMES}")
    names = set(map(str.strip, items))
    names.discard("")
    if not names:
        raise ValueError("names nothing; leave it out to have all")
    return names
