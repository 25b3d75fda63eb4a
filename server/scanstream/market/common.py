"""The panels of a cluster: whatever one node has read is everyone's, so that equal requests on two nodes are one scan.

A market that stays as it is is read by each node for itself, as it is the same for all; if not, that of the newest bars
counts, and of equally new ones that of the node that was started last. A live market is read by one node at a time, and
the others take what it has published. A node that runs shards fetches what these stand on.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import anyio
from anyio import to_thread

from scanstream.errors import MarketError, Shortage, StoreUnavailable
from scanstream.market.copies import Copies, Issue, issued
from scanstream.market.library import Announce, Library
from scanstream.market.market import Market
from scanstream.market.panels import Panels, first, unwritable, without
from scanstream.model import timestamp
from scanstream.panel import Panel
from scanstream.shortage import of_ours

AGAIN_SECONDS = 1.0
"""From one try to fetch a panel, or to be the one who reads, to the next."""
TAKEN_SECONDS = 5.0
"""How long a request waits for the newest panel to come; then it is made on the one before."""
START_SECONDS = 60.0
"""How long a start waits for another node that is reading; then it is content with what there is."""
AWAY_SECONDS = 15.0
"""How long at least a node that could not read the market, or not keep it, leaves that to others."""
LATE_SECONDS = 10.0
"""By so much what is published may be late, beyond twice the time between two readings."""

Prepare = Callable[[Panel], Panel]

logger = logging.getLogger("scanstream")


class Elsewhere:
    """A market that this node only hears of."""

    live = False

    def __init__(self, name: str) -> None:
        self.name = name

    def load(self) -> Panel:
        """See `Market.load`.

        :raises MarketError: always
        """
        raise MarketError(f"{self.name} is read by other nodes")


class CommonPanels(Panels):
    """The panels of one node, and those that all have."""

    def __init__(self, market: Market, directory: Path, current: Panel, prepare: Prepare, library: Library) -> None:
        super().__init__(market, directory, current, prepare)
        self._library = library
        self._copies = Copies(library, directory)
        self._issue: Issue | None = None
        self._told = self._reached = 0
        """How often it was said which is the newest; and of which time the current one is."""
        self._changed = anyio.Event()
        """Set when there is a newer one, or it has been taken."""
        self._awaited = ""
        """What was said to be awaited last."""
        library.listen(market.name, self._hear)

    def _hear(self, told: bytes) -> None:
        if (issue := issued(told)) is not None:
            self._issue = issue
            self._told += 1
            if issue.digest == self._current.digest:
                self._reached = self._told
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def newest(self) -> Panel:
        """See `Panels.newest`: what was published last, by whichever node, before this call.

        So equal requests that have come behind the same publication are one scan, on whichever nodes they are: one that
        has to fetch the panel first takes this one, and not what was published meanwhile (unless it never had this).

        :raises StoreUnavailable: if nobody can say which that is
        """
        if self._market.live:
            await self._library.announced(self._market.name)
        await self._taken_within(TAKEN_SECONDS)
        return self._current

    async def shown(self) -> Panel:
        """See `Panels.shown`."""
        await self._library.announced(self._market.name)
        if await self._taken_within(TAKEN_SECONDS):
            return self._current
        raise StoreUnavailable(
            "The newest market data is on its way to this node; ask again", retry_after=AGAIN_SECONDS
        )

    async def _taken_within(self, seconds: float) -> bool:
        """Wait until the current panel is the one that is the newest now, or a later one; whether it is."""
        told = self._told
        with anyio.move_on_after(seconds):
            while self._reached < told:
                await self._changed.wait()
            return True
        return False

    async def restore(self, digest: str) -> bool:
        """See `Panels.restore`; of any panel, and as long as it takes until a node has published it.

        :raises Shortage: if the machine lacks what it takes
        """
        while True:
            try:
                if await super().restore(digest) or await self._copies.panel(digest) is not None:
                    return True
                why = "no node has published it"
            except OSError as error:
                lacking = of_ours(error) or "a place for market data"
                raise Shortage(f"The market data cannot be written: {error}", lacking=lacking) from error
            except StoreUnavailable as error:
                why = error.detail
            if self._awaited != digest:
                self._awaited = digest
                logger.warning("shards wait for the market data %s: %s", digest, why)
            await anyio.sleep(AGAIN_SECONDS)

    def is_left(self, folder: Path) -> bool:
        """See `Panels.is_left`: what is being written may be another node's, with the same directory."""
        return super().is_left(folder) and not folder.name.startswith("writing-")

    async def keep_fresh(self, seconds: float, needed: Callable[[], set[str]]) -> None:
        """Take what is published, for ever; and where it is our turn, read a live market and publish it."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._follow, needed)
            while self._market.live:
                left = False
                async with self._library.turn(self._market.name) as announce:
                    if announce is not None:
                        await self._lead(seconds, needed, announce)
                        left = True
                if left:
                    await anyio.sleep(max(seconds, AWAY_SECONDS))

    async def _follow(self, needed: Callable[[], set[str]]) -> NoReturn:
        """Have as the current one what was published last."""
        while True:
            changed, issue, told = self._changed, self._issue, self._told
            if issue is None or self._reached >= told:
                await changed.wait()
            elif (panel := await self._taken(issue)) is None:
                await anyio.sleep(AGAIN_SECONDS)
            elif self._reached < told:  # else it was said meanwhile that the current one is the newest again
                self._reached = told
                self._former, self._current = self._current.digest, panel
                self._notify()
                await to_thread.run_sync(self.forget, needed())

    async def _taken(self, issue: Issue) -> Panel | None:
        """The panel, with all computed that requests ask of it; None if it cannot be had now."""
        try:
            panel = await self._copies.panel(issue.digest)
            if panel is not None:
                return await to_thread.run_sync(self._prepare, panel)
            why = "it is not there any more"
        except Exception as error:  # a full disk, a library that is away: the data of before is used meanwhile
            why = str(error)
        if self._awaited != issue.digest:
            self._awaited = issue.digest
            logger.warning("the newest data of %s cannot be fetched, that of before is used: %s", issue.market, why)
        return None

    async def _lead(self, seconds: float, needed: Callable[[], set[str]], announce: Announce) -> None:
        """Read the market as long as it is our turn, each time so long after the last, whoever that was.

        Done when this node cannot reach it, or cannot keep what it gives: another one may be better off.
        """
        if self._issue is not None:
            await anyio.sleep(min(seconds, max(0.0, seconds - (self._library.now() - self._issue.at) / 1000)))
        while True:
            try:
                panel = await to_thread.run_sync(self._saved, abandon_on_cancel=True)
                await self._copies.publish(panel, announce)
                await self._library.keep({panel.digest, self._current.digest, self._former, *needed()})
            except StoreUnavailable as error:  # it costs this reading, not the node
                logger.warning("%s is not published now: %s", self._market.name, error)
            except Exception as error:
                return self._say_unkept(error)
            else:
                if "candles" in panel.failed:
                    return None
            await anyio.sleep(seconds)


async def open_common(
    market: Market, directory: Path, library: Library, prepare: Prepare, *, refresh: float, reads: bool = True
) -> CommonPanels:
    """The panels of a node of a cluster.

    :param refresh: seconds from one reading of a live market to the next
    :param reads: whether this node reads the market itself; else it takes what others have published, if there is any
    :raises MarketError: if the market cannot be read, and nobody has published it
    :raises DataUnusable: if there is no writing below the directory
    :raises StoreUnavailable: if the library does not answer
    """
    start = _Start(market, directory, library, prepare)
    try:
        if not reads:
            market, panel = await start.heard_of()
        elif market.live:
            panel = await start.live(refresh)
        else:
            panel = await start.still()
    except OSError as error:  # what another node has published is to be written, too
        raise unwritable(directory, error) from error
    return CommonPanels(market, directory, await to_thread.run_sync(prepare, panel), prepare, library)


class _Start:
    """How a node comes to its first panel."""

    def __init__(self, market: Market, directory: Path, library: Library, prepare: Prepare) -> None:
        self._market = market
        self._library = library
        self._copies = Copies(library, directory)
        self._first = partial(first, market, directory, prepare)

    async def _issue(self) -> Issue | None:
        return issued(await self._library.announced(self._market.name))

    async def _own(self) -> Panel:
        return await to_thread.run_sync(self._first, abandon_on_cancel=True)

    async def still(self) -> Panel:
        """Of a market that stays as it is."""
        panel, issue = await self._own(), await self._issue()
        if issue is not None and issue.digest != panel.digest:
            ours, theirs = timestamp(int(panel.times[-1])), timestamp(issue.last)
            words = "%s differs here (%s, up to %s) from what the cluster scans (%s, up to %s): %s"
            told = self._market.name, panel.digest, ours, issue.digest, theirs
            if int(panel.times[-1]) < issue.last and (published := await self._copies.panel(issue.digest)) is not None:
                logger.warning(words, *told, "the cluster's is used")
                return published
            logger.warning(words, *told, "this node's is used by all from now on")
        known = issue is not None and issue.digest == panel.digest
        announce = None if known else partial(self._library.announce, self._market.name)
        await self._copies.publish(panel, announce)
        return panel

    async def live(self, refresh: float) -> Panel:
        """Of a market that is read again and again: what was published a moment ago, or what we read ourselves."""
        until = anyio.current_time() + START_SECONDS
        while True:
            issue = await self._issue()
            published = None if issue is None else await self._copies.panel(issue.digest)
            fresh = issue is not None and self._library.now() - issue.at <= (2 * refresh + LATE_SECONDS) * 1000
            if published is not None and (fresh or anyio.current_time() >= until):
                return published
            async with self._library.turn(self._market.name, waits=False) as announce:
                if announce is not None:
                    panel = await self._own_or(published)
                    await self._copies.publish(panel, announce)
                    return panel
            await anyio.sleep(AGAIN_SECONDS)

    async def _own_or(self, published: Panel | None) -> Panel:
        """What the market gives, else what others read before, which says so to every strategy."""
        try:
            return await self._own()
        except MarketError as error:
            if published is None:
                raise
            logger.warning("%s; the node starts with the data of before", error.detail)
            panel = without(published, error.detail)
            return await to_thread.run_sync(panel.save, published.path.parent if published.path else Path())

    async def heard_of(self) -> tuple[Market, Panel]:
        """Of the market that others read, and which that is; of our own where nobody has published any yet."""
        issue = await self._issue() or issued(await self._library.latest())
        published = None if issue is None else await self._copies.panel(issue.digest)
        if issue is not None and published is not None:
            return Elsewhere(issue.market), published
        return Elsewhere(self._market.name), await self._own()
