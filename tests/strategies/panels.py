"""Panels for the tests of strategies, and a scan of one as a shard does it."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from scanstream.panel import FIELDS, Array, Panel
from scanstream.strategies.strategy import Note, Signal, Strategy
from scanstream.strategies.tsmom import Parameters, TimeSeriesMomentum

QUICK = Parameters(walk_forward=0)


def until(panel: Panel, bars: int) -> Panel:
    """The panel as it was after so many bars."""
    return replace(panel, times=panel.times[:bars], **{field: getattr(panel, field)[:bars] for field in FIELDS})


def panel_of(*columns: Array) -> Panel:
    """A panel of these closes."""
    close = np.column_stack(columns)
    times = 3_600_000 * np.arange(len(close))
    symbols = tuple(f"S{number}/X" for number in range(len(columns)))
    return Panel("test", "test", 3_600_000, symbols, times, close, close, close, close, close)


def walk(seed: int, bars: int, *, drift: float = 0.0, noise: float = 0.01) -> Array:
    """A random walk of log prices, as prices."""
    return np.asarray(100 * np.exp(np.cumsum(drift + noise * np.random.default_rng(seed).normal(size=bars))))


def scan(panel: Panel, parameters: Parameters = QUICK) -> tuple[dict[str, Signal], list[str]]:
    """What time-series momentum finds, by symbol, and what it notes."""
    return found_by(TimeSeriesMomentum(), panel, parameters)


def found_by(strategy: Strategy, panel: Panel, parameters: Any) -> tuple[dict[str, Signal], list[str]]:
    """What a strategy finds, by its symbols, and what it notes; as a scan calls it, in one shard."""
    items = strategy.scan(panel, range(strategy.units(panel, parameters)), parameters)
    assert isinstance(items, Iterable)
    found = list(items)
    signals = {"+".join(item.symbols): item for item in found if isinstance(item, Signal)}
    notes = [item.text for item in found if isinstance(item, Note)]
    assert len(signals) + len(notes) == len(found)
    for signal in signals.values():
        numbers = (signal.entry, signal.exit, signal.stop, signal.expected_return, signal.confidence)
        assert all(number is not None and math.isfinite(number) for number in numbers)
        assert all(map(math.isfinite, signal.metadata.values()))
        assert 0 <= signal.confidence <= 1
    return signals, notes


def same(told: dict[str, Any], expected: dict[str, Any], rtol: float) -> None:
    """The metadata has these keys, no others, and their values."""
    assert told.keys() == expected.keys()
    np.testing.assert_allclose(list(told.values()), [expected[key] for key in told], rtol=rtol)


def universe(names: int, bars: int) -> list[Array]:
    """Prices that go with one market, and each with something of its own that reverts."""
    return [walk(1, bars) * reverting(seed, bars, b=0.8, noise=0.004) / 100 for seed in range(2, 2 + names)]


def reverting(seed: int, bars: int, *, b: float = 0.9, noise: float = 0.01) -> Array:
    """An Ornstein–Uhlenbeck process of log prices, as prices."""
    steps = noise * np.random.default_rng(seed).normal(size=bars)
    level = 0.0
    return np.asarray(100 * np.exp([level := b * level + step for step in steps]))
