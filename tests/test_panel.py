"""The panel: its name is its data, it is written once and whole, and mapped read-only."""

import errno
import resource
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scanstream.errors import MarketError
from scanstream.market.files import FilesMarket
from scanstream.market.synthetic import SyntheticMarket
from scanstream.panel import FIELDS, INPUTS, Array, Panel, _medians, load, timeframe_length, timeframe_name
from scanstream.quotes import Funding, Quotes
from scanstream.shortage import shortage

ARRAYS = ("times", *FIELDS)


def small(**changes: object) -> Panel:
    """Four bars of three symbols, one of them with a gap."""
    close = np.array([[1.0, 2.0, np.nan], [1.5, 2.5, 3.5], [1.25, np.nan, 3.0], [1.0, 2.0, 3.0]])
    panel = Panel(
        market="files:small",
        exchange="files",
        timeframe=60_000,
        symbols=("C/X", "A/X", "B/X"),
        times=np.array([0, 60_000, 120_000, 240_000]),
        open=close - 0.1,
        high=close + 0.5,
        low=close - 0.5,
        close=close,
        volume=close * 10,
    )
    return replace(panel, **changes)  # type: ignore[arg-type]


def quotes(**changes: object) -> Quotes:
    """Two venues' quotes of two symbols with candles, and of cross rates."""
    bid = np.array([[1.0, 2.0, 0.5, 9.0], [1.1, np.nan, 0.51, 9.1]])
    made = Quotes(
        symbols=("C/X", "A/X", "C/A", "C/Z"),
        venues=("here", "there"),
        at=241_000,
        times=np.full((2, 4), 240_500),
        bid=bid,
        ask=bid + 0.01,
        bid_size=bid * 7,
        ask_size=bid * 8,
        fee=np.full((2, 4), 0.001),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def funding(**changes: object) -> Funding:
    """Three payments of two contracts."""
    rates = np.array([[1e-4, np.nan], [2e-4, -1e-4], [3e-4, 1e-5]])
    made = Funding(symbols=("A/X", "B/X"), interval=120_000, times=np.array([0, 120_000, 240_000]), rates=rates)
    return replace(made, **changes)  # type: ignore[arg-type]


def rich(**changes: object) -> Panel:
    """The small panel with all that a market may give."""
    return small(**{"quotes": quotes(), "funding": funding(), **changes})


def same(one: Panel, other: Panel) -> bool:
    """Equal in everything but where they lie."""
    words = ("market", "exchange", "timeframe", "symbols")
    return all(getattr(one, word) == getattr(other, word) for word in words) and all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in ARRAYS
    )


def with_one_changed(field: str) -> Panel:
    """The small panel, different in the last place of one number."""
    changed = getattr(small(), field).copy()
    changed.flat[0] = np.nextafter(changed.flat[0], 9.0) if field != "times" else -1
    return small(**{field: changed})


def test_equal_data_has_an_equal_digest_however_it_lies_in_memory() -> None:
    assert small().digest == small().digest
    assert small(close=np.asfortranarray(small().close)).digest == small().digest


DIFFERENT: dict[str, Callable[[], Panel]] = {
    **{field: lambda field=field: with_one_changed(field) for field in ARRAYS},  # type: ignore[misc]
    "a gap more": lambda: small(close=np.where(small().close == 3.5, np.nan, small().close)),
    "another symbol": lambda: small(symbols=("C/X", "A/X", "D/X")),
    "symbols in another order": lambda: small(symbols=("A/X", "C/X", "B/X")),
    "another market": lambda: small(market="files:other"),
    "another exchange": lambda: small(exchange="other"),
    "another timeframe": lambda: small(timeframe=120_000),
    "fewer symbols": lambda: small().select(["A/X", "B/X"]),
}


RICHER: dict[str, Callable[[], Panel]] = {
    "no quotes": lambda: rich(quotes=None),
    "no funding": lambda: rich(funding=None),
    "failed funding": lambda: rich(failed={"funding": "HTTP 500"}),
    "another venue": lambda: rich(quotes=quotes(venues=("here", "elsewhere"))),
    "read at another time": lambda: rich(quotes=quotes(at=241_001)),
    "another bid": lambda: rich(quotes=quotes(bid=quotes().bid * 1.0000001)),
    "a quote made at another time": lambda: rich(quotes=quotes(times=quotes().times + 1)),
    "another fee": lambda: rich(quotes=quotes(fee=quotes().fee * 2)),
    "another payment": lambda: rich(funding=funding(rates=funding().rates * 2)),
    "another interval": lambda: rich(funding=funding(interval=60_000)),
}


@pytest.mark.parametrize("change", RICHER)
def test_quotes_and_funding_are_in_the_digest(change: str) -> None:
    assert RICHER[change]().digest not in {rich().digest, small().digest}


def test_quotes_and_funding_are_saved_and_mapped(tmp_path: Path) -> None:
    saved = load(rich(failed={"funding": "HTTP 500"}).save(tmp_path).path or tmp_path)
    assert same(saved, rich())
    assert saved.failed == {"funding": "HTTP 500"}
    for sheet, expected in ((saved.quotes, quotes()), (saved.funding, funding())):
        assert sheet is not None
        assert sheet.words() == expected.words()
        for name, array in expected.arrays().items():
            assert isinstance(sheet.arrays()[name], np.memmap)
            assert np.array_equal(sheet.arrays()[name], array, equal_nan=True)


def test_a_selection_keeps_the_cross_rates_between_its_currencies() -> None:
    both = rich().select(["A/X", "C/X"])
    assert both.quotes is not None
    assert both.quotes.symbols == ("C/X", "A/X", "C/A")  # Z is no currency of theirs
    assert np.array_equal(both.quotes.bid, quotes().bid[:, :3], equal_nan=True)
    assert both.funding is not None
    assert both.funding.symbols == ("A/X",)
    assert np.array_equal(both.funding.rates, funding().rates[:, :1])
    assert np.array_equal(both.funding.times, funding().times)
    one = rich().select(["C/X"])
    assert one.quotes is not None
    assert one.quotes.symbols == ("C/X",)


def test_what_a_currency_is_worth_outlives_a_selection() -> None:
    whole = quotes()
    assert whole.reference == "X"
    assert [worth["C"] for worth in whole.worth] == [1.005, 1.105]
    assert "Z" not in whole.worth[0]
    one = rich().select(["A/X"]).quotes
    assert one is not None
    assert (one.reference, one.worth) == (whole.reference, whole.worth)


def test_what_a_market_has_it_has_though_it_failed() -> None:
    assert [rich().has(name) for name in INPUTS] == [True, True, True]
    assert [small().has(name) for name in INPUTS] == [True, False, False]
    assert small(failed={"quotes": "HTTP 500"}).has("quotes")


@pytest.mark.parametrize("change", DIFFERENT)
def test_any_difference_changes_the_digest(change: str) -> None:
    assert DIFFERENT[change]().digest != small().digest


def test_a_saved_panel_is_the_same_and_mapped(tmp_path: Path) -> None:
    saved = small().save(tmp_path / "market")
    assert saved.path == tmp_path / "market" / small().digest
    for panel in (saved, load(tmp_path / "market" / small().digest)):
        assert same(panel, small())
        assert panel.digest == small().digest
        for name in ARRAYS:
            assert isinstance(getattr(panel, name), np.memmap)
            with pytest.raises(ValueError, match="read-only"):
                getattr(panel, name)[0] = 1


def test_a_panel_for_which_there_is_no_room_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    panel = SyntheticMarket(symbols=4, bars=2000).load()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="No space left") as raised:
            panel.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert shortage(raised.value) == "room on the disk"
    assert not list(tmp_path.iterdir())


def contents(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below, with its inode: a file that was written again has another."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): (path.stat().st_ino, path.read_bytes()) for path in files}


def test_saving_again_writes_nothing(tmp_path: Path) -> None:
    saved = small().save(tmp_path)
    before = contents(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {small().digest}
    small().save(tmp_path)
    saved.save(tmp_path)
    assert contents(tmp_path) == before


def becomes(name: str, change: Callable[[bytes], bytes | None]) -> Callable[[Path], None]:
    """A damage: this file's bytes become others, or (None) are gone."""

    def damage(path: Path) -> None:
        changed = change((path / name).read_bytes())
        if changed is None:
            (path / name).unlink()
        else:
            (path / name).write_bytes(changed)

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a flipped bit": becomes("close.npy", lambda whole: whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]),
    "another array in its place": becomes("close.npy", lambda whole: whole[:-48] + bytes(48)),
    "a file cut short": becomes("close.npy", lambda whole: whole[:-8]),
    "a file cut in its head": becomes("close.npy", lambda whole: whole[:6]),
    "an empty file, as after a power loss": becomes("close.npy", lambda _: b""),
    "a missing file": becomes("close.npy", lambda _: None),
    "a missing description": becomes("panel.json", lambda _: None),
    "an empty description": becomes("panel.json", lambda _: b""),
    "a description of nothing": becomes("panel.json", lambda _: b"{}"),
    "a description that is none": becomes("panel.json", lambda _: b"[]"),
    "a description with rubbish": becomes("panel.json", lambda whole: whole[:-1] + b', "more": 1}'),
    "a description in one word": becomes("panel.json", lambda _: b'"sheets"'),
    "a description with a list of sheets": becomes("panel.json", lambda _: b'{"sheets": [1], "symbols": []}'),
    "a description with numbers for names": becomes("panel.json", lambda _: b'{"sheets": {}, "symbols": 7}'),
    "a description nested without end": becomes("panel.json", lambda _: b"[" * 100_000),
    "an array that is an archive": becomes("close.npy", lambda _: b"PK\x05\x06" + bytes(18)),
    "an array with a broken head": becomes("close.npy", lambda whole: whole[:10] + b"{(" * 20 + whole[50:]),
    "an array of anything": becomes("close.npy", lambda whole: whole.replace(b"'<f8'", b"'|O' ")),
    "an array of gigabytes": becomes("close.npy", lambda whole: whole.replace(b"'shape': (", b"'shape':(9" * 1)),
    "an unreadable description": becomes("panel.json", lambda _: b"\xff\xff"),
}
UNSEEN = ("a flipped bit", "another array in its place")
"""Only the digest tells."""


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_panel_is_written_again(tmp_path: Path, damage: str) -> None:
    path = small().save(tmp_path).path
    assert path is not None
    DAMAGES[damage](path)
    again = small().save(tmp_path)
    assert same(again, small())
    assert again.digest == small().digest
    assert {path.name for path in tmp_path.iterdir()} == {small().digest}


def test_whatever_stands_in_a_panels_place_makes_way(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    puts: list[Callable[[Path], None]] = [Path.touch, lambda path: path.symlink_to(precious), Path.mkdir]
    for number, put in enumerate(puts):
        directory = tmp_path / str(number)
        directory.mkdir()
        put(directory / small().digest)
        assert same(small().save(directory), small())
    assert precious.is_dir()


@pytest.mark.parametrize("damage", [damage for damage in DAMAGES if damage not in UNSEEN])
def test_loading_what_is_not_whole_is_a_market_error(tmp_path: Path, damage: str) -> None:
    path = small().save(tmp_path).path
    assert path is not None
    DAMAGES[damage](path)
    with pytest.raises(MarketError, match=str(path)):
        load(path)


def test_select_keeps_the_panels_order_and_all_bars() -> None:
    cut = small().select(["B/X", "nobody", "C/X", "B/X"])
    assert cut.symbols == ("C/X", "B/X")
    assert cut.bars == 4
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(cut, field), getattr(small(), field)[:, [0, 2]])
    assert small().select(["A/X", "B/X", "C/X"]).symbols == small().symbols
    assert small().select([]).symbols == ()


def thirds_by_pandas(panel: Panel) -> dict[str, str]:
    """Tiers by another road: pandas skips what is absent, `qcut`-like thirds of the descending rank."""
    turnover = pd.DataFrame(panel.close * panel.volume, columns=list(panel.symbols)).median()
    rank = turnover.rank(ascending=False, method="first")
    third = len(turnover) / 3
    return {
        symbol: "large" if place <= np.ceil(third) else "mid" if place <= np.ceil(2 * third) else "small"
        for symbol, place in rank.items()
    }


@pytest.mark.parametrize("symbols", [2, 3, 4, 5, 64])
def test_tiers_are_thirds_by_median_turnover(symbols: int) -> None:
    panel = SyntheticMarket(symbols=symbols).load()
    tiers = panel.tiers()
    assert tiers == thirds_by_pandas(panel)
    sizes = [list(tiers.values()).count(tier) for tier in ("large", "mid", "small")]
    assert sum(sizes) == symbols
    assert max(sizes) - min(sizes) <= 1


def test_tiers_of_the_real_candles_leave_gaps_out(real_candles: Path) -> None:
    panel = FilesMarket(real_candles).load()
    assert panel.tiers() == thirds_by_pandas(panel)
    assert small().tiers() == thirds_by_pandas(small())


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 7), st.integers(1, 5)),
        elements=st.sampled_from([0.0, 1.0, 2.5, 2.75, 1e6, np.nan, np.inf]),
    ),
    st.integers(1, 20),
)
def test_the_median_of_each_column_is_that_of_its_finite_numbers(values: Array, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch, np.errstate(invalid="ignore"):
        patch.setattr("scanstream.panel.BLOCK", block)
        medians = _medians(values, np.ones_like(values))
    finite = [column[np.isfinite(column)] for column in values.T]
    np.testing.assert_array_equal(medians, [np.median(column) if column.size else np.nan for column in finite])


def test_one_great_bar_makes_no_great_symbol() -> None:
    volume = np.array([[1.0, 2.0, 3.0]] * 4)
    volume[2] = [1e9, 1e6, 0.0]
    panel = small(close=np.ones((4, 3)), volume=volume)
    assert panel.tiers() == thirds_by_pandas(panel) == {"B/X": "large", "A/X": "mid", "C/X": "small"}


def test_tiers_do_not_depend_on_the_order_of_symbols_even_where_turnover_is_equal() -> None:
    volume = np.ones((4, 3))
    one = small(close=volume, volume=volume)
    other = replace(one, symbols=("A/X", "B/X", "C/X"))
    assert one.tiers() == other.tiers() == {"A/X": "large", "B/X": "mid", "C/X": "small"}


def test_a_symbol_without_any_bar_is_small_and_one_symbol_is_large() -> None:
    close = small().close.copy()
    close[:, 0] = np.nan
    assert small(close=close).tiers()["C/X"] == "small"
    assert small().select(["B/X"]).tiers() == {"B/X": "large"}


def test_gaps_are_the_bars_that_a_symbol_lacks() -> None:
    assert small().gaps() == {
        "*": [{"first": "1970-01-01T00:03:00.000Z", "last": "1970-01-01T00:03:00.000Z", "bars": 1}],
        "B/X": [{"first": "1970-01-01T00:00:00.000Z", "last": "1970-01-01T00:00:00.000Z", "bars": 1}],
        "A/X": [{"first": "1970-01-01T00:02:00.000Z", "last": "1970-01-01T00:02:00.000Z", "bars": 1}],
    }


@pytest.mark.parametrize(
    ("name", "minutes"),
    [("1m", 1), ("5m", 5), ("90m", 90), ("1h", 60), ("21h", 1260), ("1d", 1440), ("7d", 10_080), ("25h", 1500)],
)
def test_timeframes_have_names_in_the_largest_whole_unit(name: str, minutes: int) -> None:
    assert timeframe_name(minutes * 60_000) == name
    assert timeframe_length(name) == minutes * 60_000


@given(st.integers(1, 10**9))
def test_a_timeframes_name_and_its_length_are_inverse(minutes: int) -> None:
    assert timeframe_length(timeframe_name(minutes * 60_000)) == minutes * 60_000


@pytest.mark.parametrize(
    "name", ["", "d", "0d", "-1d", "1", "1w", "1D", "1.5h", " 1d", "1 d", "1d ", "1_0m", "١d", "²d", "1" * 5000 + "d"]
)
def test_what_is_no_timeframe_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        timeframe_length(name)


def test_of_processes_that_write_the_same_panel_at_once_each_has_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = small()
    write = Panel._write

    def slowly(one: Panel, directory: Path) -> None:
        """Another process is done in between."""
        write(one, directory)
        monkeypatch.setattr(Panel, "_write", write)
        panel.save(tmp_path)

    monkeypatch.setattr(Panel, "_write", slowly)
    assert panel.save(tmp_path).digest == panel.digest
    monkeypatch.setattr(Path, "replace", _taken)
    shutil.rmtree(tmp_path / panel.digest)
    with pytest.raises(OSError, match="not empty"):
        panel.save(tmp_path)


def _taken(*_: object) -> None:
    raise OSError(errno.ENOTEMPTY, "Directory not empty")
