"""Where shards are run: how many of one strategy could be at work at once."""

from collections.abc import Callable
from typing import TypeAlias

from scanstream.log.scanlog import ScanLog

Places: TypeAlias = Callable[[str], int]
"""How many shards of a strategy, by its id, are run at once where nothing else is."""


def possible(log: ScanLog, places: Places, strategy_id: str) -> int:
    """How many shards of a strategy could be at work just now: no more than are left."""
    tally = (log.folded.tallies or {}).get(strategy_id)
    left = tally.total - tally.completed if tally else 1
    return max(1, min(left, places(strategy_id)))
