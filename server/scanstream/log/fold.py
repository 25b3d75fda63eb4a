"""The fold: what a log's entries mean. All that changes a scan's state is in this file.

`fold(before, entry, held)` is pure and deterministic, so every node that reads the same log has the same state at the
same entry. It needs no fences and no memory of what it has seen, by structure:

- the first plan wins, the first outcome of a shard wins, an opportunity's first appearance wins, and whoever asks
  first is told of the end;
- nothing counts after the terminal entry;
- time is the later of the previous entry's and this one's; there is no other clock.

Terminal states come out of here: when the last strategy has its outcome the scan has ended, and nobody has to say so.
"""

from collections.abc import Container, Mapping
from functools import lru_cache
from typing import NamedTuple

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from scanstream.log.entry import (
    AnyEntry,
    Cancelled,
    CancelRequested,
    Cut,
    NotifyAsked,
    Planned,
    Queued,
    Registered,
    ScanFailed,
    ShardDone,
    ShardFailed,
    ShardFound,
    ShardStarted,
)
from scanstream.log.tally import Tally
from scanstream.model import (
    RESULTS_PATH,
    STATUS_PATH,
    Milliseconds,
    Opportunity,
    Problem,
    Progress,
    ScanState,
    ScanStatus,
    StrategyState,
    StrategyStatus,
    timestamp,
)

MOST_SHARDS = 65_536
"""Of one strategy: no plan has ever had as many, and one that says so would fill the memory with their outcomes."""
MOST_TARGETS = 5
"""Addresses that are told of one scan's end."""
_PENDING = StrategyState()  # all that have not begun share it


class Folded(Struct, frozen=True):
    """A log folded up to some entry: the public state, and what the next fold needs beside it."""

    registered: Registered
    state: ScanState
    at: Milliseconds
    tallies: Mapping[str, Tally] | None = None
    """None until the plan."""
    cuts: Mapping[str, Cut] = {}
    started_at: Milliseconds = 0
    targets: tuple[NotifyAsked, ...] = ()
    """Who is to be told of the end; no reader sees that, so the state says nothing of it."""
    let_in: bool = False
    """Whether it may be planned: it was queued, and waits for nobody's turn but its own."""

    @property
    def ended(self) -> bool:
        """Whether the scan is terminal: nothing changes it any more."""
        return self.state.status != "scanning"

    def wants(self, strategy_id: str, shard: int) -> bool:
        """Whether the shard is still to be run."""
        tally = (self.tallies or {}).get(strategy_id)
        return not self.ended and self.state.phase == "running" and tally is not None and tally.lacks(shard)

    @property
    def expires_at(self) -> Milliseconds | None:
        """When the scan stops answering; None while it runs."""
        return self.at + self.registered.retention if self.ended else None


class Step(NamedTuple):
    """What one entry did. `after is before` when it changed nothing."""

    after: Folded
    opportunities: list[Opportunity]


@lru_cache(maxsize=64)
def _begun(names: tuple[str, ...]) -> tuple[Progress, dict[str, StrategyState]]:
    """How far a scan of these strategies is at first: thousands of scans may wait, and share it."""
    return Progress(total_strategies=len(names)), dict.fromkeys(names, _PENDING)


def begin(entry: Registered) -> Folded:
    """The placeholder: true from its first moment, with the true number of strategies."""
    progress, strategies = _begun(tuple(entry.budgets))
    state = ScanState(
        scan_id=entry.scan_id,
        message="Scan registered",
        market=entry.market,
        filters=entry.filters,
        progress=progress,
        strategies=strategies,
        created_at=timestamp(entry.at),
        poll_url=entry.prefix + STATUS_PATH + entry.scan_id,
        results_url=entry.prefix + RESULTS_PATH + entry.scan_id,
    )
    return Folded(registered=entry, state=state, at=entry.at)


def fold(before: Folded, entry: AnyEntry, held: Container[str]) -> Step:
    """The state after `entry`, and the opportunities that it adds to those whose ids are `held`."""
    if before.ended:
        return Step(before, [])
    at = max(before.at, entry.at)
    new: list[Opportunity] = []
    match entry:
        case Queued():
            after = _queue(before, entry, at)
        case Planned():
            after = _plan(before, entry, at)
        case ShardFound():
            after, new = _find(before, entry, held, at)
        case ShardStarted() | ShardDone() | ShardFailed():
            after = _run(before, entry, at)
        case CancelRequested():
            after = _cancel(before, at)
        case Cancelled():
            after = _end(replace(before, at=at), "cancelled", "Cancelled")
        case ScanFailed():
            problem = Problem(entry.code, entry.detail)
            after = _end(replace(before, at=at), "failed", entry.detail, problem)
        case NotifyAsked():
            after = _notify(before, entry)
        case Registered():
            after = before
    return Step(after, new)


def _notify(before: Folded, entry: NotifyAsked) -> Folded:
    known = any(target.id == entry.id for target in before.targets)
    if known or len(before.targets) >= MOST_TARGETS:
        return before
    return replace(before, targets=(*before.targets, entry))


def _queue(before: Folded, entry: Queued, at: Milliseconds) -> Folded:
    """It waits for a place. To be let in is no news to readers: neither the state changes, nor its time."""
    let_in = before.let_in or not entry.waits
    if before.state.phase != "init":
        return before if let_in == before.let_in or before.tallies is not None else replace(before, let_in=True)
    state = replace(before.state, phase="queued", message="Waiting for a free place")
    return replace(before, at=at, let_in=let_in, state=state)


def _plan(before: Folded, entry: Planned, at: Milliseconds) -> Folded:
    if before.tallies is not None:
        return before
    tallies: dict[str, Tally] = {}
    strategies: dict[str, StrategyState] = {}
    for strategy_id in before.registered.budgets:
        cut = entry.cuts.get(strategy_id)
        total, note = (min(cut.shards, MOST_SHARDS), cut.note) if cut else (0, "Not planned")
        tallies[strategy_id] = Tally(total)
        strategies[strategy_id] = StrategyState(
            status="pending" if total else "complete", total_shards=total, note=note
        )
    state = replace(before.state, phase="running", message="Scanning", started_at=timestamp(at), strategies=strategies)
    return _conclude(replace(before, at=at, started_at=at, tallies=tallies, cuts=entry.cuts, state=state))


def _find(
    before: Folded, entry: ShardFound, held: Container[str], at: Milliseconds
) -> tuple[Folded, list[Opportunity]]:
    tally = before.tallies.get(entry.strategy_id) if before.tallies else None
    if tally is None or not tally.lacks(entry.shard):
        return before, []
    new: dict[str, Opportunity] = {}
    for opportunity in entry.opportunities:
        if opportunity.id not in held:
            new.setdefault(opportunity.id, opportunity)
    if not new:
        return before, []
    state = before.state
    strategy = state.strategies[entry.strategy_id]
    strategy = replace(
        strategy,
        opportunities_found=strategy.opportunities_found + len(new),
        elapsed_ms=at - tally.started_at if tally.started_at is not None else strategy.elapsed_ms,
    )
    total = state.total_opportunities + len(new)
    state = replace(
        state,
        total_opportunities=total,
        progress=replace(state.progress, opportunities_found_so_far=total),
        strategies={**state.strategies, entry.strategy_id: strategy},
    )
    return replace(before, at=at, state=state), list(new.values())


def _run(before: Folded, entry: ShardStarted | ShardDone | ShardFailed, at: Milliseconds) -> Folded:
    tallies = before.tallies or {}
    tally = tallies.get(entry.strategy_id)
    if tally is None or not tally.lacks(entry.shard):
        return before
    if isinstance(entry, ShardStarted) and tally.started_at is not None:
        return before
    tally = _counted(tally, entry, at)
    strategies = {
        **before.state.strategies,
        entry.strategy_id: _strategy(before.state.strategies[entry.strategy_id], tally, at),
    }
    return _conclude(
        replace(
            before,
            at=at,
            tallies={**tallies, entry.strategy_id: tally},
            state=replace(before.state, strategies=strategies),
        )
    )


def _counted(tally: Tally, entry: ShardStarted | ShardDone | ShardFailed, at: Milliseconds) -> Tally:
    tally = tally if tally.started_at is not None else replace(tally, started_at=at)
    if isinstance(entry, ShardStarted):
        return tally
    tally = replace(tally, outcomes=tally.outcomes | 1 << entry.shard)
    if isinstance(entry.note, str):
        tally = replace(tally, notes=tally.notes.add(entry.shard, entry.note))
    if isinstance(entry, ShardFailed):
        problem = (int(entry.reason == "timed_out"), entry.shard, Problem(entry.code, entry.detail))
        if tally.problem is None or problem[:2] < tally.problem[:2]:
            tally = replace(tally, problem=problem)
        return tally
    return replace(tally, busy_ms=tally.busy_ms + entry.elapsed_ms, measured=tally.measured + 1)


def _strategy(before: StrategyState, tally: Tally, at: Milliseconds) -> StrategyState:
    status: StrategyStatus = "running"
    error: Problem | UnsetType = UNSET
    if tally.completed == tally.total:
        status = "complete"
        if tally.problem is not None:
            status = "timed_out" if tally.problem[0] else "failed"
            error = tally.problem[2]
    return replace(
        before,
        status=status,
        shards_completed=tally.completed,
        elapsed_ms=at - tally.started_at if tally.started_at is not None else 0,
        note=tally.notes.told() or before.note,
        error=error,
    )


def _cancel(before: Folded, at: Milliseconds) -> Folded:
    if before.tallies is None:
        return _end(replace(before, at=at), "cancelled", "Cancelled before it started")
    if before.state.phase == "cancelling":
        return before
    return replace(before, at=at, state=replace(before.state, phase="cancelling", message="Cancelling"))


def _conclude(folded: Folded) -> Folded:
    """Count anew what the strategies' states imply: progress, time left, and whether this was the end."""
    tallies, state = folded.tallies or {}, folded.state
    done, total = sum(t.completed for t in tallies.values()), sum(t.total for t in tallies.values())
    finished = sum(t.completed == t.total for t in tallies.values())
    progress = replace(
        state.progress,
        strategies_completed=finished,
        shards_completed=done,
        total_shards=total,
        percentage=min(99, 100 * done // total) if total else 0,
    )
    folded = replace(
        folded, state=replace(state, progress=progress, estimated_time_remaining_seconds=_time_left(folded))
    )
    if finished < len(tallies):
        return folded
    if state.phase == "cancelling":
        return _end(folded, "cancelled", "Cancelled")
    bad = [name for name, strategy in state.strategies.items() if strategy.status in ("failed", "timed_out")]
    if len(bad) == len(tallies):
        return _end(folded, "failed", "Every strategy failed: " + _named(state, bad), _first_problem(state, bad))
    without = f", without {_named(state, bad)}" if bad else ""
    return _end(folded, "complete", f"Complete: {state.total_opportunities} found{without}")


def _named(state: ScanState, strategies: list[str]) -> str:
    return ", ".join(f"{name} ({state.strategies[name].status.replace('_', ' ')})" for name in strategies)


def _first_problem(state: ScanState, strategies: list[str]) -> Problem:
    error = state.strategies[strategies[0]].error
    return error if isinstance(error, Problem) else Problem("strategy_failed", "Every strategy failed")


def _time_left(folded: Folded) -> float | UnsetType:
    """Seconds: missing shards × the mean time of their strategy's (else of all) measured shards ÷ shards at a time."""
    tallies = (folded.tallies or {}).values()
    busy, measured = sum(t.busy_ms for t in tallies), sum(t.measured for t in tallies)
    if not measured:
        return folded.state.estimated_time_remaining_seconds
    mean = busy / measured
    left = sum((t.total - t.completed) * (t.busy_ms / t.measured if t.measured else mean) for t in tallies)
    at_a_time = max(1.0, busy / max(1, folded.at - folded.started_at))
    return round(left / at_a_time / 1000, 1)


def _end(before: Folded, status: ScanStatus, message: str, error: Problem | UnsetType = UNSET) -> Folded:
    state = before.state
    strategies = {name: _stopped(before, name, strategy) for name, strategy in state.strategies.items()}
    progress = replace(
        state.progress,
        percentage=100 if status == "complete" else state.progress.percentage,
        strategies_completed=len(strategies),
    )
    return replace(
        before,
        state=replace(
            state,
            status=status,
            phase="done",
            message=message,
            strategies=strategies,
            progress=progress,
            estimated_time_remaining_seconds=0.0,
            finished_at=timestamp(before.at),
            expires_at=timestamp(before.at + before.registered.retention),
            error=error,
        ),
    )


def _stopped(before: Folded, name: str, strategy: StrategyState) -> StrategyState:
    """A strategy as the scan's end leaves it: what had no outcome by then is cancelled, after so long."""
    if strategy.status not in ("pending", "running"):
        return strategy
    started_at = before.tallies[name].started_at if before.tallies else None
    elapsed = 0 if started_at is None else before.at - started_at
    return replace(strategy, status="cancelled", elapsed_ms=elapsed)
