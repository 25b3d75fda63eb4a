"""A strategy that yields what a test planted, a panel to plant it on, and shards of it."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np

from scanstream.jobs import Shard
from scanstream.log.entry import ShardFound
from scanstream.model import DiscoverRequest, ScanId
from scanstream.panel import Panel, _mapped
from scanstream.scans.selection import Steps
from scanstream.scans.work.shard import Outcome
from scanstream.strategies.strategy import Note, Signal, Strategy

SYMBOLS = ("A/X", "B/X", "C/X", "D/X", "E/X", "F/X")
"""In the order of their turnover: A and B are large, C and D mid, E and F small."""

Plant = Callable[[Panel, range], Iterable[Signal | Note]]


def panel() -> Panel:
    """Six symbols, ten hourly bars."""
    close = np.outer(np.linspace(100, 110, 10), np.ones(6))
    volume = np.outer(np.ones(10), [6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    return Panel(
        "synthetic", "synthetic", 3_600_000, SYMBOLS, 3_600_000 * np.arange(10), close, close, close, close, volume
    )


class Planted(Strategy):
    """Yields."""

    id = "planted"
    name = "Planted"
    opportunity_type = "planted"
    description = "Yields what a test planted."
    source = "tests/scans/planted.py"

    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    def scan(self, panel: Panel, units: range, parameters: Any) -> Iterable[Signal | Note]:
        """What was planted."""
        return self._plant(panel, units)


def signal(symbol: str = "A/X", **changes: Any) -> Signal:
    """A long signal, half a year's profit in a day."""
    usual: dict[str, Any] = {
        "symbols": (symbol,),
        "side": "long",
        "bar": 9,
        "entry": 100.0,
        "exit": 105.0,
        "stop": 99.0,
        "expected_return": 0.05,
        "confidence": 0.714,
        "horizon": 24,
        "hits": (54, 98),
        "metadata": {"z": 1.07},
    }
    return Signal(**{**usual, **changes})


def piece(saved: Panel, request: DiscoverRequest, strategy_id: str = "planted", stop: int = 6) -> bytes:
    """A shard as the runner sends it."""
    return msgspec.msgpack.encode(
        Shard(
            scan_id=ScanId("scan_a"),
            strategy_id=strategy_id,
            number=0,
            start=0,
            stop=stop,
            digest=saved.digest,
            request=request,
            budget_seconds=30,
        )
    )


def whole(pieces: list[bytes]) -> Outcome:
    """What a worker says of a shard, with all that it found in one list."""
    first, *encoded = pieces
    outcome = msgspec.msgpack.decode(first, type=Outcome)
    parts = [msgspec.msgpack.decode(part, type=ShardFound) for part in encoded]
    return msgspec.structs.replace(outcome, opportunities=[found for part in parts for found in part.opportunities])


def at_once(steps: Steps) -> DiscoverRequest:
    """The canonical request, without giving anybody else a turn."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            request: DiscoverRequest = end.value
            return request


def openings() -> tuple[int, int]:
    """(how often this process has opened a saved panel, how often it had it open already)."""
    info = _mapped.cache_info()
    return info.misses, info.hits


def has_entered_the_idle_class() -> bool:
    """Whether a worker process gives way as it should: asked within it.

    One that is starved leaves the class for a while (priority.py), as on a machine that is busy; its watch stays.
    """
    return any(thread.name == "priority" for thread in threading.enumerate())
