"""The port: a market gives a panel."""

from typing import Protocol

from scanstream.panel import Panel


class Market(Protocol):
    """A source of candles."""

    @property
    def name(self) -> str:
        """What the state calls it."""
        ...

    def load(self) -> Panel:
        """Read the candles. May take seconds: call it from a thread.

        :raises MarketError: naming the file and the line, and what to do
        """
        ...
