"""Strategies that go wrong."""

import os
import signal
import threading
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


class Hanging(Raising):
    """Never comes back: it waits for what nobody does."""

    id = "hanging"
    name = "Hanging"
    description = "Waits forever."
    budget_seconds = 2.0
    chunk = 1

    def units(self, panel: Panel, parameters: Any) -> int:
        """Several, each in a shard of its own."""
        return 4

    def scan(self, panel: Panel, units: range, parameters: Any) -> Iterable[Signal]:
        """Wait."""
        threading.Event().wait()
        return []
