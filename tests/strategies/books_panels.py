"""Panels with quotes and funding for the tests of strategies, and what a strategy finds in one."""

import os
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from scans.planted import whole
from scanstream.jobs import Shard
from scanstream.log.entry import Planned
from scanstream.model import DiscoverRequest, ScanId, is_finite
from scanstream.panel import Panel
from scanstream.quotes import Funding, Quotes
from scanstream.scans.planner import plan
from scanstream.scans.work import shard as worker
from scanstream.scans.work.planning import parts
from scanstream.scans.work.shard import Outcome
from scanstream.strategies.installed import admit
from scanstream.strategies.strategy import Note, Signal, Strategy
from support.histories import NOON, registered


class Offer(NamedTuple):
    """What one venue quotes for one symbol."""

    bid: float
    ask: float
    bid_size: float = np.nan
    ask_size: float = np.nan
    fee: float = 0.0
    age: int = 0
    """Milliseconds."""


def quotes_of(offers: Mapping[tuple[str, str], Offer]) -> Quotes:
    """Quotes by (venue, symbol), read at noon; NaN where there is none."""
    venues, symbols = (tuple(dict.fromkeys(key[place] for key in offers)) for place in (0, 1))
    nothing = Offer(np.nan, np.nan)
    table = np.array([[offers.get((venue, symbol), nothing) for symbol in symbols] for venue in venues], dtype=float)
    bid, ask, bid_size, ask_size, fee, age = np.moveaxis(table, -1, 0)
    return Quotes(symbols, venues, NOON, NOON - age.astype(np.int64), bid, ask, bid_size, ask_size, fee)


def funding_of(*columns: Sequence[float], hours: int = 8) -> Funding:
    """Payments of so many contracts, the last one at noon."""
    rates = np.array(columns, dtype=float).T
    interval = hours * 3_600_000
    times = NOON - interval * np.arange(len(rates) - 1, -1, -1)
    return Funding(tuple(f"S{number}/X" for number in range(len(columns))), interval, times, rates)


def panel_with(quotes: Quotes | None = None, funding: Funding | None = None) -> Panel:
    """A panel of two quiet bars, with quotes or funding of the same symbols."""
    sheet = quotes or funding
    symbols = sheet.symbols if sheet else ("S0/X",)
    close = np.full((2, len(symbols)), 100.0)
    times = NOON - 3_600_000 * np.arange(1, -1, -1)
    return Panel(
        "test", "test", 3_600_000, symbols, times, close, close, close, close, close, quotes=quotes, funding=funding
    )


def look(strategy: Strategy, panel: Panel, parameters: Any) -> tuple[list[Signal], list[str]]:
    """What a strategy of the whole universe finds, and what it notes; each finding is sound."""
    assert (strategy.units(panel, parameters), strategy.chunk) == (1, 1)
    items = strategy.scan(panel, range(1), parameters)
    assert isinstance(items, Iterable)
    found = list(items)
    signals = [item for item in found if isinstance(item, Signal)]
    notes = [item.text for item in found if isinstance(item, Note)]
    assert len(signals) + len(notes) == len(found)
    assert len({(signal.symbols, signal.key, signal.at) for signal in signals}) == len(signals)
    for signal in signals:
        assert (signal.side, signal.entry, signal.exit, signal.stop) == ("neutral", None, None, None)
        assert is_finite([signal.expected_return, signal.confidence, signal.metadata])
        assert 0 <= signal.confidence <= 1
        assert not set(":@ ") & set(signal.key)
    return signals, notes


def outcome_of(strategy: Strategy, panel: Panel, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """What a worker makes of the one shard, with default parameters; without errors."""
    saved = panel.save(directory)
    monkeypatch.setattr(worker, "prepare", lambda *_: None)
    piece = Shard(
        scan_id=ScanId("scan_1"),
        strategy_id=strategy.id,
        number=0,
        start=0,
        stop=1,
        digest=saved.digest,
        request=DiscoverRequest(),
        budget_seconds=60,
    )
    encoded = worker.run(msgspec.msgpack.encode(piece), str(directory), os.getpid())
    outcome = whole(encoded)
    assert outcome.error is msgspec.UNSET
    return outcome


def planned_note(strategy: Strategy, panel: Panel) -> str:
    """Why the plan of a scan has no shard of this strategy."""
    answers = parts(DiscoverRequest(), [strategy.id], panel, {strategy.id: admit(strategy)})
    [entry] = plan(registered(strategy.id), answers)
    assert isinstance(entry, Planned)
    cut = entry.cuts[strategy.id]
    assert cut.shards == 0
    assert isinstance(cut.note, str)
    return cut.note


def exact(number: float) -> Decimal:
    """The decimal that is meant by a double: the shortest one."""
    return Decimal(repr(float(number)))


def near(found: float, expected: Decimal) -> bool:
    """To twelve digits, or as near to zero as the difference of two numbers around 1 can be."""
    return abs(exact(found) - expected) <= max(abs(expected) * Decimal("1e-12"), Decimal("2e-15"))


def worth(quotes: Quotes, venue: int, currency: str) -> Decimal:
    """The mid price of a currency at a venue, in the one that most symbols are quoted in; the first quote there is."""
    quoted = [name.split("/")[1] for name in quotes.symbols]
    reference = min(quoted, key=lambda name: (-quoted.count(name), name))
    if currency == reference:
        return Decimal(1)
    for column, name in enumerate(quotes.symbols):
        bid, ask = float(quotes.bid[venue, column]), float(quotes.ask[venue, column])
        if set(name.split("/")) == {currency, reference} and 0 < bid <= ask < float("inf"):
            middle = (exact(bid) + exact(ask)) / 2
            return middle if name.startswith(f"{currency}/") else 1 / middle
    return Decimal("nan")
