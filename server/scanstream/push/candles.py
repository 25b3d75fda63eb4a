"""The newest prices of one symbol, as `GET /opportunities/market/candles` tells them."""

from collections.abc import Awaitable, Callable

import msgspec
import numpy as np
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scanstream.errors import InvalidRequest
from scanstream.model import timestamp
from scanstream.panel import FIELDS, Panel, timeframe_name
from scanstream.push.bodies import CandlesBody
from scanstream.push.callers import caller_of
from scanstream.push.query import JSON_TYPE, entity_tags, single, whole_number

SOME_BARS = 100
MOST_BARS = 1000
"""In one answer: 100 KB."""


class CandlesDoor:
    """`GET /opportunities/market/candles`."""

    def __init__(self, panel: Callable[[], Awaitable[Panel]], named: Callable[[Panel, str, str], str]) -> None:
        """:param named: the symbol of a panel that is meant: (panel, the field that it came in, as it was written)"""
        self._panel = panel
        self._named = named

    def routes(self) -> list[Route]:
        """What this door answers."""
        return [Route("/opportunities/market/candles", self.candles)]

    async def candles(self, request: Request) -> Response:
        """The newest bars of one symbol. Read in a thread: what is mapped may have to come from a disk."""
        caller_of(request).starts()
        panel = await self._panel()
        bars = whole_number(request, "bars", least=1, most=MOST_BARS, default=SOME_BARS)
        written = single(request, "symbol")
        if written is None:
            raise InvalidRequest.of("symbol", "is missing; say which one, as GET /opportunities/market lists them")
        symbol = self._named(panel, "symbol", written)
        headers = {"etag": f'"{panel.digest}"', "cache-control": "no-cache"}
        tags = entity_tags(request)
        if tags is not None and tags.contains_weak(panel.digest):
            return Response(status_code=304, headers=headers)
        return Response(await to_thread.run_sync(newest, panel, symbol, bars), 200, headers, JSON_TYPE)


def newest(panel: Panel, symbol: str, bars: int) -> bytes:
    """The answer, encoded: the newest `bars` bars of the panel, without those that the symbol lacks.

    A candle is time, open, high, low, close, and volume where it is known. `np.take` lets other threads run meanwhile.
    """
    column = panel.symbols.index(symbol)
    times = panel.times[-bars:]
    values = np.array([np.take(getattr(panel, name)[-bars:], column, axis=1) for name in FIELDS])
    there = np.isfinite(values[:-1]).all(axis=0)
    known = np.isfinite(values[-1])
    return msgspec.json.encode(
        CandlesBody(
            symbol=symbol,
            timeframe=timeframe_name(panel.timeframe),
            first=timestamp(int(times[0])),
            last=timestamp(int(times[-1])),
            candles=[
                [timestamp(int(times[bar])), *values[: None if known[bar] else -1, bar].tolist()]
                for bar in np.flatnonzero(there)
            ],
        )
    )
