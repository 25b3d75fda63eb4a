"""The polling door: the state as of now, or as soon as it is newer than what the caller has."""

import time
from collections.abc import Callable
from heapq import nsmallest
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from scanstream.log.cursor import Position, parse
from scanstream.log.entry import PART_OPPORTUNITIES
from scanstream.log.scanlog import ScanLog
from scanstream.message import POLLING_INTERVAL_SECONDS
from scanstream.model import ANYONE, confidence_order
from scanstream.push.desk import Desk
from scanstream.push.drain import Drain
from scanstream.push.fanout import Fanout
from scanstream.push.presence import while_there
from scanstream.push.problem import json_response
from scanstream.push.query import Wait, entity_tags, single, wait_of

PARTIAL_RESULTS = 10
"""How many of the best opportunities a status answer shows while the scan runs."""
RANK_TICK_SECONDS = 1.0
"""How often a long poll looks at its scan's place in the queue."""


class PollDoor:
    """`GET /opportunities/status/{scan_id}`."""

    def __init__(self, desk: Desk, fanout: Fanout, drain: Drain) -> None:
        self._desk = desk
        self._fanout = fanout
        self._drain = drain

    async def status(self, request: Request) -> Response:
        """The state; with `?since=` what is new beside it; with a wait not before there is something new."""
        wait = wait_of(request)
        since = single(request, "since")
        log = await self._desk.find(ANYONE, request.path_params["scan_id"])
        if since is not None:
            position, rank = await self._desk.place(log, parse(since)), self._desk.rank(log.scan_id)
            await self.until(
                request, log, lambda: log.news(position) or self._desk.rank(log.scan_id) != rank, wait.seconds
            )
            return json_response(self._body_since(log, position), headers=wait.headers | _headers(log))
        tags = entity_tags(request)
        if tags is not None and tags.contains_weak(self._tag(log)):
            await self.until(request, log, lambda: not tags.contains_weak(self._tag(log)), wait.seconds)
            if tags.contains_weak(self._tag(log)):
                return Response(status_code=304, headers=self._tagged(log, wait))
        return json_response(self._plain_body(log), headers=self._tagged(log, wait))

    async def until(self, request: Request, log: ScanLog, holds: Callable[[], bool], seconds: float) -> None:
        """Wait until `holds`, the scan has ended, the time is over, or the server is about to restart.

        A HEAD asks how things are, and does not wait.

        :raises ClientDisconnect: if the caller has left
        """
        if seconds > 0 and request.method != "HEAD":
            async with while_there(request.receive):
                await self._wait(log, holds, seconds)

    async def _wait(self, log: ScanLog, holds: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with self._fanout.reading(log.scan_id) as reader, self._drain.attending(reader.wake):
            while not holds() and not log.ended and not self._drain.begun:
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                queued = self._desk.rank(log.scan_id) is not None  # the queue goes on without a change of this scan
                await reader.woken(min(left, RANK_TICK_SECONDS) if queued else left)

    def _plain_body(self, log: ScanLog) -> dict[str, Any]:
        body = {**log.document, "cursor": str(log.cursor(Position(log.seq, 0))), **self._rank(log)}
        if not log.ended:
            body["partial_results"] = nsmallest(PARTIAL_RESULTS, log.opportunities, key=confidence_order)
        return body

    def _body_since(self, log: ScanLog, position: Position) -> dict[str, Any]:
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
        return body

    def _rank(self, log: ScanLog) -> dict[str, int]:
        rank = self._desk.rank(log.scan_id)
        return {} if rank is None else {"rank": rank}

    def _tag(self, log: ScanLog) -> str:
        """Stands for all that the plain answer says: the log as it is and, while it waits, its place in the queue."""
        rank = self._desk.rank(log.scan_id)
        return f"{log.epoch}-{log.seq}" if rank is None else f"{log.epoch}-{log.seq}-{rank}"

    def _tagged(self, log: ScanLog, wait: Wait) -> dict[str, str]:
        return {**wait.headers, **_headers(log), "etag": f'"{self._tag(log)}"'}


def _headers(log: ScanLog) -> dict[str, str]:
    return {} if log.ended else {"retry-after": str(POLLING_INTERVAL_SECONDS)}
