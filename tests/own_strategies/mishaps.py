"""Strategies that go wrong."""

import os
import signal
from collections.abc import Iterable
from typing import Any

from scanstream.panel import Panel
from scanstream.strategies.strategy import Signal, Strategy


class Raising(Strategy):
    """Raises."""

    id = "raising"
    name = "Raising"
    opportunity_type = "mishap"
    description = "Raises."
    source = "tests/own_strategies/mishaps.py"

    def units(self, panel: Panel, parameters: Any) -> int:
        """One mishap a scan."""
        return 1

    def scan(self, panel: Panel, units: range, parameters: Any) -> Iterable[Signal]:
        """Raise."""
        raise LookupError("own mistake")


class Killing(Raising):
    """Ends the worker process that it runs in."""

    id = "killing"
    name = "Killing"
    description = "Ends its worker."

    def scan(self, panel: Panel, units: range, parameters: Any) -> Iterable[Signal]:
        """End the process."""
        os.kill(os.getpid(), signal.SIGKILL)
        return []
