"""What a request selects: decoding made it well-formed, this makes it canonical and checks it against the market."""

import hashlib
import math
from collections.abc import Collection, Generator, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from scanstream.errors import MOST_ERRORS, FieldError, InvalidRequest
from scanstream.model import RISK_LEVELS, TIERS, DiscoverRequest, Principal
from scanstream.panel import Panel, timeframe_length
from scanstream.scans.names import KnownNames, listed
from scanstream.strategies.installed import Installed, parameter_errors

_LISTS = ("symbols", "strategy_ids", "asset_tiers", "opportunity_type", "preferred_timeframes")
_NUMBERS = ("min_profit_potential", "max_required_capital", "capital_usd")
MOST_TIMEFRAMES = 32
LONGEST_TIMEFRAME = 10
"""Characters: what is kept of a scan is bounded by what there can be."""


Steps: TypeAlias = Generator[None, None, DiscoverRequest]
"""Work that lets others have a turn now and then, and its result: see `log.refold.sliced`."""


def canonical(request: DiscoverRequest, panel: Panel, strategies: Mapping[str, Installed]) -> Steps:
    """The request with lists as sorted lists without repetitions, known names only, and something left to scan.

    :raises InvalidRequest: naming the fields that are not valid; it stops looking where there are more than it names
    """
    reading = _Reading(request, panel, strategies)
    found: list[FieldError] = []
    for error in reading.errors():
        if error is None:
            yield
        else:
            found.append(error)
        if len(found) > MOST_ERRORS:
            break
    _refuse(found)
    request = replace(request, **reading.meant)
    _refuse(_emptiness(request, panel, strategies))
    return replace(request, parameters=_canonical_parameters(request, strategies))


@lru_cache(maxsize=2)  # of the current panel, and of the one that is about to be
def known_symbols(panel: Panel) -> KnownNames:
    """The names of a panel's symbols: of ten thousand that takes longer than the loop has, so it is done once."""
    return KnownNames(panel.symbols, f"the market {panel.market} has no")


def named_symbol(panel: Panel, field: str, written: str) -> str:
    """The symbol of a panel that is meant.

    :raises InvalidRequest: naming the field, if there is none, or it may be one of several
    """
    found: set[str] = set()
    _refuse([error for error in known_symbols(panel).resolve(field, [written.strip()], found) if error])
    return found.pop()


def _refuse(errors: list[FieldError]) -> None:
    if errors:
        raise InvalidRequest.naming(errors)


class _Reading:
    """A request whose names are looked up, one field after the other."""

    def __init__(self, request: DiscoverRequest, panel: Panel, strategies: Mapping[str, Installed]) -> None:
        self._request = request
        self._strategies = strategies
        self._ids = KnownNames(strategies, "there is no strategy")
        types = {kind for strategy in strategies.values() for kind in strategy.types}
        self._known = {
            "symbols": known_symbols(panel),
            "strategy_ids": self._ids,
            "asset_tiers": KnownNames(TIERS, "there is no tier"),
            "opportunity_type": KnownNames(types, "no strategy looks for"),
        }
        self.meant: dict[str, Any] = {}
        """The fields as they are to be, once `errors` has come to its end."""

    def errors(self) -> Iterator[FieldError | None]:
        """Whatever is wrong with the request; what comes late is not looked at before it is asked for.

        None where others may have a turn.
        """
        for field in _LISTS:
            if (value := getattr(self._request, field)) is not None:
                yield from self._list_errors(field, value)
        yield from self._level_errors()
        yield from _number_errors(self._request)
        yield from self._strategy_errors()
        for strategy_id, given in self.meant["parameters"].items():
            yield from parameter_errors(self._strategies[strategy_id], given)

    def _list_errors(self, field: str, value: list[str] | str) -> Iterator[FieldError | None]:
        try:
            names = listed(value)
        except ValueError as error:
            yield FieldError(field, str(error))
            return
        yield None
        found: set[str] = set()
        if field in self._known:
            yield from self._known[field].resolve(field, names, found)
            yield None
            self.meant[field] = self._known[field].in_order(found)
            yield None
        else:
            yield from _timeframe_errors(field, names, found)
            self.meant[field] = sorted(found)

    def _level_errors(self) -> Iterator[FieldError | None]:
        field = "filter_by_risk_level"
        if (level := self._request.filter_by_risk_level) is not None:
            found: set[str] = set()
            yield from KnownNames(RISK_LEVELS, "there is no level").resolve(field, [level.strip()], found)
            self.meant[field] = next(iter(found), None)

    def _strategy_errors(self) -> Iterator[FieldError | None]:
        """Of the strategies to which parameters are given."""
        parameters = self.meant["parameters"] = {}
        for written, given in (self._request.parameters or {}).items():
            field = f"parameters.{written}"
            found: set[str] = set()
            yield from self._ids.resolve(field, [written.strip()], found)
            for strategy_id in found:
                if strategy_id in parameters:
                    yield FieldError(field, f"the parameters of {strategy_id} are given twice")
                parameters[strategy_id] = given or {}


def _timeframe_errors(field: str, names: Collection[str], found: set[str]) -> Iterator[FieldError]:
    """Units in any case, but for `M`: to some that is a month."""
    if len(names) > MOST_TIMEFRAMES:
        yield FieldError(field, f"names more than {MOST_TIMEFRAMES}; the longest one is enough")
        return
    for name in sorted(names):
        known = name if name.endswith("M") else name.lower()
        try:
            timeframe_length(known)
        except ValueError as error:
            yield FieldError(field, str(error))
        else:
            found.add(known)
        if len(known) > LONGEST_TIMEFRAME:
            yield FieldError(field, f"{name!r} is longer than {LONGEST_TIMEFRAME} characters")


def _canonical_parameters(
    request: DiscoverRequest, strategies: Mapping[str, Installed]
) -> dict[str, dict[str, Any]] | None:
    """The values given, as the strategy's own types have them: 2 and 2.0 are one request."""
    canonical = {
        strategy_id: strategies[strategy_id].canonical(given)
        for strategy_id, given in sorted((request.parameters or {}).items())
        if given
    }
    return canonical or None


def strategies_of(request: DiscoverRequest, strategies: Mapping[str, Installed]) -> list[Installed]:
    """The strategies that a canonical request selects."""
    return [
        strategy
        for strategy_id, strategy in strategies.items()
        if (request.strategy_ids is None or strategy_id in request.strategy_ids)
        and (request.opportunity_type is None or not set(strategy.types).isdisjoint(request.opportunity_type))
    ]


def symbols_of(request: DiscoverRequest, panel: Panel) -> list[str]:
    """The symbols that a canonical request selects, in the panel's order."""
    return list(_selected(request, panel))


def _selected(request: DiscoverRequest, panel: Panel) -> Iterator[str]:
    tiers = panel.tiers() if request.asset_tiers is not None else {}
    named = frozenset(request.symbols or ())
    return (
        symbol
        for symbol in panel.symbols
        if (request.symbols is None or symbol in named)
        and (request.asset_tiers is None or tiers.get(symbol) in request.asset_tiers)
    )


def given(request: DiscoverRequest) -> dict[str, Any]:
    """What the caller gave, as `filters` shows it: without defaults and without `force_refresh`."""
    filters: dict[str, Any] = msgspec.to_builtins(replace(request, force_refresh=None))
    return filters


def slot_of(principal: Principal, panel: Panel, request: DiscoverRequest) -> str:
    """The cache_key of a canonical request: the same principal, data and request meet in one slot."""
    key = msgspec.json.encode([principal, panel.market, panel.digest, given(request)], order="sorted")
    return hashlib.blake2s(key, digest_size=16).hexdigest()


def key_slot(principal: Principal, key: str) -> str:
    """The slot of an idempotency key: a scan registered with one never meets another."""
    return "key-" + hashlib.blake2s(f"{principal}\n{key}".encode(), digest_size=16).hexdigest()


def _number_errors(request: DiscoverRequest) -> Iterator[FieldError]:
    for name in _NUMBERS:
        if (value := getattr(request, name)) is not None and not math.isfinite(value):
            yield FieldError(name, "must be a finite number")


def _emptiness(request: DiscoverRequest, panel: Panel, strategies: Mapping[str, Installed]) -> list[FieldError]:
    if next(_selected(request, panel), None) is None:
        return [FieldError("asset_tiers", "none of the symbols selected is in these tiers")]
    if not strategies_of(request, strategies):
        return [FieldError("opportunity_type", "none of the strategies selected looks for this")]
    return []
