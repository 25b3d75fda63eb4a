"""Files as people have them: each public layout is read as it comes, and gives the same bars. Values are invented."""

import gzip
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from scanstream.errors import MarketError
from scanstream.market.files import FilesMarket
from scanstream.panel import FIELDS, Panel

DAY = 86_400_000
FIRST = 1_700_006_400_000
"""2023-11-15, midnight."""
BARS = [
    (50.25, 51.5, 49.75, 50.5, 1234.5),
    (50.5, 52.0, 50.0, 51.75, 2345.25),
    (51.75, 52.25, 48.5, 49.0, 1100.0),
    (49.0, 50.75, 48.0, 50.5, 987.125),
    (50.5, 53.0, 50.25, 52.5, 1600.75),
]
Row = tuple[datetime, float, float, float, float, float]
ROWS: list[Row] = [(datetime.fromtimestamp((FIRST + day * DAY) / 1000, UTC), *bar) for day, bar in enumerate(BARS)]


def lines(write: Callable[[Row], str], rows: Sequence[Row] = ROWS) -> str:
    """One line a bar."""
    return "".join(write(row) + "\n" for row in rows)


def usual(time: Callable[[datetime], object], rows: Sequence[Row] = ROWS) -> str:
    """Time, open, high, low, close, volume, with commas."""
    return lines(lambda row: ",".join(map(str, (time(row[0]), *row[1:]))), rows)


def seconds(at: datetime) -> int:
    """Since 1970."""
    return round(at.timestamp())


def day(at: datetime) -> str:
    """As 2023-11-15."""
    return at.date().isoformat()


HEADER = "timestamp,open,high,low,close,volume\n"
EUROPEAN = str.maketrans(",.", ";,")

LAYOUTS: dict[str, tuple[str, str, str]] = {
    # what it is: (name of the file, the symbol, the text)
    "seconds": ("BTC_USDT.csv", "BTC/USDT", HEADER + usual(seconds)),
    "milliseconds": ("BTC_USDT.csv", "BTC/USDT", HEADER + usual(lambda at: seconds(at) * 1000)),
    "microseconds": ("BTC_USDT.csv", "BTC/USDT", HEADER + usual(lambda at: seconds(at) * 1_000_000)),
    "nanoseconds": ("BTC_USDT.csv", "BTC/USDT", HEADER + usual(lambda at: seconds(at) * 1_000_000_000)),
    "dates as numbers": ("BTC_USDT.csv", "BTC/USDT", HEADER + usual(lambda at: f"{at:%Y%m%d}")),
    "dates and times as numbers": ("BTC_USDT.csv", "BTC/USDT", HEADER + usual(lambda at: f"{at:%Y%m%d%H%M%S}")),
    "Kaggle: seconds as decimals": (
        "btcusd_1-min_data.csv",
        "btcusd",
        "Timestamp,Open,High,Low,Close,Volume_(BTC),Volume_(Currency),Weighted_Price\n"
        + lines(lambda row: f"{seconds(row[0])}.0,{row[1]},{row[2]},{row[3]},{row[4]},{row[5]},9.5,50.0"),
    ),
    "pandas: an index without a name": (
        "AAA.csv",
        "AAA",
        ",Open,High,Low,Close,Volume\n" + usual(day),
    ),
    "pandas: an index with a name, dates with a zone": (
        "AAA.csv",
        "AAA",
        "Datetime,open,high,low,close,volume\n" + usual(lambda at: f"{at:%Y-%m-%d %H:%M:%S}+00:00"),
    ),
    "pandas: a number before the date": (
        "AAA.csv",
        "AAA",
        ",date,open,high,low,close,volume\n"
        + "".join(f"{number},{line}\n" for number, line in enumerate(usual(day).splitlines())),
    ),
    "R: no name for the index at all": ("AAA.csv", "AAA", "open,high,low,close,volume\n" + usual(day)),
    "yfinance": (
        "BTC-USD.csv",
        "BTC/USD",
        "Date,Open,High,Low,Close,Adj Close,Volume\n"
        + lines(lambda row: f"{day(row[0])},{row[1]},{row[2]},{row[3]},{row[4]},{row[4] - 1},{row[5]}"),
    ),
    "yfinance: a header of three lines": (
        "download.csv",
        "AAPL",
        "Price,Close,High,Low,Open,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL\nDate,,,,,\n"
        + lines(lambda row: f"{day(row[0])},{row[4]},{row[2]},{row[3]},{row[1]},{row[5]}"),
    ),
    "Binance: twelve columns, no header, milliseconds": (
        "BTCUSDT-1d-2023-11.csv",
        "BTCUSDT",
        lines(
            lambda row: (
                f"{seconds(row[0])}000,{','.join(map(str, row[1:]))},{seconds(row[0]) + 86399}999,1.5,7,0.5,0.5,0"
            )
        ),
    ),
    "Binance: a header, microseconds": (
        "BTCUSDT-1d-2025-01.csv",
        "BTCUSDT",
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,"
        "ignore\n"
        + lines(
            lambda row: (
                f"{seconds(row[0])}000000,{','.join(map(str, row[1:]))},{seconds(row[0]) + 86399}999999,1,7,1,1,0"
            )
        ),
    ),
    "Kraken: seconds, no header, trades": (
        "XBTUSD_1440.csv",
        "XBTUSD",
        lines(lambda row: f"{seconds(row[0])},{','.join(map(str, row[1:]))},17"),
    ),
    "Kraken's own API: an average before the volume": (
        "XBTUSD_1440.csv",
        "XBTUSD",
        lines(lambda row: f"{seconds(row[0])},{','.join(map(str, row[1:5]))},{(row[2] + row[3]) / 2},{row[5]},17"),
    ),
    "Coinbase: low before high before open, newest first": (
        "BTC-USD.csv",
        "BTC/USD",
        "time,low,high,open,close,volume\n"
        + lines(lambda row: f"{seconds(row[0])},{row[3]},{row[2]},{row[1]},{row[4]},{row[5]}", ROWS[::-1]),
    ),
    "Coinbase without a header": (
        "BTC-USD.csv",
        "BTC/USD",
        lines(lambda row: f"{seconds(row[0])},{row[3]},{row[2]},{row[1]},{row[4]},{row[5]}", ROWS[::-1]),
    ),
    "Bitfinex without a header": (
        "tBTCUSD.csv",
        "tBTCUSD",
        lines(lambda row: f"{seconds(row[0])}000,{row[1]},{row[4]},{row[2]},{row[3]},{row[5]}"),
    ),
    "Gate without a header": (
        "BTC_USDT-202311.csv",
        "BTC/USDT",
        lines(lambda row: f"{seconds(row[0])},{row[5]},{row[4]},{row[2]},{row[3]},{row[1]}"),
    ),
    "Bybit without a header": (
        "BTCUSDT_D_2023-11-01_2023-11-30.csv",
        "BTCUSDT_D",
        usual(lambda at: f"{at:%Y.%m.%d %H:%M}"),
    ),
    "CryptoDataDownload: a title above the header, newest first": (
        "Bitstamp_BTCUSD_d.csv",
        "BTC/USD",
        "https://www.CryptoDataDownload.com\nunix,date,symbol,open,high,low,close,Volume BTC,Volume USD\n"
        + lines(
            lambda row: f"{seconds(row[0])},{row[0]:%Y-%m-%d %H:%M:%S},BTC/USD,{','.join(map(str, row[1:]))},99.5",
            ROWS[::-1],
        ),
    ),
    "CryptoDataDownload: the other volume first": (
        "Binance_BTCUSDT_d.csv",
        "BTC/USDT",
        "Unix,Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USDT,tradecount\n"
        + lines(lambda row: f"{seconds(row[0])}000,x,BTC/USDT,{','.join(map(str, row[1:]))},99.5,3"),
    ),
    "hours with AM and PM behind a dash": (
        "Gemini_BTCUSD_1h.csv",
        "BTCUSD",
        "Date,Open,High,Low,Close,Volume\n" + usual(lambda at: f"{at:%Y-%m-%d} 12-AM"),
    ),
    "OKX: a bar that is not over": (
        "BTC-USDT.csv",
        "BTC/USDT",
        "ts,open,high,low,close,vol,volCcy,volCcyQuote,confirm\n"
        + lines(lambda row: f"{seconds(row[0])}000,{','.join(map(str, row[1:]))},1,1,1")
        + f"{seconds(ROWS[-1][0]) + 86400}000,1,1,1,1,1,1,1,0\n",
    ),
    "semicolons and decimal commas": (
        "AAA.csv",
        "AAA",
        (HEADER + usual(day)).translate(EUROPEAN),
    ),
    "semicolons, decimal commas and dots between thousands": (
        "AAA.csv",
        "AAA",
        "Datum;Open;High;Low;Close;Volume\n".replace("Datum", "Date")
        + lines(
            lambda row: (
                f"{row[0]:%d.%m.%Y};"
                + ";".join(f"{value:,.4f}".translate(str.maketrans(",.", ".,")) for value in row[1:])
            )
        ),
    ),
    "quoted numbers with commas between thousands": (
        "AAA.csv",
        "AAA",
        '"Date","Open","High","Low","Close","Volume"\n'
        + lines(lambda row: f'"{row[0]:%b %d, %Y}",' + ",".join(f'"{value:,.3f}"' for value in row[1:])),
    ),
    "Nasdaq: dollars, the month first, newest first": (
        "HistoricalData.csv",
        "HistoricalData",
        "Date,Close/Last,Volume,Open,High,Low\n"
        + lines(lambda row: f"{row[0]:%m/%d/%Y},${row[4]},{row[5]},${row[1]},${row[2]},${row[3]}", ROWS[::-1]),
    ),
    "Investing: volumes in thousands, the close as price": (
        "AAA.csv",
        "AAA",
        '"Date","Price","Open","High","Low","Vol.","Change %"\n'
        + lines(lambda row: f'"{row[0]:%m/%d/%Y}","{row[4]}","{row[1]}","{row[2]}","{row[3]}","{row[5] / 1e3}K","1%"'),
    ),
    "tabs": ("AAA.csv", "AAA", (HEADER + usual(day)).replace(",", "\t")),
    "MetaTrader": (
        "EURUSD_Daily_202311150000_202311190000.csv",
        "EURUSD",
        "<DATE>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n".replace("<VOL>", "<REAL>")
        + lines(lambda row: "\t".join([f"{row[0]:%Y.%m.%d}", *map(str, row[1:]), "0", "2"])),
    ),
    "MetaTrader without a header: a date and a time": (
        "EURUSD1440.csv",
        "EURUSD",
        lines(lambda row: f"{row[0]:%Y.%m.%d},{row[0]:%H:%M},{','.join(map(str, row[1:]))}"),
    ),
    "a date and a time of day in two columns": (
        "AAA.csv",
        "AAA",
        "Date,Time,Open,High,Low,Close,Volume\n"
        + lines(lambda row: f"{row[0]:%d/%m/%Y},{row[0]:%H:%M:%S},{','.join(map(str, row[1:]))}"),
    ),
    "Stooq: dates and times as numbers": (
        "aapl.csv",
        "AAPL.US",
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
        + lines(lambda row: f"AAPL.US,D,{row[0]:%Y%m%d},000000,{','.join(map(str, row[1:]))},0"),
    ),
    "HistData: semicolons, no header": (
        "DAT_ASCII_EURUSD_D1_2023.csv",
        "EURUSD",
        lines(lambda row: f"{row[0]:%Y%m%d %H%M%S};{';'.join(map(str, row[1:]))}"),
    ),
    "Dukascopy: days with dots, a zone": (
        "EURUSD.csv",
        "EURUSD",
        "Gmt time,Open,High,Low,Close,Volume\n" + usual(lambda at: f"{at:%d.%m.%Y %H:%M:%S}.000 GMT+0000"),
    ),
    "CoinMarketCap: semicolons, opening and closing times": (
        "Bitcoin.csv",
        "Bitcoin",
        "timeOpen;timeClose;timeHigh;timeLow;name;open;high;low;close;volume;marketCap;timestamp\n"
        + lines(
            lambda row: (
                f'"{row[0]:%Y-%m-%dT%H:%M:%S}.000Z";"{row[0]:%Y-%m-%d}T23:59:59.999Z";"x";"x";"2781";'
                f'{";".join(map(str, row[1:]))};1;"{row[0]:%Y-%m-%d}T23:59:59.999Z"'
            )
        ),
    ),
    "Polygon: nanoseconds, a ticker in each row": (
        "2023-11.csv",
        "AAPL",
        "ticker,volume,open,close,high,low,window_start,transactions\n"
        + lines(lambda row: f"AAPL,{row[5]},{row[1]},{row[4]},{row[2]},{row[3]},{seconds(row[0])}000000000,7"),
    ),
    "Alpha Vantage: what it was asked for in the name": (
        "daily_AAA.csv",
        "AAA",
        HEADER + usual(day, ROWS[::-1]),
    ),
    "TradingView: a comma in the name": ("BINANCE_BTCUSDT, 1D.csv", "BTCUSDT", HEADER + usual(seconds)),
    "TradingView: a chart's own name": ("NASDAQ_AAA, 1D_4f0c2.csv", "AAA", HEADER + usual(seconds)),
    "Nasdaq: a number that is no currency": (
        "HistoricalData_1700000000.csv",
        "HistoricalData_1700000000",
        HEADER + usual(day),
    ),
    "HistData for MetaTrader": (
        "DAT_MT_EURUSD_M1_2023.csv",
        "EURUSD",
        lines(lambda row: f"{row[0]:%Y.%m.%d},{row[0]:%H:%M}," + ",".join(map(str, row[1:]))),
    ),
    "Dukascopy": (
        "EURUSD_Candlestick_1_Day_BID_15.11.2023-19.11.2023.csv",
        "EURUSD",
        "Gmt time,Open,High,Low,Close,Volume\n" + usual(lambda at: f"{at:%d.%m.%Y %H:%M:%S}.000"),
    ),
    "CoinAPI: the time of the first trade is none of a bar": (
        "AAA.csv",
        "AAA",
        "time_period_start;time_period_end;time_open;time_close;price_open;price_high;price_low;price_close;"
        "volume_traded;trades_count\n"
        + lines(
            lambda row: ";".join(
                [
                    f"{day(row[0])}T00:00:00.0000000Z",
                    f"{day(row[0])}T23:59:59.0000000Z",
                    f"{day(row[0])}T00:0{row[0].day % 7}:11.0000000Z",
                    f"{day(row[0])}T23:59:58.0000000Z",
                    *map(str, row[1:]),
                    "9",
                ]
            )
        ),
    ),
    "a German spreadsheet: the close before the open": (
        "AAA.csv",
        "AAA",
        "Datum;Zuletzt;Eröffn.;Hoch;Tief;Vol.\n"
        + lines(lambda row: f"{row[0]:%d.%m.%Y};" + ";".join(str(row[at]).replace(".", ",") for at in (4, 1, 2, 3, 5))),
    ),
    "Stooq: the header in Polish": (
        "AAA.csv",
        "AAA",
        "Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie,Wolumen\n" + usual(day),
    ),
    "text where there is nothing else": (
        "aaa.us.txt",
        "AAA.US",
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
        + lines(lambda row: f"AAA.US,D,{row[0]:%Y%m%d},000000,{','.join(map(str, row[1:]))},0"),
    ),
    "blank lines, comments, empty columns, Windows line ends": (
        "AAA.csv",
        "AAA",
        "# made by hand\n\n" + (HEADER + "\n# more\n" + usual(day)).replace("\n", ",,\r\n"),
    ),
    "a header that is a comment": ("AAA.csv", "AAA", "# " + HEADER + usual(day)),
    "a header that comes again": ("AAA.csv", "AAA", HEADER + usual(day, ROWS[:2]) + HEADER + usual(day, ROWS[2:])),
    "a byte order mark": ("AAA.csv", "AAA", "\ufeff" + HEADER + usual(day)),
    "what Excel is told of the delimiter": ("AAA.csv", "AAA", "sep=;\n" + (HEADER + usual(day)).replace(",", ";")),
    "equal bars twice, in no order": ("AAA.csv", "AAA", HEADER + usual(day, [*ROWS[3:], *ROWS, *ROWS[:2]])),
    "names of months": ("AAA.csv", "AAA", HEADER + usual(lambda at: f"{at:%d %B %Y}")),
    "names of months, with dashes": ("AAA.csv", "AAA", HEADER + usual(lambda at: f"{at:%d-%b-%Y}")),
    "minutes and a Z": ("AAA.csv", "AAA", HEADER + usual(lambda at: f"{at:%Y-%m-%dT%H:%M}Z")),
    "another zone": ("AAA.csv", "AAA", HEADER + usual(lambda at: f"{at:%Y-%m-%d} 02:00+02:00")),
    "noon and midnight of a clock with twelve hours": (
        "AAA.csv",
        "AAA",
        HEADER + usual(lambda at: f"{at:%m/%d/%Y} 12:00:00 AM"),
    ),
    "a few cells that are absent": (
        "AAA.csv",
        "AAA",
        HEADER + usual(day) + "2023-11-20,,,,,\n2023-11-21,nan,NaN,null,N/A,0\n",
    ),
}


def written(directory: Path, name: str, text: str | bytes) -> FilesMarket:
    """A market of one file."""
    (directory / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return FilesMarket(directory)


def assert_bars(panel: Panel, symbol: str) -> None:
    """The panel has the bars that all layouts have."""
    assert panel.symbols == (symbol,)
    assert panel.timeframe == DAY
    assert panel.times.tolist() == [FIRST + day * DAY for day in range(len(BARS))]
    for place, field in enumerate(FIELDS):
        np.testing.assert_allclose(getattr(panel, field)[:, 0], [bar[place] for bar in BARS], rtol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_public_layout_is_read_as_it_comes(tmp_path: Path, layout: str) -> None:
    name, symbol, text = LAYOUTS[layout]
    assert_bars(written(tmp_path, name, text).load(), symbol)


PLAIN = HEADER + usual(day)


def test_a_file_may_be_packed_or_in_utf_16(tmp_path: Path) -> None:
    packed: dict[str, bytes] = {
        "AAA.csv.gz": gzip.compress(PLAIN.encode()),
        "AAA.CSV": PLAIN.encode("utf-16"),
        "AAA.tsv": PLAIN.replace(",", "\t").encode(),
        "AAA_1d.csv": gzip.compress(PLAIN.encode()),  # packed, and not called so
        "AAA-1d.csv.gz": PLAIN.encode(),  # called so, and unpacked by a browser
    }
    for number, (name, content) in enumerate(packed.items()):
        directory = tmp_path / str(number)
        directory.mkdir()
        assert_bars(written(directory, name, content).load(), "AAA")
    with zipfile.ZipFile(tmp_path / "AAA-1d-2023-11.zip", "w") as archive:
        archive.writestr("AAA-1d-2023-11.csv", PLAIN)
    assert_bars(FilesMarket(tmp_path / "AAA-1d-2023-11.zip").load(), "AAA")


def test_a_file_may_be_named_itself(tmp_path: Path) -> None:
    written(tmp_path, "AAA.csv", PLAIN)
    assert_bars(FilesMarket(tmp_path / "AAA.csv").load(), "AAA")


def test_without_volumes_there_are_prices_and_no_tiers(tmp_path: Path) -> None:
    text = "date,open,high,low,close\n" + lines(lambda row: ",".join([day(row[0]), *map(str, row[1:5])]))
    panel = written(tmp_path, "AAA.csv", text).load()
    assert panel.close[:, 0].tolist() == [bar[3] for bar in BARS]
    assert np.isnan(panel.volume).all()
    assert panel.tiers() == {}


def test_many_symbols_in_one_file(tmp_path: Path) -> None:
    long = (
        "symbol," + HEADER + "".join(f"{name},{line}\n" for line in usual(day).splitlines() for name in ("B-USD", "A"))
    )
    first = ",".join(["Price", *(field for field in FIELDS for _ in "AB")])
    wide = f"{first}\nTicker,{'A,B,' * 5}\nDate{',' * 10}\n" + lines(
        lambda row: ",".join([day(row[0]), *(f"{value},{value}" for value in map(str, row[1:]))])
    )
    names = "Date," + ",".join(f"{symbol}_{field}" for symbol in ("A", "B") for field in FIELDS)
    beside = f"{names}\n" + lines(lambda row: ",".join([day(row[0]), *map(str, row[1:]), *map(str, row[1:])]))
    for number, (text, other) in enumerate([(long, "B/USD"), (wide, "B"), (beside, "B")]):
        directory = tmp_path / str(number)
        directory.mkdir()
        panel = written(directory, "all.csv", text).load()
        assert panel.symbols == ("A", other)
        for symbol in panel.symbols:
            assert_bars(panel.select([symbol]), symbol)


def test_a_symbols_files_of_several_months_are_one_series(tmp_path: Path) -> None:
    """The second in another unit, and with a bar that the first has, too."""
    written(tmp_path, "AAABBB-1d-2023-11.csv", HEADER + usual(lambda at: seconds(at) * 1000, ROWS[:3]))
    market = written(tmp_path, "AAABBB-1d-2023-12.csv", usual(lambda at: seconds(at) * 1_000_000, ROWS[2:]))
    assert_bars(market.load(), "AAABBB")


def test_files_that_do_not_agree_about_a_bar_are_refused_with_both_lines(tmp_path: Path) -> None:
    written(tmp_path, "AAABBB-1d-2023-11.csv", HEADER + usual(day, ROWS[:3]))
    market = written(tmp_path, "AAABBB-1d-2023-12.csv", HEADER + usual(day, ROWS[2:]).replace("49.0,", "49.125,", 1))
    with pytest.raises(MarketError) as caught:
        market.load()
    assert f"{tmp_path / 'AAABBB-1d-2023-11.csv'}, line 4, and {tmp_path / 'AAABBB-1d-2023-12.csv'}, line 2" in (
        caught.value.detail
    )


def test_hidden_files_and_strays_are_no_symbols(tmp_path: Path) -> None:
    market = written(tmp_path, "AAA.csv", PLAIN)
    for name in ("._AAA.csv", ".hidden.csv", "README.txt", "LICENSE", "Thumbs.db", "_SUCCESS"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7 no candles")
    for name in ("__MACOSX", ".ipynb_checkpoints"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "AAA-checkpoint.csv").write_text("no candles")
    assert_bars(market.load(), "AAA")


def test_partitions_name_the_symbol(tmp_path: Path) -> None:
    for symbol in ("BTC-USD", "ETH-USD"):
        for part, rows in enumerate((ROWS[:3], ROWS[3:])):
            (tmp_path / f"symbol={symbol}" / "year=2023").mkdir(parents=True, exist_ok=True)
            written(tmp_path / f"symbol={symbol}" / "year=2023", f"part-{part}.csv", HEADER + usual(day, rows))
    panel = FilesMarket(tmp_path).load()
    assert panel.symbols == ("BTC/USD", "ETH/USD")
    assert_bars(panel.select(["BTC/USD"]), "BTC/USD")


def test_directories_below_are_read_where_there_are_no_files_beside_them(tmp_path: Path) -> None:
    (tmp_path / "AAA").mkdir()
    written(tmp_path / "AAA", "2023-11.csv", PLAIN)
    assert_bars(FilesMarket(tmp_path).load(), "AAA")
    written(tmp_path, "BBB.csv", PLAIN)
    assert_bars(FilesMarket(tmp_path).load(), "BBB")


REFUSED: dict[str, tuple[str, str]] = {
    # what it is: (the text, what the refusal says)
    "numbers that are no times": (HEADER + usual(lambda at: at.day), "line 2: 15 cannot be the time of a bar"),
    "a date between seconds": (HEADER + usual(seconds) + "20231120,1,2,0.5,1,3\n", "line 7: 20231120 cannot be"),
    "the days of a spreadsheet": (
        HEADER + usual(lambda at: 45245 + at.day - 15),
        "line 2: 45245 cannot be the time of a bar, in whatever unit; if it is a day as spreadsheets count them",
    ),
    "before there were such data": (HEADER + usual(lambda at: seconds(at) - 1_200_000_000), "line 2: 500006400 cannot"),
    "long after now": (HEADER + usual(lambda at: f"2099-11-{at.day}"), "line 2: 2099-11-15 is no day between 1990"),
    "digits that a spreadsheet has cut": (
        HEADER + usual(lambda _: "1.70001E+12"),
        "line 2: '1.70001E+12': a spreadsheet",
    ),
    "days or months": (
        HEADER + usual(lambda at: f"0{at.day - 14}/11/2023"),
        "line 2: the date may be 2023-11-01 or 2023-01-11",
    ),
    "days and months": (
        HEADER + "13/11/2023,1,2,0.5,1,3\n11/14/2023,1,2,0.5,1,3\n",
        "line 3: some dates of this file have the day first, others the month",
    ),
    "years of two digits": (HEADER + usual(lambda at: f"{at:%m/%d/%y}"), "line 2: '11/15/23': the year has two digits"),
    "a time of day alone": (
        HEADER + usual(lambda at: f"{at:%H:%M:%S}"),
        "line 2: '00:00:00' is a time of day without a date",
    ),
    "a zone that is several": (
        HEADER + usual(lambda at: f"{at:%Y-%m-%d %H:%M} IST"),
        "line 2: '2023-11-15 00:00 IST' cannot",
    ),
    "a comma that may be a point": (
        (HEADER.replace(",", ";") + "2023-11-15;50;52,500;49,500;50;10\n"),
        "line 2: 52,500 may be 52.500 or 52500",
    ),
    "points and commas": (
        (HEADER + usual(day)).replace(",", ";").replace("51.5;", "51,5;"),
        "are not written alike",
    ),
    "columns that nobody names": (
        lines(lambda row: f"{seconds(row[0])},{row[4]},{row[1]},{row[5]},{row[3]},{row[2]}"),
        "line 1: there is no header, and no usual order of columns fits",
    ),
    "two bars of one time that differ": (
        HEADER + usual(day) + usual(day, ROWS[:1]).replace("50.25", "50.375"),
        "line 2, and line 7: AAA has two bars at 2023-11-15T00:00:00.000Z that differ",
    ),
    "two columns of one name": (
        "date,open,high,low,close,close\n" + usual(day),
        "line 1: two columns are called close",
    ),
    "closing prices only": (
        "date,BTC,ETH,LTC\n" + lines(lambda row: f"{day(row[0])},1,2,3"),
        "line 1: no header was found",
    ),
    "words for the columns that are not known": (
        "date,ouv,clot,haut,bas,vol\n"
        + lines(lambda row: f"{day(row[0])},{row[1]},{row[4]},{row[2]},{row[3]},{row[5]}"),
        "line 1: the header date,ouv,clot,haut,bas,vol does not name open, high, low and close",
    ),
    "closing prices that could pass for one bar": (
        "date,AAA,BBB,CCC,DDD\n" + lines(lambda row: ",".join([day(row[0]), *map(str, row[1:5])])),
        "line 1: the header date,AAA,BBB,CCC,DDD does not name open",
    ),
    "a line that ends early": (HEADER + usual(day)[:-20], "line 6: 3 fields where the header has 6"),
    "no prices at all": (HEADER + lines(lambda row: f"{day(row[0])},,,,,"), "has no bars with prices"),
    "bars of half a second": (
        HEADER + "".join(f"{FIRST + place * 500},1,2,0.5,1,3\n" for place in range(5)),
        "its bars are 500 ms long",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_ambiguous_or_impossible_is_refused_with_file_and_line(tmp_path: Path, kind: str) -> None:
    text, reason = REFUSED[kind]
    with pytest.raises(MarketError) as caught:
        written(tmp_path, "AAA.csv", text).load()
    assert str(tmp_path) in caught.value.detail or tmp_path.name in caught.value.detail
    assert reason in caught.value.detail
    assert "\n" not in caught.value.detail
