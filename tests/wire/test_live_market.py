"""A live market behind a real server: the real ccxt against an exchange on the loopback, read again and again."""

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import anyio
import pytest

from conftest import Serve
from market.fake_exchange import HOUR, NOW, FakeBinance, FakeKraken
from scanstream import settings
from scanstream.market.exchange import ExchangeMarket
from support.script import scripting
from support.wire import discover, request, results, until_terminal, websocket

pytestmark = pytest.mark.anyio

QUICK = (0.01, 0.01, 0.01)
EIGHT_HOURS = 8 * HOUR


@pytest.fixture
def binance() -> Generator[FakeBinance]:
    """Two coins, 400 bars, their cross rate, and perpetuals that pay."""
    with FakeBinance() as exchange:
        for symbol in ("BTC/USDT", "ETH/USDT", "ETH/BTC"):
            exchange.fill(symbol, 420)
        for symbol in ("BTC/USDT", "ETH/USDT"):
            exchange.payments[symbol] = {
                NOW // EIGHT_HOURS * EIGHT_HOURS - back * EIGHT_HOURS: 5e-4 for back in range(95)
            }
        yield exchange


@pytest.fixture
def live(
    binance: FakeBinance, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., AbstractAsyncContextManager[str]]:
    """A server whose `--market ccxt:binance` leads to this machine."""
    fakes: dict[str, FakeBinance | FakeKraken] = {"binance": binance}
    there = partial(ExchangeMarket, connect=lambda name: fakes[name].connect(), pauses=QUICK)
    monkeypatch.setattr(settings, "ExchangeMarket", there)

    def start(**changes: Any) -> AbstractAsyncContextManager[str]:
        symbols = {"live_symbols": "BTC/USDT,ETH/USDT", "live_bars": 400}
        return serve(market="ccxt:binance", **{"workers": 1, "refresh": 0.1, **symbols, **changes})

    return start


async def market_of(url: str) -> dict[str, Any]:
    """What the server says that it scans."""
    found: dict[str, Any] = (await request(url, "GET", "/opportunities/market")).json()
    return found


async def changes(url: str, field: str) -> AsyncIterator[Any]:
    """The market's field, whenever it differs from before."""
    before = None
    while True:
        now = (await market_of(url)).get(field)
        if now != before:
            yield now
        before = now
        await anyio.sleep(0.02)


async def until(url: str, field: str, wanted: Callable[[Any], bool]) -> None:
    """Wait until the market's field is as wanted."""
    with anyio.fail_after(30):
        async for value in changes(url, field):
            if wanted(value):
                return


async def scan(url: str, **wanted: Any) -> dict[str, Any]:
    """A scan's state at its end; `ack` is its ack."""
    ack = (await discover(url, wanted)).json()
    return {"ack": ack, **await until_terminal(url, ack["scan_id"])}


async def test_a_live_market_is_scanned_and_says_whose_it_is(live: Any) -> None:
    async with live() as url:
        there = await market_of(url)
        assert there["has"] == {"candles": True, "quotes": True, "funding": True}
        assert (there["venues"], there["quoted"]) == (["binance"], ["BTC/USDT", "ETH/USDT", "ETH/BTC"])
        assert "failed" not in there
        state = await scan(url)
        assert (state["status"], state["market"]) == ("complete", "ccxt:binance")
        ran = [name for name, found in state["strategies"].items() if found["total_shards"]]
        assert ran == ["donchian", "funding_carry", "meanrev", "pairs", "triangular", "tsmom"]
        assert {found["status"] for found in state["strategies"].values()} == {"complete"}
        assert "2 venues" in state["strategies"]["cross_exchange"]["note"]
        assert "10 symbols" in state["strategies"]["pca_statarb"]["note"]
        found = (await results(url, state["scan_id"])).json()["opportunities"]
        assert {opportunity["exchange"] for opportunity in found} == {"binance"}
        assert {"funding_carry:BTC/USDT", "funding_carry:ETH/USDT"} <= {
            opportunity["id"].rpartition(":2")[0] for opportunity in found
        }


async def test_new_data_is_a_new_scan_and_a_running_one_keeps_its_own(live: Any, binance: FakeBinance) -> None:
    async with live() as url, scripting() as script, websocket(url) as socket:
        first = await market_of(url)
        wanted = script.request(shards=2)
        await socket.send(type="discover", request=wanted)
        running = (await socket.receive())["scan_id"]
        before = await script.started()
        binance.wait(hours=1)  # the bar that was not finished is now
        await until(url, "last", lambda last: last > first["last"])
        await before.tell("find 1", "end")
        after = await script.started()
        await after.tell("find 1", "end")
        assert (await until_terminal(url, running))["status"] == "complete"
        found = (await results(url, running)).json()["opportunities"]
        assert len(found) == 2
        assert all(opportunity["id"].endswith(first["last"]) for opportunity in found)  # the panel of then
        again = (await discover(url, {**wanted, "force_refresh": False})).json()
        assert again["scan_id"] != running
        assert "reused" not in again


@pytest.mark.parametrize(
    ("path", "input_", "failing", "complete"),
    [
        ("/fapi/v1/fundingRate", "funding", "funding_carry", "triangular"),
        ("/api/v3/ticker/24hr", "quotes", "triangular", "funding_carry"),
    ],
)
async def test_what_the_exchange_fails_to_give_is_a_strategys_error(
    live: Any, binance: FakeBinance, path: str, input_: str, failing: str, complete: str
) -> None:
    binance.trouble(path, times=1000, status=500, body="no")
    async with live(refresh=0.05) as url:
        state = await scan(url, strategy_ids=[failing, complete], force_refresh=True)
        assert state["status"] == "complete"
        assert state["strategies"][complete]["status"] == "complete"
        broken = state["strategies"][failing]
        assert (broken["status"], broken["error"]["code"]) == ("failed", "invalid_market")
        assert f"could not give its {input_}: binance" in broken["error"]["detail"]
        assert "500" in broken["error"]["detail"]
        assert input_ in (await market_of(url))["failed"]
        binance.heal()
        await until(url, "failed", lambda failed: failed is None)
        state = await scan(url, strategy_ids=[failing, complete], force_refresh=True)
        assert {found["status"] for found in state["strategies"].values()} == {"complete"}


async def test_candles_that_fail_later_fail_the_strategies_that_need_them(live: Any, binance: FakeBinance) -> None:
    async with live(refresh=0.05) as url:
        binance.trouble("/api/v3/klines", times=1000, status=500, body="no")
        binance.wait(hours=1)
        await until(url, "failed", lambda failed: failed is not None)
        state = await scan(url, strategy_ids=["tsmom", "funding_carry"])
        assert state["strategies"]["tsmom"]["error"]["detail"].startswith(
            "The market ccxt:binance could not give its candles: binance fetch_ohlcv BTC/USDT"
        )
        assert state["strategies"]["funding_carry"]["status"] == "complete"


async def test_a_server_that_stops_waits_for_no_reading(live: Any, binance: FakeBinance) -> None:
    """A reading of 400 bars, one a page, each page late: the stop comes in between two pages."""
    async with live(refresh=0.05):
        binance.page = 1
        binance.trouble("/api/v3/klines", times=1000, delay=0.05, body="[]")
        binance.wait(hours=300)
        with anyio.fail_after(20):
            while len(binance.seen("/api/v3/klines")) < 3:  # noqa: ASYNC110  # a thread of the exchange counts them
                await anyio.sleep(0.01)
        asked = len(binance.seen("/api/v3/klines"))
    assert len(binance.seen("/api/v3/klines")) <= asked + 2
