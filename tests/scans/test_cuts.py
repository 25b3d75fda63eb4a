"""The parts of panels: the same as a plain selection, each made once for many shards, and kept within bounds."""

import gc
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.planted import SYMBOLS, Planted, panel, piece, signal, whole
from scanstream.jobs import Shard
from scanstream.market.synthetic import SyntheticMarket
from scanstream.model import TIERS, DiscoverRequest
from scanstream.panel import FIELDS, Panel
from scanstream.scans.selection import symbols_of
from scanstream.scans.work import cuts
from scanstream.scans.work import shard as worker
from scanstream.scans.work.cuts import Cut, selected
from scanstream.strategies.installed import admit
from scanstream.strategies.strategy import AsyncStrategy, Note, Signal

GENERATED = SyntheticMarket(symbols=12, bars=50).load()


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> Iterator[None]:
    """As in a new process."""
    cuts._kept.clear()
    yield
    cuts._kept.clear()


def same(one: Panel, other: Panel) -> bool:
    """Whether two panels are equal bit for bit, in all that they have."""
    return one.digest == other.digest and one.symbols == other.symbols


@given(st.sets(st.sampled_from(GENERATED.symbols)), st.sets(st.sampled_from(TIERS)))
def test_a_cut_is_what_a_selection_is(named: set[str], tiers: set[Any]) -> None:
    request = DiscoverRequest(symbols=sorted(named) or None, asset_tiers=sorted(tiers) or None)
    symbols = symbols_of(request, GENERATED)
    columns = [GENERATED.symbols.index(symbol) for symbol in symbols]
    cut, plain = Cut.of(GENERATED, symbols), GENERATED.select(symbols)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(cut, name), getattr(GENERATED, name)[:, columns])
    assert same(cut, plain)
    assert cut.quotes is not None
    assert plain.quotes is not None
    assert cut.quotes.symbols == plain.quotes.symbols
    assert cut.path is plain.path is None
    assert same(replace(cut), plain)
    assert same(cut.select(symbols[:2]), plain.select(symbols[:2]))
    with pytest.raises(AttributeError, match="'closed'"):
        cut.closed  # type: ignore[attr-defined]  # noqa: B018


def test_a_field_is_cut_when_it_is_looked_at_and_nobody_writes_to_it() -> None:
    cut = Cut.of(GENERATED, list(GENERATED.symbols[:3]))
    assert isinstance(cut, Cut)
    assert cut.weight == 0
    assert cut.close is cut.close
    assert cut.weight == cut.close.nbytes
    with pytest.raises(ValueError, match="read-only"):
        cut.close[0, 0] = 1.0
    assert cuts.complete(cut).weight == 5 * cut.close.nbytes  # type: ignore[attr-defined]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The symbols of each cut that is made."""
    made: list[list[str]] = []
    of = Cut.of

    def count(seen: Panel, symbols: list[str]) -> Panel:
        made.append(symbols)
        return of(seen, symbols)

    monkeypatch.setattr(Cut, "of", count)
    return made


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Runs a shard in this process, as a worker does; the symbols that its strategy saw."""
    monkeypatch.setattr(worker, "prepare", lambda *_: None)
    strategy = admit(Planted(lambda seen, _: (signal(symbol) for symbol in seen.symbols if seen.close[-1, 0])))
    monkeypatch.setattr(worker, "registry", lambda: {"planted": strategy})

    def start(saved: Panel, request: DiscoverRequest) -> list[str]:
        assert saved.path is not None
        outcome = whole(worker.run(piece(saved, request), str(saved.path.parent), os.getpid()))
        return [found.symbol for found in outcome.opportunities]

    return start


def test_what_many_shards_look_at_is_cut_once(
    tmp_path: Path, run: Callable[..., list[str]], counted: list[list[str]]
) -> None:
    saved = panel().save(tmp_path)
    few, large = DiscoverRequest(symbols=["B/X", "D/X"]), DiscoverRequest(asset_tiers=["large"])
    for _ in range(5):
        assert run(saved, few) == ["B/X", "D/X"]
        gc.collect()
        assert run(saved, large) == ["A/X", "B/X"]
        assert run(saved, DiscoverRequest()) == list(SYMBOLS)
    assert counted == [["B/X", "D/X"], ["A/X", "B/X"]]


def test_what_a_worker_keeps_is_bounded(
    tmp_path: Path, run: Callable[..., list[str]], counted: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = panel().save(tmp_path)
    requests = [DiscoverRequest(symbols=[symbol]) for symbol in SYMBOLS]
    monkeypatch.setattr(cuts, "MOST_KEPT", 2)
    for request in (*requests, *requests[-2:]):
        run(saved, request)
        assert len(cuts._kept) <= 2
    assert len(counted) == len(requests)  # the last two were there still
    monkeypatch.setattr(cuts, "MOST_KEPT_BYTES", 1)
    run(saved, requests[-1])
    assert [cut.symbols for cut in cuts._kept.values()] == [SYMBOLS[-1:]]  # whatever it weighs
    gc.collect()
    assert len(cuts._shared) == 1


def test_of_market_data_that_is_gone_nothing_is_kept(tmp_path: Path, run: Callable[..., list[str]]) -> None:
    old, new = panel().save(tmp_path / "old"), replace(panel(), market="another").save(tmp_path / "new")
    run(old, DiscoverRequest(symbols=["A/X"]))
    shutil.rmtree(tmp_path / "old")
    run(new, DiscoverRequest(symbols=["A/X"]))
    assert [path.parent.name for path, _ in cuts._kept] == ["new"]


def test_who_does_not_keep_a_cut_lets_it_go(tmp_path: Path) -> None:
    saved = panel().save(tmp_path)
    assert saved.path is not None
    first = selected(saved.path, DiscoverRequest(symbols=["A/X"]))
    assert selected(saved.path, DiscoverRequest(symbols=["A/X"])) is first
    assert not cuts._kept
    del first
    gc.collect()
    assert not cuts._shared


class Waiting(AsyncStrategy):
    """Says nothing."""

    id, name, opportunity_type, description, source = "planted", "Planted", "planted", "Waits.", "here"

    async def scan(self, panel: Panel, units: range, parameters: Any) -> AsyncIterator[Signal | Note]:
        """A note of each unit."""
        for unit in units:
            yield Note(f"{unit}")


def test_for_a_strategy_in_the_loop_all_is_cut_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "registry", lambda: {"planted": admit(Waiting())})
    shard = msgspec.msgpack.decode(piece(panel().save(tmp_path), DiscoverRequest(symbols=["A/X"])), type=Shard)
    cut = worker.Search(shard, tmp_path).panel
    assert isinstance(cut, Cut)
    assert cut.weight == 5 * panel().bars * 8
    assert not cuts._kept  # the server keeps nothing for shards to come
