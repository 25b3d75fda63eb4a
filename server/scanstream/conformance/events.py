"""Event streams as WHATWG has them: whatever ends a line, however the bytes are cut, whatever comments come between."""

import re
from collections.abc import AsyncIterator
from typing import NamedTuple

MESSAGES = ("ack", "snapshot", "update", "end", "error", "pong")
"""Types that the protocol knows: a receiver passes over all others."""

_ENDS = re.compile(rb"\r\n|\n|\r")
_MARK = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One that has data."""

    name: str
    id: str | None
    data: str


async def lines(parts: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The lines of a stream as they come. Others end at three signs more, which JSON may have in its texts."""
    held, begun, after_return = b"", False, False
    async for part in parts:
        data = part[1:] if after_return and part.startswith(b"\n") else part
        after_return = part.endswith(b"\r") if part else after_return
        *whole, held = _ENDS.split(held + data)
        for line in whole:
            yield (line if begun else line.removeprefix(_MARK)).decode(errors="replace")
            begun = True


async def events(told: AsyncIterator[str]) -> AsyncIterator[Event]:
    """Events in these lines; what has no data is none."""
    fields: dict[str, str] = {}
    data: list[str] = []
    async for line in told:
        name, _, value = line.partition(":")
        if not line and data:
            yield Event(fields.get("event", "message"), fields.get("id"), "\n".join(data))
        if not line:
            fields, data = {}, []
        elif name == "data":
            data.append(value.removeprefix(" "))
        elif name:
            fields[name] = value.removeprefix(" ")


async def of_body(body: bytes) -> list[Event]:
    """All of a stream that has ended, of types that the protocol knows."""

    async def parts() -> AsyncIterator[bytes]:
        yield body

    return [event async for event in events(lines(parts())) if event.name in MESSAGES]
