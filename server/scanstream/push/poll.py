"""The polling door: the state as of now, or as soon as it is newer than what the caller has."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from werkzeug.datastructures import ETags

from scanstream.log.cursor import Position, parse
from scanstream.log.scanlog import ScanLog
from scanstream.push.answers import StatusAnswers, status_headers, tag_of
from scanstream.push.callers import caller_of
from scanstream.push.desk import Desk
from scanstream.push.holding import Door, Held, waited
from scanstream.push.line import WayBack
from scanstream.push.query import JSON_TYPE, entity_tags, single, wait_of
from scanstream.push.resumes import Transport
from scanstream.push.waiter import Patient, Room
from scanstream.security.caller import Caller


def never() -> bool:
    """Nothing but the scan's end is waited for."""
    return False


class PollDoor:
    """`GET /opportunities/status/{scan_id}`."""

    def __init__(self, desk: Desk, room: Room, answers: StatusAnswers) -> None:
        self._desk = desk
        self._answers = answers
        self._room = room

    async def status(self, request: Request) -> Response:
        """The state; with `?since=` what is new beside it; with a wait not before there is something new."""
        wait = wait_of(request)
        since = single(request, "since")
        log = await self.log(request)
        rank = self._desk.rank(log.scan_id)
        ranked = rank is not None
        if since is not None:
            cursor = parse(since)
            position = await self._desk.place(log, cursor)
            if not waited(request):
                transport: Transport = "longpoll" if wait.seconds else "poll"
                self._room.fanout.resumes.took(transport, log, cursor, position)
            news = self._news(log, position, rank)
            if held := self.held(request, self.status, log, wait.seconds, news, ranked=ranked):
                return held
            body = self._answers.since(log, position).body
            return Response(body, 200, wait.headers | status_headers(log), JSON_TYPE)
        tags = entity_tags(request)
        if tags is not None:
            changed = self._changed(log, tags)
            if held := self.held(request, self.status, log, wait.seconds, changed, ranked=ranked):
                return held
        tag = self._tag(log)
        headers = wait.headers | status_headers(log, tag)
        if tags is not None and tags.contains_weak(tag):
            return Response(status_code=304, headers=headers)
        return Response(self._answers.whole(log).body, 200, headers, JSON_TYPE)

    async def log(self, request: Request) -> ScanLog:
        """The log of the scan that is asked for; once the request has waited, of the one that it has waited for."""
        waiting, scan_id = waited(request), request.path_params["scan_id"]
        owner = caller_of(request).reads(scan_id)
        if isinstance(waiting, Asker) and not waiting.log.left:
            return waiting.log
        return await self._desk.find(owner, scan_id)

    def _news(self, log: ScanLog, position: Position, rank: int | None) -> Callable[[], bool]:
        return lambda: log.news(position) or self._desk.rank(log.scan_id) != rank

    def _changed(self, log: ScanLog, tags: ETags) -> Callable[[], bool]:
        return lambda: not tags.contains_weak(self._tag(log))

    def held(
        self,
        request: Request,
        door: Door,
        log: ScanLog,
        seconds: float,
        holds: Callable[[], bool] = never,
        *,
        ranked: bool = False,
    ) -> Held | None:
        """In place of an answer, what waits until `holds`, the scan has ended, the time is over, or the server is about
        to restart; None where there is nothing to wait for, or it is over.

        A HEAD asks how things are, and does not wait.

        :param door: answers the request then
        :param ranked: whether the scan's place in the queue counts, too
        """
        if seconds <= 0 or request.method == "HEAD" or waited(request):
            return None
        if holds() or log.ended or self._room.drain.begun:
            return None
        caller = caller_of(request)
        return Held(door, lambda way: Asker(self._room, log, way, seconds, holds, caller, ranked=ranked))

    def _tag(self, log: ScanLog) -> str:
        """Stands for all that the plain answer says: the log as it is and, while it waits, its place in the queue."""
        return tag_of(log, self._desk.rank(log.scan_id))


class Asker(Patient):
    """Whose request went through the chain, and does so again when there is something to say."""

    __slots__ = ("_holds", "caller")

    def __init__(
        self,
        room: Room,
        log: ScanLog,
        way: WayBack,
        seconds: float,
        holds: Callable[[], bool],
        caller: Caller,
        *,
        ranked: bool,
    ) -> None:
        self._holds = holds
        self.caller = caller
        super().__init__(room, log, way, seconds, ranked=ranked)

    @property
    def log(self) -> ScanLog:
        """Of the scan that it waits for."""
        return self._log

    def _over(self) -> bool:
        return self._log.over or self._room.drain.begun or self._holds()

    def _answer(self) -> None:
        self._soon()
