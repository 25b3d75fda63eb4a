"""What a worker process runs: one shard of one strategy on the mapped panel.

Imports the panel, the strategies and what they stand on. The result is made plain here, at the worker's edge; the same
is done to what strategies find that run in the server's loop (waiting.py).
"""

import ctypes
import gc
import inspect
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct, UnsetType

from scanstream.errors import MarketError, Shortage
from scanstream.jobs import Shard
from scanstream.log.entry import ShardFound, parts
from scanstream.model import DiscoverRequest, Milliseconds, Opportunity, Problem, now
from scanstream.panel import Panel
from scanstream.scans.work import cuts
from scanstream.scans.work.finding import accepts, opportunity
from scanstream.scans.work.priority import step_back
from scanstream.shortage import shortage
from scanstream.strategies import gate
from scanstream.strategies.gate import Refused
from scanstream.strategies.installed import GONE, registry
from scanstream.strategies.strategy import Note, Signal

MOST_FOUND = 20_000
"""Findings and notes of one shard: more is a defect of the strategy, and would fill the memory."""
MOST_BYTES = 16 * 1024 * 1024
"""Of all that one shard found: the loop takes it in at once."""
MOST_GROUPS = 32
"""Groups within groups of exceptions that are looked into."""
LEAST_NOTE = 100
"""Bytes that must be left for one more note to be told, if it is cut off."""
MORE = 40
"""Bytes kept free behind a shard's notes for how many there are beyond."""


class Outcome(Struct, frozen=True, kw_only=True):
    """How a shard came out."""

    opportunities: list[Opportunity] = []
    parts: list[ShardFound] = []
    """What a worker found, cut into entries there, as it may be much; then there are no other opportunities."""
    note: str | UnsetType = UNSET
    error: Problem | UnsetType = UNSET
    elapsed_ms: Milliseconds = 0
    lacking: str = ""
    """What the machine lacked; empty if nothing. Then the rest is what would be said if it were to be so for ever."""
    begun: bool = True
    """Whether the strategy was at it already: then the lack may be its own doing."""
    unmapped: bool = False
    """Whether the saved market data could not be read."""
    absent: bool = False
    """Whether the strategy is not installed here, or not in the release that has cut the shard."""


_encoder = msgspec.msgpack.Encoder()


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


def run(encoded: bytes, panels: str, parent: int, idle: bool = True) -> list[bytes]:
    """Run one encoded `Shard` on the panel below `panels`, whatever the strategy does.

    An encoded `Outcome`, and its parts one by one, none of which holds up the loop that decodes it.
    """
    prepare(parent, idle)
    shard = msgspec.msgpack.decode(encoded, type=Shard)
    started = time.perf_counter()
    search: Search | None = None
    found_all: list[Opportunity] = []
    try:
        search = Search(shard, Path(panels))
        found: object = search.strategy.strategy.scan(search.panel, search.units, search.parameters)
        if inspect.iscoroutine(found):
            found.close()
        if not isinstance(found, Iterable):
            raise TypeError(f"its scan gave a {type(found).__name__}, and must give signals")
        found_all = [one for item in found if (one := search.take(item)) is not None]
        outcome = Outcome(note=search.note())
    except BaseException as error:  # a plug-in that exits ends its shard, not the worker, and never its server
        outcome = failure(error, shard.strategy_id, began=search is not None)
    outcome = timed(outcome, started)
    entries = parts(shard.strategy_id, shard.number, found_all, now())
    return [_encoder.encode(outcome), *map(_encoder.encode, entries)]


class Search:
    """One shard at work: a strategy, the units of the panel that it is to look at, and what it has found so far.

    :raises Unmapped: if the market data is gone
    :raises Shortage: if the machine lacks what it takes to map it
    """

    def __init__(self, shard: Shard, panels: Path) -> None:
        strategy = registry().get(shard.strategy_id)
        if strategy is None or shard.release not in ("", strategy.release):
            raise Absent(GONE)
        self.strategy = strategy
        panel = universe(panels / shard.digest, shard.request, keep=not strategy.waits)
        self.panel = cuts.complete(panel) if strategy.waits else panel  # in the loop there is no time for it later
        self.units = range(shard.start, shard.stop)
        self.parameters = self.strategy.parse((shard.request.parameters or {}).get(self.strategy.id) or {})
        self._request = shard.request
        self._ids: set[str] = set()
        self._bytes = 0
        self._notes: list[str] = []
        self._noted = 0
        self._room = gate.MOST_TOLD - MORE

    def take(self, item: object) -> Opportunity | None:
        """What the strategy yielded, plain; None for a note, and for what the request's filters leave out.

        :raises Exception: if it is nothing that can be sent, or was found before, or too much
        """
        if len(self._ids) + self._noted >= MOST_FOUND:
            raise Refused(f"it found more than {MOST_FOUND:,} in one shard")
        if isinstance(item, Note):
            self._note(gate.words(item.text, "a note"))
            return None
        if not isinstance(item, Signal):
            raise TypeError(f"it yielded a {type(item).__name__}, neither a Signal nor a Note")
        found = opportunity(self.strategy, self.panel, item, self._request)
        if found.id in self._ids:
            raise Refused(f"{found.id} was found twice in one shard")
        self._ids.add(found.id)
        if not accepts(self._request, found):
            return None
        self._bytes += len(_encoder.encode(found))
        if self._bytes > MOST_BYTES:
            raise Refused(f"it found more than {MOST_BYTES:,} bytes in one shard")
        return found

    def _note(self, words: str) -> None:
        self._noted += 1
        if self._room >= LEAST_NOTE:
            self._notes.append(gate.clipped(words, self._room))
            self._room -= len(self._notes[-1].encode()) + len("; ")

    def note(self) -> str | UnsetType:
        """All of its notes in one; how many more there are, where that would be too long."""
        more = self._noted - len(self._notes)
        return "; ".join([*self._notes, *([f"… and {more:,} more"] if more else [])]) or UNSET


class Absent(Refused):
    """The strategy cannot be run by this installation; another may have it."""


class Unmapped(MarketError):
    """The saved market data of a scan cannot be read."""


def failure(error: BaseException, strategy_id: str, *, began: bool = True) -> Outcome:
    """The outcome of a strategy that raised: the kind, the message, and where in its file (else where at all).

    :param began: whether the strategy was at it; what came before is of ours
    """
    if isinstance(error, Shortage) and not began:
        return Outcome(error=Problem(error.code, error.detail), lacking=error.lacking, begun=False)
    if isinstance(error, MarketError):
        return Outcome(error=of_market(error), unmapped=not began and isinstance(error, Unmapped))
    if isinstance(error, Absent) and not began:
        return Outcome(error=Problem("strategy_error", str(error)), absent=True)
    inner = _inside(error)
    where = _where(inner, error, strategy_id)
    problem = Problem("strategy_error", gate.reason(inner, most=gate.MOST_TOLD - len(where)) + where)
    return Outcome(error=problem, lacking=shortage(inner))


def of_market(error: MarketError) -> Problem:
    """Why a strategy has no market to look at; it may be a plug-in that says so."""
    return Problem(MarketError.code, gate.told(error))


def _inside(error: BaseException) -> BaseException:
    """What happened in a task group, as its own words say nothing."""
    try:
        for _ in range(MOST_GROUPS):
            if not isinstance(error, BaseExceptionGroup) or len(error.exceptions) != 1:
                break
            error = error.exceptions[0]
    except BaseException:  # a plug-in's exception may raise when it is looked at
        return error
    return error


def _where(inner: BaseException, outer: BaseException, strategy_id: str) -> str:
    """The last place in the strategy's own file, else the last at all."""
    try:
        trace = traceback.extract_tb(inner.__traceback__) or traceback.extract_tb(outer.__traceback__)
        module = sys.modules.get(type(registry()[strategy_id].strategy).__module__)
        own = [frame for frame in trace if frame.filename == getattr(module, "__file__", None)]
        last = (own or trace)[-1:]
        return "".join(f" ({gate.told(Path(frame.filename).name, most=200)}, line {frame.lineno})" for frame in last)
    except BaseException:  # a plug-in's exception may hide where it is from
        return ""


def timed(outcome: Outcome, started: float) -> Outcome:
    """The outcome, and how long ago `started` is (seconds of the performance counter)."""
    return msgspec.structs.replace(outcome, elapsed_ms=round((time.perf_counter() - started) * 1000))


def universe(path: Path, request: DiscoverRequest, *, keep: bool = False) -> Panel:
    """The part of a saved panel that a canonical request selects; see `cuts.selected`.

    :raises Unmapped: if it is not there, or not whole
    :raises Shortage: if the machine lacks what it takes to map it
    """
    try:
        return cuts.selected(path, request, keep=keep)
    except MarketError as error:  # its text has paths of the server, which are not for clients
        gone = isinstance(error.__cause__, FileNotFoundError)
        what = "is gone from the server's disk" if gone else "is damaged on the server's disk"
        raise Unmapped(f"Its market data {what} (saved as {path.name}); start a new scan") from error
    except (OSError, MemoryError) as error:
        raise Shortage(f"The market data cannot be mapped: {error}", lacking=shortage(error) or "memory") from error
