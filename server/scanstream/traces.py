"""Traces for OpenTelemetry: a scan from its discover to its last frame, where an exporter is configured for that.

Nothing is imported and nothing is paid for unless the standard variables say where traces go (exporting.py). The spans
are made when a scan has ended, from its log, by the node that took its discover: so shards that ran elsewhere are in
it, and no entry has to carry a trace. If that node dies before the end, there is no trace of the scan.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import anyio
from anyio import to_thread

from scanstream import __version__
from scanstream.about import traceparent
from scanstream.log.entry import AnyEntry, Planned, Queued, ShardDone, ShardFailed
from scanstream.log.refold import Slices, let_go
from scanstream.log.scanlog import ScanLog
from scanstream.model import ScanId

MOST_SCANS = 20_000
"""Scans whose end is waited for; of more the oldest have no trace."""
MOST_SHARDS = 256
"""Of which a trace has a span each; how many there are in all is told with the scan."""
TELLING_SECONDS = 5.0
"""How long the readers' last frame is waited for."""
LEAVE_SECONDS = 2.0
AT_ONCE = 4
MOST_WAITING = 1000
"""Scans that have ended and whose spans are being made: logs that are read at once, and that wait for it. Beyond, as
where thousands end together, a scan has no trace."""
MILLION = 1_000_000

logger = logging.getLogger("scanstream")

History = Callable[[ScanId], Awaitable[list[AnyEntry] | None]]


class _Begun(NamedTuple):
    """A scan that was asked for here. Times in nanoseconds."""

    parent: str | None
    asked_at: int
    durable_at: int
    let_in_at: int = 0


class Traces:
    """Makes the traces of this node's scans, and sends them off in a thread of its own."""

    def __init__(
        self,
        provider: Any,
        history: History,
        telling: Callable[[ScanId], bool],
        start: Callable[[Callable[[], Any]], object],
    ) -> None:
        """:param telling: whether readers of the scan are still to be told something; `start` has a task run"""
        self._provider = provider
        self._tracer = provider.get_tracer("scanstream", __version__)
        self._history = history
        self._telling = telling
        self._start = start
        self._begun: OrderedDict[ScanId, _Begun] = OrderedDict()
        self._places = anyio.CapacityLimiter(AT_ONCE)
        self._waiting = 0

    def registered(self, scan_id: ScanId, seconds: float) -> None:
        """A scan is durable; it was asked for so many seconds ago."""
        now = time.time_ns()
        self._begun[scan_id] = _Begun(traceparent(), now - int(seconds * 1e9), now)
        if len(self._begun) > MOST_SCANS:
            self._begun.popitem(last=False)

    def let_in(self, scan_id: ScanId) -> None:
        """It is let in, and will be planned."""
        if (begun := self._begun.get(scan_id)) is not None:
            self._begun[scan_id] = begun._replace(let_in_at=time.time_ns())

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans: tells of those that end."""
        if not log.over or (begun := self._begun.pop(log.scan_id, None)) is None or not log.ended:
            return
        if self._waiting < MOST_WAITING:
            self._waiting += 1
            self._start(lambda: self._told(log, begun))

    async def _told(self, log: ScanLog, begun: _Begun) -> None:
        try:
            await self._tell(log, begun)
        finally:
            self._waiting -= 1

    async def _tell(self, log: ScanLog, begun: _Begun) -> None:
        with anyio.move_on_after(TELLING_SECONDS):
            while self._telling(log.scan_id):  # noqa: ASYNC110  # nobody tells that readers are told
                await anyio.sleep(0.005)
        told_at = time.time_ns()
        async with self._places:
            try:
                entries = await self._history(log.scan_id)
            except Exception:
                logger.exception("%s: its log cannot be read for its trace", log.scan_id)
                return
            if entries:
                await Trace(self._tracer, log, begun).make(entries, told_at)
                await let_go(entries)

    async def close(self) -> None:
        """Send off what is there, and end."""
        with anyio.move_on_after(LEAVE_SECONDS, shield=True):
            await to_thread.run_sync(self._provider.shutdown, abandon_on_cancel=True)


class Trace:
    """One scan's spans."""

    def __init__(self, tracer: Any, log: ScanLog, begun: _Begun) -> None:
        self._tracer = tracer
        self._log = log
        self._begun = begun

    async def make(self, entries: list[AnyEntry], told_at: int) -> None:
        """All of them, from the log's entries."""
        folded, begun = self._log.folded, self._begun
        ended = folded.at * MILLION
        root = self._span("scan", begun.asked_at, _parent(begun.parent), self._facts())
        within = _within(root)
        self._span("register", begun.asked_at, within).end(begun.durable_at)
        queued = next((entry.at for entry in entries if isinstance(entry, Queued)), None)
        planned = next((entry.at for entry in entries if isinstance(entry, Planned)), None)
        if queued is not None:
            until = begun.let_in_at or (planned * MILLION if planned else ended)
            self._span("queue", queued * MILLION, within).end(max(until, queued * MILLION))
        if planned is not None:
            if begun.let_in_at:
                self._span("plan", begun.let_in_at, within).end(max(planned * MILLION, begun.let_in_at))
            shards = self._span("shards", planned * MILLION, within)
            await self._shards(entries, _within(shards))
            shards.end(ended)
        self._span("tell", ended, within).end(max(told_at, ended))
        root.end(max(told_at, ended))

    def _facts(self) -> dict[str, Any]:
        state = self._log.folded.state
        return {
            "scanstream.scan_id": self._log.scan_id,
            "scanstream.status": state.status,
            "scanstream.strategies": list(state.strategies),
            "scanstream.shards": state.progress.total_shards,
            "scanstream.opportunities": state.total_opportunities,
        }

    async def _shards(self, entries: list[AnyEntry], within: Any) -> None:
        slices = Slices()
        outcomes = (entry for entry in entries if isinstance(entry, ShardDone | ShardFailed))
        for entry in islice(outcomes, MOST_SHARDS):
            ran = entry.elapsed_ms if isinstance(entry, ShardDone) else 0
            facts: dict[str, Any] = {
                "scanstream.strategy": entry.strategy_id,
                "scanstream.shard": entry.shard,
                "scanstream.outcome": "done" if isinstance(entry, ShardDone) else entry.code,
                "scanstream.node": entry.by,
            }
            span = self._span("shard", (entry.at - ran) * MILLION, within, facts)
            if isinstance(entry, ShardFailed):
                span.set_status(_failed())
            span.end(entry.at * MILLION)
            await slices.turn()

    def _span(self, name: str, start: int, within: Any, facts: Mapping[str, Any] | None = None) -> Any:
        return self._tracer.start_span(name, context=within, start_time=start, attributes=facts)


def _parent(told: str | None) -> Any:
    """The context that a caller's `traceparent` names (W3C Trace Context); a new one where there is none."""
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    if told is None:
        return Context()
    return TraceContextTextMapPropagator().extract({"traceparent": told}, Context())


def _within(span: Any) -> Any:
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace import set_span_in_context  # noqa: PLC0415

    return set_span_in_context(span, Context())


def _failed() -> Any:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

    return Status(StatusCode.ERROR)
