"""A strategy that waits: a feed's price differs from the panel's last close."""

from collections.abc import AsyncIterator
from functools import cache
from ssl import SSLContext
from typing import Annotated

import httpx
import msgspec
from msgspec import Meta, Struct

from scanstream.panel import Panel
from scanstream.strategies import strategy
from scanstream.strategies.strategy import AsyncStrategy, Note, Signal


class Parameters(strategy.Parameters, frozen=True, kw_only=True):
    """What a request may set."""

    feed: Annotated[str, Meta(description='Address that answers ?symbol=… with {"price": …}')] = "http://127.0.0.1:9/"
    least: Annotated[float, Meta(gt=0, description="The least difference, as a fraction of the last close")] = 0.01


class Price(Struct):
    """What the feed answers."""

    price: float


@cache
def certificates() -> SSLContext:
    """Read once: to read them for each client would hold up the server's loop."""
    return httpx.create_ssl_context()


class FeedGap(AsyncStrategy):
    """What the feed would pay more for, or sell for less."""

    id = "feed_gap"
    name = "Feed against panel"
    opportunity_type = "arbitrage"
    description = "A feed's price differs from the last close."
    source = "tests/own_strategies/feed_gap.py"
    parameters = Parameters
    chunk = 1  # shards wait side by side

    async def scan(self, panel: Panel, units: range, parameters: Parameters) -> AsyncIterator[Signal | Note]:
        """Ask the feed for each symbol. How long it may take is the budget's business."""
        async with httpx.AsyncClient(verify=certificates(), timeout=httpx.Timeout(None)) as client:
            for unit in units:
                symbol, close = panel.symbols[unit], float(panel.close[-1, unit])
                answer = await client.get(parameters.feed, params={"symbol": symbol})
                if answer.status_code == httpx.codes.NOT_FOUND:
                    yield Note(f"the feed has no {symbol}")
                    continue
                price = msgspec.json.decode(answer.raise_for_status().content, type=Price).price
                if abs(difference := price / close - 1) >= parameters.least:
                    yield Signal(
                        symbols=(symbol,),
                        side="long" if difference > 0 else "short",
                        entry=close,
                        expected_return=abs(difference),
                        confidence=0.5,
                        metadata={"feed": price},
                    )


class FeedGapSoon(FeedGap):
    """The same without patience, and one question after the other."""

    id = "feed_gap_soon"
    name = "Feed against panel, soon"
    budget_seconds = 2.0
    chunk = 1000
