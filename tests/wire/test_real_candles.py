"""Real data first: real candles through the real socket, and the same input gives the same opportunities."""

from pathlib import Path

import pytest

from conftest import Serve
from scanstream.client.mirror import Mirror
from support.wire import request, results, websocket

pytestmark = pytest.mark.anyio


async def scan(serve: Serve, candles: Path) -> Mirror:
    """One scan of everything, followed over a WebSocket, checked against its results over HTTP."""
    async with serve(market=f"files:{candles}") as url, websocket(url) as socket:
        await socket.send(type="discover", request={"strategy_ids": ["tsmom"]})
        ack = await socket.receive()
        mirror = await socket.until_end(Mirror(), ack["scan_id"])
        answer = (await results(url, ack["scan_id"])).json()
        assert sorted(found["id"] for found in answer["opportunities"]) == sorted(
            found["id"] for found in mirror.opportunities
        )
        return mirror


async def test_twice_the_same_input_finds_the_same(serve: Serve, real_candles: Path) -> None:
    first, second = await scan(serve, real_candles), await scan(serve, real_candles)
    assert first.state["status"] == "complete"
    assert first.opportunities
    for found in first.opportunities:
        assert found["symbol"].endswith("/BTC")
        assert found["exchange"] == "files"
        assert found["quote_currency"] == "BTC"
        assert found["estimated_timeframe"] == "105m"
    assert [found["id"] for found in first.opportunities] == [found["id"] for found in second.opportunities]


async def test_gaps_are_reported_over_http(serve: Serve, real_candles: Path) -> None:
    async with serve(market=f"files:{real_candles}", workers=0) as url:
        market = (await request(url, "GET", "/opportunities/market")).json()
    assert market["market"] == "files:crypto-5m"
    assert market["timeframe"] == "5m"
    assert sum(gap["bars"] for gap in market["gaps"]["ADA/BTC"]) == market["bars"] - 5720
