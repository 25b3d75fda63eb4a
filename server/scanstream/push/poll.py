"""The polling door: the state as of now, or as soon as it is newer than what the caller has."""

import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from scanstream.log.cursor import parse
from scanstream.log.scanlog import ScanLog
from scanstream.model import ANYONE
from scanstream.push.answers import StatusAnswers, status_headers, tag_of
from scanstream.push.desk import Desk
from scanstream.push.drain import Drain
from scanstream.push.fanout import Fanout
from scanstream.push.held import RANK_TICK_SECONDS
from scanstream.push.presence import while_there
from scanstream.push.query import JSON_TYPE, entity_tags, single, wait_of


class PollDoor:
    """`GET /opportunities/status/{scan_id}`."""

    def __init__(self, desk: Desk, fanout: Fanout, drain: Drain, answers: StatusAnswers) -> None:
        self._desk = desk
        self._answers = answers
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
            body = self._answers.since(log, position).body
            return Response(body, 200, wait.headers | status_headers(log), JSON_TYPE)
        tags = entity_tags(request)
        if tags is not None and tags.contains_weak(self._tag(log)):
            await self.until(request, log, lambda: not tags.contains_weak(self._tag(log)), wait.seconds)
        tag = self._tag(log)
        headers = wait.headers | status_headers(log, tag)
        if tags is not None and tags.contains_weak(tag):
            return Response(status_code=304, headers=headers)
        return Response(self._answers.whole(log).body, 200, headers, JSON_TYPE)

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

    def _tag(self, log: ScanLog) -> str:
        """Stands for all that the plain answer says: the log as it is and, while it waits, its place in the queue."""
        return tag_of(log, self._desk.rank(log.scan_id))
