"""Live prices: the real ccxt, talking to exchanges on the loopback. What they hold is what the panel holds."""

import gc
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from market.fake_exchange import HOUR, NOW, FakeBinance, FakeCoinbase, FakeExchange, FakeKraken, Quote
from scanstream.errors import MarketError, SettingError
from scanstream.market import venue
from scanstream.market.exchange import ExchangeMarket
from scanstream.panel import FIELDS, Input, Panel
from scanstream.strategies.tsmom import TimeSeriesMomentum

LAST = NOW // HOUR * HOUR - HOUR
"""The last bar that has ended."""
PAYMENT = NOW // (8 * HOUR) * (8 * HOUR)
"""The last end of eight hours."""
QUICK = (0.01, 0.01, 0.01)
BTC, ETH, CROSS = "BTC/USDT", "ETH/USDT", "ETH/BTC"


@pytest.fixture
def binance() -> Generator[FakeBinance]:
    """Two coins, their cross rate, and perpetuals."""
    with FakeBinance() as exchange:
        for symbol in (BTC, ETH, CROSS):
            exchange.fill(symbol, 30)
        for symbol in (BTC, ETH):
            paid = {PAYMENT - back * 8 * HOUR: (back % 7 - 3) / 10_000 for back in range(40)}
            exchange.payments[symbol] = paid
        yield exchange


@pytest.fixture
def kraken() -> Generator[FakeKraken]:
    """Two coins, of which one is quoted elsewhere, too, and dollars."""
    with FakeKraken() as exchange:
        for symbol in (BTC, "XRP/USDT", "BTC/USD"):
            exchange.fill(symbol, 30)
        yield exchange


@pytest.fixture
def coinbase() -> Generator[FakeCoinbase]:
    """One coin."""
    with FakeCoinbase() as exchange:
        exchange.fill("BTC/USD", 30)
        yield exchange


def market(*exchanges: FakeExchange, **options: Any) -> ExchangeMarket:
    """The market of these; the symbols are two unless said."""
    fakes = {exchange.id: exchange for exchange in exchanges}
    chosen = {"symbols": (BTC, ETH), "bars": 20, "pauses": QUICK, **options}
    return ExchangeMarket(list(fakes), connect=lambda name: fakes[name].connect(), **chosen)


def assert_holds(panel: Panel, exchange: FakeExchange, bars: int, step: int = HOUR, last: int = LAST) -> None:
    """The candles are the exchange's last finished ones, to the digit."""
    times = [last - back * step for back in reversed(range(bars))]
    assert panel.times.tolist() == times
    for column, symbol in enumerate(panel.symbols):
        table = [[float(getattr(panel, field)[row, column]) for field in FIELDS] for row in range(bars)]
        assert [tuple(row) for row in table] == [exchange.bars[symbol][at] for at in times]


def without_quotes(panel: Panel) -> str:
    """The digest of all that has no time of reading in it."""
    return replace(panel, quotes=None).digest


def test_the_panel_is_what_the_exchange_holds(binance: FakeBinance, tmp_path: Path) -> None:
    panel = market(binance).load()

    assert (panel.market, panel.exchange, panel.timeframe) == ("ccxt:binance", "binance", HOUR)
    assert panel.symbols == (BTC, ETH)
    assert panel.failed == {}
    assert_holds(panel, binance, 20)
    assert panel.save(tmp_path).digest == panel.digest


def test_quotes_are_those_of_the_exchange_with_cross_rates_fees_and_times(binance: FakeBinance) -> None:
    binance.quotes["BTC/EUR"] = binance.quotes["DOGE/USDT"] = Quote(1, 2)  # of currencies that nobody asked for
    began = binance.now()
    quotes = market(binance).load().quotes

    assert quotes is not None
    assert quotes.symbols == (BTC, ETH, CROSS)
    assert quotes.venues == ("binance",)
    held = [binance.quotes[symbol] for symbol in quotes.symbols]
    assert [quotes.bid.tolist(), quotes.ask.tolist()] == [[[q.bid for q in held]], [[q.ask for q in held]]]
    assert [quotes.bid_size.tolist(), quotes.ask_size.tolist()] == [
        [[q.bid_size for q in held]],
        [[q.ask_size for q in held]],
    ]
    assert quotes.fee.tolist() == [[0.001] * 3]
    assert began <= quotes.at <= binance.now()
    assert (began - 1500 <= quotes.times).all()
    assert (quotes.times <= quotes.at - 1500).all()


def test_a_symbol_that_is_not_quoted_has_none(binance: FakeBinance) -> None:
    binance.quotes[BTC] = Quote(None, None)
    binance.quotes[ETH] = Quote(None, 5)
    quotes = market(binance).load().quotes

    assert quotes is not None
    np.testing.assert_array_equal(quotes.bid[0, :2], [np.nan, np.nan])
    np.testing.assert_array_equal(quotes.ask[0, :2], [np.nan, 5])
    assert quotes.times[0, 0] == 0


def test_funding_is_that_of_the_perpetuals_under_their_spot_symbols(binance: FakeBinance) -> None:
    late = {at + 7: rate for at, rate in binance.payments[BTC].items()}  # as Binance stamps them
    binance.payments[BTC] = late
    funding = market(binance, symbols=(ETH, BTC, CROSS)).load().funding

    assert funding is not None
    assert funding.symbols == (ETH, BTC)
    assert funding.interval == 8 * HOUR
    assert funding.times.tolist() == [PAYMENT - back * 8 * HOUR for back in reversed(range(40))]
    expected = [[(back % 7 - 3) / 10_000] * 2 for back in reversed(range(40))]
    np.testing.assert_allclose(funding.rates, expected, atol=1e-15)


def test_contracts_that_pay_more_often_are_summed_up_over_eight_hours(binance: FakeBinance) -> None:
    every = {PAYMENT + 4 * HOUR - back * 4 * HOUR: 1 / 10_000 for back in range(11)}
    hourly = {PAYMENT - back * HOUR: 1 / 10_000 for back in range(20)}
    binance.payments = {BTC: every, ETH: hourly}
    funding = market(binance).load().funding

    assert funding is not None
    assert funding.times.tolist() == [PAYMENT - back * 8 * HOUR for back in reversed(range(5))]
    # the fifth window from the end has one payment of BTC, that of ETH's first has four: neither is whole
    nan = np.nan
    np.testing.assert_allclose(funding.rates[:, 0] * 10_000, [2, 2, 2, 2, 2])
    np.testing.assert_allclose(funding.rates[:, 1] * 10_000, [nan, nan, nan, 8, 8])


def test_a_window_counts_when_it_has_ended_and_has_all_its_payments(binance: FakeBinance) -> None:
    every = {PAYMENT - back * 4 * HOUR: 1 / 10_000 for back in range(1, 8)}  # the last is not published yet
    shifted = {PAYMENT + 4 * HOUR - back * 8 * HOUR: 1 / 10_000 for back in range(4)}
    binance.payments = {BTC: every, ETH: shifted}
    funding = market(binance).load().funding

    assert funding is not None
    assert funding.times.tolist() == [PAYMENT - back * 8 * HOUR for back in reversed(range(4))]
    nan = np.nan
    np.testing.assert_allclose(funding.rates[:, 0] * 10_000, [2, 2, 2, nan])
    np.testing.assert_allclose(funding.rates[:, 1] * 10_000, [nan, 1, 1, 1])


def test_payments_are_kept_for_thirty_days_and_asked_for_when_one_is_due(binance: FakeBinance) -> None:
    paid = {PAYMENT - back * 8 * HOUR: back / 1_000_000 for back in range(250)}
    binance.payments = {BTC: paid}
    live = market(binance)
    before = live.load().funding
    asked = len(binance.seen("fundingRate"))
    binance.wait(hours=1)
    live.load()
    assert len(binance.seen("fundingRate")) == asked
    binance.payments[BTC][PAYMENT + 8 * HOUR] = 0.5
    binance.wait(hours=8)
    after = live.load().funding

    assert before is not None
    assert after is not None
    assert len(before.times) == len(after.times) == 90
    assert [int(query["startTime"]) for query in binance.seen("fundingRate")[asked:]] == [
        PAYMENT + 1,
        PAYMENT + 8 * HOUR + 1,
    ]
    assert after.times[-1] == PAYMENT + 8 * HOUR
    assert after.rates[-1, 0] == 0.5
    np.testing.assert_array_equal(after.rates[:-1], before.rates[1:])


def test_what_an_exchange_does_not_have_is_none(kraken: FakeKraken) -> None:
    panel = market(kraken, symbols=(BTC,)).load()
    assert panel.funding is None
    assert not panel.has("funding")
    assert panel.has("quotes")


def test_an_exchange_without_contracts_of_the_symbols_has_no_funding(binance: FakeBinance) -> None:
    panel = market(binance, symbols=(CROSS,)).load()
    assert panel.funding is None
    assert panel.failed == {}


def test_a_bar_that_is_not_finished_is_dropped_until_it_is(binance: FakeBinance) -> None:
    assert LAST + HOUR in binance.bars[BTC]
    live = market(binance)
    assert live.load().times[-1] == LAST
    binance.bars[BTC][LAST + HOUR] = (1, 4, 1, 2, 99)
    binance.wait(hours=0.5)
    panel = live.load()
    assert panel.times[-1] == LAST + HOUR
    assert panel.volume[-1, 0] == 99


def test_more_bars_than_a_page_has_are_asked_for_page_after_page(binance: FakeBinance) -> None:
    minute = 60_000
    last = NOW - minute
    binance.fill(BTC, 2600, last=NOW, step=minute)
    panel = market(binance, symbols=(BTC,), timeframe="1m", bars=2500).load()

    assert_holds(panel, binance, 2500, minute, last)
    starts = [int(query["startTime"]) for query in binance.seen("klines")]
    assert starts == [last - 2499 * minute, last - 1499 * minute, last - 499 * minute]


def test_pages_shorter_than_promised_are_followed_to_the_end(binance: FakeBinance) -> None:
    binance.page = 7
    assert_holds(market(binance).load(), binance, 20)
    assert len(binance.seen("klines")) == 2 * 3


def test_kraken_has_no_more_than_its_last_720_bars(kraken: FakeKraken) -> None:
    kraken.fill(BTC, 1100)
    panel = market(kraken, symbols=(BTC,), bars=1000).load()
    assert_holds(panel, kraken, 719)
    assert len(kraken.seen("OHLC")) == 1


def test_an_empty_page_is_not_the_end(coinbase: FakeCoinbase) -> None:
    coinbase.fill("BTC/USD", 1200)
    for back in range(100, 900):
        del coinbase.bars["BTC/USD"][LAST - back * HOUR]
    panel = market(coinbase, symbols=("BTC/USD",), bars=1000).load()

    assert panel.times.tolist() == [LAST - back * HOUR for back in reversed([*range(100), *range(900, 1000)])]
    assert panel.gaps()["*"][0]["bars"] == 800
    assert panel.close[:, 0].tolist() == [coinbase.bars["BTC/USD"][at][3] for at in panel.times.tolist()]


def test_gaps_are_reported_not_invented(binance: FakeBinance) -> None:
    for back in (3, 4, 9):
        del binance.bars[ETH][LAST - back * HOUR]
    panel = market(binance).load()
    assert panel.bars == 20
    assert np.flatnonzero(np.isnan(panel.close[:, 1])).tolist() == [10, 15, 16]
    assert [gap["bars"] for gap in panel.gaps()[ETH]] == [1, 2]
    assert not np.isnan(panel.close[:, 0]).any()


def test_where_only_single_symbols_are_quoted_each_is_asked(coinbase: FakeCoinbase) -> None:
    coinbase.fill("ETH/USD", 30)
    panel = market(coinbase, symbols=("BTC/USD", "ETH/USD")).load()
    quotes = panel.quotes
    assert quotes is not None
    assert quotes.bid.tolist() == [[coinbase.quotes[symbol].bid for symbol in panel.symbols]]
    assert np.isnan(quotes.bid_size).all()
    assert np.isnan(quotes.ask_size).all()
    assert (quotes.times <= quotes.at).all()  # though the exchange's clock is half an hour ahead


def test_unless_told_the_most_traded_symbols_are_read(binance: FakeBinance) -> None:
    for number in range(40):
        binance.fill(f"C{number:02d}/USDT", 3)
        binance.bars[f"C{number:02d}/USDT"][LAST] = (1, 1, 1, 1, 1_000_000 - 1000 * number)
    binance.fill("BIG/USDC", 3)
    binance.bars["BIG/USDC"][LAST] = (1, 1, 1, 1, 2_000_000)
    binance.fill("BIG/BTC", 3)
    binance.bars["BIG/BTC"][LAST] = (1, 1, 1, 1, 900_000_000)
    panel = market(binance, symbols=()).load()
    assert panel.symbols == tuple(f"C{number:02d}/USDT" for number in range(32))


def test_an_exchange_that_tells_no_volumes_wants_the_symbols_named(coinbase: FakeCoinbase) -> None:
    with pytest.raises(MarketError, match=r"--market ccxt:coinbaseexchange: .* --live-symbols"):
        market(coinbase, symbols=()).load()


def test_a_refresh_asks_for_what_is_new_and_for_the_last_bar_again(binance: FakeBinance) -> None:
    live = market(binance)
    first = live.load()
    binance.bars[BTC][LAST] = (7, 7, 7, 7, 7)
    for symbol in (BTC, ETH):
        binance.bars[symbol] |= {LAST + hour * HOUR: (hour, hour, hour, hour, hour) for hour in (1, 2, 3)}
    asked = len(binance.seen("klines"))
    binance.wait(hours=2)
    second = live.load()

    new = binance.seen("klines")[asked:]
    assert [query["symbol"] for query in new] == ["BTCUSDT", "ETHUSDT"]
    assert {(query["startTime"], query["limit"]) for query in new} == {(str(LAST), "4")}
    assert_holds(second, binance, 20, last=LAST + 2 * HOUR)
    assert second.digest != first.digest
    assert len(binance.seen("exchangeInfo")) == 3  # the list of markets is read once


def test_nothing_is_asked_of_candles_that_cannot_have_changed(binance: FakeBinance) -> None:
    live = market(binance)
    first = live.load()
    asked = len(binance.seen("klines"))
    binance.wait(seconds=60)
    second = live.load()

    assert len(binance.seen("klines")) == asked
    assert without_quotes(second) == without_quotes(first)
    assert second.digest != first.digest  # the quotes were read again


def test_a_bar_that_is_corrected_soon_after_its_end_is_read_again(binance: FakeBinance) -> None:
    binance.wait(hours=0.5, seconds=5)
    live = market(binance)
    live.load()
    binance.bars[ETH][LAST + HOUR] = (2, 3, 1, 2, 5)
    binance.wait(seconds=60)
    panel = live.load()
    assert [float(getattr(panel, field)[-1, 1]) for field in FIELDS] == [2, 3, 1, 2, 5]
    asked = len(binance.seen("klines"))
    binance.wait(seconds=60)
    live.load()
    assert len(binance.seen("klines")) == asked


def test_the_same_data_is_the_same_panel_but_for_when_it_was_read(binance: FakeBinance) -> None:
    assert without_quotes(market(binance).load()) == without_quotes(market(binance).load())


def test_two_venues_give_quotes_of_both_and_candles_of_the_first(binance: FakeBinance, kraken: FakeKraken) -> None:
    panel = market(binance, kraken).load()

    assert (panel.market, panel.exchange) == ("ccxt:binance,kraken", "binance")
    assert_holds(panel, binance, 20)
    quotes = panel.quotes
    assert quotes is not None
    assert quotes.venues == ("binance", "kraken")
    assert quotes.symbols == (BTC, ETH, CROSS)
    np.testing.assert_array_equal(quotes.ask[1], [kraken.quotes[BTC].ask, np.nan, np.nan])
    np.testing.assert_array_equal(quotes.fee[1], [0.004, np.nan, np.nan])
    assert quotes.times[1, 0] <= quotes.at
    assert quotes.at - quotes.times[1, 0] < 5000  # Kraken tells no times: it is the time of reading
    assert kraken.seen("OHLC") == []


def test_one_venue_of_two_that_fails_fails_the_quotes_and_is_named(binance: FakeBinance, kraken: FakeKraken) -> None:
    live = market(binance, kraken)
    kraken.trouble("AssetPairs", status=503, times=4)
    panel = live.load()
    assert panel.quotes is None
    assert panel.has("quotes")
    assert panel.failed.keys() == {"quotes"}
    assert panel.failed["quotes"].startswith("kraken load_markets: ExchangeNotAvailable: ")
    assert live.load().failed == {}


def test_a_venue_that_lists_no_such_symbol_is_no_venue(binance: FakeBinance, kraken: FakeKraken) -> None:
    assert market(binance, kraken, symbols=(ETH,)).load().failed == {"quotes": "kraken lists none of the symbols"}


CALLS: dict[Input, tuple[str, str]] = {
    "candles": ("klines", "binance fetch_ohlcv BTC/USDT: "),
    "quotes": ("ticker", "binance fetch_tickers: "),
    "funding": ("fundingRate", "binance fetch_funding_rate_history BTC/USDT:USDT: "),
}
FAILURES: dict[str, tuple[dict[str, Any], str]] = {
    "HTTP 500": ({"status": 500}, "ExchangeNotAvailable: "),
    "too many requests": ({"status": 429}, "DDoSProtection: "),
    "no JSON": ({"body": "<html>busy</html>"}, "BadResponse: "),
    "an empty body": ({"body": ""}, "BadResponse: "),
    "another shape": ({"body": '{"a": 1}'}, ""),
    "another shape of entries": ({"body": '[{"a": 1}]'}, ""),
    "refused": ({"status": 400, "body": '{"code": -1121, "msg": "Invalid symbol."}'}, "BadSymbol: "),
    "too slow": ({"delay": 5}, "RequestTimeout: "),
    "a whole page": ({"status": 403, "body": "<p>" * 9000}, "ExchangeNotAvailable: "),
}


@pytest.mark.parametrize(
    ("failure", "wanted"),
    [
        (failure, wanted)
        for failure in FAILURES
        for wanted in CALLS
        # ccxt drops payments without a time: it is as if there were no new ones, and they are asked for again
        if (failure, wanted) != ("another shape of entries", "funding")
    ],
)
def test_what_fails_in_a_refresh_is_told_and_the_rest_is_there(
    binance: FakeBinance, failure: str, wanted: Input
) -> None:
    def connect(_: str) -> Any:
        exchange = binance.connect()
        exchange.timeout = 500 if failure == "too slow" else exchange.timeout
        return exchange

    live = ExchangeMarket(["binance"], symbols=(BTC, ETH), bars=20, connect=connect, pauses=(0.01,))
    first = live.load()
    (path, told), (what, error) = CALLS[wanted], FAILURES[failure]
    binance.wait(hours=9)
    binance.trouble(path, times=8, **what)
    panel = live.load()

    assert panel.failed.keys() == {wanted}
    assert panel.failed[wanted].startswith(told + error if error else "binance")
    assert len(panel.failed[wanted]) < 400
    assert panel.has(wanted)
    assert wanted != "candles" or panel.times.tolist() == first.times.tolist()
    assert (panel.quotes is None) == (wanted == "quotes")
    assert (panel.funding is None) == (wanted == "funding")


@pytest.mark.parametrize("wanted", CALLS)
def test_what_failed_is_there_again_when_the_exchange_is(binance: FakeBinance, wanted: Input) -> None:
    live = market(binance)
    live.load()
    binance.wait(hours=9)
    for symbol in (BTC, ETH):
        binance.bars[symbol] |= {LAST + hour * HOUR: (1, 1, 1, 1, 1) for hour in range(1, 10)}
    binance.trouble(CALLS[wanted][0], status=500, times=4)
    assert live.load().failed.keys() == {wanted}
    panel = live.load()
    assert panel.failed == {}
    assert_holds(panel, binance, 20, last=LAST + 9 * HOUR)


@pytest.mark.parametrize("wanted", CALLS)
def test_an_empty_list_is_a_failure_where_something_must_be(binance: FakeBinance, wanted: Input) -> None:
    live = market(binance)
    path, _ = CALLS[wanted]
    if wanted != "funding":  # payments that were read are kept; a contract need not have a new one
        live.load()
        binance.wait(hours=1)
    binance.trouble(path, body="[]", times=20)
    panel = live.load()
    assert panel.failed.keys() == {wanted}
    assert panel.failed[wanted].startswith("binance")


def test_candles_that_fail_at_first_are_an_error(binance: FakeBinance) -> None:
    binance.trouble("klines", status=500, times=4)
    with pytest.raises(MarketError, match="--market ccxt:binance: binance fetch_ohlcv BTC/USDT: ExchangeNotAvailable"):
        market(binance).load()


def test_a_list_of_markets_that_is_no_json_is_an_error_and_no_exchange_without_contracts(binance: FakeBinance) -> None:
    binance.trouble("/fapi/v1/exchangeInfo", body="busy")
    with pytest.raises(MarketError, match=r"binance load_markets: BadResponse: .* no JSON: 'busy'"):
        market(binance).load()


def test_a_strategy_of_what_failed_tells_why(binance: FakeBinance) -> None:
    live = market(binance)
    live.load()
    binance.wait(hours=1)
    binance.trouble("klines", status=403, body="no", times=9)
    with pytest.raises(MarketError, match="could not give its candles: binance fetch_ohlcv BTC/USDT: "):
        TimeSeriesMomentum().require(live.load())


def test_a_symbol_that_was_taken_off_the_list_has_gaps_and_the_others_go_on(binance: FakeBinance) -> None:
    live = market(binance)
    live.load()
    binance.wait(hours=2)
    for symbol in (BTC, ETH, CROSS):
        binance.fill(symbol, 40, last=NOW // HOUR * HOUR + 2 * HOUR)
    binance.trouble("klines", status=400, body='{"code": -1121, "msg": "Invalid symbol."}')  # of BTC, the first
    panel = live.load()
    assert panel.failed == {}
    assert panel.times[-1] == LAST + 2 * HOUR
    assert np.isnan(panel.close[-2:, 0]).all()
    assert np.isfinite(panel.close[:-2, 0]).all()
    assert np.isfinite(panel.close[:, 1]).all()


def test_funding_that_is_paid_once_a_day_or_with_one_missing_has_gaps(binance: FakeBinance) -> None:
    day = 24 * HOUR
    binance.payments[BTC] = {PAYMENT // day * day - back * day: 3e-4 for back in range(20)}
    hourly = {PAYMENT - back * HOUR: 1e-4 for back in range(100)}
    del hourly[PAYMENT - 13 * HOUR]
    binance.payments[ETH] = hourly
    funding = market(binance).load().funding
    assert funding is not None
    assert set(np.diff(funding.times).tolist()) == {funding.interval}
    btc, eth = funding.rates.T
    paid = np.isin(funding.times, list(binance.payments[BTC]))
    assert (np.isfinite(btc) == paid).all()
    assert paid.sum() < len(paid) / 2
    gap = funding.times == PAYMENT - 8 * HOUR
    assert np.isnan(eth[gap]).all()
    inside = (funding.times > PAYMENT - 80 * HOUR) & ~gap
    np.testing.assert_allclose(eth[inside], 8e-4)


def test_no_candles_at_first_are_an_error(binance: FakeBinance) -> None:
    binance.bars.clear()
    with pytest.raises(MarketError, match="fewer than two finished bars"):
        market(binance).load()


@pytest.mark.parametrize("trouble", [{"status": 500}, {"status": 429}, {"status": 504}])
def test_what_may_pass_is_tried_again(kraken: FakeKraken, trouble: dict[str, Any]) -> None:
    kraken.trouble("OHLC", times=3, **trouble)
    panel = market(kraken, symbols=(BTC,)).load()
    assert panel.failed == {}
    assert_holds(panel, kraken, 20)
    assert len(kraken.seen("OHLC")) == 4


def test_what_does_not_pass_is_not_tried_again(binance: FakeBinance) -> None:
    binance.trouble("klines", status=400, body='{"code": -1121, "msg": "Invalid symbol."}')
    with pytest.raises(MarketError, match="BadSymbol"):
        market(binance).load()
    assert len(binance.seen("klines")) == 1


def test_all_tries_together_wait_no_longer_than_ten_seconds() -> None:
    assert 0 < sum(venue.PAUSES) <= 10
    exchange = venue.connect("binance")
    assert exchange.timeout == venue.TIMEOUT <= 5_000  # a server that stops waits for one request
    assert exchange.enableRateLimit
    assert not exchange.apiKey


def test_the_rate_limit_of_ccxt_is_kept(kraken: FakeKraken) -> None:
    def connect(_: str) -> Any:
        exchange = kraken.connect()
        exchange.rateLimit = 100
        return exchange

    kraken.trouble("OHLC", status=500, times=2)
    began = time.monotonic()
    ExchangeMarket(["kraken"], symbols=(BTC,), bars=20, connect=connect, pauses=QUICK).load()
    assert len(kraken.requests) == 6
    assert time.monotonic() - began >= 0.5


def test_a_refused_connection_is_told(binance: FakeBinance) -> None:
    live = market(binance)
    binance.close()
    with pytest.raises(MarketError, match=r"--market ccxt:binance: binance load_markets: \w+: .*127\.0\.0\.1"):
        live.load()


def test_proxies_of_the_environment_are_not_used(binance: FakeBinance, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert market(binance).load().failed == {}


def test_the_connections_of_a_market_that_is_dropped_are_closed(binance: FakeBinance, kraken: FakeKraken) -> None:
    with ExitStack() as stack:
        live = market(binance, kraken)
        live.load()
        assert binance.open_connections == kraken.open_connections == 1
        stack.callback(gc.enable)
        gc.disable()  # it takes no collection of cycles
        del live
        deadline = time.monotonic() + 5
        while binance.open_connections + kraken.open_connections and time.monotonic() < deadline:
            time.sleep(0.01)
    assert binance.open_connections == kraken.open_connections == 0


def test_an_exchange_that_nobody_knows_is_named_with_those_like_it() -> None:
    with pytest.raises(MarketError, match=r"--market ccxt:krakn: ccxt knows no exchange 'krakn'; it knows kraken"):
        ExchangeMarket(["krakn"]).load()


def test_an_exchange_without_candles_is_named() -> None:
    with pytest.raises(MarketError, match="bitflyer gives no candles"):
        ExchangeMarket(["bitflyer"], symbols=("BTC/JPY",)).load()


@pytest.mark.parametrize("symbol", ["BCT/USDT", "btc/usdt", "BTC/USDT:USDT"])
def test_a_symbol_that_nobody_trades_is_named_with_those_like_it(binance: FakeBinance, symbol: str) -> None:
    with pytest.raises(MarketError, match=f"--live-symbols: binance does not trade {symbol}; it lists .*BTC/USDT"):
        market(binance, symbols=(ETH, symbol)).load()


def test_a_timeframe_that_the_exchange_lacks_is_named(kraken: FakeKraken) -> None:
    with pytest.raises(MarketError, match=r"kraken has no bars of --live-timeframe 2h; it has 1m, 5m, "):
        market(kraken, timeframe="2h").load()
    assert kraken.requests == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"venues": []}, "--market ccxt:"),
        ({"venues": ["kraken", ""]}, "--market ccxt:kraken,"),
        ({"venues": ["kraken", "kraken"]}, "--market ccxt:kraken,kraken"),
        ({"venues": ["kraken"], "bars": 1}, "--live-bars 1"),
        ({"venues": ["kraken"], "timeframe": "hourly"}, "--live-timeframe hourly"),
    ],
)
def test_settings_that_cannot_be_are_named(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingError) as caught:
        ExchangeMarket(**arguments)
    assert told in caught.value.detail


def test_without_ccxt_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ccxt", None)
    with pytest.raises(MarketError, match=r"--market ccxt:kraken: .* pip install 'scanstream\[live\]'"):
        ExchangeMarket(["kraken"]).load()
