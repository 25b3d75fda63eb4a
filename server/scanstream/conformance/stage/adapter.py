"""The client that is judged, as a program behind an adapter: one line of JSON in, one line for each thing told out."""

import json
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

EVENTS = ("started", "update", "end", "error")
LEAVE_SECONDS = 5.0
"""What an adapter has to end once it has said its last word."""
MOST_LINES = 10_000


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

    async def run(self) -> None:
        """Hand it its line, and listen until it has said its last word, or ends."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        await self._process.stdin.send(json.dumps(self._begin).encode() + b"\n")
        held = ""
        async for text in TextReceiveStream(self._process.stdout, errors="replace"):
            *lines, held = (held + text).split("\n")
            for line in lines:
                self._line(line)
            if len(self.heard) + len(self.wrong) > MOST_LINES:
                return

    def _line(self, line: str) -> None:
        try:
            told = json.loads(line)
            event = told["event"]
        except (ValueError, TypeError, KeyError):
            event, told = None, None
        if event in EVENTS:
            self.heard.append(Heard(time.monotonic(), event, told))
        elif line.strip():
            self.wrong.append(line)


@asynccontextmanager
async def adapter(command: Sequence[str], begin: dict[str, Any]) -> AsyncIterator[Adapter]:
    """The program, until the end of the block.

    :raises Unusable: if there is none
    """
    try:
        process = await anyio.open_process([*command], stderr=subprocess.PIPE)
    except OSError as error:
        raise Unusable(f"{command[0]} cannot be started: {error.strerror or error}") from error
    async with process:
        try:
            yield Adapter(process, begin)
        finally:
            with anyio.CancelScope(shield=True):
                with anyio.move_on_after(LEAVE_SECONDS if process.returncode is None else 0):
                    await process.wait()
                if process.returncode is None:
                    process.kill()
