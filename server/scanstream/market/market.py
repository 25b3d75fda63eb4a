"""The port: a market gives a panel."""

from typing import Protocol

from scanstream.panel import Panel


class Market(Protocol):
    """A source of candles, and maybe of quotes and funding."""

    @property
    def name(self) -> str:
        """What the state calls it."""
        ...

    @property
    def live(self) -> bool:
        """Whether reading it again may give something else."""
        ...

    def load(self) -> Panel:
        """Read it. May take seconds: call it from a thread, and from one at a time.

        :raises MarketError: naming the file and the line, and what to do
        """
        ...
