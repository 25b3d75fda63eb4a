"""What a worker process runs: one shard of one strategy on the mapped panel.

Imports the panel, the market and the strategies only; the result is made plain here, at the worker's edge. What makes
findings plain is the same for strategies that run in the server's loop (waiting.py).
"""

import ctypes
import gc
import logging
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

from scanstream.errors import MarketError, Shortage
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
from scanstream.scans.priority import step_back
from scanstream.scans.selection import symbols_of
from scanstream.shortage import shortage
from scanstream.strategies.strategy import Note, Signal, Strategy, registry

MOST_FOUND = 20_000
"""Findings and notes of one shard: more is a defect of the strategy, and would fill the memory."""
LONGEST_WORDS = 2000
"""Characters of a note or an error that are told."""

logger = logging.getLogger("scanstream")


class Outcome(Struct, frozen=True, kw_only=True):
    """How a shard came out."""

    opportunities: list[Opportunity] = []
    note: str | UnsetType = UNSET
    error: Problem | UnsetType = UNSET
    elapsed_ms: Milliseconds = 0
    lacking: str = ""
    """What the machine lacked; empty if nothing. Then the rest is what would be said if it were to be so for ever."""
    begun: bool = True
    """Whether the strategy was at it already: then the lack may be its own doing."""
    unmapped: bool = False
    """Whether the saved market data could not be read."""


_encoder = msgspec.msgpack.Encoder()
_from_json = msgspec.json.Decoder(Opportunity)


@cache
def prepare(parent: int, idle: bool = True) -> None:
    """A worker's first act: step back behind the server, and never outlive it."""
    if os.getppid() != parent:
        os._exit(1)
    step_back(idle=idle)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the server, which stops its workers
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:  # it died in between
            os._exit(1)
    registry()
    gc.freeze()


def run(encoded: bytes, panels: str, parent: int, idle: bool = True) -> bytes:
    """Run one encoded `Shard` on the panel below `panels`; an encoded `Outcome`, whatever the strategy does."""
    prepare(parent, idle)
    shard = msgspec.msgpack.decode(encoded, type=Shard)
    started = time.perf_counter()
    try:
        search = Search(shard, Path(panels))
        found = search.strategy.scan(search.panel, search.units, search.parameters)
        if not isinstance(found, Iterable):
            raise TypeError(f"its scan gave a {type(found).__name__}, and must give signals")
        for item in found:
            search.take(item)
        outcome = search.outcome()
    except BaseException as error:  # a plug-in that exits ends its shard, not the worker, and never its server
        outcome = failure(error, shard.strategy_id)
    return _encoder.encode(timed(outcome, started))


class Search:
    """One shard at work: a strategy, the units of the panel that it is to look at, and what it has found so far.

    :raises Unmapped: if the market data is gone
    :raises Shortage: if the machine lacks what it takes to map it
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
        if len(self._opportunities) + len(self._notes) >= MOST_FOUND:
            raise ValueError(f"it found more than {MOST_FOUND:,} in one shard")
        if isinstance(item, Note):
            self._notes.append(_told(item.text))
            return
        if not isinstance(item, Signal):
            raise TypeError(f"it yielded a {type(item).__name__}, neither a Signal nor a Note")
        opportunity = _opportunity(self.strategy, self.panel, item, self._request)
        if opportunity.id in self._opportunities:
            raise ValueError(f"{opportunity.id} was found twice in one shard")
        self._opportunities[opportunity.id] = opportunity

    def outcome(self) -> Outcome:
        """All of it that passes the request's filters."""
        return Outcome(
            opportunities=[found for found in self._opportunities.values() if accepts(self._request, found)],
            note=_told("; ".join(self._notes)) if self._notes else UNSET,
        )


class Unmapped(MarketError):
    """The saved market data of a scan cannot be read."""


def failure(error: BaseException, strategy_id: str) -> Outcome:
    """The outcome of a strategy that raised: the kind, the message, and where in its file (else where at all)."""
    if isinstance(error, Shortage):  # of ours: it came before the strategy did
        return Outcome(error=Problem(error.code, error.detail), lacking=error.lacking, begun=False)
    if isinstance(error, MarketError):
        return Outcome(error=Problem(error.code, error.detail), unmapped=isinstance(error, Unmapped))
    inner = error
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]  # a task group wraps what happens in it, and its own words say nothing
    try:
        words = str(inner)
    except Exception:  # a plug-in's exception may fail at that, too
        words = "its text cannot be had"
    trace = traceback.extract_tb(inner.__traceback__) or traceback.extract_tb(error.__traceback__)
    module = sys.modules.get(type(registry().get(strategy_id)).__module__)
    own = [frame for frame in trace if frame.filename == getattr(module, "__file__", None)]
    last = (own or trace)[-1:]
    where = "".join(f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in last)
    problem = Problem("strategy_error", _told(f"{type(inner).__name__}: {words}", where))
    return Outcome(error=problem, lacking=shortage(inner))


def _told(words: str, where: str = "") -> str:
    """A strategy's words as they can be sent: no matter how long, and whether they are Unicode."""
    plain = words.encode(errors="replace").decode()
    return (plain if len(plain) <= LONGEST_WORDS else plain[:LONGEST_WORDS] + " …") + where


def timed(outcome: Outcome, started: float) -> Outcome:
    """The outcome, and how long ago `started` is (seconds of the performance counter)."""
    return msgspec.structs.replace(outcome, elapsed_ms=round((time.perf_counter() - started) * 1000))


def universe(path: Path, request: DiscoverRequest) -> Panel:
    """The part of a saved panel that a canonical request selects.

    :raises Unmapped: if it is not there, or not whole
    :raises Shortage: if the machine lacks what it takes to map it
    """
    try:
        panel = mapped(path)
        return panel.select(symbols_of(request, panel))
    except MarketError as error:  # its text has paths of the server, which are for the log
        logger.error("%s", error.detail)  # noqa: TRY400  # said in full, and no place for a trace
        gone = isinstance(error.__cause__, FileNotFoundError)
        what = "is gone from the server's disk" if gone else "is damaged on the server's disk"
        raise Unmapped(f"Its market data {what} (saved as {path.name}); start a new scan") from error
    except (OSError, MemoryError) as error:
        raise Shortage(f"The market data cannot be mapped: {error}", lacking=shortage(error) or "memory") from error


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
