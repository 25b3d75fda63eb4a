"""What is at stake just now: a scan, a strategy, a shard. Whatever is logged meanwhile says so (logs.py)."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TypeAlias

Facts: TypeAlias = Mapping[str, str | int]

SCAN_ID = re.compile(r"scan_[0-9a-f]{42}")

_stake: ContextVar[Facts] = ContextVar("scanstream.about", default=MappingProxyType({}))


@contextmanager
def about(**facts: str | int) -> Iterator[None]:
    """In here these are at stake, beside those further out."""
    token = _stake.set({**_stake.get(), **facts})
    try:
        yield
    finally:
        _stake.reset(token)


def mention(text: str) -> None:
    """From here on, in this task, the scan is at stake that is named in the text, if one is."""
    if (named := SCAN_ID.search(text)) is not None:
        _stake.set({**_stake.get(), "scan_id": named[0]})


def at_stake() -> Facts:
    """What is."""
    return _stake.get()
