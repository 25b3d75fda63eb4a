"""The port: what a strategy is.

A strategy of your own is a class like the ones beside this file, named in an entry point of the group
`scanstream.strategies` (installed.py).
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec
from msgspec import Meta, Struct

from scanstream.errors import MarketError
from scanstream.model import Milliseconds, RiskLevel, Side
from scanstream.panel import Input, Panel

Bars: TypeAlias = int
"""A length of time, counted in the panel's bars."""


class Parameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request may set. Every strategy has `walk_forward`; a subclass adds its own."""

    walk_forward: Annotated[
        int, Meta(ge=0, le=5000, description="Past bars on which the rule is scored; 0 turns the hit rate off")
    ] = 200


class Signal(Struct, frozen=True, kw_only=True):
    """One thing that a strategy found, in its own terms."""

    symbols: tuple[str, ...]
    side: Side
    bar: int = -1
    """Index of the bar at whose close it was found."""
    at: Milliseconds | None = None
    """In place of a bar: when the quotes or payments were made in which it was found."""
    key: str = ""
    """What tells it from others of the same symbols and time: the venues, the way around a cycle."""
    entry: float | None = None
    exit: float | None = None
    stop: float | None = None
    expected_return: float
    """Fraction over the horizon."""
    confidence: float
    """0 to 1."""
    horizon: Bars = 0
    lasts: Milliseconds | None = None
    """How long it takes, where that is counted in no bars."""
    hits: tuple[int, int] | None = None
    """(trades that made money, trades) in the walk-forward; None where it was turned off."""
    metadata: dict[str, Any]
    exchange: str | None = None
    """Where it can be traded, if not where the candles are from."""
    required_capital: float | None = None
    """US dollars that it needs, if not the capital of the request."""
    risk_level: RiskLevel | None = None
    """If not what the distance of the stop says."""
    opportunity_type: str | None = None
    """If not that of the strategy; one of its `opportunity_types`, so that a request for it selects the strategy."""


class Note(Struct, frozen=True):
    """Why a part of the input gave nothing."""

    text: str


class NothingToScan(Exception):
    """The panel lacks what the strategy needs; the message says what."""


class Strategy(ABC):
    """A rule that looks at a panel and yields signals."""

    id: ClassVar[str]
    name: ClassVar[str]
    opportunity_type: ClassVar[str]
    opportunity_types: ClassVar[tuple[str, ...]] = ()
    """What else its signals may say that they are."""
    description: ClassVar[str]
    source: ClassVar[str]
    """The paper or page that the rule comes from."""
    budget_seconds: ClassVar[float] = 120.0
    needs: ClassVar[tuple[Input, ...]] = ("candles",)
    """Without these of the market there is nothing to scan."""
    chunk: ClassVar[int] = 8
    """Units in one shard."""
    parameters: ClassVar[type[Parameters]] = Parameters

    def require(self, panel: Panel) -> None:
        """See that the market gives what the strategy needs.

        :raises NothingToScan: if it has no such thing
        :raises MarketError: if it has, and could not give it this time
        """
        for needed in self.needs:
            if needed in panel.failed:
                raise MarketError(f"The market {panel.market} could not give its {needed}: {panel.failed[needed]}")
            if not panel.has(needed):
                raise NothingToScan(f"needs {needed}, and the market {panel.market} has none")

    def units(self, panel: Panel, parameters: Any) -> int:
        """How many units of work there are: symbols, unless a subclass says otherwise.

        :raises NothingToScan: if there is nothing to do, and why
        """
        return len(panel.symbols)

    @abstractmethod
    def scan(
        self, panel: Panel, units: range, parameters: Any
    ) -> Iterable[Signal | Note] | AsyncIterator[Signal | Note]:
        """Look at these units of the panel. Deterministic: a shard that runs twice must find the same.

        Only an `AsyncStrategy` gives an asynchronous iterator.
        """

    def schema(self) -> dict[str, Any]:
        """The parameters as JSON Schema; what their types refer to stands in its `$defs`."""
        definitions = msgspec.json.schema(self.parameters)["$defs"]
        definition: dict[str, Any] = definitions.pop(self.parameters.__name__)
        definition.pop("title", None)
        return {**definition, "$defs": definitions} if definitions else definition

    def parse(self, given: Mapping[str, Any]) -> Parameters:
        """The parameters of a request, with defaults for what it does not give.

        :raises msgspec.ValidationError: naming the one that is not valid
        """
        return msgspec.convert(dict(given), self.parameters)


class AsyncStrategy(Strategy):
    """A strategy that waits for input: its `scan` is an `async def` that yields.

    It runs in the server's own loop and takes no worker process. So it may wait as long as its budget lasts, and must
    not compute for long; when it is cancelled, it gets the exception in the `await` where it is.
    """

    @abstractmethod
    def scan(self, panel: Panel, units: range, parameters: Any) -> AsyncIterator[Signal | Note]:
        """Look at these units of the panel, and at the input. Of a shard that runs twice one outcome counts."""
