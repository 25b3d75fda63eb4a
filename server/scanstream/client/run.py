"""One attempt on one rung: which scans it was asked for from where, and what becomes of the messages it brings."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import anyio

from scanstream.client.failures import Lost, of_message
from scanstream.client.feeds import Feed, Feeds
from scanstream.client.ladder import Transport
from scanstream.client.mirror import ProtocolError
from scanstream.errors import ScanstreamError

QUIET_SECONDS = 15.0
"""A scan of which nothing has come for so long is asked for anew from where its mirror is. What was lost on the way
comes with that, also where nothing follows that would show the gap: the end, or the last before a long silence."""


class Listener(Protocol):
    """Who is told how a run goes."""

    def heard(self, run: "Run") -> None:
        """A frame came."""

    def alive(self, run: "Run") -> None:
        """Something else came."""


class Run:
    """What a rung brings goes through here.

    Two may bring frames of one scan while a better rung is tried. A frame leads from the place where its reader was, so
    it is taken only while the mirror is at that place; else the scan is asked for again, from where the mirror is.

    :param probing: whether the rung is only tried, or has to prove itself first. Any frame does, so the state of one
        scan is asked for, which comes at once, news or not; nothing of it is taken
    """

    def __init__(self, rung: Transport, feeds: Feeds, listener: Listener, *, probing: bool = False) -> None:
        self.rung: Transport = rung
        self.feeds = feeds
        self.scope = anyio.CancelScope()
        self._listener = listener
        self._probing = probing
        self.brought = False
        """Whether a frame came."""
        self._at: dict[str, str | None] = {}
        self._heard_at: dict[str, float] = {}
        """When each was asked for, or brought a frame, last."""

    def wanted(self) -> list[Feed]:
        """What is to be asked for, since nothing is under way that leads on from what is held."""
        if self._probing:
            return [] if any(scan_id in self.feeds for scan_id in self._at) else [*self.feeds][:1]
        return [feed for feed in self.feeds if not self.leads_on(feed)]

    def quiet(self) -> list[Feed]:
        """Those to be asked for anew, as nothing has come of them for long, whatever came of others."""
        late = anyio.current_time() - QUIET_SECONDS
        return [] if self._probing else [feed for feed in self.feeds if self._heard_at.get(feed.scan_id, late) < late]

    def leads_on(self, feed: Feed) -> bool:
        """Whether the next frame follows from what is held."""
        return feed.scan_id in self._at and self._at[feed.scan_id] == feed.mirror.place

    def asked(self, feed: Feed) -> dict[str, str]:
        """The scan is asked for from where the mirror is: how messages say that."""
        self._heard_at[feed.scan_id] = anyio.current_time()
        if self._probing:
            self._at[feed.scan_id] = None
            return {"scan_id": feed.scan_id, "only": "state"}
        self._at[feed.scan_id] = place = feed.mirror.place
        since = {} if place is None else {"since": place}
        return {"scan_id": feed.scan_id, **since, **({} if feed.only is None else {"only": feed.only})}

    def all_asked(self) -> list[dict[str, str]]:
        """The same of all that is followed; of nothing else more is expected."""
        self._at.clear()
        return [self.asked(feed) for feed in self.wanted()]

    async def some(self) -> None:
        """Wait until something is followed."""
        while not self.feeds:
            await self.feeds.bell.rung()

    async def until_changed(self, work: Callable[[], Awaitable[None]]) -> None:
        """Work that asks for all that is followed before anything else, until it is done, or other scans are wanted."""
        failed: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._changed, tasks.cancel_scope)
            try:
                await work()
            except (Lost, ScanstreamError) as error:
                failed = error
            tasks.cancel_scope.cancel()
        if failed is not None:
            raise failed

    async def _changed(self, work: anyio.CancelScope) -> None:
        while not self.wanted() and all(scan_id in self.feeds for scan_id in self._at):
            await self.feeds.bell.rung()
        work.cancel()

    def gone(self) -> list[str]:
        """Scans that were asked for and are followed no more; each is told once."""
        gone = [scan_id for scan_id in self._at if scan_id not in self.feeds]
        for scan_id in gone:
            del self._at[scan_id]
        return gone

    def end(self, feed: Feed, error: ScanstreamError | None = None) -> None:
        """Nothing more will come of this one: the server knows it, too."""
        self._at.pop(feed.scan_id, None)
        self.feeds.end(feed, error)

    def take(self, message: dict[str, Any]) -> None:
        """A message of the server; of a kind that is not known, none.

        :raises Lost: if the attempt is over with it
        :raises ScanstreamError: if all are
        """
        if message.get("type") == "error":
            self._trouble(message)
            return
        if message.get("type") not in ("snapshot", "update", "end"):
            self.alive()
            return
        feed = self.feeds.get(str(message.get("scan_id")))
        if self._probing or (feed is not None and not self.leads_on(feed)):
            self._proven()
        elif feed is not None:
            self._frame(feed, message)

    def _frame(self, feed: Feed, message: dict[str, Any]) -> None:
        try:
            taken = feed.mirror.apply(message)
        except ProtocolError as error:
            raise Lost(f"what came does not follow from what was there: {error}") from error
        self._at[feed.scan_id] = feed.mirror.place
        self._heard_at[feed.scan_id] = anyio.current_time()
        self._heard()
        if taken and feed.heard is not None:
            feed.heard(message)
        feed.bell.ring()
        if feed.mirror.ended:
            self.end(feed)

    def alive(self) -> None:
        """Something came that is no frame: it proves nothing, and the connection is there."""
        self._listener.alive(self)

    def _proven(self) -> None:
        """A frame came that is not to be taken: all is asked for from where the mirrors are."""
        if self._probing:
            self._probing = False
            self._at.clear()
        self._heard()
        self.feeds.bell.ring()

    def _heard(self) -> None:
        self.brought = True
        self._listener.heard(self)

    def _trouble(self, message: dict[str, Any]) -> None:
        error = of_message(message)
        scan_id = message.get("scan_id")
        if isinstance(error, Lost) or not isinstance(scan_id, str):
            raise error
        feed = self.feeds.get(scan_id)
        if feed is not None:
            self.end(feed, error)
