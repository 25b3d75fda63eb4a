"""Names as callers write them: a list, or a text with commas; in any case of letters where that is unambiguous."""

from collections.abc import Collection, Iterator

from scanstream.errors import FieldError
from scanstream.model import MOST_NAMES


class KnownNames:
    """The names of one kind that there are."""

    def __init__(self, known: Collection[str], unknown: str) -> None:
        """:param unknown: what is said before a name that is none of them"""
        self._known = {name: name for name in known}
        self._unknown = unknown
        self._folded: dict[str, list[str]] | None = None

    def find(self, written: str) -> str:
        """The name that is meant.

        :raises ValueError: if there is none, or more than one
        """
        if written in self._known:
            return self._known[written]
        if self._folded is None:
            self._folded = {}
            for name in self._known:
                self._folded.setdefault(name.casefold(), []).append(name)
        match self._folded.get(written.casefold(), []):
            case [name]:
                return name
            case []:
                raise ValueError(f"{self._unknown} {written!r}")
            case several:
                raise ValueError(f"{written!r} may be {' or '.join(map(repr, several[:5]))}; write it as it is there")

    def resolve(self, field: str, written: Collection[str], found: set[str]) -> Iterator[FieldError]:
        """Put the names that are meant into `found`, and give what is wrong with the others, one by one."""
        for name in sorted(written):
            try:
                found.add(self.find(name))
            except ValueError as error:
                yield FieldError(field, str(error))


def listed(value: list[str] | str) -> set[str]:
    """The names in a list, or in a text with commas between them.

    :raises ValueError: if there are none, or too many
    """
    items = value.split(",", MOST_NAMES) if isinstance(value, str) else value
    if len(items) > MOST_NAMES:
        raise ValueError(f"names more than {MOST_NAMES}")
    names = {item.strip() for item in items} - {""}
    if not names:
        raise ValueError("names nothing; leave it out to have all")
    return names
