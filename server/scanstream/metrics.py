"""What an operator's graphs show: Prometheus text, read from the rooms when it is asked for."""

from collections import Counter as Counting
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar, NamedTuple, TypeAlias

from anyio import to_thread
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from scanstream.log.scanlog import ScanLog
from scanstream.measure import LONG_SECONDS, Histogram, Labels

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

ENDS = ("complete", "failed", "cancelled")


@dataclass(frozen=True)
class _Number:
    name: str
    text: str
    labels: Labels
    read: Callable[[], Mapping[Labels, float]]
    kind: ClassVar[type[GaugeMetricFamily | CounterMetricFamily]]

    def family(self, read: Mapping[Labels, float]) -> Metric:
        """What was read, as Prometheus has it."""
        family = self.kind(self.name, self.text, labels=self.labels)
        for values, number in read.items():
            family.add_metric(values, number)
        return family


class Gauge(_Number):
    """What is as it is just now."""

    kind = GaugeMetricFamily


class Counter(_Number):
    """What only grows. The name ends in `_total`."""

    kind = CounterMetricFamily


class Spread(NamedTuple):
    """How often something was at most so large."""

    name: str
    text: str
    labels: Labels
    read: Callable[[], Mapping[Labels, Histogram]]

    def family(self, read: Mapping[Labels, Histogram]) -> Metric:
        """What was read, as Prometheus has it: each bucket holds those of the smaller ones, too."""
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        for values, histogram in read.items():
            bounds = [*(f"{float(bound):g}" for bound in histogram.bounds), "+Inf"]
            family.add_metric(values, list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.sum)
        return family


Instrument: TypeAlias = Gauge | Counter | Spread


def gauge(name: str, text: str, read: Callable[[], float]) -> Gauge:
    """One number."""
    return Gauge(name, text, (), lambda: {(): read()})


def counter(name: str, text: str, read: Callable[[], float]) -> Counter:
    """One number that only grows."""
    return Counter(name, text, (), lambda: {(): read()})


def spread(name: str, text: str, histogram: Histogram) -> Spread:
    """One histogram."""
    return Spread(name, text, (), lambda: {(): histogram})


class Taken(Collector):
    """All instruments as they were at one moment: to write that down takes longer than the loop has."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._read = [(one, {labels: _held(value) for labels, value in one.read().items()}) for one in instruments]

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        for instrument, read in self._read:
            yield instrument.family(read)  # type: ignore[arg-type]  # it has read them itself

    def text(self) -> bytes:
        """As Prometheus reads it."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)


def _held(value: float | Histogram) -> float | Histogram:
    return value.copy() if isinstance(value, Histogram) else value


class Metrics:
    """All instruments of a server, and what its scans came to."""

    def __init__(self, instruments: Iterable[Instrument], strategies: Iterable[str]) -> None:
        """:param strategies: those of which something may be found: none is absent until then"""
        self._instruments = [*instruments, *self._of_ended()]
        self._ended: Counting[str] = Counting(dict.fromkeys(ENDS, 0))
        self._found: Counting[str] = Counting(dict.fromkeys(strategies, 0))
        self._seconds: dict[Labels, Histogram] = {(status,): Histogram(LONG_SECONDS) for status in ENDS}
        self._waited = Histogram(LONG_SECONDS)
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)
        GCCollector(registry=self._process)

    def _of_ended(self) -> list[Instrument]:
        return [
            Counter(
                "scanstream_scans_ended_total", "Scans that have ended", ("status",), lambda: _labelled(self._ended)
            ),
            Counter(
                "scanstream_opportunities_found_total",
                "Opportunities of ended scans",
                ("strategy",),
                lambda: _labelled(self._found),
            ),
            Spread(
                "scanstream_scan_seconds",
                "From a scan's registration to its end",
                ("status",),
                lambda: self._seconds,
            ),
            Spread(
                "scanstream_scan_wait_seconds",
                "From a scan's registration to its plan, or its end if it had none",
                (),
                lambda: {(): self._waited},
            ),
        ]

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans: counts those that end."""
        if log.ended:
            folded = log.folded
            registered, status = folded.registered.at, folded.state.status
            self._ended[status] += 1
            self._seconds[status,].add((folded.at - registered) / 1000)
            self._waited.add(max(0, (folded.started_at or folded.at) - registered) / 1000)
            for strategy_id, strategy in folded.state.strategies.items():
                self._found[strategy_id] += strategy.opportunities_found

    def own(self) -> bytes:
        """What the rooms say, as of now."""
        return Taken(self._instruments).text()

    async def text(self) -> bytes:
        """The same, and what the system says of the process.

        Written down in a thread: that takes milliseconds, and more where there are many descriptors.
        """
        taken = Taken(self._instruments)
        try:
            return await to_thread.run_sync(self._whole, taken)
        except RuntimeError:  # no thread can be started: just then somebody wants to know how things are
            return self._whole(taken)

    def _whole(self, taken: Taken) -> bytes:
        return taken.text() + generate_latest(self._process)


def _labelled(counts: Mapping[str, float]) -> dict[Labels, float]:
    return {(name,): number for name, number in counts.items()}
