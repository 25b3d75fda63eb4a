"""The port: what a strategy is, and the registry of those installed.

A strategy of your own is a class like the ones beside this file, named in an entry point of the group
`scanstream.strategies`.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec
from msgspec import Meta, Struct

from scanstream.errors import FieldError, MarketError, SettingError
from scanstream.model import Milliseconds, Side
from scanstream.panel import Input, Panel

ENTRY_POINTS = "scanstream.strategies"

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
        """The parameters as JSON Schema."""
        schema = msgspec.json.schema(self.parameters)
        definition: dict[str, Any] = schema["$defs"][self.parameters.__name__]
        definition.pop("title", None)
        return definition

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


@cache
def registry() -> dict[str, Strategy]:
    """Every installed strategy by its id, in the order of the ids.

    :raises SettingError: naming the plug-in that cannot be used, and why
    """
    found: dict[str, Strategy] = {}
    for point in entry_points(group=ENTRY_POINTS):
        try:
            strategy = _usable(point.load()())
        except Exception as error:  # whatever a plug-in does as it is imported
            raise SettingError(
                f"The strategy {point.name} ({point.value}) cannot be used: {type(error).__name__}: {error}; "
                "mend its package, or uninstall it"
            ) from error
        if strategy.id in found:
            raise SettingError(f"Two strategies are called {strategy.id!r}; the second is {point.value}")
        found[strategy.id] = strategy
    return dict(sorted(found.items()))


def _usable(strategy: Any) -> Strategy:
    if not isinstance(strategy, Strategy):
        raise TypeError("it is no Strategy")
    if inspect.isasyncgenfunction(strategy.scan) and not isinstance(strategy, AsyncStrategy):
        raise TypeError("its scan is an async def; make it a subclass of AsyncStrategy")
    for name in ("id", "name", "opportunity_type", "description", "source"):
        if not isinstance(value := getattr(strategy, name, None), str) or not value:
            raise TypeError(f"it has no {name}")
    return strategy


def parameter_errors(strategy: Strategy, given: Mapping[str, Any]) -> list[FieldError]:
    """What is wrong with a request's parameters of one strategy: all of it at once."""
    errors: list[FieldError] = []
    for name, value in given.items():
        field = f"parameters.{strategy.id}.{name}"
        if name not in strategy.parameters.__struct_fields__:
            errors.append(FieldError(field, "there is no such parameter"))
            continue
        try:
            strategy.parse({name: value})
        except msgspec.ValidationError as error:
            reason, _, path = str(error).partition(" - at `$")
            errors.append(FieldError(f"parameters.{strategy.id}{path.rstrip('`')}", reason))
    return errors
