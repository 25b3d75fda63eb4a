"""An error, and all that is behind it: why something failed is seldom what the last of several layers calls it."""

from collections.abc import Iterator

MOST_CAUSES = 32
"""Errors behind an error that are looked at: an exception may be its own cause."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, then what it was raised from and beside, and what is in it where it is a group; the nearest first."""
    waiting = [error]
    for _ in range(MOST_CAUSES):
        cause = waiting.pop(0) if waiting else None
        if cause is None:
            return
        yield cause
        inside = cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()
        waiting += [other for other in (cause.__cause__, cause.__context__, *inside) if other is not None]
