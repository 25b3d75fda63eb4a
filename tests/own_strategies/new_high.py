"""A strategy that computes: the last close is above all closes of a window before it."""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from msgspec import Meta

from scanstream.panel import Panel
from scanstream.strategies import strategy
from scanstream.strategies.strategy import Note, NothingToScan, Signal, Strategy


class Parameters(strategy.Parameters, frozen=True, kw_only=True):
    """What a request may set."""

    window: Annotated[int, Meta(ge=2, le=1000, description="Bars that the last close must be above")] = 50


class NewHigh(Strategy):
    """What is higher than it was for a while."""

    id = "new_high"
    name = "New high"
    opportunity_type = "breakout"
    description = "The close is above the closes of the bars before."
    source = "tests/own_strategies/new_high.py"
    parameters = Parameters

    def units(self, panel: Panel, parameters: Parameters) -> int:
        """One a symbol, if there are bars enough."""
        if panel.bars <= parameters.window:
            raise NothingToScan(f"needs {parameters.window + 1} bars, and there are {panel.bars}")
        return len(panel.symbols)

    def scan(self, panel: Panel, units: range, parameters: Parameters) -> Iterator[Signal | Note]:
        """Compare the last close with those before it."""
        for unit in units:
            closes = panel.close[-parameters.window - 1 :, unit]
            if np.isnan(closes).any():
                yield Note(f"{panel.symbols[unit]} has gaps")
            elif closes[-1] > (highest := closes[:-1].max()):
                yield Signal(
                    symbols=(panel.symbols[unit],),
                    side="long",
                    entry=float(closes[-1]),
                    stop=float(0.97 * closes[-1]),
                    expected_return=0.01,
                    confidence=0.5,
                    horizon=10,
                    metadata={"highest": float(highest)},
                )
