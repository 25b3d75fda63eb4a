"""The generated market: the same for the same seed, sound as candles, and never presented as real."""

from datetime import UTC, datetime

import numpy as np
import pytest

from scanstream.market.synthetic import SyntheticMarket
from scanstream.panel import FIELDS, Panel


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


def test_it_is_as_small_as_asked() -> None:
    panel = SyntheticMarket(symbols=3, bars=10).load()
    assert panel.symbols == ("BTC/USDT", "ETH/USDT", "SOL/USDT")
    assert panel.close.shape == (10, 3)
