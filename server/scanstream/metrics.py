"""What an operator's graphs show: Prometheus text, read from the rooms when it is asked for."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from scanstream.log.scanlog import ScanLog

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Depth = Callable[[], float]


class Metrics(Collector):
    """Depths as gauges, ends as counters."""

    def __init__(
        self,
        depths: Mapping[str, tuple[str, Depth]],
        held_up: Mapping[str, int] | None = None,
        longest: Mapping[str, float] | None = None,
    ) -> None:
        """Of each name its description, and where to read it; of each strategy how often it held up the loop, and how
        long at most."""
        self._depths = depths
        self._held_up = held_up if held_up is not None else {}
        self._longest = longest if longest is not None else {}
        self._ended: Counter[str] = Counter()
        self._found: Counter[str] = Counter()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans: counts those that end."""
        if log.ended:
            self._ended[log.folded.state.status] += 1
            for strategy_id, strategy in log.folded.state.strategies.items():
                self._found[strategy_id] += strategy.opportunities_found

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        for name, (description, depth) in self._depths.items():
            yield GaugeMetricFamily(f"scanstream_{name}", description, depth())
        ended = CounterMetricFamily("scanstream_scans_ended", "Scans that have ended, by status", labels=["status"])
        for status, count in sorted(self._ended.items()):
            ended.add_metric([status], count)
        yield ended
        found = CounterMetricFamily(
            "scanstream_opportunities_found", "Opportunities of ended scans, by strategy", labels=["strategy"]
        )
        for strategy_id, count in sorted(self._found.items()):
            found.add_metric([strategy_id], count)
        yield found
        held_up = CounterMetricFamily(
            "scanstream_loop_held_up", "Times that a strategy held up the loop for long", labels=["strategy"]
        )
        longest = GaugeMetricFamily(
            "scanstream_loop_held_up_longest_seconds", "The longest of these times", labels=["strategy"]
        )
        for strategy_id, count in sorted(self._held_up.items()):
            held_up.add_metric([strategy_id], count)
            longest.add_metric([strategy_id], self._longest.get(strategy_id, 0.0))
        yield held_up
        yield longest

    def text(self) -> bytes:
        """The metrics as of now."""
        return generate_latest(self._registry)
