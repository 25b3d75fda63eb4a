"""Candles from CSV files: what is right is read to the digit, what is wrong is named by file and line."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from scanstream.errors import MarketError
from scanstream.market.files import FilesMarket
from scanstream.market.reading.csvfiles import read_text
from scanstream.model import timestamp
from scanstream.panel import FIELDS

HEADER = "timestamp,open,high,low,close,volume\n"
FIRST = "2026-11-23T13:00:00Z,1.5,2.5,0.5,2.0,10\n"
SECOND = "2026-11-23T14:00:00Z,2.0,3.0,1.0,2.5,20\n"
AT = 1_795_438_800_000
HOUR = 3_600_000


def csv_file(directory: Path, text: str | bytes, name: str = "ETH_BTC.csv") -> Path:
    """A file with this content."""
    file = directory / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def read_csv(file: Path) -> dict[int, tuple[float, ...]]:
    """One symbol's bars: time → open, high, low, close, volume."""
    [series] = read_text(file, "A/B", lambda bars: None).series()
    return dict(
        zip(series.times.tolist(), zip(*(column.tolist() for column in series.values), strict=True), strict=True)
    )


def test_columns_come_in_any_order_with_others_between(tmp_path: Path) -> None:
    text = "volume, Close ,note,low,HIGH,open,timestamp\n10,2.0,x,0.5,2.5,1.5,2026-11-23T13:00:00Z\n"
    assert read_csv(csv_file(tmp_path, text)) == {AT: (1.5, 2.5, 0.5, 2.0, 10.0)}


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-23T13:00:00Z",
        "2026-11-23T13:00:00",
        "2026-11-23 13:00:00",
        "2026-11-23T13:00:00.000+00:00",
        "2026-11-23T15:00:00+02:00",
        f"{AT // 1000}",
        f"{AT}",
        f" {AT} ",
    ],
)
def test_timestamps_are_iso_or_seconds_or_milliseconds(tmp_path: Path, written: str) -> None:
    assert list(read_csv(csv_file(tmp_path, f"{HEADER}{written},1,2,0.5,1,3\n"))) == [AT]


def test_blank_lines_and_windows_line_ends_and_quotes_are_read(tmp_path: Path) -> None:
    text = f"{HEADER}\n{FIRST}\n".replace("1.5", '"1.5"').replace("\n", "\r\n")
    assert read_csv(csv_file(tmp_path, text)) == {AT: (1.5, 2.5, 0.5, 2.0, 10.0)}


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    assert list(read_csv(csv_file(tmp_path, f"\ufeff{HEADER}{FIRST}"))) == [AT]


BROKEN: dict[str, tuple[str | bytes, int, str]] = {
    "empty file": ("", 1, "timestamp,open,high,low,close,volume"),
    "missing column": ("timestamp,open,high,low,volume\n", 1, "close"),
    "several missing columns": ("timestamp,open,high\n", 1, "low, close"),
    "too few fields": (HEADER + FIRST + "2026-11-23T14:00:00Z,1,2,0.5,1\n", 3, "5 fields"),
    "too many fields": (HEADER + FIRST.replace("\n", ",9\n"), 2, "7 fields"),
    "not a number": (HEADER + FIRST + SECOND.replace("2.5", "two"), 3, "two"),
    "a negative price": (HEADER + FIRST.replace("0.5", "-0.5"), 2, "low"),
    "a negative volume": (HEADER + FIRST.replace(",10", ",-10"), 2, "volume"),
    "infinite": (HEADER + FIRST.replace("2.5", "inf"), 2, "high"),
    "high below low": (HEADER + FIRST.replace("2.5", "0.25"), 2, "below low"),
    "no timestamp": (HEADER + FIRST.replace("2026-11-23T13:00:00Z", "yesterday"), 2, "yesterday"),
    "an impossible date": (HEADER + FIRST.replace("11-23", "02-30"), 2, ""),
    "a negative timestamp": (HEADER + FIRST.replace("2026-11-23T13:00:00Z", "-5"), 2, "-5"),
    "a timestamp beyond all machines": (HEADER + FIRST.replace("2026-11-23T13:00:00Z", "9" * 30), 2, ""),
    "two bars of one time": (
        HEADER + FIRST + SECOND + FIRST.replace("2.5", "3.5"),
        2,
        "and line 4: ETH/BTC has two bars",
    ),
    "an unclosed quote": (HEADER + FIRST + '2026-11-23T14:00:00Z,"2.0,3.0,1.0,2.5,20\n', 3, ""),
    "text after a quote": (HEADER + FIRST.replace("1.5", '"1"5'), 2, ""),
    "not UTF-8": ((HEADER + FIRST).encode() + b"2026-11-23T14:00:00Z,2.0,3.0,1.0,2.5,2\xff\n", 3, ""),
    "a NUL": (HEADER + FIRST + SECOND.replace("20\n", "2\0\n"), 3, ""),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_named_by_file_and_line(tmp_path: Path, case: str) -> None:
    text, line, words = BROKEN[case]
    file = csv_file(tmp_path, text)
    with pytest.raises(MarketError) as caught:
        FilesMarket(tmp_path).load()
    assert f"{file}, line {line}" in caught.value.detail
    assert words in caught.value.detail


def test_a_file_without_bars_is_named(tmp_path: Path) -> None:
    file = csv_file(tmp_path, HEADER)
    with pytest.raises(MarketError, match=str(file)):
        FilesMarket(tmp_path).load()


def test_a_directory_called_like_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "ETH_BTC.csv").mkdir()
    with pytest.raises(MarketError, match=str(tmp_path / "ETH_BTC.csv")):
        FilesMarket(tmp_path).load()


def test_a_market_without_files_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", csv_file(tmp_path, "", "notes.txt")):
        with pytest.raises(MarketError, match=str(path)):
            FilesMarket(path).load()


def test_one_bar_is_no_market(tmp_path: Path) -> None:
    csv_file(tmp_path, HEADER + FIRST)
    csv_file(tmp_path, HEADER + FIRST, "LTC_BTC.csv")
    with pytest.raises(MarketError, match="at least two"):
        FilesMarket(tmp_path).load()


def test_one_symbol_makes_a_panel(tmp_path: Path) -> None:
    csv_file(tmp_path, HEADER + FIRST + SECOND)
    panel = FilesMarket(tmp_path).load()
    assert panel.market == f"files:{tmp_path.name}"
    assert panel.exchange == "files"
    assert panel.symbols == ("ETH/BTC",)
    assert panel.timeframe == HOUR
    assert panel.times.tolist() == [AT, AT + HOUR]
    assert [getattr(panel, field).tolist() for field in FIELDS] == [
        [[1.5], [2.0]],
        [[2.5], [3.0]],
        [[0.5], [1.0]],
        [[2.0], [2.5]],
        [[10.0], [20.0]],
    ]
    assert panel.gaps() == {}


def hourly(hours: list[int]) -> str:
    """Bars at these hours after `AT`, each with its hour as the volume."""
    return HEADER + "".join(f"{AT + hour * HOUR},1,2,0.5,1,{hour}\n" for hour in hours)


def test_bars_are_aligned_on_time_and_gaps_are_reported_not_invented(tmp_path: Path) -> None:
    csv_file(tmp_path, hourly([0, 1, 2, 5, 6, 8]), "A_BTC.csv")
    csv_file(tmp_path, hourly([1, 5, 8]), "B_BTC.csv")
    panel = FilesMarket(tmp_path).load()
    hours = [0, 1, 2, 5, 6, 8]  # what nobody has is no bar
    assert panel.times.tolist() == [AT + hour * HOUR for hour in hours]
    assert panel.timeframe == HOUR
    nan = np.nan
    np.testing.assert_array_equal(panel.volume[:, 0], [0, 1, 2, 5, 6, 8])
    np.testing.assert_array_equal(panel.volume[:, 1], [nan, 1, nan, 5, nan, 8])
    for field in FIELDS:
        np.testing.assert_array_equal(np.isnan(getattr(panel, field)), np.isnan(panel.volume))

    def run(first: int, last: int, bars: int) -> dict[str, object]:
        return {"first": timestamp(AT + first * HOUR), "last": timestamp(AT + last * HOUR), "bars": bars}

    everywhere = [run(3, 4, 2), run(7, 7, 1)]
    assert panel.gaps() == {
        "*": everywhere,
        "B/BTC": [run(0, 0, 1), run(2, 2, 1), run(6, 6, 1)],
    }


def test_a_long_gap_is_one_run(tmp_path: Path) -> None:
    csv_file(tmp_path, hourly(list(range(10))), "A_BTC.csv")
    csv_file(tmp_path, hourly([0, 1, 5, 6]), "B_BTC.csv")
    runs = FilesMarket(tmp_path).load().gaps()["B/BTC"]
    assert [run["bars"] for run in runs] == [3, 3]
    assert runs[0]["first"] == timestamp(AT + 2 * HOUR)
    assert runs[1]["last"] == timestamp(AT + 9 * HOUR)


def bars_of(file: Path) -> dict[datetime, list[str]]:
    """The file as the csv module reads it: time → the numbers as text."""
    with file.open(newline="") as text:
        return {
            datetime.fromisoformat(row["timestamp"]): [row[field] for field in FIELDS] for row in csv.DictReader(text)
        }


def test_the_real_candles_are_read_to_the_digit_with_their_real_gaps(real_candles: Path) -> None:
    panel = FilesMarket(real_candles).load()
    files = {file.stem.replace("_", "/"): bars_of(file) for file in real_candles.glob("*.csv")}
    axis = sorted(set().union(*files.values()))
    assert panel.timeframe == 300_000
    assert panel.times.tolist() == [round(at.timestamp() * 1000) for at in axis]
    assert panel.symbols == tuple(sorted(files))
    gaps = panel.gaps()
    for column, (symbol, bars) in enumerate(sorted(files.items())):
        table = np.array([getattr(panel, field)[:, column] for field in FIELDS]).T
        assert [row.tolist() for row in table if not np.isnan(row).all()] == [
            [float(value) for value in values] for values in bars.values()
        ]
        assert sum(run["bars"] for run in gaps.get(symbol, [])) == len(axis) - len(bars)
    assert len(files["ADA/BTC"]) == 5_720
    assert len(axis) - 5_720 == sum(run["bars"] for run in gaps["ADA/BTC"])
    absent = [at for at in axis if at not in files["ADA/BTC"]]
    starts = [at for at in absent if at - timedelta(minutes=5) not in absent]
    assert [run["first"] for run in gaps["ADA/BTC"]] == [
        at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z") for at in starts
    ]
