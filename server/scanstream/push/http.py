"""The plain HTTP door: discover, results, cancel, the list of scans, and what can be scanned."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from scanstream.about import came_from
from scanstream.errors import InvalidRequest
from scanstream.log.cursor import Position
from scanstream.log.refold import Slices, sliced
from scanstream.log.scanlog import ScanLog
from scanstream.message import POLLING_INTERVAL_SECONDS, AckBody
from scanstream.model import IdempotencyKey, timestamp
from scanstream.panel import Panel
from scanstream.push.bodies import CatalogueEntry, Results
from scanstream.push.callers import body_of, caller_of
from scanstream.push.codec import JSON
from scanstream.push.desk import Desk, released
from scanstream.push.forwarded import below, prefix_here
from scanstream.push.found import Found
from scanstream.push.listing import listing
from scanstream.push.poll import PollDoor
from scanstream.push.problem import json_response
from scanstream.push.query import (
    JSON_TYPE,
    LINES_TYPE,
    accepted,
    idempotency_key,
    single,
    text_of,
    wait_of,
    whole_number,
)
from scanstream.push.share import with_token
from scanstream.push.streaming import PiecewiseResponse
from scanstream.security.guard import Guard

MOST_RESULTS = 1_000_000_000
MOST_BYTES_AT_ONCE = 32 * 1024
"""Of results, and of a list, that are not sent in pieces: less than a reader has to take before it is waited for."""
MOST_SCANS, SOME_SCANS = 100, 20
"""Scans in one answer of the list: at most, and unless it is said."""


class AckResponse(Response):
    """202, and only once it is with the transport the scan may start."""

    def __init__(self, desk: Desk, ack: AckBody) -> None:
        super().__init__(msgspec.json.encode(ack), 202, _ack_headers(ack), JSON_TYPE)
        self._desk = desk
        self._ack = ack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, then release."""
        with released(self._desk, self._ack.scan_id):
            await super().__call__(scope, receive, send)


def _ack_headers(ack: AckBody) -> dict[str, str]:
    return {"location": ack.poll_url, "retry-after": str(ack.polling_interval_seconds)}


def _key(request: Request) -> IdempotencyKey | None:
    keys = request.headers.getlist("idempotency-key")
    if len(keys) > 1:
        raise InvalidRequest.of("Idempotency-Key", f"is given {len(keys)} times; give it once")
    return idempotency_key("Idempotency-Key", text_of(keys[0].encode("latin-1")) if keys else None)


class HttpDoor:
    """The routes below `/opportunities`."""

    def __init__(
        self,
        desk: Desk,
        guard: Guard,
        poll: PollDoor,
        panel: Callable[[], Awaitable[Panel]],
        catalogue: list[CatalogueEntry],
        *,
        most_bytes: int,
    ) -> None:
        self._desk = desk
        self._guard = guard
        self._poll = poll
        self._panel = panel
        self._catalogue = msgspec.json.encode(catalogue)
        self._most_bytes = most_bytes

    def routes(self) -> list[Route]:
        """What this door answers."""
        return [
            Route("/opportunities/discover", self.discover, methods=["POST"]),
            Route("/opportunities/status/{scan_id}", self._poll.status),
            Route("/opportunities/results/{scan_id}", self.results),
            Route("/opportunities/cancel/{scan_id}", self.cancel, methods=["POST"]),
            Route("/opportunities/scans", self.scans),
            Route("/opportunities/market", self.market),
            Route("/opportunities/strategies", self.strategies),
        ]

    async def discover(self, request: Request) -> Response:
        """Register a scan, acknowledge it, start it."""
        caller = caller_of(request)
        principal = caller.starts()
        came_from(request.headers.get("traceparent"))
        body = await body_of(request, self._most_bytes)
        key = _key(request)
        prefix = prefix_here(request.scope)
        ack = await self._desk.register(principal, JSON.decode_body(body), key, prefix=prefix)
        return AckResponse(self._desk, with_token(below(prefix, ack), caller, self._guard))

    async def results(self, request: Request) -> Response:
        """Everything found, once the scan is terminal; until then its state."""
        wait = wait_of(request)
        media_type = accepted(request, JSON_TYPE, LINES_TYPE)
        limit = whole_number(request, "limit", least=1, most=MOST_RESULTS, default=MOST_RESULTS)
        offset = whole_number(request, "offset", least=0, most=MOST_RESULTS, default=0)
        log = await self._poll.log(request)
        if held := self._poll.held(request, self.results, log, wait.seconds):
            return held
        headers = {**wait.headers, "vary": "Accept, Prefer"}
        if not log.ended:
            body = {**log.document, "cursor": str(log.cursor(Position(log.seq, 0)))}
            headers["retry-after"] = str(POLLING_INTERVAL_SECONDS)
            return json_response(body, status=202, headers=headers)
        await sliced(log.opportunities.ordering())
        found = Found(log.opportunities, offset, limit)
        good = partial(self._guard.good, caller_of(request))
        if media_type == LINES_TYPE:
            return PiecewiseResponse(found.lines(), headers, media_type, good)
        before, _, after = msgspec.json.encode(_results(log)).partition(b"[]")
        if found.size <= MOST_BYTES_AT_ONCE:
            pieces = [piece async for piece in found.document(before, after)]
            return Response(b"".join(pieces), 200, headers, media_type)
        headers["content-length"] = str(len(before) + found.size + len(after))
        return PiecewiseResponse(found.document(before, after), headers, media_type, good)

    async def cancel(self, request: Request) -> Response:
        """Ask for the scan's end; the state says what became of that."""
        scan_id = request.path_params["scan_id"]
        log = await self._desk.cancel(caller_of(request).cancels(scan_id), scan_id)
        return json_response(log.document, status=202)

    async def scans(self, request: Request) -> Response:
        """The caller's scans, newest first."""
        caller = caller_of(request)
        principal = caller.starts()
        limit = whole_number(request, "limit", least=1, most=MOST_SCANS, default=SOME_SCANS)
        before = single(request, "before")
        logs = await self._desk.newest(principal, limit, before)
        slices = Slices()
        pieces = [b'{"success":true,"scans":[']
        for number, log in enumerate(logs):  # each tells its filters, which may be long
            state = msgspec.json.encode({**log.document, "cursor": str(log.cursor(Position(log.seq, 0)))})
            pieces.append(b"," + state if number else state)
            await slices.turn()
        pieces.append(b"]}")
        size = sum(map(len, pieces))
        if size <= MOST_BYTES_AT_ONCE:
            return Response(b"".join(pieces), media_type=JSON_TYPE)
        headers = {"content-length": str(size)}
        return PiecewiseResponse(_each(pieces), headers, JSON_TYPE, partial(self._guard.good, caller))

    async def market(self, request: Request) -> Response:
        """What is scanned."""
        caller_of(request).starts()
        return Response(listing(await self._panel()), media_type=JSON_TYPE)

    async def strategies(self, request: Request) -> Response:
        """The catalogue."""
        caller_of(request).starts()
        return Response(self._catalogue, media_type=JSON_TYPE)


async def _each(pieces: list[bytes]) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


def _results(log: ScanLog) -> Results:
    """What is said beside the opportunities."""
    folded = log.folded
    assert folded.state.status != "scanning"
    return Results(
        scan_id=log.scan_id,
        status=folded.state.status,
        opportunities=[],
        total_opportunities=len(log.opportunities),
        strategy_performance=folded.state.strategies,
        execution_time_ms=folded.at - (folded.started_at or folded.at),
        last_updated=timestamp(folded.at),
        cursor=str(log.cursor(log.head)),
    )
