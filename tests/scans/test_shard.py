"""What a worker process makes of a shard: filtered, plain, repeatable, and an error where there is one."""

import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import UNSET

from scans.planted import SYMBOLS, Plant, Planted, panel, piece, signal, whole
from scanstream.errors import MarketError, Shortage
from scanstream.model import DiscoverRequest, Opportunity, Problem, RiskLevel
from scanstream.panel import Panel
from scanstream.scans.work import shard as worker
from scanstream.scans.work.planning import parts
from scanstream.scans.work.shard import Outcome
from scanstream.strategies.installed import admit
from scanstream.strategies.strategy import Note, Signal

Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a shard of what is planted, in this process: `prepare`, which is for workers, is left out."""
    saved = panel().save(tmp_path)
    monkeypatch.setattr(worker, "prepare", lambda *_: None)

    def start(plant: Plant | Signal, **request: Any) -> Outcome:
        strategy = admit(Planted((lambda *_: [plant]) if isinstance(plant, Signal) else plant))
        monkeypatch.setattr(worker, "registry", lambda: {"planted": strategy})
        encoded = worker.run(piece(saved, DiscoverRequest(**request)), str(tmp_path), os.getpid())
        outcome = whole(encoded)
        assert outcome.elapsed_ms >= 0
        return outcome

    return start


def one_a_symbol(seen: Panel, units: range) -> Iterator[Signal]:
    """A signal of each symbol of the panel that the strategy sees."""
    return (signal(symbol) for symbol in seen.symbols)


def only(outcome: Outcome) -> Opportunity:
    """The one opportunity of a shard without an error."""
    assert outcome.error is UNSET
    (opportunity,) = outcome.opportunities
    return opportunity


def failure(outcome: Outcome) -> str:
    """Why a shard failed; then it has no opportunities."""
    assert isinstance(outcome.error, Problem)
    assert outcome.error.code == "strategy_error"
    assert outcome.opportunities == []
    return outcome.error.detail


def test_a_signal_becomes_an_opportunity(run: Run) -> None:
    found = only(run(signal()))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.discovered_at)
    assert msgspec.structs.replace(found, discovered_at="") == Opportunity(
        id="planted:A/X:1970-01-01T09:00:00.000Z",
        strategy_id="planted",
        strategy_name="Planted",
        opportunity_type="planted",
        symbol="A/X",
        symbols=["A/X"],
        exchange="synthetic",
        side="long",
        entry_price=100.0,
        exit_price=105.0,
        stop_price=99.0,
        quote_currency="X",
        expected_return=0.05,
        profit_potential_usd=50.0,
        required_capital_usd=1000.0,
        confidence_score=71.4,
        hit_rate=0.55,
        hit_rate_n=98,
        risk_level="low",
        estimated_timeframe="1d",
        metadata={"z": 1.07},
        discovered_at="",
    )


def test_what_a_signal_has_not_is_absent(run: Run) -> None:
    found = only(run(signal(symbols=("A/X", "B/X"), entry=None, exit=None, stop=None, hits=None)))
    assert found.id == "planted:A/X+B/X:1970-01-01T09:00:00.000Z"
    assert (found.symbol, found.symbols) == ("A/X", ["A/X", "B/X"])
    assert (found.entry_price, found.exit_price, found.stop_price) == (UNSET, UNSET, UNSET)
    assert (found.hit_rate, found.hit_rate_n) == (UNSET, UNSET)


@pytest.mark.parametrize(
    ("stop", "level"),
    [
        (100.0, "low"),
        (98.01, "low"),
        (98.0, "medium"),
        (102.0, "medium"),
        (95.01, "medium"),
        (95.0, "high"),
        (90.01, "high"),
        (90.0, "very_high"),
        (150.0, "very_high"),
        (None, "high"),
    ],
)
def test_the_risk_level_is_the_distance_of_the_stop(run: Run, stop: float | None, level: RiskLevel) -> None:
    assert only(run(signal(stop=stop))).risk_level == level


def symbols_of(outcome: Outcome) -> list[str]:
    """Of what was found."""
    assert outcome.error is UNSET
    return [opportunity.symbol for opportunity in outcome.opportunities]


def test_the_strategy_sees_the_selected_symbols_only(run: Run) -> None:
    assert symbols_of(run(one_a_symbol)) == list(SYMBOLS)
    assert symbols_of(run(one_a_symbol, symbols=["C/X", "A/X"])) == ["A/X", "C/X"]
    assert symbols_of(run(one_a_symbol, asset_tiers=["mid"])) == ["C/X", "D/X"]
    assert symbols_of(run(one_a_symbol, asset_tiers=["mid"], symbols=["A/X", "D/X"])) == ["D/X"]


def graded(*_: object) -> Iterator[Signal]:
    """From A to F: profit 10 to 60 dollars on 1,000, stops 1, 3, 6, 11 % and none, from an hour to six days."""
    stops = (99.0, 97.0, 94.0, 89.0, None, None)
    horizons = (1, 2, 24, 48, 72, 144)
    for number, symbol in enumerate(SYMBOLS):
        expected = (number + 1) / 100
        yield signal(symbol, expected_return=expected, stop=stops[number], horizon=horizons[number])


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        ({}, "ABCDEF"),
        ({"min_profit_potential": 30.0}, "CDEF"),
        ({"min_profit_potential": 30.0, "capital_usd": 500.0}, "F"),
        ({"min_profit_potential": 60.01}, ""),
        ({"min_profit_potential": -5.0}, "ABCDEF"),
        ({"max_required_capital": 1000.0}, "ABCDEF"),
        ({"max_required_capital": 999.99}, ""),
        ({"max_required_capital": 999.99, "capital_usd": 999.0}, "ABCDEF"),
        ({"filter_by_risk_level": "low"}, "A"),
        ({"filter_by_risk_level": "medium"}, "AB"),
        ({"filter_by_risk_level": "high"}, "ABCEF"),
        ({"filter_by_risk_level": "very_high"}, "ABCDEF"),
        ({"preferred_timeframes": ["1h"]}, "A"),
        ({"preferred_timeframes": ["59m"]}, ""),
        ({"preferred_timeframes": ["1d"]}, "ABC"),
        ({"preferred_timeframes": ["24h", "5m"]}, "ABC"),
        ({"preferred_timeframes": ["1h", "3d", "2h"]}, "ABCDE"),
        ({"min_profit_potential": 20.0, "filter_by_risk_level": "medium", "preferred_timeframes": ["3d"]}, "B"),
    ],
)
def test_every_filter_is_honoured(run: Run, request_: dict[str, Any], found: str) -> None:
    assert "".join(symbol[0] for symbol in symbols_of(run(graded, **request_))) == found


def test_the_capital_scales_the_profit(run: Run) -> None:
    found = only(run(signal(), capital_usd=250.0))
    assert (found.profit_potential_usd, found.required_capital_usd) == (12.5, 250.0)


def test_notes_are_joined_and_do_not_count(run: Run) -> None:
    outcome = run(lambda *_: [Note("one"), signal(), Note("two")])
    assert outcome.note == "one; two"
    only(outcome)
    assert run(lambda *_: []) == Outcome(elapsed_ms=run(lambda *_: []).elapsed_ms)


def test_the_same_input_finds_the_same_ids(run: Run) -> None:
    first, second = run(graded), run(graded)
    assert [found.id for found in first.opportunities] == [found.id for found in second.opportunities]
    assert len({found.id for found in first.opportunities}) == 6


def test_an_id_twice_fails_even_if_it_would_be_filtered_out(run: Run) -> None:
    for request in ({}, {"min_profit_potential": 1e9}):
        detail = failure(run(lambda *_: [signal(), signal("B/X"), signal(side="short")], **request))
        assert "planted:A/X:1970-01-01T09:00:00.000Z" in detail
        assert "twice" in detail


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["entry", "exit", "stop", "expected_return", "confidence"])
def test_a_number_that_is_not_finite_fails(run: Run, field: str, bad: float) -> None:
    changes: dict[str, Any] = {field: bad}
    assert "planted:A/X" in failure(run(signal(**changes)))


@pytest.mark.parametrize("metadata", [{"z": math.nan}, {"deep": [{"er": (1.0, math.inf)}]}, {"set": {math.nan}}])
def test_metadata_that_is_not_finite_fails(run: Run, metadata: dict[str, Any]) -> None:
    assert "planted:A/X" in failure(run(signal(metadata=metadata)))


def test_an_exception_in_a_strategy_names_its_kind_its_file_and_its_line(run: Run) -> None:
    def raising(*_: object) -> Iterator[Signal]:
        yield signal()
        raise ZeroDivisionError("planted")

    line = raising.__code__.co_firstlineno + 2
    assert failure(run(raising)) == f"ZeroDivisionError: planted (test_shard.py, line {line})"


RUBBISH: dict[str, Signal] = {
    "an entry of 0": signal(entry=0.0),
    "no symbol": signal(symbols=()),
    "a bar that is none": signal(bar=99),
    "a side that is none": signal(side="buy"),
    "an array": signal(metadata={"z": np.zeros(3)}),
    "an object": signal(metadata={"z": object()}),
    "an integer beyond 64 bits": signal(metadata={"n": 2**70}),
    "text that is no Unicode": signal(metadata={"text": "\ud800"}),
    "a number as a price's text": signal(entry="100"),
}


@pytest.mark.parametrize("kind", RUBBISH)
def test_rubbish_from_a_plug_in_is_that_shards_error(run: Run, kind: str) -> None:
    failure(run(RUBBISH[kind]))


def test_an_error_with_text_that_is_no_unicode_is_still_an_error(run: Run) -> None:
    def raising(*_: object) -> Iterator[Signal]:
        raise ValueError("\ud800")

    assert "ValueError" in failure(run(raising))


def test_a_strategy_that_exits_is_an_error_not_the_end_of_the_server(run: Run) -> None:
    def leaving(*_: object) -> Iterator[Signal]:
        raise SystemExit(3)

    assert "SystemExit" in failure(run(leaving))


class Leaves(RuntimeError):
    """Ends whoever looks at its words."""

    def __str__(self) -> str:
        raise SystemExit(3)


class Circle(BaseExceptionGroup[BaseException]):
    """Has nothing in it but itself."""

    @property
    def exceptions(self) -> tuple[BaseException, ...]:
        """See `BaseExceptionGroup.exceptions`."""
        return (self,)


ODD: list[BaseException] = [
    Leaves(),
    Circle("round", [ValueError()]),
    ExceptionGroup("several", [Leaves()]),
    MarketError("\ud800" * 10_000),
    Shortage("Not for us to say", lacking="patience"),
]
"""What a plug-in may raise: it is its own outcome, once, in words of at most 4 KB."""


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_what_a_strategy_raises_is_its_own_outcome(
    run: Run, odd: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(*_: object) -> Any:
        raise odd

    outcome = run(raising)
    assert isinstance(outcome.error, Problem)
    assert outcome.error.code == ("invalid_market" if isinstance(odd, MarketError) else "strategy_error")
    assert len(outcome.error.detail.encode()) <= 4096
    assert (outcome.lacking, outcome.begun, outcome.unmapped) == ("", True, False)
    monkeypatch.setattr(Planted, "units", raising)
    part = parts(DiscoverRequest(), ["planted"], panel(), {"planted": admit(Planted(raising))})["planted"]
    assert isinstance(part.problem, Problem)
    assert (part.problem.code, part.lacking) == (outcome.error.code, "")


def test_what_is_not_plain_is_made_plain(run: Run) -> None:
    """The same in memory, in the log, and for every codec: the log is JSON."""
    metadata = {
        "tuple": (1, 2.5),
        "set": {"a"},
        "bytes": b"abc",
        7: "a key",
        "none": None,
        "flag": True,
        "z": np.float64(1.5),
    }
    found = only(run(signal(metadata=metadata)))
    assert found == msgspec.json.decode(msgspec.json.encode(found), type=Opportunity)
    assert found.metadata["tuple"] == [1, 2.5]
    assert found.metadata["set"] == ["a"]
    assert (found.metadata["z"], type(found.metadata["z"])) == (1.5, float)
    assert all(isinstance(key, str) for key in found.metadata)


def test_market_data_that_is_gone_is_an_error(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(graded)
    elsewhere = panel().select(["A/X"])
    encoded = worker.run(piece(elsewhere, DiscoverRequest()), str(tmp_path), os.getpid())
    outcome = whole(encoded)
    assert outcome.unmapped
    assert isinstance(outcome.error, Problem)
    assert outcome.error.code == "invalid_market"
    assert outcome.error.detail.startswith("Its market data is gone from the server's disk (saved as ")
    assert str(tmp_path) not in outcome.error.detail


class Unspeakable(Exception):
    """Fails at telling what it is."""

    def __str__(self) -> str:
        raise IndexError("no words")


class Unspeakably(RuntimeError):
    """The same, and worse."""

    def __str__(self) -> str:
        raise SystemExit


RAISED: dict[str, tuple[BaseException, str]] = {
    "a group of what was never raised": (
        ExceptionGroup("two feeds", [ValueError("collected")]),
        "ValueError: collected",
    ),
    "a group of two": (ExceptionGroup("two", [ValueError("a"), KeyError("b")]), "ExceptionGroup: two"),
    "an exception without words": (Unspeakable(), "Unspeakable: its text cannot be had"),
    "one that exits as it is told": (Unspeakably(), "Unspeakably: its text cannot be had"),
    "an exception of any length": (ValueError("x" * 5_000_000), "xxx …"),
    "what is no Exception": (GeneratorExit(), "GeneratorExit"),
}


@pytest.mark.parametrize("kind", RAISED)
def test_whatever_a_strategy_raises_is_its_shards_error(run: Run, kind: str) -> None:
    error, words = RAISED[kind]

    def raising(*_: object) -> Iterator[Signal]:
        yield signal()
        raise error

    detail = failure(run(raising))
    assert words in detail
    assert "test_shard.py, line" in detail
    assert len(detail.encode()) <= 4096


def test_the_place_of_an_error_is_in_the_strategys_own_file(run: Run) -> None:
    def raising(*_: object) -> Iterator[Signal]:
        yield signal()
        msgspec.json.decode(b"{", type=int)
        Path("/nowhere/at/all").read_text()  # raises deep inside a library

    line = raising.__code__.co_firstlineno + 2
    assert f"line {line})" in failure(run(raising))


def test_a_note_of_any_length_and_no_unicode_can_be_sent(run: Run) -> None:
    note = run(lambda *_: [Note("feed said \ud83d"), Note("n" * 9000)]).note
    assert isinstance(note, str)
    assert note.startswith("feed said ?; nnn")
    assert len(note) <= 4096


@pytest.mark.parametrize(("item", "words"), [(1, "yielded a int"), (None, "yielded a NoneType")])
def test_what_is_neither_signal_nor_note_is_named(run: Run, item: Any, words: str) -> None:
    assert words in failure(run(lambda *_: [item]))


def test_a_scan_that_returns_nothing_says_so(run: Run) -> None:
    assert "its scan gave a NoneType" in failure(run(lambda *_: None))


def test_a_shard_without_end_ends(run: Run) -> None:
    def endless(*_: object) -> Iterator[Signal]:
        number = 0
        while True:
            number += 1
            yield signal(f"S{number}/X")

    assert "more than 20,000" in failure(run(endless))
