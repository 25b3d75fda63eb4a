"""Candles from a Parquet file: the same panel as from CSV files, and the same rules."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest

from scanstream.errors import MarketError
from scanstream.market.files import FilesMarket
from scanstream.panel import FIELDS

HOUR = 3_600_000
NOON = 1_795_435_200_000
AT_NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def rows(**changes: Any) -> dict[str, Any]:
    """Two symbols, three hours, one bar absent; in no order."""
    columns: dict[str, Any] = {
        "symbol": ["B/X", "A/X", "A/X", "B/X", "A/X"],
        "timestamp": [NOON + HOUR, NOON, NOON + 2 * HOUR, NOON, NOON + HOUR],
        "open": [5.0, 1.0, 3.0, 4.0, 2.0],
        "high": [5.5, 1.5, 3.5, 4.5, 2.5],
        "low": [4.5, 0.5, 2.5, 3.5, 1.5],
        "close": [5.1, 1.1, 3.1, 4.1, 2.1],
        "volume": [50, 10, 30, 40, 20],
        "note": ["further columns are ignored"] * 5,
    }
    return {**columns, **changes}


def written(directory: Path, **changes: Any) -> FilesMarket:
    """A market of these rows; a column that is None is left out."""
    file = directory / "mine.parquet"
    polars.DataFrame({name: values for name, values in rows(**changes).items() if values is not None}).write_parquet(
        file
    )
    return FilesMarket(file)


def test_rows_in_any_order_become_a_panel(tmp_path: Path) -> None:
    panel = written(tmp_path).load()
    assert (panel.market, panel.exchange, panel.timeframe) == ("files:mine.parquet", "files", HOUR)
    assert panel.symbols == ("A/X", "B/X")
    assert panel.times.tolist() == [NOON, NOON + HOUR, NOON + 2 * HOUR]
    np.testing.assert_array_equal(panel.close, [[1.1, 4.1], [2.1, 5.1], [3.1, np.nan]])
    np.testing.assert_array_equal(panel.volume, [[10, 40], [20, 50], [30, np.nan]])
    assert panel.gaps()["B/X"][0]["bars"] == 1


def test_the_real_candles_are_the_same_as_from_csv(real_candles: Path) -> None:
    csv, parquet = FilesMarket(real_candles).load(), FilesMarket(real_candles.with_suffix(".parquet")).load()
    assert (csv.symbols, csv.timeframe) == (parquet.symbols, parquet.timeframe)
    assert parquet.market == "files:crypto-5m.parquet"
    for name in ("times", *FIELDS):
        np.testing.assert_array_equal(getattr(csv, name), getattr(parquet, name))


HOURS = [1, 0, 2, 0, 1]

TIMES: dict[str, Any] = {
    "milliseconds": [NOON + hour * HOUR for hour in HOURS],
    "seconds": [NOON // 1000 + hour * 3600 for hour in HOURS],
    "a time without a zone": [AT_NOON.replace(hour=12 + hour, tzinfo=None) for hour in HOURS],
    "UTC": [AT_NOON.replace(hour=12 + hour) for hour in HOURS],
    "another zone": polars.Series([AT_NOON.replace(hour=12 + hour) for hour in HOURS]).dt.convert_time_zone(
        "Asia/Tokyo"
    ),
    "nanoseconds": polars.Series([AT_NOON.replace(hour=12 + hour) for hour in HOURS]).dt.cast_time_unit("ns"),
}


@pytest.mark.parametrize("kind", TIMES)
def test_timestamps_are_times_or_numbers(tmp_path: Path, kind: str) -> None:
    panel = written(tmp_path, timestamp=TIMES[kind]).load()
    assert panel.times.tolist() == [NOON, NOON + HOUR, NOON + 2 * HOUR]


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no symbol": ({"symbol": None}, "row 2, and row 4: mine has two bars"),
    "no close": ({"close": None}, "the header lacks close"),
    "no time": ({"timestamp": None}, "the header lacks timestamp"),
    "an absent time": ({"timestamp": [NOON, None, NOON, NOON, NOON]}, "row 2: there is no time"),
    "an absent symbol": ({"symbol": ["A/X", "A/X", "A/X", None, "A/X"]}, "row 4: it names no symbol"),
    "a price below zero": ({"low": [4.5, 0.5, 2.5, -3.5, 1.5]}, "row 4: low is -3.5"),
    "infinite": ({"high": [5.5, 1.5, 3.5, 4.5, float("inf")]}, "row 5: high is inf"),
    "high below low": ({"high": [5.5, 0.1, 3.5, 4.5, 2.5]}, "row 2: high 0.1 is below low 0.5"),
    "a bar twice": ({"timestamp": [NOON, NOON, NOON, NOON, NOON + HOUR]}, "row 1, and row 4: B/X has two bars"),
    "words for times": ({"timestamp": ["yesterday"] * 5}, "row 1: 'yesterday' cannot be read as the time"),
    "beyond all years": ({"timestamp": [NOON * 2] * 5}, "row 1: 3590870400000 cannot be the time of a bar"),
    "dates beyond all years": ({"timestamp": [datetime(1970, 1, 1)] * 5}, "row 1: 1970-01-01 is no day between"),
    "words for prices": ({"close": ["five"] * 5}, "row 1: close: 'five' is no number"),
    "truth for prices": ({"close": [True] * 5}, "the column close is Boolean"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_breaks_a_rule_is_named(tmp_path: Path, kind: str) -> None:
    changes, reason = BROKEN[kind]
    with pytest.raises(MarketError) as caught:
        written(tmp_path, **changes).load()
    assert reason in caught.value.detail
    assert str(tmp_path / "mine.parquet") in caught.value.detail


def test_a_file_without_rows_or_with_one_time_is_no_market(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {name: [] for name in rows()}
    with pytest.raises(MarketError, match="no rows"):
        written(tmp_path, **nothing).load()
    with pytest.raises(MarketError, match="one bar"):
        written(tmp_path, **{name: values[:1] for name, values in rows().items()}).load()


def test_another_kind_of_file_says_so(tmp_path: Path) -> None:
    for name in ("notes.txt", "notes.parquet", "notes.feather"):
        (tmp_path / name).write_text("no table")
        with pytest.raises(MarketError, match=name) as caught:
            FilesMarket(tmp_path / name).load()
        assert "\n" not in caught.value.detail


def test_without_the_extra_the_message_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    market = written(tmp_path)
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MarketError, match=r"pip install 'scanstream\[parquet\]'"):
        market.load()
