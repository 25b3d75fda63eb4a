"""Status answers, made once for all who ask: of a scan as it is, until it goes on.

A thousand pollers of one scan get the same bytes, and the tag that spares them the next time is ready to be compared.
"""

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from starlette.responses import Response

from scanstream.log.cursor import Position
from scanstream.log.entry import PART_OPPORTUNITIES
from scanstream.log.packed import Piece
from scanstream.log.scanlog import ScanLog
from scanstream.message import POLLING_INTERVAL_SECONDS
from scanstream.model import ScanId
from scanstream.push.codec import JSON
from scanstream.push.query import JSON_TYPE

MOST_ANSWERS = 4096
MOST_PARTS = 8
"""Of one scan, for readers at so many places; usually they are all at the same one."""
MOST_BYTES = 16 * 1024 * 1024
"""Of all answers that are kept; the oldest ones are forgotten first."""


class Whole(NamedTuple):
    """A 200."""

    head: bytes
    """Header lines behind those that every answer begins with, and the empty line."""
    body: bytes


class StatusAnswer:
    """What a plain poll is told of a scan at one seq and place in the queue; its body is made when it is wanted."""

    __slots__ = ("gone", "parts", "rank", "seq", "tag", "unchanged", "whole")

    def __init__(self, log: ScanLog, rank: int | None, gone: Callable[[object], None]) -> None:
        self.seq = log.seq
        self.rank = rank
        self.tag = tag_of(log, rank)
        """Without its quotes."""
        self.unchanged = lines(Response(status_code=304, headers=_headers(log, self.tag)))
        """Header lines of the 304, as those of the 200."""
        self.whole: Whole | None = None
        self.parts: dict[int, Whole] = {}
        """By how many opportunities their readers hold: what those are told who say where they are."""
        self.gone = weakref.ref(log, gone)
        """Kept, as it calls when the log is let go."""

    @property
    def size(self) -> int:
        """Bytes."""
        made = [self.whole, *self.parts.values()] if self.whole else self.parts.values()
        return len(self.unchanged) + sum(len(whole.head) + len(whole.body) for whole in made)


class StatusAnswers:
    """The answers of those scans that are asked for."""

    def __init__(
        self, rank: Callable[[ScanId], int | None], *, most: int = MOST_ANSWERS, most_bytes: int = MOST_BYTES
    ) -> None:
        self._rank = rank
        self._most = most
        self._most_bytes = most_bytes
        self._kept: OrderedDict[ScanId, StatusAnswer] = OrderedDict()
        self.bytes = 0

    def of(self, log: ScanLog) -> StatusAnswer:
        """The answer as of now."""
        rank = self._rank(log.scan_id)
        kept = self._kept.get(log.scan_id)
        if kept is not None and kept.seq == log.seq and kept.rank == rank:
            return kept
        scan_id = log.scan_id
        self._drop(scan_id)
        answer = self._kept[scan_id] = StatusAnswer(log, rank, lambda _: self._drop(scan_id))
        self._weigh(answer.size)
        return answer

    def whole(self, log: ScanLog) -> Whole:
        """The 200 as of now."""
        answer = self.of(log)
        if answer.whole is not None:
            return answer.whole
        whole = answer.whole = _made(_body(log, answer.rank), _headers(log, answer.tag))
        self._weigh(len(whole.head) + len(whole.body))
        return whole

    def since(self, log: ScanLog, position: Position) -> Whole:
        """The 200 for a reader at a position, with what is new to it."""
        answer = self.of(log)
        part = answer.parts.get(position.n)
        if part is None:
            part = _made(_body_since(log, answer.rank, position), _headers(log))
            if len(answer.parts) >= MOST_PARTS:
                self._weigh(-sum(len(whole.head) + len(whole.body) for whole in answer.parts.values()))
                answer.parts.clear()
            answer.parts[position.n] = part
            self._weigh(len(part.head) + len(part.body))
        return part

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans: this one has gone on."""
        self._drop(log.scan_id)

    def __len__(self) -> int:
        return len(self._kept)

    def _weigh(self, more: int) -> None:
        self.bytes += more
        while self._kept and (len(self._kept) > self._most or self.bytes > self._most_bytes):
            self._drop(next(iter(self._kept)))

    def _drop(self, scan_id: ScanId) -> None:
        if kept := self._kept.pop(scan_id, None):
            self.bytes -= kept.size


def tag_of(log: ScanLog, rank: int | None) -> str:
    """Stands for all that the plain answer says."""
    return f"{log.epoch}-{log.seq}" if rank is None else f"{log.epoch}-{log.seq}-{rank}"


def _made(body: dict[str, Any], headers: dict[str, str]) -> Whole:
    encoded = msgspec.json.encode(body)
    return Whole(lines(Response(encoded, 200, headers, JSON_TYPE)), encoded)


def _body_since(log: ScanLog, rank: int | None, position: Position) -> dict[str, Any]:
    stop = log.opportunities.stop(position.n, min(position.n + PART_OPPORTUNITIES, len(log.opportunities)))
    body = {
        **log.document,
        "cursor": str(log.cursor(Position(log.seq, stop))),
        "opportunities": JSON.listed(Piece(log.opportunities, position.n, stop)),
        "offset": position.n,
    }
    if rank is not None:
        body["rank"] = rank
    if stop < len(log.opportunities):
        body["more"] = True
    return body


def _body(log: ScanLog, rank: int | None) -> dict[str, Any]:
    body = {**log.document, "cursor": str(log.cursor(Position(log.seq, 0)))}
    if rank is not None:
        body["rank"] = rank
    if not log.ended:
        body["partial_results"] = log.opportunities.best()
    return body


def _headers(log: ScanLog, tag: str | None = None) -> dict[str, str]:
    """Of an answer that a preference may change (RFC 7240, section 2), and an origin, which the chain adds."""
    return {"vary": "Prefer, Origin", **status_headers(log, tag)}


def status_headers(log: ScanLog, tag: str | None = None) -> dict[str, str]:
    """What an answer's headers say of the scan: when to ask again, and the tag of a plain answer."""
    again = {} if log.ended else {"retry-after": str(POLLING_INTERVAL_SECONDS)}
    return {**again, **({} if tag is None else {"etag": f'"{tag}"'}), "cache-control": "no-cache"}


def refusal(response: Response) -> bytes:
    """A problem as it goes over the wire, behind its first line: with what the chain adds."""
    response.headers["vary"] = "Origin"
    return lines(response) + bytes(response.body)


def lines(response: Response) -> bytes:
    """Its headers as they go over the wire, and the empty line behind them."""
    return b"".join([*(name + b": " + value + b"\r\n" for name, value in response.raw_headers), b"\r\n"])
