"""Opportunities as frames: the same columns and types for no row, one, and 10,001, and the values that were told."""

import csv
import io
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import polars as pl
import pytest
from msgspec import inspect

from conftest import Serve
from scanstream.client.columns import COLUMNS, Kind
from scanstream.client.failures import LibraryMissing
from scanstream.client.results import Results
from scanstream.errors import ScanstreamError
from scanstream.model import Opportunity
from support.wire import discover, results, until_terminal

SIZES = [0, 1, 10_001]
STRATEGIES = ["tsmom", "triangular", "donchian"]
"""Of candles and of quotes, with prices and without."""
FRAMES: dict[str, Callable[[Results], Any]] = {
    "pandas": Results.to_pandas,
    "polars": Results.to_polars,
    "pyarrow": Results.to_arrow,
}


def found(number: int, **more: Any) -> dict[str, Any]:
    """An opportunity as JSON brings it: a whole number where a float happens to be one, absent what has no value."""
    return {
        "id": f"tsmom:BTC/USDT:{number}",
        "strategy_id": "tsmom",
        "strategy_name": "Time-series momentum",
        "opportunity_type": "momentum",
        "symbol": "BTC/USDT",
        "symbols": ["BTC/USDT"],
        "exchange": "synthetic",
        "side": "long",
        "expected_return": 1,
        "profit_potential_usd": 1,
        "required_capital_usd": 1000,
        "confidence_score": 50,
        "risk_level": "low",
        "estimated_timeframe": "7h",
        "metadata": {},
        "discovered_at": "2026-11-23T14:00:00.123Z",
        **more,
    }


LATE = {
    "entry_price": 1.5,
    "quote_currency": "USDT",
    "hit_rate": 0.5,
    "hit_rate_n": 97,
    "metadata": {"legs": [{"venue": "beta", "price": 1.25}], "z": 1.5},
}
"""What no row has but the last: a library that looks at the first hundred has never seen it."""


def some(size: int) -> Results:
    """So many, the last with the fields that may be absent."""
    return Results(found(number, **(LATE if number == size - 1 else {})) for number in range(size))


def kind_of(kind: inspect.Type) -> Kind:
    """What a field of the model is in a frame."""
    match kind:
        case inspect.StrType() | inspect.LiteralType():
            return "text"
        case inspect.ListType(item_type=inspect.StrType()):
            return "texts"
        case inspect.FloatType():
            return "number"
        case inspect.IntType():
            return "whole"
        case inspect.DictType():
            return "json"
    raise AssertionError(f"say in columns.py and here what {kind} is in a frame")


def test_the_columns_are_the_fields_of_the_model() -> None:
    """In its order. Times are text in the model, told by their names: `…_at`."""
    told: list[tuple[str, Kind]] = []
    for field in inspect.type_info(Opportunity).fields:  # type: ignore[attr-defined]
        told.append((field.encode_name, "time" if field.name.endswith("_at") else kind_of(field.type)))

    assert list(COLUMNS) == told


def pandas_types() -> dict[str, str]:
    kinds = {"text": "str", "texts": "object", "number": "float64", "whole": "Int64", "json": "str"}
    return {name: {**kinds, "time": "datetime64[ms, UTC]"}[kind] for name, kind in COLUMNS}


def polars_types() -> dict[str, pl.DataType]:
    kinds = {
        "text": pl.String(),
        "texts": pl.List(pl.String()),
        "number": pl.Float64(),
        "whole": pl.Int64(),
        "time": pl.Datetime("ms", "UTC"),
        "json": pl.String(),
    }
    return {name: kinds[kind] for name, kind in COLUMNS}


def arrow_types() -> dict[str, str]:
    kinds = {"text": "string", "number": "double", "whole": "int64", "time": "timestamp[ms, tz=UTC]", "json": "string"}
    return {name: {**kinds, "texts": "list<item: string>"}[kind] for name, kind in COLUMNS}


@pytest.mark.parametrize("size", SIZES)
def test_pandas_has_the_same_columns_and_types_for_any_number_of_rows(size: int) -> None:
    frame = some(size).to_pandas()

    assert {str(name): str(kind) for name, kind in frame.dtypes.items()} == pandas_types()
    assert len(frame) == size


@pytest.mark.parametrize("size", SIZES)
def test_polars_has_the_same_columns_and_types_for_any_number_of_rows(size: int) -> None:
    frame = some(size).to_polars()

    assert dict(frame.schema) == polars_types()
    assert len(frame) == size


@pytest.mark.parametrize("size", SIZES)
def test_arrow_has_the_same_columns_and_types_for_any_number_of_rows(size: int) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install pyarrow")
    frame = some(size).to_arrow()

    assert {field.name: str(field.type) for field in frame.schema} == arrow_types()
    assert len(frame) == size


@pytest.mark.parametrize("size", SIZES)
def test_csv_has_the_same_columns_for_any_number_of_rows(size: int, tmp_path: Path) -> None:
    some(size).to_csv(tmp_path / "found.csv")
    header, *lines = (tmp_path / "found.csv").read_bytes().decode().splitlines()

    assert header.split(",") == [name for name, _ in COLUMNS]
    assert len(lines) == size


@pytest.mark.parametrize("library", FRAMES)
def test_what_is_first_seen_in_the_last_row_is_there_and_whole(library: str) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    frame = FRAMES[library](some(201))
    rows = frame.to_dict("records") if library == "pandas" else frame.to_dicts() if library == "polars" else None
    rows = frame.to_pylist() if rows is None else rows
    first, last = rows[0], rows[-1]

    assert (last["entry_price"], last["hit_rate"], last["hit_rate_n"]) == (1.5, 0.5, 97)
    assert last["quote_currency"] == "USDT"
    assert list(last["symbols"]) == ["BTC/USDT"]
    assert msgspec.json.decode(last["metadata"]) == LATE["metadata"]
    assert (first["expected_return"], type(first["expected_return"])) == (1.0, float)
    assert first["metadata"] == "{}"
    moment = first["discovered_at"]
    assert moment.astimezone(UTC) == datetime(2026, 11, 23, 14, 0, 0, 123_000, UTC)
    assert all(pd.isna(first[name]) for name in ("entry_price", "quote_currency", "hit_rate", "hit_rate_n"))


async def _of_a_server(serve: Serve) -> list[dict[str, Any]]:
    async with serve() as url:
        wanted = {"strategy_ids": STRATEGIES, "parameters": {name: {"walk_forward": 0} for name in STRATEGIES}}
        scan_id = (await discover(url, wanted)).json()["scan_id"]
        await until_terminal(url, scan_id)
        told: list[dict[str, Any]] = (await results(url, scan_id)).json()["opportunities"]
    return told


@pytest.mark.anyio
async def test_what_a_server_has_found_fits_every_frame(serve: Serve) -> None:
    told = await _of_a_server(serve)
    held = Results(told)

    assert held == told
    assert {found["strategy_id"] for found in held} == {*STRATEGIES}
    for frame in (held.to_pandas(), held.to_polars()):
        assert list(frame["id"]) == [found["id"] for found in told]
        assert list(frame["metadata"]) == [msgspec.json.encode(found["metadata"]).decode() for found in told]
    assert held.to_polars()["entry_price"].to_list() == [found.get("entry_price") for found in told]
    assert msgspec.convert(held.to_dicts(), list[Opportunity]) == msgspec.convert(told, list[Opportunity])


def test_a_frame_has_the_model_s_fields_and_no_others() -> None:
    """A server that is newer tells more, one that is older less; the dicts have what was told."""
    newer = found(1, grade="A")
    older = {name: value for name, value in found(2).items() if name not in ("exchange", "metadata", "symbols")}
    held = Results([newer, older])

    assert dict(held.to_polars().schema) == polars_types()
    assert held.to_polars()["exchange"].to_list() == ["synthetic", None]
    assert held.to_polars()["symbols"].to_list() == [["BTC/USDT"], None]
    assert {str(kind) for kind in held[1:].to_pandas()[["exchange", "metadata"]].dtypes} == {"str"}
    assert held.to_dicts()[0]["grade"] == "A"
    assert held.csv_text().splitlines()[2].startswith("tsmom:BTC/USDT:2,")


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("confidence_score", "99", "number"),
        ("confidence_score", True, "number"),
        ("hit_rate_n", 1.5, "whole"),
        ("hit_rate_n", float("inf"), "whole"),
        ("symbols", "BTC/USDT", "texts"),
        ("symbol", 7, "text"),
        ("discovered_at", "yesterday", "time"),
        ("discovered_at", 1764, "time"),
    ],
)
@pytest.mark.parametrize("frame", [Results.to_pandas, Results.to_polars])
def test_a_value_of_another_kind_is_named(frame: Callable[[Results], Any], field: str, value: Any, kind: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} of 'tsmom:BTC/USDT:1': .* is no {kind}$"):
        frame(Results([found(0), found(1, **{field: value})]))


@pytest.mark.parametrize(
    ("told", "moment"),
    [
        ("2026-11-23T14:00:00Z", datetime(2026, 11, 23, 14, tzinfo=UTC)),
        ("2026-11-23T16:00:00.500+02:00", datetime(2026, 11, 23, 14, 0, 0, 500_000, UTC)),
        ("2026-11-23T14:00:00", datetime(2026, 11, 23, 14, tzinfo=UTC)),
        ("1999-12-31T23:59:59.999Z", datetime(1999, 12, 31, 23, 59, 59, 999_000, UTC)),
    ],
)
def test_times_are_moments_in_utc(told: str, moment: datetime) -> None:
    held = Results([found(0, discovered_at=told)])

    assert held.to_polars()["discovered_at"].to_list() == [moment]
    assert held.to_pandas()["discovered_at"].tolist() == [moment]
    assert held.to_dicts()[0]["discovered_at"] == told


def test_results_are_a_sequence_of_plain_dicts() -> None:
    plain = [found(number) for number in range(5)]
    held = Results(plain)

    assert (len(held), held[0], held[-1], list(held)) == (5, plain[0], plain[4], plain)
    assert held == plain
    assert held != plain[:4]
    assert held == Results(plain)
    assert Results() == []
    assert (plain[3] in held, found(9) in held) == (True, False)
    assert list(reversed(held)) == plain[::-1]
    assert (held.index(plain[3]), held.count(plain[3]), held.count(found(9))) == (3, 1, 0)
    with pytest.raises(ValueError, match="not in"):
        held.index(plain[3], 0, 3)
    assert isinstance(held[1:3], Results)
    assert held[1:3] == plain[1:3]
    assert repr(held) == "<Results: 5 opportunities (tsmom 5)>"
    assert repr(Results()) == "<Results: 0 opportunities>"


def test_the_dicts_that_are_handed_out_are_the_caller_s() -> None:
    held = some(2)
    mine = held.to_dicts()
    mine[0]["symbol"] = "mine"
    mine.pop()

    assert (len(held), held[0]["symbol"]) == (2, "BTC/USDT")


def test_csv_holds_every_field_as_it_was_told(tmp_path: Path) -> None:
    odd = found(0, strategy_name='a "quoted", name\nof two lines', symbols=["BTC/USDT", "ETH/USDT"], **LATE)
    held = Results([odd, found(1, symbol="ÄÖ/USDT")])
    held.to_csv(tmp_path / "found.csv")
    held.to_csv(str(tmp_path / "again.csv"))
    opened = io.StringIO()
    held.to_csv(opened)
    read = pl.read_csv(tmp_path / "found.csv").to_dicts()

    assert (tmp_path / "found.csv").read_text("utf-8") == (tmp_path / "again.csv").read_text("utf-8") == held.csv_text()
    assert opened.getvalue() == held.csv_text()
    assert read[0]["strategy_name"] == odd["strategy_name"]
    assert read[0]["symbols"] == "BTC/USDT+ETH/USDT"
    assert msgspec.json.decode(read[0]["metadata"]) == odd["metadata"]
    assert [row["discovered_at"] for row in read] == ["2026-11-23T14:00:00.123Z"] * 2
    assert [row["entry_price"] for row in read] == [1.5, None]
    assert read[1]["symbol"] == "ÄÖ/USDT"


def test_csv_has_no_formula_in_it(tmp_path: Path) -> None:
    """Numbers are numbers, below zero, too; a text is a text, wherever it is opened."""
    told = {
        "symbol": "=HYPERLINK(1)",
        "symbols": ["@SUM(1)", "B"],
        "exchange": "+1",
        "quote_currency": "-2",
        "side": "\t=",
    }
    Results([found(0, expected_return=-0.5, **told), found(1)]).to_csv(tmp_path / "found.csv")
    with (tmp_path / "found.csv").open(encoding="utf-8", newline="") as opened:
        first, second = csv.DictReader(opened)

    assert {name: first[name] for name in told} == {
        **{name: f"'{told[name]}" for name in told if name != "symbols"},
        "symbols": "'@SUM(1)+B",
    }
    assert (first["expected_return"], second["symbol"]) == ("-0.5", "BTC/USDT")


def test_a_file_that_cannot_be_made_leaves_the_one_that_is_there(tmp_path: Path) -> None:
    """The text is made before the file is opened."""
    there = tmp_path / "found.csv"
    there.write_text("kept")
    with pytest.raises(TypeError):
        Results([found(0, metadata={"a": object()})]).to_csv(there)

    assert there.read_text() == "kept"


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """These are not installed."""
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("library", FRAMES)
def test_a_library_that_is_missing_is_told_with_what_to_install(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, library)
    with pytest.raises(LibraryMissing, match=rf"^to_\w+\(\) needs {library}; install it with: pip install {library}$"):
        FRAMES[library](some(1))
    assert issubclass(LibraryMissing, ScanstreamError)
    assert issubclass(LibraryMissing, ImportError)


def test_a_library_that_is_there_and_broken_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pandas.py").write_text("import absent_below_pandas\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pandas")
    with pytest.raises(ModuleNotFoundError, match="absent_below_pandas"):
        some(1).to_pandas()


@pytest.mark.parametrize("size", SIZES)
def test_arrow_s_interface_is_there_where_polars_is(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "pyarrow")
    held = some(size)
    taken = pl.DataFrame(held)

    assert hasattr(held, "__arrow_c_stream__")
    assert dict(taken.schema) == polars_types()
    assert taken.equals(held.to_polars())


def test_arrow_s_interface_is_there_where_pyarrow_is(monkeypatch: pytest.MonkeyPatch) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install pyarrow")
    held = some(201)
    without(monkeypatch, "polars")

    assert arrow.table(held).equals(held.to_arrow())
    requested = arrow.schema([(field.name, field.type) for field in held.to_arrow().schema])
    assert arrow.RecordBatchReader.from_stream(held, schema=requested).read_all().equals(held.to_arrow())


def test_without_both_there_is_no_arrow_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "pyarrow", "polars")

    assert not hasattr(some(1), "__arrow_c_stream__")


def test_results_bring_no_library_of_frames() -> None:
    """They are imported where one is asked for."""
    program = (
        "import sys, scanstream.client.results; print(*{'pandas', 'polars', 'pyarrow', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.split() == []
