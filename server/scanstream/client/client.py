"""A client of one server, for `await`: it starts scans and follows them, over one connection while they fit on it."""

import asyncio
import random
import uuid
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any
from weakref import WeakSet

import anyio
from anyio.abc import TaskGroup

from scanstream.client.addresses import DEFAULT_URL, address, shown
from scanstream.client.asking import ANSWER_SECONDS, Asking, about, persist
from scanstream.client.condition import Connection
from scanstream.client.failures import Closed, Lost
from scanstream.client.feeds import Feeds
from scanstream.client.ladder import RUNGS, Ladder, Transport
from scanstream.client.line import Line, Rung
from scanstream.client.lines import Lines
from scanstream.client.longpoll import LongPollRung
from scanstream.client.mirror import Mirror, state_in
from scanstream.client.poll import PollRung
from scanstream.client.results import Results
from scanstream.client.scan import Scan
from scanstream.client.stream import StreamRung
from scanstream.client.token import Secret
from scanstream.client.websocket import WebSocketRung
from scanstream.log.cursor import parse
from scanstream.model import RESULTS_PATH, STATUS_PATH, Document, Only

DISCOVER_PATH = "/opportunities/discover"
CANCEL_PATH = "/opportunities/cancel/"
SHARE_PATH = "/opportunities/share/"
NOTIFY_PATH = "/opportunities/notify/"
TIMEOUT_SECONDS = 10.0
"""So long an answer is waited for, through whatever happens to the connection."""
RESULTS_SECONDS = 60.0
RESULTS_WAIT = 10
"""Seconds that the server waits for the end of a scan whose results are asked for."""


class AsyncClient:
    """A client of one server; use it with `async with`, in which all that it does goes on.

    Leaving it, or a scan, cancels nothing at the server.

    :param url: `http://127.0.0.1:8000`, also with a path
    :param token: sent with everything; a function that returns it (or a coroutine of it) is asked when it is needed
        first, and again when the server takes it no more
    :param transports: the ladder's rungs, the best first: some of `websocket`, `stream`, `longpoll`, `poll`
    :raises ValueError: if `url` is no address, or a transport is not known
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, token: Secret = None, transports: Sequence[Transport] = RUNGS
    ) -> None:
        self.url = address(url)
        self.connection = Connection()
        """How it is: `state`, `transport`, `attempts`, `retry_at`, `lag`, `reason`."""
        unknown = [name for name in transports if name not in RUNGS]
        if unknown or not transports:
            raise ValueError(f"transports: {unknown or 'none given'}; there are {', '.join(RUNGS)}")
        self._asking = Asking(self.url, token, self.connection.measured)
        self._transports = tuple(transports)
        self._lines = Lines(self._line)
        self._scans: WeakSet[Scan] = WeakSet()
        """Those that somebody holds."""
        self._tasks: TaskGroup | None = None
        self._told = False
        """Whether there is a line whose connection is the client's."""

    async def __aenter__(self) -> "AsyncClient":
        """Ready; nothing is connected before there is something to ask."""
        if self._tasks is not None:
            raise RuntimeError("This client is open, or was; make another")
        self._loop = _loop()
        await self._asking.__aenter__()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._ways = self._rungs()
        """One of each for all lines: attempts of a client stay apart, whichever line makes them."""
        self._lines.open(self._tasks)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Follow nothing any more, and leave nothing running here. What was raised inside passes as it is."""
        assert self._tasks is not None
        self._shut()
        cancelled = isinstance(error, anyio.get_cancelled_exc_class())
        try:
            await self._tasks.__aexit__(*((kind, error, trace) if cancelled else (None, None, None)))
        except BaseExceptionGroup as group:
            alone = _alone(group)
            raise alone from alone.__cause__
        finally:
            with anyio.CancelScope(shield=True):
                await self._asking.__aexit__()

    async def aclose(self) -> None:
        """Follow nothing any more: iterators end, and whoever waits for a scan is told `Closed`. Scans go on."""
        self._shut()

    def reconnect(self) -> None:
        """Begin anew, now: whatever pause is being waited out, or connection believed in."""
        self._check()
        self._lines.reconnect()

    async def discover(
        self, *, idempotency_key: str | None = None, timeout: float | None = TIMEOUT_SECONDS, **request: Any
    ) -> Scan:
        """Start a scan and follow it.

        :param idempotency_key: the same key is the same scan; one is made if none is given. With one of your own you
            may ask again after `Unreachable`, and never start two
        :param timeout: seconds until `Unreachable`; None is as long as it takes
        :param request: the fields of docs/protocol.md, section 3: strategy_ids, symbols, parameters, …
        :raises Unreachable: if the server has not answered by then; nothing is tried any more
        :raises InvalidRequest: naming the fields that are not valid
        """
        given = {name: value for name, value in request.items() if value is not None}
        key = {"idempotency-key": idempotency_key or uuid.uuid4().hex}
        ack = await self._persist(
            "POST", DISCOVER_PATH, timeout, request=given, more=key, needs=("scan_id", "progress")
        )
        return self._followed(ack["scan_id"], Mirror(), _state_of_ack(ack), ack=ack)

    async def watch(
        self,
        scan_id: str,
        *,
        since: str | None = None,
        only: Only | None = None,
        timeout: float | None = TIMEOUT_SECONDS,
    ) -> Scan:
        """Follow a scan that somebody started, or the `latest`.

        :param since: a cursor; opportunities that came until then are not told
        :param only: `"state"`: none are told
        :param timeout: seconds until `Unreachable`; None is as long as it takes
        :raises NotFound, Expired: if there is none
        :raises Unreachable: if the server has not answered by then
        """
        if only not in (None, "state"):
            raise ValueError(f'only={only!r}: there is only="state", and None')
        query = {"since": since} if since is not None and only is None else None
        path = about(STATUS_PATH, scan_id)
        body = await self._persist("GET", path, timeout, query=query, needs=("scan_id", "status", "cursor"))
        mirror = _mirror(body, since if only else None)
        return self._followed(body["scan_id"], mirror, mirror.state, since=since, only=only)

    def follow(
        self, scan_id: str, mirror: Mirror | None = None, *, heard: Callable[[Document], None] | None = None
    ) -> Scan:
        """Follow a scan by its own id without a question before: whether there is one its iterator tells, or `wait`.

        :param mirror: what is held of it already, from where it goes on; it is brought forward
        :param heard: called with each message of the protocol about the scan, as it came, once it is in the mirror.
            Nothing more is read before it returns; what it raises ends the client
        """
        self._check()
        held = mirror or Mirror()
        scan = self._followed(scan_id, held, held.state or {"scan_id": scan_id, "status": "scanning"})
        scan.feed.heard = heard
        return scan

    async def strategies(self) -> list[Document]:
        """The catalogue: what the server can run, with the parameters of each as JSON Schema."""
        catalogue: list[Document] = await self._persist("GET", "/opportunities/strategies", TIMEOUT_SECONDS)
        return catalogue

    async def market(self) -> Document:
        """What is scanned: market, symbols, timeframe, first and last bar."""
        listing: Document = await self._persist("GET", "/opportunities/market", TIMEOUT_SECONDS, needs=("market",))
        return listing

    async def scans(self, *, limit: int = 20, before: str | None = None) -> list[Document]:
        """The states of one's scans, the newest first.

        :param limit: 1 to 100
        :param before: a scan's id: those that are older
        """
        query: dict[str, str | int] = {"limit": limit, **({} if before is None else {"before": before})}
        path = "/opportunities/scans"
        listed = await self._persist("GET", path, TIMEOUT_SECONDS, query=query, needs=("scans",))
        scans: list[Document] = listed["scans"]
        return scans

    async def _results(self, scan_id: str) -> Results:
        path, query, silence = about(RESULTS_PATH, scan_id), {"wait": RESULTS_WAIT}, RESULTS_WAIT + ANSWER_SECONDS
        while True:
            body = await self._persist(
                "GET", path, RESULTS_SECONDS, query=query, silence=silence, needs=("scan_id", "status")
            )
            if "opportunities" in body:
                return Results(body["opportunities"])

    async def _cancel(self, scan_id: str) -> Document:
        path = about(CANCEL_PATH, scan_id)
        state: Document = await self._persist("POST", path, TIMEOUT_SECONDS, needs=("scan_id", "status"))
        return state

    async def _share(self, scan_id: str, request: Document) -> Document:
        path = about(SHARE_PATH, scan_id)
        shared: Document = await self._persist("POST", path, TIMEOUT_SECONDS, request=request, needs=("token",))
        return shared

    async def _notify(self, scan_id: str, url: str) -> Document:
        path, needs = about(NOTIFY_PATH, scan_id), ("notification_id", "signing_secret")
        accepted: Document = await self._persist("POST", path, TIMEOUT_SECONDS, request={"url": url}, needs=needs)
        return accepted

    async def _persist(
        self, method: str, path: str, timeout: float | None, *, needs: Sequence[str] = (), **more: Any
    ) -> Any:
        """The body of an answer, through lost connections.

        :param needs: the fields without which it is no answer of a scanstream server
        :raises Unreachable, ScanstreamError: see `asking.persist`
        """
        self._check()

        async def ask() -> Any:
            body = (await self._asking.ask(method, path, **more)).body
            if isinstance(body, dict) != bool(needs) or any(name not in body for name in needs):
                raise Lost(f"What answers at {shown(self.url)} is no scanstream server")
            return body

        body = await persist(self.url, ask, timeout, random.random)
        self._check()
        return body

    def _followed(self, scan_id: str, mirror: Mirror, held: Document, **more: Any) -> Scan:
        feed = self._lines.follow(scan_id, mirror, more.get("only"))
        scan = Scan(self, feed, held=held, start=mirror.base, **more)
        self._scans.add(scan)
        return scan

    def _leave(self, scan: Scan) -> None:
        self._scans.discard(scan)
        self._lines.leave(scan.feed)

    def _shut(self) -> None:
        self.connection.close()
        for scan in tuple(self._scans):
            scan.close()
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    def _check(self) -> None:
        """Whether it can be asked something.

        :raises Closed: if it was closed
        """
        if self._tasks is None:
            raise RuntimeError("Open the client first: `async with AsyncClient(url) as client:`")
        if _loop() is not self._loop:
            raise RuntimeError("This client was opened in another event loop: open one in this loop")
        if self.connection.state == "closed":
            raise Closed("This client is closed")

    def _line(self, feeds: Feeds) -> Line:
        """The first one is that whose connection is told of."""
        connection = Connection() if self._told else self.connection
        self._told = True
        return Line(feeds, self._ways, Ladder(random.random, self._transports), connection)

    def _rungs(self) -> dict[Transport, Rung]:
        return {
            "websocket": WebSocketRung(self.url, self._asking.token, self.connection.measured),
            "stream": StreamRung(self._asking),
            "longpoll": LongPollRung(self._asking),
            "poll": PollRung(self._asking),
        }


def _loop() -> asyncio.AbstractEventLoop:
    """The one that runs here.

    :raises RuntimeError: if there is none, or one of trio
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError("AsyncClient lives in a running loop of asyncio (or uvloop); trio's is none") from None


def _alone(error: BaseException) -> BaseException:
    """The one error in groups of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _state_of_ack(ack: Document) -> Document:
    """What the ack says of the state, before the first frame brings it."""
    names = ("success", "scan_id", "message", "filters", "progress", "poll_url", "results_url")
    said = {name: ack[name] for name in names if name in ack}
    return {**said, "status": "scanning" if ack["status"] == "initiated" else ack["status"]}


def _mirror(body: Document, since: str | None) -> Mirror:
    """What a status answer holds.

    :param since: where only the state is followed from: the place among opportunities stays this one's
    """
    mirror = Mirror.since(body["cursor"])
    mirror.state = state_in(body)
    mirror.opportunities = [*body.get("opportunities", ())]
    mirror.base -= len(mirror.opportunities)
    before, now = parse(since or ""), parse(body["cursor"])
    if before is not None and now is not None and before.epoch == now.epoch:
        mirror.cursor = str(now.recounted(before.position.n))
        mirror.base = before.position.n
    return mirror
