"""The panels of one market on this machine: the one that new scans are made on, and those that older scans still need.

A live market is read again and again. What it gives then is another panel with another digest, so another scan answers
the same request; a scan that runs keeps the panel that it was registered with.
"""

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from scanstream.errors import DataUnusable, MarketError, ScanstreamError, Shortage
from scanstream.market.market import Market
from scanstream.model import timestamp
from scanstream.panel import INPUTS, Panel, load
from scanstream.shortage import of_ours, where_else

_OURS = re.compile(r"[0-9a-f]{32}|writing-.*")
"""What a panel is saved as; the directory may be somebody's, who keeps other things in it."""

_NAMED = 5
"""Symbols that are named in one line of the log."""

logger = logging.getLogger("scanstream")


class Panels:
    """Below one directory, one folder a panel."""

    def __init__(
        self, market: Market, directory: Path, current: Panel, prepare: Callable[[Panel], Panel] = Panel.prepared
    ) -> None:
        """`prepare`: has all computed that requests ask of a panel, in the thread that has read it."""
        self._market = market
        self._prepare = prepare
        self._directory = directory
        self._current = current
        self._former = current.digest
        self._unkept = ""
        """Why data could not be kept, as the log was told last."""

    @property
    def current(self) -> Panel:
        """What a scan that is registered now is made on."""
        return self._current

    async def newest(self) -> Panel:
        """What a scan that is asked for now is made on."""
        return self._current

    async def shown(self) -> Panel:
        """What is told of the market now.

        :raises StoreUnavailable: if another node may have told of newer data, and this one has none yet
        """
        return self._current

    async def restore(self, digest: str) -> bool:
        """Save the current panel anew, if this is the one that is missing or damaged; whether it is whole again.

        :raises Shortage: if the machine lacks what it takes
        """
        if digest != self._current.digest or not await to_thread.run_sync(self._saved_anew):
            return False
        logger.warning("the saved market data %s was not whole; it is written anew", digest)
        return True

    def _saved_anew(self) -> bool:
        """Missing: from the files that are still mapped. Damaged: from the market, as it is those that are damaged."""
        try:
            missing = not (self._directory / self._current.digest).is_dir()
            panel = self._current if missing else self._market.load()
            return panel.digest == self._current.digest and panel.save(self._directory).path is not None
        except (OSError, ScanstreamError) as error:
            if lacking := of_ours(error):
                raise Shortage(f"The market data cannot be written anew: {error}", lacking=lacking) from error
            if f"anew: {error}" != self._unkept:
                self._unkept = f"anew: {error}"
                logger.warning("the current market data cannot be written anew: %s", error)
            return False

    def forget(self, needed: set[str]) -> None:
        """Remove the panels but these, the current one, and the one before it.

        A scan that is being registered just now may have seen that one, and is in no log yet.
        """
        kept = needed | {self._current.digest, self._former}
        try:
            folders = list(self._directory.iterdir())
        except OSError as error:
            logger.warning("old market data is left where it is: %s", error)
            return
        for folder in folders:
            if folder.name not in kept and self.is_left(folder):
                shutil.rmtree(folder, ignore_errors=True)

    def is_left(self, folder: Path) -> bool:
        """Whether it is a panel of ours, or what has become of writing one."""
        return _OURS.fullmatch(folder.name) is not None

    async def keep_fresh(self, seconds: float, needed: Callable[[], set[str]]) -> None:
        """Read a live market again, each time so long after the last; return at once for one that stays as it is."""
        while self._market.live:
            await anyio.sleep(seconds)
            try:
                panel = await to_thread.run_sync(self._read, abandon_on_cancel=True)
                if panel.digest != self._current.digest:
                    self._former, self._current = self._current.digest, panel
                    await to_thread.run_sync(self.forget, needed())
            except RuntimeError as error:  # no thread can be started: it costs this reading, not the server
                logger.warning("%s is not read now: %s", self._market.name, error)

    def _read(self) -> Panel:
        """What the market gives now; the panel of before where that cannot be kept."""
        try:
            return self._saved()
        except Exception as error:  # a full disk: it costs this reading, not the server
            self._say_unkept(error)
            return self._current

    def _saved(self) -> Panel:
        """What the market gives now, kept.

        :raises Exception: if it cannot be: of the disk, or of a defect
        """
        panel = self._given()
        for name, reason in panel.failed.items():
            logger.warning("%s could not give its %s: %s", panel.market, name, reason)
        return self._prepare(panel.settled().save(self._directory))

    def _say_unkept(self, error: Exception) -> None:
        """Once for each kind, as it is tried again and again; a defect with where it is."""
        if f"{error}" != self._unkept:
            self._unkept = f"{error}"
            words = "%s: what it gives cannot be kept; the data of before is used: %s"
            logger.warning(words, self._market.name, error, exc_info=None if of_ours(error) else error)

    def _given(self) -> Panel:
        """What the market gives now; where it gives nothing the panel of before, which says so to every strategy."""
        try:
            return self._market.load()
        except MarketError as error:
            return without(self._current, error.detail)
        except Exception:  # a defect is no reason to look at old data without a word
            logger.exception("%s cannot be read", self._market.name)
            return without(self._current, "the server failed to read it; its log says why")


def without(panel: Panel, reason: str) -> Panel:
    """The panel as one whose market could give nothing."""
    return replace(panel, path=None, failed={name: reason for name in INPUTS if panel.has(name)})


async def open_panels(market: Market, directory: Path, prepare: Callable[[Panel], Panel] = Panel.prepared) -> Panels:
    """The panels below a directory, with the market's data as of now.

    Where a live market cannot be read, and was read before: with its newest data, marked as failed. Then the server
    still answers for the scans that it has.

    :param prepare: see `Panels`
    :raises MarketError: if it cannot be read
    :raises DataUnusable: if there is no writing below the directory
    """
    read = partial(first, market, directory, prepare)
    return Panels(market, directory, await to_thread.run_sync(read, abandon_on_cancel=True), prepare)


def first(market: Market, directory: Path, prepare: Callable[[Panel], Panel]) -> Panel:
    """The market's data as of now, saved; see `open_panels`."""
    try:
        panel = market.load()
    except MarketError as error:
        held = _newest(market.name, directory) if market.live else None
        if held is None:
            raise
        logger.warning("%s; the server starts with its data of before", error.detail)
        panel = without(held, error.detail)
    panel = panel.settled()
    for words in uneven(panel):
        logger.warning("%s: %s", panel.market, words)
    try:
        return prepare(panel.save(directory))
    except OSError as error:
        raise unwritable(directory, error) from error


def unwritable(directory: Path, error: OSError) -> DataUnusable:
    """What to tell of a directory that does not take what a start has to write there."""
    return DataUnusable(
        f"The market data cannot be written below {directory} ({error.strerror or error}); {where_else(error)}"
    )


def uneven(panel: Panel) -> Iterator[str]:
    """Which bar is scanned where not all symbols end with it, who is ahead of it and who behind, by how much."""
    last = timestamp(int(panel.times[-1]))
    if panel.ahead:
        yield f"the bar that is scanned is {last}; what is later is left out: {_listed(panel.ahead)}"
    if behind := panel.behind():
        yield f"the bar that is scanned is {last}; most strategies skip what ends before it: {_listed(behind)}"


def _listed(bars: dict[str, int]) -> str:
    named = [f"{symbol} ({count:,} {'bar' if count == 1 else 'bars'})" for symbol, count in bars.items()]
    return ", ".join(named[:_NAMED]) + (f" and {len(bars) - _NAMED} more" if len(bars) > _NAMED else "")


def _newest(name: str, directory: Path) -> Panel | None:
    """The panel of this market that was written last."""
    folders = directory.iterdir() if directory.is_dir() else ()
    for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True):
        with suppress(MarketError):
            panel = load(folder)
            if panel.market == name:
                return panel
    return None
