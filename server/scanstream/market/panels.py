"""The panels of one market on this machine: the one that new scans are made on, and those that older scans still need.

A live market is read again and again. What it gives then is another panel with another digest, so another scan answers
the same request; a scan that runs keeps the panel that it was registered with.
"""

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
from anyio import to_thread

from scanstream.errors import MarketError
from scanstream.market.market import Market
from scanstream.panel import INPUTS, Panel, mapped

logger = logging.getLogger("scanstream")


class Panels:
    """Below one directory, one folder a panel."""

    def __init__(self, market: Market, directory: Path, current: Panel) -> None:
        self._market = market
        self._directory = directory
        self._current = current
        self._former = current.digest

    @property
    def current(self) -> Panel:
        """What a scan that is registered now is made on."""
        return self._current

    def of(self, digest: str) -> Panel:
        """The panel of an older scan.

        :raises MarketError: if it is gone
        """
        return mapped(self._directory / digest)

    def forget(self, needed: set[str]) -> None:
        """Remove the panels but these, the current one, and the one before it.

        A scan that is being registered just now may have seen that one, and is in no log yet.
        """
        kept = needed | {self._current.digest, self._former}
        for folder in self._directory.iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    async def keep_fresh(self, seconds: float, needed: Callable[[], set[str]]) -> None:
        """Read a live market again, each time so long after the last; return at once for one that stays as it is."""
        while self._market.live:
            await anyio.sleep(seconds)
            panel = await to_thread.run_sync(self._read)
            if panel.digest != self._current.digest:
                self._former, self._current = self._current.digest, panel
                await to_thread.run_sync(self.forget, needed())

    def _read(self) -> Panel:
        try:
            panel = self._market.load()
        except MarketError as error:
            panel = replace(
                self._current, path=None, failed={name: error.detail for name in INPUTS if self._current.has(name)}
            )
        for name, reason in panel.failed.items():
            logger.warning("%s could not give its %s: %s", panel.market, name, reason)
        return panel.save(self._directory)


async def open_panels(market: Market, directory: Path) -> Panels:
    """The panels below a directory, with the market's data as of now.

    :raises MarketError: if it cannot be read
    """
    return Panels(market, directory, (await to_thread.run_sync(market.load)).save(directory))
