"""Files that do not end together, through the real server: one that is ahead silences nobody, and all is told."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Serve
from support.wire import discover, request, results, until_terminal

pytestmark = pytest.mark.anyio

FIRST = 1_700_006_400
BARS = 330
LAST = "2023-11-28T17:00:00.000Z"


def write(directory: Path, symbol: str, *, ahead: int = 0, step: int = 3600, bars: int = BARS) -> None:
    """A file with a trend, so that momentum has something to say."""
    chance = np.random.default_rng(len(symbol))
    prices = 50 * np.exp(np.cumsum(0.002 + 0.004 * chance.standard_normal(bars + ahead)))
    rows = [
        f"{FIRST + step * at},{price:.5f},{price * 1.002:.5f},{price * 0.998:.5f},{price:.5f},{at}\n"
        for at, price in enumerate(prices.tolist())
    ]
    (directory / f"{symbol}.csv").write_text("timestamp,open,high,low,close,volume\n" + "".join(rows))


async def scanned(serve: Serve, directory: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the market says of itself, and what momentum found in it."""
    async with serve(market=f"files:{directory}") as url:
        market = (await request(url, "GET", "/opportunities/market")).json()
        wanted = {"strategy_ids": ["tsmom"], "parameters": {"tsmom": {"walk_forward": 0, "z_min": 0}}}
        scan_id = (await discover(url, wanted)).json()["scan_id"]
        await until_terminal(url, scan_id)
        return market, (await results(url, scan_id)).json()["opportunities"]


async def test_one_series_that_is_ahead_does_not_silence_the_others(serve: Serve, tmp_path: Path) -> None:
    symbols = ["AAA_USD", "BBB_EUR", "CCC", "DDD", "EEE"]
    for symbol in symbols:
        write(tmp_path, symbol)
    write(tmp_path, "FFF", ahead=3)
    write(tmp_path, "GGG", bars=BARS - 2)
    market, found = await scanned(serve, tmp_path)
    assert market["scanned"] == market["last"] == LAST
    assert market["ahead"] == {"FFF": 3}
    assert market["behind"] == {"GGG": 2}
    named = {opportunity["symbol"]: opportunity for opportunity in found}
    assert named.keys() == {"AAA/USD", "BBB/EUR", "CCC", "DDD", "EEE", "FFF"}
    assert all(opportunity["id"].endswith(LAST) for opportunity in found)
    assert {symbol: opportunity.get("quote_currency") for symbol, opportunity in named.items()} == {
        "AAA/USD": "USD",
        "BBB/EUR": "EUR",
        **dict.fromkeys(("CCC", "DDD", "EEE", "FFF")),  # absent: it is never made up
    }


async def test_bars_of_seconds_have_their_true_length(serve: Serve, tmp_path: Path) -> None:
    write(tmp_path, "AAA_USD", step=15)
    market, found = await scanned(serve, tmp_path)
    assert market["timeframe"] == "15s"
    assert [opportunity["estimated_timeframe"] for opportunity in found] == ["315s"]
