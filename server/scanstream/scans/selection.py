"""What a request selects: decoding made it well-formed, this makes it canonical and checks it against the market."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from scanstream.errors import FieldError, InvalidRequest
from scanstream.model import DiscoverRequest, Principal, Tier
from scanstream.panel import Panel, timeframe_length
from scanstream.strategies.installed import Installed, parameter_errors

_LISTS = ("symbols", "strategy_ids", "asset_tiers", "opportunity_type", "preferred_timeframes")
_NUMBERS = ("min_profit_potential", "max_required_capital", "capital_usd")
TIERS: tuple[Tier, ...] = ("large", "mid", "small")


def canonical(request: DiscoverRequest, panel: Panel, strategies: Mapping[str, Installed]) -> DiscoverRequest:
    """The request with lists as sorted lists without repetitions, known names only, and something left to scan.

    :raises InvalidRequest: naming every field that is not valid
    """
    empty = [
        FieldError(name, "names nothing; leave it out to have all") for name in _LISTS if getattr(request, name) == []
    ]
    lists = {name: _listed(getattr(request, name)) for name in _LISTS}
    request = replace(request, **lists, parameters=request.parameters or None)
    errors = [
        *empty,
        *_unknown("symbols", request.symbols, panel.symbols, f"the market {panel.market} has no"),
        *_unknown("strategy_ids", request.strategy_ids, strategies, "there is no strategy"),
        *_unknown("asset_tiers", request.asset_tiers, TIERS, "there is no tier"),
        *_unknown(
            "opportunity_type",
            request.opportunity_type,
            {kind for strategy in strategies.values() for kind in strategy.types},
            "no strategy looks for",
        ),
        *_timeframe_errors(request.preferred_timeframes or ()),
        *_number_errors(request),
    ]
    for strategy_id, given in (request.parameters or {}).items():
        if strategy_id in strategies:
            errors += parameter_errors(strategies[strategy_id], given)
        else:
            errors.append(FieldError(f"parameters.{strategy_id}", f"there is no strategy {strategy_id!r}"))
    if not errors:
        errors = _emptiness(request, panel, strategies)
    if errors:
        raise InvalidRequest("; ".join(f"{field}: {reason}" for field, reason in errors), errors=errors)
    return replace(request, parameters=_canonical_parameters(request, strategies))


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
    tiers = panel.tiers() if request.asset_tiers is not None else {}
    return [
        symbol
        for symbol in panel.symbols
        if (request.symbols is None or symbol in request.symbols)
        and (request.asset_tiers is None or tiers[symbol] in request.asset_tiers)
    ]


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


def _listed(value: list[str] | str | None) -> list[str] | None:
    if value is None:
        return None
    items = value.split(",") if isinstance(value, str) else value
    return sorted({item.strip() for item in items} - {""}) or None


def _unknown(field: str, names: Iterable[str] | None, known: Iterable[str], reason: str) -> list[FieldError]:
    known = set(known)
    return [FieldError(field, f"{reason} {name!r}") for name in names or () if name not in known]


def _timeframe_errors(names: Iterable[str]) -> list[FieldError]:
    errors = []
    for name in names:
        try:
            timeframe_length(name)
        except ValueError as error:
            errors.append(FieldError("preferred_timeframes", str(error)))
    return errors


def _number_errors(request: DiscoverRequest) -> list[FieldError]:
    numbers = {name: getattr(request, name) for name in _NUMBERS}
    return [
        FieldError(name, "must be a finite number")
        for name, value in numbers.items()
        if value is not None and not math.isfinite(value)
    ]


def _emptiness(request: DiscoverRequest, panel: Panel, strategies: Mapping[str, Installed]) -> list[FieldError]:
    if not symbols_of(request, panel):
        return [FieldError("asset_tiers", "none of the symbols selected is in these tiers")]
    if not strategies_of(request, strategies):
        return [FieldError("opportunity_type", "none of the strategies selected looks for this")]
    return []
