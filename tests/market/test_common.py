"""The panels of a cluster: what one node has read is everyone's."""

import errno
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from market.test_panels import numbered
from scanstream.errors import DataUnusable, MarketError, StoreUnavailable
from scanstream.market import common
from scanstream.market.common import CommonPanels, open_common
from scanstream.market.copies import Issue, issued
from scanstream.market.library import Announce
from scanstream.market.market import Market
from scanstream.model import Milliseconds, now
from scanstream.panel import Panel, load

pytestmark = pytest.mark.anyio

SOON = 0.02


class Shelf:
    """A library in memory, which several nodes share."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.notes: dict[str, bytes] = {}
        self.away = False
        self.uploads = 0
        self.held = anyio.Event()
        """Whoever fetches waits for it."""
        self.held.set()
        self._listeners: list[tuple[str, Callable[[bytes], None]]] = []
        self._turns: dict[str, anyio.Lock] = {}

    def _require(self) -> None:
        if self.away:
            raise StoreUnavailable("nobody answers", retry_after=1)

    def now(self) -> Milliseconds:
        """See `Library.now`."""
        return now()

    async def has(self, digest: str) -> bool:
        """See `Library.has`."""
        self._require()
        return digest in self.files

    async def put(self, digest: str, file: Path) -> None:
        """See `Library.put`."""
        self._require()
        self.uploads += 1
        self.files.setdefault(digest, await to_thread.run_sync(file.read_bytes))

    async def get(self, digest: str, file: Path) -> bool:
        """See `Library.get`."""
        self._require()
        await self.held.wait()
        if digest in self.files:
            await to_thread.run_sync(file.write_bytes, self.files[digest])
        return digest in self.files

    async def keep(self, digests: set[str]) -> None:
        """See `Library.keep`."""
        self.files = {digest: file for digest, file in self.files.items() if digest in digests}

    async def announce(self, market: str, issue: bytes) -> None:
        """See `Library.announce`."""
        self._require()
        self.notes[market] = issue
        for name, heard in self._listeners:
            if name == market:
                heard(issue)

    async def announced(self, market: str) -> bytes | None:
        """See `Library.announced`."""
        self._require()
        return self.notes.get(market)

    async def latest(self) -> bytes | None:
        """See `Library.latest`."""
        return next(reversed(self.notes.values()), None)

    def listen(self, market: str, heard: Callable[[bytes], None]) -> None:
        """See `Library.listen`."""
        self._listeners.append((market, heard))
        if market in self.notes:
            heard(self.notes[market])

    @asynccontextmanager
    async def turn(self, market: str, *, waits: bool = True) -> AsyncIterator[Announce | None]:
        """See `Library.turn`."""
        lock = self._turns.setdefault(market, anyio.Lock())
        if not waits and lock.locked():
            yield None
        else:
            async with lock:
                yield partial(self.announce, market)


class Given:
    """A market that gives what it is told to."""

    name = "synthetic"

    def __init__(self, panel: Panel | None, *, live: bool = False) -> None:
        self.live = live
        self.panel = panel
        self.read = 0

    def load(self) -> Panel:
        """See `Market.load`."""
        self.read += 1
        if self.panel is None:
            raise MarketError("The exchange does not answer")
        return self.panel


@asynccontextmanager
async def node(market: Market, directory: Path, library: Shelf, **options: Any) -> AsyncIterator[CommonPanels]:
    """One node's panels, kept fresh."""
    panels = await open_common(market, directory, library, Panel.prepared, **{"refresh": SOON, **options})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(panels.keep_fresh, SOON, set)
        yield panels
        tasks.cancel_scope.cancel()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until it is so."""
    with anyio.fail_after(20):
        while not holds():  # noqa: ASYNC110  # nobody tells
            await anyio.sleep(0.005)


def issue(library: Shelf) -> Issue:
    """What is the newest."""
    found = issued(library.notes["synthetic"])
    assert found is not None
    return found


async def test_of_a_market_that_stays_one_node_publishes_and_all_have_it(tmp_path: Path) -> None:
    library = Shelf()
    async with (
        node(Given(numbered(0)), tmp_path / "a", library) as one,
        node(Given(numbered(0)), tmp_path / "b", library) as other,
    ):
        assert one.current.digest == other.current.digest == issue(library).digest
        assert library.uploads == 1


async def test_where_the_files_differ_the_node_that_was_started_last_decides_for_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    library = Shelf()
    async with (
        node(Given(numbered(0)), tmp_path / "a", library) as one,
        node(Given(numbered(1)), tmp_path / "b", library) as other,
    ):
        await until(lambda: one.current.digest == numbered(1).digest)
        assert other.current.digest == (await one.newest()).digest == numbered(1).digest
    [said] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "differs here" in said.message


async def test_a_node_with_older_files_takes_those_of_the_others(tmp_path: Path) -> None:
    library, whole = Shelf(), numbered(0)
    columns = {name: getattr(whole, name)[:-1] for name in ("times", "open", "high", "low", "close", "volume")}
    older = Panel(whole.market, whole.exchange, whole.timeframe, whole.symbols, **columns)
    async with node(Given(whole), tmp_path / "a", library), node(Given(older), tmp_path / "b", library) as late:
        assert late.current.digest == whole.digest == issue(library).digest


async def test_a_live_market_is_read_by_one_node_and_is_everyones(tmp_path: Path) -> None:
    library = Shelf()
    first, second = Given(numbered(0), live=True), Given(numbered(0), live=True)
    async with node(first, tmp_path / "a", library) as one, node(second, tmp_path / "b", library) as other:
        first.panel = numbered(1)
        await until(lambda: issue(library).digest == numbered(1).digest)
        assert {(await panels.newest()).digest for panels in (one, other)} == {numbered(1).digest}
        await until(lambda: first.read > 5)
    assert second.read == 0


async def test_no_node_tells_of_older_data_than_another_has_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "TAKEN_SECONDS", 0.1)
    library, market = Shelf(), Given(numbered(1), live=True)
    async with node(market, tmp_path / "a", library) as one:
        other = await open_common(market, tmp_path / "b", library, Panel.prepared, refresh=SOON)  # it fetches nothing
        assert (await other.shown()).digest == one.current.digest
        market.panel = numbered(2)
        await until(lambda: one.current.digest == numbered(2).digest)
        assert (await one.shown()).digest == numbered(2).digest
        with pytest.raises(StoreUnavailable, match="on its way"):
            await other.shown()
        library.away = True
        with pytest.raises(StoreUnavailable, match="nobody answers"):
            await one.shown()


async def test_requests_behind_the_same_publication_take_the_same_panel(tmp_path: Path) -> None:
    """Also where one node has to fetch it first, and a newer one is published meanwhile."""
    library, market = Shelf(), Given(numbered(1), live=True)
    async with node(market, tmp_path / "a", library) as one, node(market, tmp_path / "b", library) as other:
        library.held = anyio.Event()
        market.panel = numbered(2)
        await until(lambda: one.current.digest == numbered(2).digest)
        taken: list[Panel] = []

        async def ask() -> None:
            taken.append(await other.newest())

        async with anyio.create_task_group() as asking:
            asking.start_soon(ask)
            assert (await one.newest()).digest == numbered(2).digest
            market.panel = numbered(3)
            await until(lambda: one.current.digest == numbered(3).digest)
            assert not taken
            library.held.set()
        assert [panel.digest for panel in taken] == [numbered(2).digest]
        await until(lambda: other.current.digest == numbered(3).digest)


async def test_a_node_that_cannot_read_the_market_leaves_it_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own line to the exchange may be down, or its disk be full."""
    monkeypatch.setattr(common, "AWAY_SECONDS", 0.2)
    library, blind, sees = Shelf(), Given(numbered(1), live=True), Given(numbered(2), live=True)
    async with node(blind, tmp_path / "a", library) as one, node(sees, tmp_path / "b", library):
        blind.panel = None
        await until(lambda: one.current.digest == numbered(2).digest)
        assert not one.current.failed
        blind.panel, sees.panel = numbered(3), numbered(3)
        await until(lambda: one.current.digest == numbered(3).digest)
        read = blind.read
        monkeypatch.setattr(Panel, "save", full_below(tmp_path / "b", Panel.save))
        blind.panel = sees.panel = numbered(4)
        await until(lambda: one.current.digest == numbered(4).digest)
        assert blind.read > read


def full_below(directory: Path, save: Callable[[Panel, Path], Panel]) -> Callable[[Panel, Path], Panel]:
    """`Panel.save` of a machine where there is no room in this directory."""

    def saved(panel: Panel, below: Path) -> Panel:
        if below == directory:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(panel, below)

    return saved


async def test_whoever_is_left_reads_it_on(tmp_path: Path) -> None:
    library, second = Shelf(), Given(numbered(2), live=True)
    async with anyio.create_task_group() as tasks:
        async with node(Given(numbered(1), live=True), tmp_path / "a", library):
            other = await open_common(second, tmp_path / "b", library, Panel.prepared, refresh=SOON)
            tasks.start_soon(other.keep_fresh, SOON, set)
            await until(lambda: other.current.digest == numbered(1).digest)
            assert second.read == 0
        await until(lambda: other.current.digest == numbered(2).digest)
        tasks.cancel_scope.cancel()


async def test_what_was_published_long_ago_is_read_anew_before_the_node_answers(tmp_path: Path) -> None:
    library = Shelf()
    async with node(Given(numbered(0), live=True), tmp_path / "a", library):
        pass
    library.notes["synthetic"] = library.notes["synthetic"].replace(b'"at":17', b'"at":16')
    panels = await open_common(Given(numbered(1), live=True), tmp_path / "b", library, Panel.prepared, refresh=SOON)
    assert panels.current.digest == numbered(1).digest


async def test_a_live_market_that_cannot_be_read_is_told_with_the_data_of_the_others(tmp_path: Path) -> None:
    library = Shelf()
    async with node(Given(numbered(0), live=True), tmp_path / "a", library):
        pass
    library.notes["synthetic"] = library.notes["synthetic"].replace(b'"at":17', b'"at":16')
    panels = await open_common(Given(None, live=True), tmp_path / "b", library, Panel.prepared, refresh=SOON)
    assert panels.current.failed["candles"] == "The exchange does not answer"
    with pytest.raises(MarketError):
        await open_common(Given(None, live=True), tmp_path / "c", Shelf(), Panel.prepared, refresh=SOON)


async def test_a_worker_needs_no_market_of_its_own(tmp_path: Path) -> None:
    library, nothing = Shelf(), Given(None)
    async with node(Given(numbered(3)), tmp_path / "a", library):
        worker = await open_common(nothing, tmp_path / "b", library, Panel.prepared, refresh=SOON, reads=False)
        assert worker.current.digest == numbered(3).digest
        assert nothing.read == 0


@pytest.mark.parametrize("reads", [True, False])
async def test_a_directory_that_takes_nothing_is_said_by_its_setting(tmp_path: Path, reads: bool) -> None:
    """Also of what others have published, which a worker takes first."""
    library, closed = Shelf(), tmp_path / "closed"
    closed.write_bytes(b"")
    async with node(Given(numbered(3)), tmp_path / "a", library):
        with pytest.raises(DataUnusable, match="name another with --data"):
            await open_common(Given(numbered(3)), closed, library, Panel.prepared, refresh=SOON, reads=reads)


async def test_work_waits_for_its_panel_until_somebody_publishes_it(tmp_path: Path) -> None:
    library, restored = Shelf(), anyio.Event()
    wanted = numbered(5)
    worker = await open_common(Given(numbered(0)), tmp_path / "b", library, Panel.prepared, refresh=SOON, reads=False)

    async def restore() -> None:
        assert await worker.restore(wanted.digest)
        restored.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(restore)
        await anyio.sleep(0.1)
        assert not restored.is_set()
        library.away = True
        await anyio.sleep(1.1)
        library.away = False
        async with node(Given(wanted), tmp_path / "a", library):
            with anyio.fail_after(20):
                await restored.wait()
    assert load(tmp_path / "b" / wanted.digest).digest == wanted.digest


async def test_a_panel_that_comes_damaged_is_none(tmp_path: Path) -> None:
    library = Shelf()
    async with node(Given(numbered(0)), tmp_path / "a", library) as panels:
        digest = panels.current.digest
        whole = library.files[digest]
        for broken in (
            whole[: len(whole) // 2],
            whole.replace(b"NUMPY", b"NUMPI", 1),
            b"",
            whole[:-20000] + b"x" * 20000,
        ):
            library.files[digest] = broken
            shutil.rmtree(tmp_path / "b", ignore_errors=True)
            assert (
                await CommonPanels(Given(None), tmp_path / "b", panels.current, Panel.prepared, library)._copies.panel(
                    digest
                )
                is None
            )
            assert not list((tmp_path / "b").iterdir()), "nothing is left behind"


async def test_what_nothing_stands_on_goes_from_the_library_too(tmp_path: Path) -> None:
    library, market = Shelf(), Given(numbered(0), live=True)
    needed = {numbered(0).digest}
    panels = await open_common(market, tmp_path / "a", library, Panel.prepared, refresh=SOON)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(panels.keep_fresh, SOON, lambda: needed)
        for number in range(1, 5):
            market.panel = numbered(number)
            await until(lambda: panels.current.digest == numbered(number).digest)  # noqa: B023  # waited for here
        await until(lambda: len(library.files) == 3)
        tasks.cancel_scope.cancel()
    assert set(library.files) == {numbered(number).digest for number in (0, 3, 4)}
