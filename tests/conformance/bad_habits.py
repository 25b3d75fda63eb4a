"""What makes of the Python client one that breaks a promise: each habit, and the script that must find it out."""

import math
import re
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx

from scanstream.client import AsyncClient, Scan, asking, ladder, line, mirror, poll, run, scan, stream, token, websocket
from scanstream.client.backoff import Pace
from scanstream.client.failures import Lost, Unreachable, problem_of
from scanstream.client.failures import of_http as of_http_truly
from scanstream.errors import InvalidRequest, NotFound
from scanstream.log.patch import merge

Message = dict[str, Any]


class Habit(NamedTuple):
    """One of them."""

    script: str
    take_up: Callable[[], None]
    seconds: float = 15.0
    """After which a client with this habit has not said its last word, if it never does."""


HABITS: dict[str, Habit] = {}


def habit(script: str, name: str, seconds: float = 15.0) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """The function below makes it one."""

    def register(take_up: Callable[[], None]) -> Callable[[], None]:
        HABITS[name] = Habit(script, take_up, seconds)
        return take_up

    return register


def _patch(where: Any, name: str, value: Any) -> None:
    setattr(where, name, value)


def _new(change: Callable[[list[Message]], list[Message]]) -> None:
    true = scan.Updates._new
    _patch(scan.Updates, "_new", lambda self: change(true(self)))


@habit("clean", "loses one")
def _loses() -> None:
    _new(lambda found: found[:-1] if len(found) > 1 else found)


@habit("clean", "tells one twice")
def _doubles() -> None:
    _new(lambda found: [*found, *found[-1:]])


@habit("clean", "tells no end")
def _no_end() -> None:
    async def wait(self: Scan) -> Message:
        raise NotFound("it is gone")

    _patch(Scan, "wait", wait)


@habit("failed", "takes a scan that failed for a failure of its own")
def _raises() -> None:
    true = Scan.wait

    async def wait(self: Scan) -> Message:
        state = await true(self)
        if state["status"] == "failed":
            raise NotFound("it failed")
        return state

    _patch(Scan, "wait", wait)


@habit("cut", "gives up at the first cut")
def _gives_up() -> None:
    def over(self: line.Line, run: run.Run, lost: Lost) -> None:
        self._feeds.fail(Unreachable(str(lost)))

    _patch(line.Line, "_over", over)


@habit("cut", "begins anew after a cut")
def _anew() -> None:
    _patch(mirror.Mirror, "place", property(lambda self: None))


@habit("new-epoch", "trusts a stale cursor")
def _keeps() -> None:
    def begin(self: mirror.Mirror, message: Message) -> None:
        found = message.get("opportunities", [])
        self.opportunities = [*self.opportunities, *found[len(self.opportunities) :]]
        self.state, self.base, self.lacking = message["state"], 0, False

    _patch(mirror.Mirror, "_begin", begin)


@habit("unknown", "chokes on what it does not know")
def _chokes() -> None:
    true = run.Run.take

    def take(self: run.Run, message: Message) -> None:
        if message.get("type") not in ("ack", "pong", "snapshot", "update", "end", "error"):
            raise InvalidRequest("what is this?")
        true(self, message)

    _patch(run.Run, "take", take)


def _only(*transports: Any) -> Callable[[], None]:
    def take_up() -> None:
        true = AsyncClient.__init__
        _patch(AsyncClient, "__init__", lambda self, *words, **more: true(self, *words, transports=transports, **more))

    return take_up


habit("no-upgrade", "knows WebSockets only", 8)(_only("websocket"))
habit("no-streams", "knows streams only", 8)(_only("websocket", "stream"))
habit("polls-only", "does not poll", 8)(_only("websocket", "stream", "longpoll"))


@habit("chunks", "takes the first chunk for all")
def _first_chunk() -> None:
    true = mirror.Mirror.apply

    def apply(self: mirror.Mirror, message: Message) -> bool:
        taken = true(self, message)
        self.ended = self.ended or message.get("more", False)
        return taken

    _patch(mirror.Mirror, "apply", apply)


@habit("lost-ack", "has another key for each try")
def _keys() -> None:
    true = httpx.AsyncHTTPTransport.handle_async_request

    async def handle(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        if "idempotency-key" in request.headers:
            request.headers["idempotency-key"] = uuid.uuid4().hex
        return await true(self, request)

    _patch(httpx.AsyncHTTPTransport, "handle_async_request", handle)


@habit("restarting", "tries again at once, and again")
def _hammers() -> None:
    _patch(ladder, "pause", lambda *_: 0.0)
    _patch(Pace, "due", lambda self, at: at + 0.02)


@habit("restarting", "leaves its transport at a restart")
def _steps_down() -> None:
    _patch(ladder.Ladder, "_costs", lambda self, why: True)


@habit("stale-token", "asks for a token once")
def _one_token() -> None:
    _patch(token.Token, "refused", lambda self, sent: False)


@habit("token-runs-out", "keeps its token", 8)
def _same_token() -> None:
    _patch(token.Token, "refused", lambda self, sent: True)


@habit("pages", "takes a page for an answer")
def _believes() -> None:
    true = of_http_truly

    def of_http(status: int, body: Any, retry_after: float | None, words: str) -> Any:
        return InvalidRequest(words) if problem_of(body) is None else true(status, body, retry_after, words)

    _patch(asking, "of_http", of_http)


@habit("busy", "does not wait")
def _impatient() -> None:
    _patch(asking, "of_http", lambda status, body, retry_after, words: InvalidRequest(words))


@habit("expired", "asks on for what is gone", 8)
def _asks_on() -> None:
    _patch(run, "of_message", lambda message: Lost("again"))


@habit("not-found", "asks on for what never was", 12)
def _hopes() -> None:
    _patch(asking, "of_http", lambda status, body, retry_after, words: Lost(words))


@habit("watched-from", "does not hand its cursor over")
def _forgets() -> None:
    true = AsyncClient.watch

    async def watch(self: AsyncClient, scan_id: str, *, since: str | None = None) -> Scan:
        return await true(self, scan_id)

    _patch(AsyncClient, "watch", watch)


@habit("repeated", "takes frames twice")
def _twice() -> None:
    _patch(mirror.Mirror, "_new", lambda self, message, found: found)


@habit("lost-update", "takes what does not follow")
def _gaps() -> None:
    def go_on(self: mirror.Mirror, message: Message) -> bool:
        self.state = merge(self.state, message["patch"])
        self.opportunities += message.get("opportunities", [])
        return True

    _patch(mirror.Mirror, "_go_on", go_on)


@habit("frozen", "does not notice silence", 30)
def _waits() -> None:
    true = websocket.WebSocketRung.__init__
    _patch(
        websocket.WebSocketRung,
        "__init__",
        lambda self, *words, **more: true(self, *words, **{**more, "silence": math.inf}),
    )


@habit("lost-end", "does not ask for an end", 35)
def _no_asking() -> None:
    _patch(run, "QUIET_SECONDS", math.inf)


@habit("rewritten", "knows one way to write an event stream")
def _one_way() -> None:
    _patch(stream, "LINE_END", re.compile(rb"\n"))


@habit("clean", "cancels what it leaves")
def _cancels() -> None:
    true = Scan.wait

    async def wait(self: Scan) -> Message:
        state = await true(self)
        await self.cancel()
        return state

    _patch(Scan, "wait", wait)


@habit("stale-token", "shows its credential in addresses")
def _in_addresses() -> None:
    true = httpx.AsyncHTTPTransport.handle_async_request

    async def handle(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        request.url = request.url.copy_merge_params({"token": shown}) if shown else request.url
        return await true(self, request)

    _patch(httpx.AsyncHTTPTransport, "handle_async_request", handle)


@habit("polls-only", "polls without a pause")
def _no_pause() -> None:
    _patch(poll, "POLLING_INTERVAL_SECONDS", 0.0)
    _patch(Pace, "due", lambda self, at: -math.inf)
    true = poll.PollRung._ask

    async def ask(self: poll.PollRung, *words: Any) -> float:
        return min(0.02, await true(self, *words))

    _patch(poll.PollRung, "_ask", ask)
