"""A strategy that finds something now and then, for as long as a test likes: what feeds of prices do to clients.

It waits in the server's loop, so that many such scans go on at once and take neither workers nor processor time.
"""

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from msgspec import Meta

from scanstream.panel import Panel
from scanstream.strategies import strategy
from scanstream.strategies.strategy import AsyncStrategy, NothingToScan, Signal


class Parameters(strategy.Parameters, frozen=True, kw_only=True):
    """How much, and how fast."""

    shards: Annotated[int, Meta(ge=0)] = 0
    found: Annotated[int, Meta(ge=0, description="Opportunities of a shard, at least")] = 0
    pause: Annotated[float, Meta(ge=0, description="Seconds before each")] = 0.1
    tap: Annotated[str, Meta(description="A file: as long as it is there, more is found")] = ""


class Dripping(AsyncStrategy):
    """Drips."""

    id = "dripping"
    name = "Dripping"
    opportunity_type = "dripped"
    description = "Finds something now and then."
    source = "tests/trouble/plugins/dripping.py"
    chunk = 1
    budget_seconds = 600.0
    parameters = Parameters

    def units(self, panel: Panel, parameters: Parameters) -> int:
        """One a shard."""
        if not parameters.shards:
            raise NothingToScan("was not told to drip")
        return parameters.shards

    async def scan(self, panel: Panel, units: range, parameters: Parameters) -> AsyncIterator[Signal]:
        """Drip. The id of an opportunity is its own, however often its shard is run."""
        number = 0
        while number < parameters.found or (parameters.tap and await anyio.Path(parameters.tap).exists()):
            await anyio.sleep(parameters.pause)
            yield Signal(
                symbols=(f"D{units.start}/N{number}",),
                side="neutral",
                bar=panel.bars - 1,
                expected_return=0.01,
                confidence=(number % 100) / 100,
                horizon=1,
                metadata={},
            )
            number += 1
