"""How shards came out, as this node has written it down, and how long those took that ran to their end."""

from collections.abc import Iterable

from scanstream.log.entry import AnyEntry, ShardDone, ShardFailed
from scanstream.measure import LONG_SECONDS, Counts, Histogram, Labels

OUTCOMES = ("done", "failed", "timed_out", "worker_died")


class Outcomes:
    """By strategy."""

    def __init__(self) -> None:
        self.counts = Counts(())
        self.seconds: dict[Labels, Histogram] = {}

    def know(self, strategies: Iterable[str]) -> None:
        """Of these there may be shards; of others, too, where other nodes have them."""
        for strategy_id in strategies:
            self._seconds(strategy_id)
            for outcome in OUTCOMES:
                self.counts.of.setdefault((strategy_id, outcome), 0)

    def take(self, entries: Iterable[AnyEntry]) -> None:
        """These are in the log."""
        for entry in entries:
            if isinstance(entry, ShardDone):
                self.counts.add(entry.strategy_id, "done")
                self._seconds(entry.strategy_id).add(entry.elapsed_ms / 1000)
            elif isinstance(entry, ShardFailed):
                died = entry.code == "worker_died"
                self.counts.add(entry.strategy_id, "worker_died" if died else entry.reason)

    def _seconds(self, strategy_id: str) -> Histogram:
        labels = (strategy_id,)
        if (seconds := self.seconds.get(labels)) is None:
            seconds = self.seconds[labels] = Histogram(LONG_SECONDS)
        return seconds
