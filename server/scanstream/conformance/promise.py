"""A promise of docs/protocol.md, and the check that finds out whether a server keeps it."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias

Body: TypeAlias = Callable[[Any], Awaitable[None]]
"""It is given the `Run`."""


class Broken(Exception):
    """The promise does not hold: what was expected, and what was seen instead."""

    def __init__(self, expected: str, seen: object) -> None:
        super().__init__(f"expected {expected}; seen: {seen}")
        self.expected = expected
        self.seen = seen


class Cut(Broken):
    """The same, as a connection ended where it should have gone on."""


class NotTried(Exception):
    """Whether it holds cannot be found out here; says why, and what would help."""


class Check(NamedTuple):
    """One question to a server."""

    name: str
    section: str
    """Of docs/protocol.md, with the number of the promise in section 1."""
    promise: str
    body: Body
    slow: bool
    """Whether it waits for time to pass: seconds, on any server."""


CHECKS: dict[str, Check] = {}
"""All of them, in the order in which they are asked."""


def check(name: str, section: str, promise: str, *, slow: bool = False) -> Callable[[Body], Body]:
    """The function below finds out whether this promise holds: it returns, or raises `Broken` or `NotTried`."""

    def register(body: Body) -> Body:
        assert name not in CHECKS, name
        CHECKS[name] = Check(name, section, promise, body, slow)
        return body

    return register


def expect(holds: object, expected: str, seen: object) -> None:
    """Go on only if it holds.

    :raises Broken: if not
    """
    if not holds:
        raise Broken(expected, seen)


def equal(seen: object, wanted: object, what: str) -> None:
    """Go on only if the two are one value; JSON's numbers 1 and 1.0 are.

    :raises Broken: if not
    """
    if seen != wanted:
        raise Broken(f"{what} to be {wanted!r}", differing(seen, wanted))


def says(message: dict[str, Any], what: str, **wanted: Any) -> None:
    """Go on only if the message has these fields and, unless it is among them, no id; it may have more.

    :raises Broken: if not
    """
    equal({name: value for name, value in message.items() if name in (*wanted, "id")}, wanted, what)


def differing(seen: Any, wanted: Any) -> str:
    """What was seen, or of two objects only where they differ."""
    if not isinstance(seen, dict) or not isinstance(wanted, dict):
        return repr(seen)
    keys = [key for key in {**seen, **wanted} if seen.get(key) != wanted.get(key) or (key in seen) != (key in wanted)]
    return "; ".join(f"{key}: {seen.get(key, 'absent')!r} and not {wanted.get(key, 'absent')!r}" for key in keys)
