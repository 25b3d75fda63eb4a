"""What a worker process runs: one shard of one strategy on the mapped panel.

Imports the panel, the market and the strategies only; the result is made plain here, at the worker's edge. What makes
findings plain is the same for strategies that run in the server's loop (waiting.py).
"""

import ctypes
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from scanstream.jobs import Shard
from scanstream.model import (
    DEFAULT_CAPITAL_USD,
    RISK_LEVELS,
    DiscoverRequest,
    Milliseconds,
    Opportunity,
    Problem,
    RiskLevel,
    is_finite,
    timestamp,
)
from scanstream.panel import Panel, mapped, timeframe_length, timeframe_name
from scanstream.scans.selection import symbols_of
from scanstream.strategies.strategy import Note, Signal, Strategy, registry

NICENESS = 10
"""The push loop comes first: with two busy workers on two cores the server's ping stays at a tenth of a millisecond."""


class Outcome(Struct, frozen=True, kw_only=True):
    """How a shard came out."""

    opportunities: list[Opportunity] = []
    note: str | UnsetType = UNSET
    error: Problem | UnsetType = UNSET
    elapsed_ms: Milliseconds = 0


_encoder = msgspec.msgpack.Encoder()
_from_json = msgspec.json.Decoder(Opportunity)


@cache
def prepare(parent: int) -> None:
    """A worker's first act: step back behind the server, and never outlive it."""
    if os.getppid() != parent:
        os._exit(1)
    _step_back()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the server, which stops its workers
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:  # it died in between
            os._exit(1)
    registry()
    gc.freeze()


def _step_back() -> None:
    """Compute only in the time that nothing else of this control group wants.

    On Linux a low priority alone is not enough: a thread of the server that wakes up may wait for the next tick of the
    kernel, some 4 ms, until one that computes is interrupted. One of the class `SCHED_IDLE` is interrupted at once.
    """
    os.nice(NICENESS)
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def run(encoded: bytes, panels: str, parent: int) -> bytes:
    """Run one encoded `Shard` on the panel below `panels`; an encoded `Outcome`, whatever the strategy does."""
    prepare(parent)
    shard = msgspec.msgpack.decode(encoded, type=Shard)
    started = time.perf_counter()
    try:
        search = Search(shard, Path(panels))
        found = search.strategy.scan(search.panel, search.units, search.parameters)
        assert isinstance(found, Iterable)  # an AsyncStrategy is run by waiting.py
        for item in found:
            search.take(item)
        outcome = search.outcome()
    except BaseException as error:  # a plug-in that exits ends its shard, not the worker, and never its server
        outcome = failure(error)
    return _encoder.encode(timed(outcome, started))


class Search:
    """One shard at work: a strategy, the units of the panel that it is to look at, and what it has found so far.

    :raises MarketError: if the market data is gone
    """

    def __init__(self, shard: Shard, panels: Path) -> None:
        self.strategy = registry()[shard.strategy_id]
        self.panel = universe(panels / shard.digest, shard.request)
        self.units = range(shard.start, shard.stop)
        self.parameters = self.strategy.parse((shard.request.parameters or {}).get(self.strategy.id, {}))
        self._request = shard.request
        self._opportunities: dict[str, Opportunity] = {}
        self._notes: list[str] = []

    def take(self, item: Signal | Note) -> None:
        """Add what the strategy yielded.

        :raises Exception: if it is nothing that can be sent, or was found before
        """
        if isinstance(item, Note):
            self._notes.append(item.text)
            return
        opportunity = _opportunity(self.strategy, self.panel, item, self._request)
        if opportunity.id in self._opportunities:
            raise ValueError(f"{opportunity.id} was found twice in one shard")
        self._opportunities[opportunity.id] = opportunity

    def outcome(self) -> Outcome:
        """All of it that passes the request's filters."""
        return Outcome(
            opportunities=[found for found in self._opportunities.values() if accepts(self._request, found)],
            note="; ".join(self._notes) if self._notes else UNSET,
        )


def failure(error: BaseException) -> Outcome:
    """The outcome of a strategy that raised: the kind, the message, and where in which file."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # a task group wraps what happens in it, and its own words say nothing
    where = traceback.extract_tb(error.__traceback__)[-1]
    detail = f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
    detail = detail.encode(errors="replace").decode()  # an error's text may be no Unicode
    return Outcome(error=Problem("strategy_error", detail))


def timed(outcome: Outcome, started: float) -> Outcome:
    """The outcome, and how long ago `started` is (seconds of the performance counter)."""
    return msgspec.structs.replace(outcome, elapsed_ms=round((time.perf_counter() - started) * 1000))


def universe(path: Path, request: DiscoverRequest) -> Panel:
    """The part of a saved panel that a canonical request selects."""
    panel = mapped(path)
    return panel.select(symbols_of(request, panel))


def _opportunity(strategy: Strategy, panel: Panel, signal: Signal, request: DiscoverRequest) -> Opportunity:
    capital = request.capital_usd or DEFAULT_CAPITAL_USD
    key = "+".join(signal.symbols) + (f"@{signal.key}" if signal.key else "")
    at = int(panel.times[signal.bar]) if signal.at is None else signal.at
    lasts = signal.horizon * panel.timeframe if signal.lasts is None else signal.lasts
    opportunity = Opportunity(
        id=f"{strategy.id}:{key}:{timestamp(at)}",
        strategy_id=strategy.id,
        strategy_name=strategy.name,
        opportunity_type=strategy.opportunity_type,
        symbol=signal.symbols[0],
        symbols=list(signal.symbols),
        exchange=panel.exchange,
        side=signal.side,
        entry_price=UNSET if signal.entry is None else signal.entry,
        exit_price=UNSET if signal.exit is None else signal.exit,
        stop_price=UNSET if signal.stop is None else signal.stop,
        quote_currency=signal.symbols[0].partition("/")[2] or "USD",
        expected_return=signal.expected_return,
        profit_potential_usd=signal.expected_return * capital,
        required_capital_usd=capital,
        confidence_score=round(100 * signal.confidence, 4),
        hit_rate=UNSET if signal.hits is None else (signal.hits[0] + 1) / (signal.hits[1] + 2),
        hit_rate_n=UNSET if signal.hits is None else signal.hits[1],
        risk_level=risk_level(signal),
        estimated_timeframe=timeframe_name(lasts),
        metadata=signal.metadata,
        discovered_at=timestamp(time.time_ns() // 1_000_000),
    )
    if not is_finite(msgspec.to_builtins(opportunity, enc_hook=_plain_number)):
        raise ValueError(f"{opportunity.id} has a number that is not finite")
    return plain(opportunity)


def plain(opportunity: Opportunity) -> Opportunity:
    """The opportunity as the log will give it back, so that it is the same for every codec: the log is JSON.

    :raises Exception: if it cannot be written there, or would not come back as an opportunity
    """
    plain = _from_json.decode(msgspec.json.encode(opportunity, enc_hook=_plain_number))
    _encoder.encode(plain)  # MessagePack has no integer beyond 64 bits
    return plain


def _plain_number(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} is nothing that can be sent; give plain numbers, text, lists and dicts")


def risk_level(signal: Signal) -> RiskLevel:
    """From the distance of the stop, as a fraction of the entry; without a stop (arbitrage) low."""
    if signal.entry is None or signal.stop is None:
        return "low"
    distance = abs(signal.entry - signal.stop) / signal.entry
    return RISK_LEVELS[sum(distance >= bound for bound in (0.02, 0.05, 0.10))]


def accepts(request: DiscoverRequest, found: Opportunity) -> bool:
    """Whether an opportunity passes the request's filters."""
    if request.min_profit_potential is not None and found.profit_potential_usd < request.min_profit_potential:
        return False
    if request.max_required_capital is not None and found.required_capital_usd > request.max_required_capital:
        return False
    highest = request.filter_by_risk_level
    if highest is not None and RISK_LEVELS.index(found.risk_level) > RISK_LEVELS.index(highest):
        return False
    if request.preferred_timeframes is not None:
        longest = max(timeframe_length(name) for name in request.preferred_timeframes)
        return timeframe_length(found.estimated_timeframe) <= longest
    return True
