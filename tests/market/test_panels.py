"""The panels of a market that is read again: new scans are made on the newest, older ones keep theirs."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import numpy as np
import pytest
from anyio import from_thread

from scanstream.errors import MarketError
from scanstream.market.panels import Panels, open_panels
from scanstream.market.synthetic import SyntheticMarket
from scanstream.panel import Panel, load

pytestmark = pytest.mark.anyio

Given = Panel | Exception


def numbered(number: int) -> Panel:
    """A panel that differs from the next one."""
    panel = SyntheticMarket(symbols=2, bars=5).load()
    return replace(panel, close=panel.close + number)


class Turning:
    """A live market that gives one thing after the other, then waits until the test is over."""

    live = True

    @property
    def name(self) -> str:
        """Of the numbered panels."""
        return "synthetic"

    def __init__(self, *given: Given) -> None:
        self._given: Iterator[Given] = iter(given)
        self.exhausted = anyio.Event()

    def load(self) -> Panel:
        """The next thing."""
        given = next(self._given, None)
        if given is None:
            from_thread.run_sync(self.exhausted.set)
            while True:  # as a market that takes long does between two requests
                from_thread.check_cancelled()
                threading.Event().wait(0.01)
        if isinstance(given, Exception):
            raise given
        return given


async def read_all(market: Turning, directory: Path, needed: set[str]) -> Panels:
    """The panels after the market has given all that it has."""
    panels = await open_panels(market, directory)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(panels.keep_fresh, 0.001, lambda: needed)
        await market.exhausted.wait()
        tasks.cancel_scope.cancel()
    return panels


def folders(directory: Path) -> set[str]:
    """What is on the disk."""
    return {folder.name for folder in directory.iterdir()}


async def test_new_scans_see_the_newest_panel_and_older_ones_theirs(tmp_path: Path) -> None:
    first, _, third, fourth = (numbered(number).digest for number in range(4))
    panels = await read_all(Turning(*map(numbered, range(4))), tmp_path, needed={first})
    assert panels.current.digest == fourth
    assert load(tmp_path / first).digest == first
    assert folders(tmp_path) == {first, third, fourth}  # the one before the last may be in a registration's hands
    assert {"digest", "_runs", "_behind", "_tiers"} <= vars(panels.current).keys()  # else a request would compute them


async def test_the_same_data_again_changes_nothing(tmp_path: Path) -> None:
    panels = await read_all(Turning(numbered(0), numbered(0), numbered(0)), tmp_path, needed=set())
    assert panels.current.digest == numbered(0).digest
    assert folders(tmp_path) == {numbered(0).digest}


async def test_a_market_that_cannot_be_read_again_says_so_in_its_panel(tmp_path: Path) -> None:
    panels = await read_all(Turning(numbered(0), MarketError("HTTP 500")), tmp_path, needed=set())
    assert panels.current.failed == {"candles": "HTTP 500", "quotes": "HTTP 500", "funding": "HTTP 500"}
    assert panels.current.digest != numbered(0).digest


async def test_what_failed_once_is_whole_again_after_the_next_reading(tmp_path: Path) -> None:
    panels = await read_all(Turning(numbered(0), MarketError("HTTP 500"), numbered(1)), tmp_path, needed=set())
    assert panels.current.failed == {}
    assert panels.current.digest == numbered(1).digest


async def test_a_market_that_cannot_be_read_at_first_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MarketError, match="HTTP 500"):
        await open_panels(Turning(MarketError("HTTP 500")), tmp_path)


async def test_one_that_is_not_live_is_read_once(tmp_path: Path) -> None:
    panels = await open_panels(SyntheticMarket(symbols=2, bars=5), tmp_path)
    with anyio.fail_after(5):
        await panels.keep_fresh(0.001, set)


async def test_a_defect_in_reading_is_said_to_every_strategy(tmp_path: Path) -> None:
    panels = await read_all(Turning(numbered(0), RuntimeError("a defect")), tmp_path, needed=set())
    reason = "the server failed to read it; its log says why"
    assert panels.current.failed == dict.fromkeys(("candles", "quotes", "funding"), reason)


async def test_a_defect_or_a_full_disk_costs_the_reading_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panels = await read_all(Turning(numbered(0), RuntimeError("a defect"), numbered(1)), tmp_path / "one", needed=set())
    assert panels.current.digest == numbered(1).digest
    save = Panel._write

    def full(panel: Panel, directory: Path) -> None:
        if panel.digest == numbered(1).digest:
            raise OSError(28, "No space left on device")
        save(panel, directory)

    monkeypatch.setattr(Panel, "_write", full)
    panels = await read_all(Turning(numbered(0), numbered(1)), tmp_path / "two", needed=set())
    assert panels.current.digest == numbered(0).digest
    assert folders(tmp_path / "two") == {numbered(0).digest}  # nothing half-written is left
    panels = await read_all(Turning(numbered(0), numbered(1), numbered(2)), tmp_path / "three", needed=set())
    assert panels.current.digest == numbered(2).digest


async def test_a_live_market_that_is_away_at_a_restart_is_served_from_the_data_of_before(tmp_path: Path) -> None:
    await open_panels(Turning(numbered(0)), tmp_path)
    await open_panels(Turning(replace(numbered(7), market="another")), tmp_path)
    panels = await open_panels(Turning(MarketError("HTTP 500")), tmp_path)
    np.testing.assert_array_equal(panels.current.close, numbered(0).close)
    assert set(panels.current.failed) == {"candles", "quotes", "funding"}


async def test_only_panels_are_ever_removed(tmp_path: Path) -> None:
    for name in ("photos", "2026", "notes.txt", "writing-left-by-a-crash", "0" * 32):
        (tmp_path / name).mkdir()
    (tmp_path / "photos" / "precious").write_text("mine")
    (await open_panels(Turning(numbered(0)), tmp_path)).forget(set())
    assert folders(tmp_path) == {"photos", "2026", "notes.txt", numbered(0).digest}
