"""The scripted server: it tells one tale on every transport, in its script's weather, and notes what it is asked."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio

from scanstream.conformance.cursors import Place, place, read
from scanstream.conformance.stage.attempts import ONE_STREAM, Attempt, bearer, followed, gone, kind_of, other
from scanstream.conformance.stage.lines import GONE, UNFIT, Asked, Cut, Line, Reply, Socket, as_json, leaf, listening
from scanstream.conformance.stage.tale import Tale
from scanstream.conformance.stage.weather import Freeze, Weather, problem

HEARTBEAT_SECONDS = 5.0
RESTART = 1012
EXPIRED = 4401


class Stage:
    """What clients meet: one scan, told as it goes on."""

    def __init__(self, tale: Tale, weather: Weather, pace: float, token: str | None = None) -> None:
        self.tale = tale
        self.weather = weather
        self.token = token
        """The one that counts; None where nobody has to show one."""
        self.absent = ""
        """`not_found` or `expired` where the scan is not there."""
        self.away = False
        """Whether nobody is there: connections end at once."""
        self.head = 1
        self.attempts: list[Attempt] = []
        self.subscriptions: list[Attempt] = []
        """Those that asked for frames of the scan, with the cursor that they showed."""
        self.ended_over = ""
        """The kind of connection over which the end was told last."""
        self.keys: list[str | None] = []
        """Of all discovers, in order."""
        self.cancels: list[str] = []
        """How the scan's end was asked for."""
        self.in_addresses: list[str] = []
        """Requests that had a credential in their address."""
        self.misheard: list[str] = []
        """What was wrong with requests and messages that are none."""
        self._pace = pace
        self._news = anyio.Event()
        self._begun = anyio.Event()
        self._sockets: list[Socket] = []

    # The scan

    def stir(self) -> None:
        """Whoever waits looks again."""
        self._news.set()
        self._news = anyio.Event()

    async def go_on(self, until: Callable[[int], bool] = lambda _: False) -> None:
        """The scan goes on from its first reader on, entry by entry, to the end, or until this holds of the entry."""
        await self._begun.wait()
        while self.head < self.tale.last and not until(self.head):
            await anyio.sleep(self._pace)
            self.head += 1
            self.stir()

    def ended(self) -> bool:
        """Whether it is over."""
        return self.head == self.tale.last

    async def dismiss(self, code: int, message: dict[str, Any] | None = None) -> None:
        """Close all sockets, with a last word."""
        sockets, self._sockets = self._sockets, []
        for socket in sockets:
            try:
                if message is not None:
                    await socket.send(message)
                await socket.close(code, "as told")
            except (Cut, *GONE):
                continue

    # Connections

    async def serve(self, line: Line) -> None:
        """One request, or what came in place of one."""
        try:
            await self._serve(line)
        except* UNFIT as group:
            self.misheard.append(f"{leaf(group)!r}"[:200])

    async def _serve(self, line: Line) -> None:
        asked = await line.asked()
        kind = kind_of(asked)
        since = asked.query.get("since")
        if kind in ("stream", "longpoll"):
            since = next((one.get("since") for one in followed(asked)), None)
        shown = asked.headers.get("authorization", "").removeprefix("Bearer ") or bearer(asked)
        self.attempts.append(Attempt(kind, time.monotonic(), since, shown, "wait" in asked.query))
        if "token" in asked.query:
            self.in_addresses.append(f"{asked.method} {asked.path}?token=…")
        if kind in ("stream", "longpoll"):
            self.subscriptions.append(self.attempts[-1])
        if self.away:
            raise Cut
        try:
            reply = self.weather.answer(asked, kind) or self._refused(shown)
            if reply is not None:
                await line.answer(reply)
            elif kind == "websocket":
                await self._socket(line)
            elif kind == "stream" and (reply := self._no_stream(asked)) is not None:
                await line.answer(reply)
            elif kind == "stream":
                await self._stream(line, asked)
            elif kind == "longpoll":
                await line.answer(await self._long_poll(asked))
            else:
                await line.answer(self.weather.answered(asked, kind, await self._plain(asked, kind)))
        except Freeze:
            await line.until_gone()

    def _refused(self, shown: str | None) -> Reply | None:
        if self.token is None or shown == self.token:
            return None
        return problem(401, "unauthorized", www_authenticate='Bearer error="invalid_token"')

    def _known(self, scan_id: str) -> bool:
        return not self.absent and scan_id in (self.tale.scan_id, "latest")

    def _error(self, scan_id: str) -> dict[str, Any]:
        code = self.absent or "not_found"
        return {"type": "error", "scan_id": scan_id, "code": code, "detail": code}

    # Plain answers

    async def _plain(self, asked: Asked, kind: str) -> Reply:
        scan_id = asked.path.rpartition("/")[2]
        if kind == "discover":
            self.keys.append(asked.headers.get("idempotency-key"))
            return as_json(
                202, self.tale.ack(self.head), location=f"/opportunities/status/{self.tale.scan_id}", retry_after="1"
            )
        if asked.path.startswith("/opportunities/cancel/"):
            self.cancels.append(f"{asked.method} {asked.path}")
            return as_json(202, self.tale.states[self.head])
        if kind == "other":
            return other(asked)
        if not self._known(scan_id):
            return gone(self.absent, scan_id)
        self._begun.set()
        if kind == "results":
            return await self._results(asked)
        return await self._status(asked)

    def _no_stream(self, asked: Asked) -> Reply | None:
        """What a stream of one scan's events is answered with where there is none: it is absent, or nothing is left."""
        [one, *_] = followed(asked)
        if not asked.path.startswith(ONE_STREAM):
            return None
        if not self._known(one["scan_id"]):
            return gone(self.absent, one["scan_id"])
        if self.ended() and one["since"] == self.tale.end["cursor"]:
            self.ended_over = "stream"
            return Reply(204)
        return None

    async def _results(self, asked: Asked) -> Reply:
        with anyio.move_on_after(float(asked.query.get("wait", 0))):
            while not self.ended():
                await self._news.wait()
        if not self.ended():
            return as_json(202, self.tale.states[self.head], retry_after="1")
        tale = self.tale
        found = sorted(tale.opportunities, key=lambda one: (-one["confidence_score"], one["id"]))
        limit, offset = int(asked.query.get("limit", len(found) or 1)), int(asked.query.get("offset", 0))
        return as_json(
            200,
            {
                "success": True,
                "scan_id": tale.scan_id,
                "status": tale.status,
                "opportunities": found[offset : offset + limit],
                "total_opportunities": len(found),
                "strategy_performance": tale.states[-1]["strategies"],
                "execution_time_ms": 100,
                "last_updated": tale.states[-1]["finished_at"],
                "cursor": tale.end["cursor"],
            },
        )

    async def _status(self, asked: Asked) -> Reply:
        since = asked.query.get("since")
        with anyio.move_on_after(float(asked.query.get("wait", 0))):
            while not self.ended() and self._frame(read(since)) is None:
                await self._news.wait()
        state, tale = self.tale.states[self.head], self.tale
        retry = {} if self.ended() else {"retry_after": "1"}
        if self.ended() and since is not None:
            self.ended_over = "poll"
        if since is None:
            return as_json(200, {**state, "cursor": f"{tale.epoch}-{self.head}.0"}, **retry)
        frame = self._frame(read(since)) or {"cursor": since, "opportunities": [], "offset": place(since).n}
        held = place(frame["cursor"]).n
        news = {name: frame[name] for name in ("cursor", "more") if name in frame}
        found = {"opportunities": frame.get("opportunities", []), "offset": frame.get("offset", held)}
        return as_json(200, {**state, **news, **found}, **retry)

    def _frame(self, held: Place | None, only: str | None = None) -> dict[str, Any] | None:
        return self.tale.frame(held, self.head, only_state=only == "state")

    # Frames

    def _passes(self, kind: str, message: dict[str, Any]) -> None:
        if message["type"] == "end":
            self.ended_over = kind

    async def _long_poll(self, asked: Asked) -> Reply:
        self._begun.set()
        frames: list[dict[str, Any]] = []
        with anyio.move_on_after(float(asked.body.get("wait", 25))):
            while not frames:
                for one in asked.body["follow"]:
                    message = self._due(one["scan_id"], read(one.get("since")), one.get("only"))
                    if message is not None:
                        self._passes("longpoll", message)
                        frames += self.weather.told("longpoll", message)
                if not frames:
                    await self._news.wait()
        return self.weather.answered(asked, "longpoll", as_json(200, {"frames": frames}))

    def _due(self, scan_id: str, held: Place | None, only: str | None) -> dict[str, Any] | None:
        """The next message for who holds this; None while there is none."""
        if not self._known(scan_id):
            return self._error(scan_id)
        return self._frame(held, only) or (self.tale.end if self.ended() else None)

    async def _stream(self, line: Line, asked: Asked) -> None:
        await line.begin_events()

        async def tell(message: dict[str, Any]) -> None:
            self._passes("stream", message)
            for one in self.weather.told("stream", message):
                await line.event(one, asked.path.startswith(ONE_STREAM), self.weather.written)

        with _alone():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._beats, line)
                for one in followed(asked):
                    await self._follow(one["scan_id"], one.get("since"), one.get("only"), tell)
                tasks.cancel_scope.cancel()

    async def _beats(self, line: Line) -> None:
        while True:
            await anyio.sleep(HEARTBEAT_SECONDS)
            await line.send(b": \n\n")

    async def _follow(self, scan_id: str, since: str | None, only: str | None, tell: Callable[..., Any]) -> None:
        """One scan to its end, from a cursor on."""
        held = read(since)
        self._begun.set()
        while True:
            message = self._due(scan_id, held, only)
            if message is None:
                await self._news.wait()
                continue
            await tell(message)
            if message["type"] in ("end", "error"):
                return
            held = read(message["cursor"])

    async def _socket(self, line: Line) -> None:
        socket = await line.upgraded()
        self._sockets.append(socket)
        with _alone():
            async with anyio.create_task_group() as tasks:
                async for message in socket.messages():
                    if not socket.frozen:
                        await self._said(socket, message, tasks.start_soon)
                tasks.cancel_scope.cancel()

    async def _tell(self, socket: Socket, message: dict[str, Any]) -> None:
        self._passes("websocket", message)
        try:
            for one in self.weather.told("websocket", message):
                await socket.send(one)
        except Freeze:
            socket.frozen = True

    async def _said(self, socket: Socket, message: dict[str, Any], start: Callable[..., Any]) -> None:
        """A message of a client."""
        repeated = {"id": message["id"]} if "id" in message else {}
        scan_id = message.get("scan_id", self.tale.scan_id)

        async def tell(told: dict[str, Any]) -> None:
            await self._tell(socket, told)

        async def follow(followed: str, since: str | None, only: str | None) -> None:
            socket.following[followed] = anyio.CancelScope()
            with socket.following[followed]:
                await self._follow(followed, since, only, tell)

        if message.get("type") in ("subscribe", "unsubscribe") and scan_id in socket.following:
            socket.following.pop(scan_id).cancel()
        match message.get("type"):
            case "ping":
                await self._tell(socket, {"type": "pong", **repeated})
            case "discover":
                self.keys.append(message.get("idempotency_key"))
                await tell({"type": "ack", **repeated, **self.tale.ack(self.head)})
                start(follow, self.tale.scan_id, None, None)
            case "subscribe" if self._known(scan_id):
                self.subscriptions.append(Attempt("websocket", time.monotonic(), message.get("since"), None))
                await tell({"type": "ack", **repeated, **self.tale.ack(self.head, "scanning")})
                start(follow, scan_id, message.get("since"), message.get("only"))
            case "subscribe":
                await tell({**self._error(scan_id), **repeated})
            case "cancel":
                self.cancels.append("a message on a WebSocket")
                await tell({"type": "ack", **repeated, "scan_id": scan_id})
            case "authenticate":
                await tell({"type": "ack", **repeated})
            case _:
                await tell({"type": "ack", **repeated, "scan_id": scan_id})


@contextmanager
def _alone() -> Iterator[None]:
    """What ends a connection, out of the group that its tasks are in."""
    frozen = gone = False
    try:
        yield
    except* Freeze:
        frozen = True
    except* (Cut, *GONE):
        gone = True
    if frozen:
        raise Freeze
    if gone:
        raise Cut


@asynccontextmanager
async def on_stage(stage: Stage) -> AsyncIterator[str]:
    """It answers in here; gives its address."""
    async with listening(stage.serve) as url:
        yield url
