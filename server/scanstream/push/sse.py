"""Streams of events, as an `EventSource` reads them (WHATWG HTML, section 9.2)."""

from collections.abc import AsyncGenerator

from scanstream.push.fanout import Encoded
from scanstream.push.query import EVENTS_TYPE
from scanstream.push.streaming import PiecewiseResponse

HEARTBEAT_SECONDS = 5.0
"""A comment this often keeps proxies from taking the silence for the end, and lets a reader notice a dead line."""
HEARTBEAT = b": still here\n\n"
UNBUFFERED = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""Headers of a stream; the second is for proxies that would gather its events."""
RETRY = b"retry: 1000\n\n"
"""Milliseconds until a lost stream is asked for again."""


def event(message: Encoded, cursor: str | None = None) -> bytes:
    """One event: its name is the message's type, its id the cursor after it where the stream is of one scan."""
    identity = "" if cursor is None else f"id: {cursor}\n"
    return b"".join((f"event: {message.type}\n{identity}data: ".encode(), message.data, b"\n\n"))


class EventStream(PiecewiseResponse):
    """A stream of events."""

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(events, UNBUFFERED, EVENTS_TYPE)
