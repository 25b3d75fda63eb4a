"""Time-series momentum on data that nobody wants, and with parameters that are not valid."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from scanstream.strategies.installed import parameter_errors, registry
from scanstream.strategies.strategy import NothingToScan, Signal
from scanstream.strategies.tsmom import WINDOW, Parameters, TimeSeriesMomentum
from strategies.panels import panel_of, scan, walk

FULL = Parameters()
QUICK = Parameters(walk_forward=0)


def test_a_constant_series_gives_nothing() -> None:
    signals, _ = scan(panel_of(np.full(600, 0.1), walk(1, 600, drift=0.01)), FULL)
    assert set(signals) == {"S1/X"}


@pytest.mark.parametrize("bad", [np.nan, 0.0, -1.0])
def test_a_gap_or_no_price_within_the_window_silences_that_symbol_only(bad: float) -> None:
    for age in (0, 1, 150, WINDOW):
        broken = walk(1, 600, drift=0.01)
        broken[-1 - age] = bad
        signals, notes = scan(panel_of(broken, walk(2, 600, drift=0.01)), FULL)
        assert set(signals) == {"S1/X"}
        assert len(notes) == 1
        assert "S0/X" in notes[0]
        assert "S1/X" not in notes[0]


def test_a_gap_before_the_window_does_not_matter() -> None:
    whole = walk(1, 600, drift=0.01)
    broken = whole.copy()
    broken[-2 - WINDOW] = np.nan
    assert scan(panel_of(broken)) == scan(panel_of(whole))
    assert scan(panel_of(broken))[0]


def test_nothing_but_gaps_and_nothing_but_zeros_give_nothing() -> None:
    signals, notes = scan(panel_of(np.full(600, np.nan), np.zeros(600)), FULL)
    assert signals == {}
    assert len(notes) == 1


@pytest.mark.parametrize("bars", [1, 2, 21, WINDOW])
def test_too_few_bars_are_a_reason(bars: int) -> None:
    with pytest.raises(NothingToScan) as caught:
        scan(panel_of(walk(1, bars)))
    assert f"{WINDOW + 1} bars" in str(caught.value)
    assert str(bars) in str(caught.value)


def test_just_enough_bars_decide_without_a_record() -> None:
    signals, _ = scan(panel_of(walk(1, WINDOW + 1, drift=0.01)), FULL)
    assert signals["S0/X"].hits == (0, 0)
    signals, _ = scan(panel_of(walk(1, WINDOW + 2, drift=0.01)), Parameters(horizon=1))
    assert signals["S0/X"].hits is not None
    assert signals["S0/X"].hits[1] == 1


def test_a_horizon_beyond_the_data_has_no_record() -> None:
    signals, _ = scan(panel_of(walk(1, 600, drift=0.01)), Parameters(horizon=1000))
    assert signals["S0/X"].hits == (0, 0)


def test_two_identical_series_have_identical_signals() -> None:
    series = walk(1, 600, drift=0.01)
    signals, _ = scan(panel_of(series, series), FULL)
    one, other = signals["S0/X"], signals["S1/X"]
    assert msgspec.structs.replace(one, symbols=()) == msgspec.structs.replace(other, symbols=())


def test_a_shard_looks_at_its_own_units_and_finds_what_the_whole_finds() -> None:
    panel = panel_of(*(walk(seed, 600, drift=0.01 * (-1) ** seed) for seed in range(7)))
    strategy = TimeSeriesMomentum()
    whole = list(strategy.scan(panel, range(7), FULL))
    shards = [item for start in range(0, 7, 3) for item in strategy.scan(panel, range(start, min(7, start + 3)), FULL)]
    assert len(whole) == len(shards) == 7
    for one, other in zip(whole, shards, strict=True):
        assert isinstance(one, Signal)
        assert isinstance(other, Signal)
        assert (one.symbols, one.side, one.hits) == (other.symbols, other.side, other.hits)
        assert math.isclose(one.metadata["z"], other.metadata["z"], rel_tol=1e-9)
    assert list(strategy.scan(panel, range(3, 6), FULL)) == list(strategy.scan(panel, range(3, 6), FULL))


def test_a_walk_forward_of_0_has_no_hit_rate() -> None:
    panel = panel_of(walk(1, 600, drift=0.01))
    assert scan(panel, QUICK)[0]["S0/X"].hits is None
    assert scan(panel, Parameters(walk_forward=1))[0]["S0/X"].hits is not None


def test_the_schema_lists_every_parameter_with_its_default() -> None:
    schema = TimeSeriesMomentum().schema()
    defaults = {name: described["default"] for name, described in schema["properties"].items()}
    assert defaults == {"walk_forward": 200, "lookback": 252, "horizon": 21, "z_min": 1.0}
    assert all(described["description"] for described in schema["properties"].values())


WRONG: list[tuple[str, Any]] = [
    *(("walk_forward", value) for value in (-1, 5001, 1.5, "200", True, None)),
    *(("lookback", value) for value in (1, WINDOW + 1, -252, [252])),
    *(("horizon", value) for value in (0, 1001)),
    *(("z_min", value) for value in (-0.1, "1", False)),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_named(name: str, value: Any) -> None:
    ((field, reason),) = parameter_errors(registry()["tsmom"], {name: value})
    assert field == f"parameters.tsmom.{name}"
    assert reason


def test_an_unknown_parameter_is_named() -> None:
    ((field, _),) = parameter_errors(registry()["tsmom"], {"lookbak": 252})
    assert field == "parameters.tsmom.lookbak"


def test_all_wrong_parameters_are_named_at_once() -> None:
    errors = parameter_errors(registry()["tsmom"], {"lookback": 1, "horizon": 0, "z_min": 1.5, "lookbak": 2})
    assert {field for field, _ in errors} == {f"parameters.tsmom.{name}" for name in ("lookback", "horizon", "lookbak")}


@pytest.mark.parametrize("given", [{}, {"lookback": 2, "horizon": 1000, "z_min": 0}, {"walk_forward": 0, "z_min": 2.5}])
def test_right_values_have_no_errors(given: dict[str, Any]) -> None:
    assert parameter_errors(registry()["tsmom"], given) == []
