"""The client that is judged, as a program behind an adapter: one line of JSON in, one line for each thing told out."""

import json
import os
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import anyio
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.text import TextReceiveStream

EVENTS = ("started", "update", "end", "error")
LEAVE_SECONDS = 5.0
"""What an adapter has to end once it has said its last word."""
MOST_LINES = 10_000
MOST_CHARACTERS = 64 * 1024 * 1024
"""Of one line: larger than any state with all that was found."""
MOST_COMPLAINTS = 10
GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


class Unusable(Exception):
    """The adapter cannot be started."""


class Heard(NamedTuple):
    """What a user of the client would have been told."""

    at: float
    event: str
    told: dict[str, Any]


class Adapter:
    """One run of it."""

    def __init__(self, process: Process, begin: dict[str, Any]) -> None:
        self._process = process
        self._begin = begin
        self.heard: list[Heard] = []
        self.wrong: list[str] = []
        """Lines that are none of the protocol's."""

        self.complaints: deque[str] = deque(maxlen=MOST_COMPLAINTS)
        """The last lines of its standard error."""

    async def run(self) -> None:
        """Hand it its line, and listen until it has said its last word, or ends."""
        assert self._process.stdin is not None
        with suppress(*GONE):  # it has ended, or does not listen: what it says tells
            await self._process.stdin.send(json.dumps(self._begin).encode() + b"\n")
        async for line in _lines(self._process.stdout):
            self._line(line)
            if len(self.heard) + len(self.wrong) > MOST_LINES:
                return

    async def listen_to_complaints(self) -> None:
        """Whoever writes to standard error is never held up by us."""
        async for line in _lines(self._process.stderr):
            self.complaints.append(line)

    @property
    def exit_code(self) -> int | None:
        """None while it runs; below zero: the signal that it died of."""
        return self._process.returncode

    def _line(self, line: str) -> None:
        try:
            told = json.loads(line)
            event = told["event"]
        except (ValueError, TypeError, KeyError, RecursionError):
            event, told = None, None
        if event in EVENTS:
            self.heard.append(Heard(time.monotonic(), event, told))
        elif line.strip():
            self.wrong.append(line)


async def _lines(stream: ByteReceiveStream | None) -> AsyncIterator[str]:
    """Line by line; one without an end is cut where it is longer than any may be."""
    assert stream is not None
    held: list[str] = []
    length = 0
    async for text in TextReceiveStream(stream, errors="replace"):
        *lines, rest = text.split("\n")
        for line in lines:
            yield "".join([*held, line])
            held, length = [], 0
        held.append(rest)
        length += len(rest)
        if length > MOST_CHARACTERS:
            yield "".join(held)
            held, length = [], 0
    if length:
        yield "".join(held)


@asynccontextmanager
async def adapter(command: Sequence[str], begin: dict[str, Any]) -> AsyncIterator[Adapter]:
    """The program, until the end of the block; with it goes what it has started itself.

    :raises Unusable: if there is none
    """
    try:
        process = await anyio.open_process([*command], start_new_session=True)
    except OSError as error:
        raise Unusable(f"{command[0]} cannot be started: {error.strerror or error}") from error
    async with process, anyio.create_task_group() as tasks:
        client = Adapter(process, begin)
        tasks.start_soon(client.listen_to_complaints)
        try:
            yield client
        finally:
            with anyio.CancelScope(shield=True):
                with anyio.move_on_after(LEAVE_SECONDS if process.returncode is None else 0):
                    await process.wait()
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            tasks.cancel_scope.cancel()
