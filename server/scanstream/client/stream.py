"""The second rung: one stream of events for all scans, `POST /opportunities/follow` (docs/protocol.md, section 5)."""

import re
from collections.abc import Iterator
from typing import Any

from scanstream.client.asking import FOLLOW_PATH, Asking, losses
from scanstream.client.backoff import Pace
from scanstream.client.failures import Lost, decoded
from scanstream.client.run import Run
from scanstream.client.token import Renewal
from scanstream.errors import ScanstreamError

SILENCE_SECONDS = 12.0
"""The server's heartbeat comes each 5 s; after so long without a byte the stream is dead."""
LARGEST_EVENT = 64 * 1024 * 1024
KNOWN = (b"snapshot", b"update", b"end", b"error")
"""Other events are not ours to read: a later version's, or a proxy's."""
LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
"""A carriage return at the very end may be half of one."""
MARK = b"\xef\xbb\xbf"
"""May stand at the very beginning."""
EVENTS = {"accept": "text/event-stream"}


class StreamRung:
    """See above; its time may be shorter in tests."""

    def __init__(self, asking: Asking, *, silence: float = SILENCE_SECONDS) -> None:
        self._asking = asking
        self._silence = silence
        self._pace = Pace()
        self._renewal = Renewal(asking.token)

    async def carry(self, run: Run) -> None:
        """Bring frames for as long as the stream lasts; it is asked for anew when other scans are wanted.

        :raises Lost: when it is over
        :raises ScanstreamError: if the server does not take what is asked
        """
        while True:
            await run.some()
            await self._pace.turn()
            if run.feeds:
                await run.until_changed(lambda: self._read(run))

    async def _read(self, run: Run) -> None:
        request = {"follow": run.all_asked()}
        events = Events()
        async with self._asking.answering(
            "POST", FOLLOW_PATH, request=request, more=EVENTS, silence=self._silence
        ) as answer:
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                raise Lost("what answers sends no stream of events")
            sent = await self._asking.token.now()
            with losses(self._asking.url):
                async for piece in answer.aiter_bytes():
                    run.alive()
                    self._take(run, events.messages(piece), sent)
                    if run.quiet():  # there is a piece each 5 s, news or not
                        return
        if run.feeds:
            raise Lost("the stream has ended before the scans have")

    def _take(self, run: Run, messages: Iterator[dict[str, Any]], sent: str | None) -> None:
        """What came with a piece; the last may say that the token has run out."""
        try:
            for message in messages:
                run.take(message)
        except ScanstreamError as error:
            raise self._renewal.judged(error, sent, brought=run.brought) from error


class Events:
    """The data of server-sent events out of pieces (WHATWG HTML, section 9.2.6), as messages."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._type = b""
        self._mark = MARK

    def messages(self, piece: bytes) -> Iterator[dict[str, Any]]:
        """Those that are whole with this piece.

        :raises Lost: if something is none
        """
        *lines, self._rest = LINE_END.split(self._rest + piece)
        for line in lines:
            told = line.removeprefix(self._mark)
            name, _, value = told.partition(b":")
            self._mark = b""
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
            elif name == b"event":
                self._type = value.removeprefix(b" ")
            elif not told:  # a colon alone is a comment, and ends nothing
                if self._data and self._type in KNOWN:
                    yield self._message()
                self._type, self._data = b"", []
        if len(self._rest) + sum(map(len, self._data)) > LARGEST_EVENT:
            raise Lost(f"what answers sends events of more than {LARGEST_EVENT} bytes")

    def _message(self) -> dict[str, Any]:
        message = decoded(b"\n".join(self._data))
        if not isinstance(message, dict):
            raise Lost("what answers sends events that are no messages")
        return {**message, "type": self._type.decode()}
