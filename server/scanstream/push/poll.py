"""The polling door: the state as of now, or as soon as it is newer than what the caller has."""

import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from scanstream.log.cursor import Cursor, Position, parse
from scanstream.log.entry import PART_OPPORTUNITIES
from scanstream.log.scanlog import ScanLog
from scanstream.model import ANYONE, confidence_order
from scanstream.push.desk import Desk
from scanstream.push.drain import Drain
from scanstream.push.fanout import Fanout
from scanstream.push.problem import json_response
from scanstream.push.query import entity_tags, wait_seconds

PARTIAL_RESULTS = 10
"""How many of the best opportunities a status answer shows while the scan runs."""


class PollDoor:
    """`GET /opportunities/status/{scan_id}`."""

    def __init__(self, desk: Desk, fanout: Fanout, drain: Drain) -> None:
        self._desk = desk
        self._fanout = fanout
        self._drain = drain

    async def status(self, request: Request) -> Response:
        """The state; with `?since=` what is new beside it; with a wait not before there is something new."""
        seconds = wait_seconds(request)
        log = await self._desk.find(ANYONE, request.path_params["scan_id"])
        since = request.query_params.get("since")
        if since is not None:
            position = await self._desk.place(log, parse(since))
            await self.until(log, lambda: log.news(position), seconds)
            return self._answer_since(log, position)
        tags = entity_tags(request)
        if tags is not None and not _stale(log, tags):
            await self.until(log, lambda: _stale(log, tags), seconds)
            if not _stale(log, tags):
                return Response(status_code=304, headers=_headers(log, tag=True))
        return json_response(self._plain_body(log), headers=_headers(log, tag=True))

    async def until(self, log: ScanLog, holds: Callable[[], bool], seconds: float) -> None:
        """Wait until `holds`, the scan has ended, the time is over, or the server is about to restart."""
        deadline = time.monotonic() + seconds
        with self._fanout.reading(log.scan_id) as reader, self._drain.attending(reader.wake):
            while not holds() and not log.ended and not self._drain.begun:
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                await reader.woken(left)

    def _plain_body(self, log: ScanLog) -> dict[str, Any]:
        body = {**log.document, "cursor": str(log.cursor(Position(log.seq, 0))), **self._rank(log)}
        if not log.ended:
            body["partial_results"] = sorted(log.opportunities, key=confidence_order)[:PARTIAL_RESULTS]
        return body

    def _answer_since(self, log: ScanLog, position: Position) -> Response:
        stop = min(position.n + PART_OPPORTUNITIES, len(log.opportunities))
        body = {
            **log.document,
            "cursor": str(log.cursor(Position(log.seq, stop))),
            "opportunities": log.opportunities[position.n : stop],
            "offset": position.n,
            **self._rank(log),
        }
        if stop < len(log.opportunities):
            body["more"] = True
        return json_response(body, headers=_headers(log, tag=False))

    def _rank(self, log: ScanLog) -> dict[str, int]:
        rank = self._desk.rank(log.scan_id)
        return {} if rank is None else {"rank": rank}


def _stale(log: ScanLog, tags: list[str]) -> bool:
    """Whether none of the tags is of the state as it is: entries that changed nothing do not make one stale."""
    if "*" in tags:
        return False
    held = (parse(f"{tag}.0") for tag in tags)
    return not any(isinstance(tag, Cursor) and _is_current(log, tag) for tag in held)


def _is_current(log: ScanLog, tag: Cursor) -> bool:
    return tag.epoch == log.epoch and log.changed <= tag.position.seq <= log.seq


def _headers(log: ScanLog, *, tag: bool) -> dict[str, str]:
    headers = {"cache-control": "no-cache"}
    if tag:
        headers["etag"] = f'"{log.epoch}-{log.seq}"'
    if not log.ended:
        headers["retry-after"] = "1"
    return headers
