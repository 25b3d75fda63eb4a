"""What was found: one line each, for people and for programs."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from scanstream.legible import legible

LONGEST = 500
"""Characters of what is said: much of it comes from elsewhere."""


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    check: str
    holds: bool
    says: str
    do: str = ""
    """What to do, where it does not hold; where it does, what may be worth a thought."""


def good(check: str, says: str, do: str = "") -> Finding:
    """It holds."""
    return Finding(check=check, holds=True, says=legible(says, LONGEST), do=legible(do, LONGEST))


def bad(check: str, says: str, do: str) -> Finding:
    """It does not."""
    return Finding(check=check, holds=False, says=legible(says, LONGEST), do=legible(do, LONGEST))


def lines(findings: Iterable[Finding]) -> Iterator[str]:
    """For people."""
    for one in findings:
        yield f"{'ok ' if one.holds else 'NOT'}  {one.check}: {one.says}"
        if one.do:
            yield f"     → {one.do}"
