"""The plain HTTP door: discover, status, results, and what can be scanned."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from scanstream.errors import TooLarge
from scanstream.log.cursor import Position
from scanstream.log.scanlog import ScanLog
from scanstream.message import AckBody
from scanstream.model import ANYONE, confidence_order, timestamp
from scanstream.panel import Panel, timeframe_name
from scanstream.push.codec import decode_request
from scanstream.push.desk import Desk, released
from scanstream.push.problem import json_response

PARTIAL_RESULTS = 10
"""How many of the best opportunities a status answer shows while the scan runs."""


class AckResponse(Response):
    """202, and only once it is with the transport the scan may start."""

    def __init__(self, desk: Desk, ack: AckBody) -> None:
        location = {"location": ack.poll_url, "retry-after": str(ack.polling_interval_seconds)}
        plain = json_response(ack)
        super().__init__(plain.body, 202, location, "application/json")
        self._desk = desk
        self._ack = ack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, then release."""
        with released(self._desk, self._ack.scan_id):
            await super().__call__(scope, receive, send)


class HttpDoor:
    """The routes below `/opportunities`."""

    def __init__(
        self,
        desk: Desk,
        panel: Callable[[], Panel],
        catalogue: Callable[[], list[Mapping[str, Any]]],
        *,
        most_bytes: int,
    ) -> None:
        self._desk = desk
        self._panel = panel
        self._catalogue = catalogue
        self._most_bytes = most_bytes

    def routes(self) -> list[Route]:
        """What this door answers."""
        return [
            Route("/opportunities/discover", self.discover, methods=["POST"]),
            Route("/opportunities/status/{scan_id}", self.status),
            Route("/opportunities/results/{scan_id}", self.results),
            Route("/opportunities/market", self.market),
            Route("/opportunities/strategies", self.strategies),
        ]

    async def discover(self, request: Request) -> Response:
        """Register a scan, acknowledge it, start it."""
        body = await read_body(request, self._most_bytes)
        return AckResponse(self._desk, await self._desk.register(ANYONE, decode_request(body)))

    async def status(self, request: Request) -> Response:
        """The state as of now."""
        log = await self._desk.find(ANYONE, request.path_params["scan_id"])
        headers = {"cache-control": "no-cache", "etag": f'"{log.epoch}-{log.seq}"'}
        if not log.ended:
            headers["retry-after"] = "1"
        return json_response(self._status_body(log), headers=headers)

    def _status_body(self, log: ScanLog) -> dict[str, Any]:
        body = {**log.document, "cursor": str(log.cursor(Position(log.seq, 0)))}
        if not log.ended:
            best = sorted(log.opportunities, key=confidence_order)
            body["partial_results"] = best[:PARTIAL_RESULTS]
            if (rank := self._desk.rank(log.scan_id)) is not None:
                body["rank"] = rank
        return body

    async def results(self, request: Request) -> Response:
        """Everything found, once the scan is terminal; until then its state."""
        log = await self._desk.find(ANYONE, request.path_params["scan_id"])
        if not log.ended:
            return json_response(self._status_body(log), status=202, headers={"retry-after": "1"})
        folded = log.folded
        body = {
            "success": True,
            "scan_id": log.scan_id,
            "status": folded.state.status,
            "opportunities": sorted(log.opportunities, key=confidence_order),
            "total_opportunities": len(log.opportunities),
            "strategy_performance": log.document["strategies"],
            "execution_time_ms": folded.at - (folded.started_at or folded.at),
            "last_updated": timestamp(folded.at),
            "cursor": str(log.cursor(log.head)),
        }
        return json_response(body)

    async def market(self, _: Request) -> Response:
        """What is scanned."""
        panel = self._panel()
        first, last = timestamp(int(panel.times[0])), timestamp(int(panel.times[-1]))
        return json_response(
            {
                "market": panel.market,
                "symbols": panel.symbols,
                "timeframe": timeframe_name(panel.timeframe),
                "bars": panel.bars,
                "first": first,
                "last": last,
                "has": {"candles": True, "quotes": False, "funding": False},
                "gaps": panel.gaps(),
            }
        )

    async def strategies(self, _: Request) -> Response:
        """The catalogue."""
        return json_response(self._catalogue())


async def read_body(request: Request, most_bytes: int) -> bytes:
    """The request's body.

    :raises TooLarge: as soon as it is over the limit
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise TooLarge(f"The body is over {most_bytes} bytes; the server's limit is --max-message")
    return bytes(body)
