"""What is at stake just now: a scan, a strategy, a shard. Whatever is logged meanwhile says so (logs.py)."""

import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TypeAlias

Facts: TypeAlias = Mapping[str, str | int]

SCAN_ID = re.compile(r"scan_[0-9a-f]{42}")

_stake: ContextVar[Facts] = ContextVar("scanstream.about", default=MappingProxyType({}))

_caller: ContextVar[str | None] = ContextVar("scanstream.traceparent", default=None)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-.{0,100})?")


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


def node_name() -> str:
    """Which process this is, among those whose words come together."""
    return f"{platform.node() or 'localhost'}:{os.getpid()}"


def came_from(told: str | None) -> None:
    """From here on, in this task, the caller's trace is this one (`traceparent`, W3C Trace Context)."""
    _caller.set(told if told is not None and _TRACEPARENT.fullmatch(told) else None)


def traceparent() -> str | None:
    """The caller's trace, if the caller has one."""
    return _caller.get()


def at_stake() -> Facts:
    """What is."""
    return _stake.get()
