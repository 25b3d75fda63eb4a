"""The generated market: the same for the same seed, sound as candles, and never presented as real."""

from datetime import UTC, datetime

import numpy as np
import pytest

from scanstream.market.synthetic import SyntheticMarket
from scanstream.panel import FIELDS, Panel
from scanstream.quotes import Funding, Quotes, currencies
from scanstream.strategies.pairs import dickey_fuller, p_value, regression


@pytest.fixture(scope="module")
def panel() -> Panel:
    return SyntheticMarket().load()


def test_the_same_seed_is_the_same_data_and_another_is_not(panel: Panel) -> None:
    assert SyntheticMarket().load().digest == panel.digest
    assert SyntheticMarket(seed=8).load().digest != panel.digest


def test_it_has_64_symbols_and_2200_hourly_bars(panel: Panel) -> None:
    assert len(set(panel.symbols)) == len(panel.symbols) == 64
    assert all(symbol.endswith("/USDT") for symbol in panel.symbols)
    assert panel.bars == 2_200
    for field in FIELDS:
        assert getattr(panel, field).shape == (2_200, 64)
    assert panel.timeframe == 3_600_000
    assert set(np.diff(panel.times).tolist()) == {3_600_000}
    assert datetime.fromtimestamp(panel.times[-1] / 1000, UTC) == datetime(2026, 11, 23, 14, tzinfo=UTC)


def test_its_candles_are_sound(panel: Panel) -> None:
    for field in FIELDS:
        assert np.isfinite(getattr(panel, field)).all()
        assert (getattr(panel, field) > 0).all()
    assert (panel.high >= np.maximum(panel.open, panel.close)).all()
    assert (panel.low <= np.minimum(panel.open, panel.close)).all()
    np.testing.assert_array_equal(panel.open[1:], panel.close[:-1])
    assert panel.gaps() == {}


def test_it_says_that_it_is_synthetic(panel: Panel) -> None:
    assert SyntheticMarket().name == panel.market == panel.exchange == "synthetic"


def test_pairs_are_tied_beyond_chance(panel: Panel) -> None:
    """Of 2,016 pairs chance alone would give 0.2 with so low a p-value; eight are planted."""
    prices = np.log(panel.close[-500:])
    first, second = np.triu_indices(64, 1)
    spreads = regression(prices[:, first].T, prices[:, second].T)[2]
    likely = [p_value(statistic) for statistic in dickey_fuller(spreads).tolist()]
    assert sum(p < 0.0001 for p in likely) >= 6


@pytest.fixture(scope="module")
def quotes(panel: Panel) -> Quotes:
    assert panel.quotes is not None
    return panel.quotes


@pytest.fixture(scope="module")
def funding(panel: Panel) -> Funding:
    assert panel.funding is not None
    return panel.funding


def test_three_venues_quote_everything_and_cross_rates(panel: Panel, quotes: Quotes) -> None:
    assert set(panel.symbols) < set(quotes.symbols)
    assert {currencies(symbol)[1] for symbol in quotes.symbols} == {"USDT", "BTC", "ETH"}
    assert quotes.venues == ("alpha", "beta", "gamma")
    assert quotes.at == panel.times[-1] + panel.timeframe
    for name, array in quotes.arrays().items():
        assert array.shape == (3, len(quotes.symbols)), name
        assert (array > 0).all(), name
    assert (quotes.bid < quotes.ask).all()
    assert (quotes.times <= quotes.at).all()


def test_quotes_are_about_the_last_close_and_its_ratios(panel: Panel, quotes: Quotes) -> None:
    prices = dict(zip(panel.symbols, panel.close[-1].tolist(), strict=True)) | {"USDT/USDT": 1.0}
    for column, symbol in enumerate(quotes.symbols):
        base, quote = currencies(symbol)
        fair = prices[f"{base}/USDT"] / prices[f"{quote}/USDT"]
        np.testing.assert_allclose(quotes.bid[:, column], fair, rtol=0.01)
        np.testing.assert_allclose(quotes.ask[:, column], fair, rtol=0.01)


def test_some_quotes_are_out_of_line_and_some_are_old(quotes: Quotes) -> None:
    crossed = quotes.bid.max(axis=0) > quotes.ask.min(axis=0) * 1.002
    assert 0 < crossed.sum() < len(quotes.symbols) / 3
    old = quotes.at - quotes.times > 60_000
    assert 0 < old.sum() < old.size / 20


def test_funding_is_paid_each_eight_hours(panel: Panel, funding: Funding) -> None:
    assert set(funding.symbols) < set(panel.symbols)
    assert funding.interval == 8 * 3_600_000
    assert set(np.diff(funding.times).tolist()) == {funding.interval}
    assert (funding.times % funding.interval == 0).all()
    assert panel.times[0] <= funding.times[0]
    assert funding.times[-1] <= panel.times[-1] + panel.timeframe < funding.times[-1] + funding.interval
    assert funding.rates.shape == (len(funding.times), len(funding.symbols))
    assert (np.abs(funding.rates) < 0.002).all()


@pytest.mark.parametrize("symbols", [1, 2, 9, 80])
def test_any_number_of_symbols_can_be_had(symbols: int) -> None:
    panel = SyntheticMarket(symbols=symbols, bars=50).load()
    assert len(set(panel.symbols)) == symbols
    assert panel.quotes is not None
    assert set(panel.symbols) <= set(panel.quotes.symbols)


def test_it_is_as_small_as_asked() -> None:
    panel = SyntheticMarket(symbols=3, bars=10).load()
    assert panel.symbols == ("BTC/USDT", "ETH/USDT", "SOL/USDT")
    assert panel.close.shape == (10, 3)
