"""A scan as an object that is always true, whichever way the news of it come."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import anyio

from scanstream.client.condition import Connection
from scanstream.client.displays import installed
from scanstream.client.failures import Closed
from scanstream.client.feeds import Feed
from scanstream.client.mirror import skipped
from scanstream.client.results import Results
from scanstream.errors import ScanstreamError
from scanstream.log.cursor import parse
from scanstream.log.patch import diff
from scanstream.model import Document, Only


@dataclass(frozen=True, kw_only=True)
class Update:
    """What is new since the iterator's last update; its first one tells all that is held."""

    state: Document
    """As of now: the whole of it."""
    patch: Document
    """What leads from the state before to this one (docs/protocol.md, section 2)."""
    opportunities: list[Document]
    """The new ones, in the order of the log."""
    offset: int
    """How many the log has before the first of them."""
    cursor: str
    """Stands for exactly what this iterator has given: `client.watch(scan_id, since=cursor)` goes on from here."""
    skipped: int
    """Revisions folded into this one beyond the first."""


class Owner(Protocol):
    """The client that a scan belongs to."""

    url: str
    connection: Connection

    async def _results(self, scan_id: str) -> Results: ...
    async def _cancel(self, scan_id: str) -> Document: ...
    async def _share(self, scan_id: str, request: Document) -> Document: ...
    async def _notify(self, scan_id: str, url: str) -> Document: ...
    def _leave(self, scan: "Scan") -> None: ...


class Scan:
    """A scan that is followed. Iterate over it for updates; leaving it is not cancelling it.

    :param feed: what is held of it, shared by all in this client who follow it
    :param held: what the server has said of it before the first frame
    :param start: so many opportunities of its log are not wanted here
    """

    def __init__(
        self,
        owner: Owner,
        feed: Feed,
        *,
        held: Document,
        start: int = 0,
        since: str | None = None,
        only: Only | None = None,
        ack: Document | None = None,
    ) -> None:
        self._owner = owner
        self.feed = feed
        self.ack: Document = ack or {}
        """What the server said as the scan was started here (docs/protocol.md, section 3); empty for a scan that is
        watched."""
        self._held = held
        self._start = start
        self._since = since
        self._only = only
        self._closed = False

    def __repr__(self) -> str:
        return f"<Scan {self.id}: {self.status}>"

    def _ipython_display_(self) -> None:
        """Where IPython shows it: as whoever is installed for that does it, else as `repr`.

        :raises NotImplementedError: so that IPython does the latter
        """
        show = installed()
        if show is None:
            raise NotImplementedError
        show(self)

    @property
    def id(self) -> str:
        """Its id at the server."""
        return self.feed.scan_id

    @property
    def url(self) -> str:
        """The server's address, as the client was given it."""
        return self._owner.url

    @property
    def connection(self) -> Connection:
        """How the way to the server is: its client's."""
        return self._owner.connection

    @property
    def state(self) -> Document:
        """The newest, as plain data (docs/protocol.md, section 2). Until the first frame it is what the ack said."""
        return self.feed.mirror.state or self._held

    @property
    def status(self) -> str:
        """`scanning`, `complete`, `failed` or `cancelled`."""
        return str(self.state["status"])

    @property
    def opportunities(self) -> list[Document]:
        """All that were found so far, in the order of the log; none where only the state is followed."""
        mirror = self.feed.mirror
        return [] if self._only or self._start < mirror.base else mirror.opportunities[self._start - mirror.base :]

    @property
    def cursor(self) -> str | None:
        """Where it is: what `client.watch(since=)` takes."""
        return self._told or self.ack.get("cursor")

    @property
    def _told(self) -> str | None:
        """The cursor that is true for whoever has been told all that is wanted here; None before that can be."""
        mirror = self.feed.mirror
        place = parse(mirror.cursor or "")
        if place is None:
            return mirror.cursor
        if self._only:
            return str(place.recounted(min(place.position.n, self._start)))
        return str(place.recounted(max(place.position.n, self._start))) if self._start >= mirror.base else None

    @property
    def done(self) -> bool:
        """Whether it has ended, and everything of it is here."""
        return self.feed.mirror.ended

    @property
    def left(self) -> bool:
        """Whether it was closed here before its end was known."""
        return self._closed and not self.done

    @property
    def error(self) -> ScanstreamError | None:
        """Why nothing more comes of it, where that is no end of the scan's."""
        return self.feed.error

    @property
    def over(self) -> bool:
        """Whether nothing more comes here: it has ended, there is nothing to follow any more, or it was closed."""
        return self._closed or self.feed.over

    def __aiter__(self) -> "Updates":
        """A reader of its own, from what is held on, to the end."""
        return Updates(self)

    async def wait(self, timeout: float | None = None) -> Document:
        """The state at its end, also of a scan that failed or was cancelled.

        :param timeout: seconds
        :raises TimeoutError: if it has not ended by then; the scan runs on, and is followed on
        :raises NotFound, Expired, Unauthorized: if there is nothing to follow any more
        :raises Closed: if the following was closed before its end
        """
        with anyio.fail_after(timeout):
            while not self.feed.mirror.ended:
                self._check()
                await self.feed.bell.rung()
        return self.state

    async def results(self, timeout: float | None = None) -> Results:
        """All that it has found, the most confident first; of a scan that runs once it has ended.

        Where all of it was followed here, nothing more is asked.

        :raises TimeoutError: if it has not ended by then
        :raises Unreachable: if the server has to be asked, and does not answer
        """
        with anyio.fail_after(timeout):
            if not self._closed:
                await self.wait()
            if (found := self.feed.mirror.everything) is not None:
                return Results(sorted(found, key=_by_confidence))
            return await self._owner._results(self.id)

    async def cancel(self) -> Document:
        """Ask for its end, for all who follow it; the state as the server has it then. The end comes as an update.

        :raises Unreachable: if the server does not answer: then it is not known whether it is being cancelled
        """
        return await self._owner._cancel(self.id)

    async def share(self, rights: Sequence[str] = ("read",), expires_in: int = 3600) -> Document:
        """A token for this one scan, to be handed on, and addresses with it: `token`, `rights`, `expires_at`, `links`.

        :param rights: of `read` and `cancel`, no more than one has
        :param expires_in: seconds
        :raises NoSuchRoute: if the server asks nobody who they are: then there is nothing to share but the id
        :raises Forbidden: if it is more than one has
        """
        return await self._owner._share(self.id, {"rights": list(rights), "expires_in_seconds": expires_in})

    async def notify(self, url: str) -> Document:
        """Have this address told of the scan's end, whatever becomes of this program (docs/webhooks.md).

        The same address again is the same notification: `notification_id`, and the `signing_secret` to verify it with.

        :raises NoSuchRoute: if the server tells nobody
        :raises InvalidRequest: if it may not tell this address, or tells as many of this scan as may be
        """
        return await self._owner._notify(self.id, url)

    async def aclose(self) -> None:
        """Stop following: iterators end. The scan goes on at the server."""
        self.close()

    def close(self) -> None:
        """See `aclose`."""
        if not self._closed:
            self._closed = True
            self._owner._leave(self)
            self.feed.bell.ring()

    def _check(self) -> None:
        """Whether there is something to wait for.

        :raises ScanstreamError: if not
        """
        if self.left:
            raise Closed(f"{self.id} is followed no more; it goes on at the server: client.watch({self.id!r})")
        if self.feed.error is not None:
            raise self.feed.error


class Updates(AsyncIterator[Update]):
    """One reader of a scan: what it is given at a time is all that is new to it, however slowly it takes it."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self.feed = scan.feed
        self._cursor: str | None = scan._since
        self._told = False
        self._state: Document = {}
        self._list: list[Document] = []
        self._taken = 0
        """Of the list, so many are told or not wanted."""
        self._known: set[str] = set()
        """What was told of a list that a snapshot has replaced."""

    def __aiter__(self) -> "Updates":
        """Itself."""
        return self

    async def __anext__(self) -> Update:
        """The next update.

        :raises StopAsyncIteration: at the end of the scan, or of its following
        :raises NotFound, Expired, Unauthorized: if there is nothing to follow any more
        """
        while not self._scan.left:
            cursor = self._scan._told
            if cursor is not None and self.feed.mirror.state and (not self._told or cursor != self._cursor):
                return self._next(cursor)
            if self.feed.over:
                break
            await self.feed.bell.rung()
        if not self._scan.left and self.feed.error is not None:
            raise self.feed.error
        raise StopAsyncIteration

    def _next(self, cursor: str) -> Update:
        state, before = self.feed.mirror.state, self._cursor
        found = self._new()
        offset = self.feed.mirror.base + self._taken - len(found)
        patch = _patch(self._state, state)
        self._state, self._cursor, self._told = state, cursor, True
        return Update(
            state=state, patch=patch, opportunities=found, offset=offset, cursor=cursor, skipped=skipped(before, cursor)
        )

    def _new(self) -> list[Document]:
        if self._scan._only:
            return []
        mirror = self.feed.mirror
        if mirror.opportunities is not self._list:
            self._known |= {one["id"] for one in self._list[: self._taken]}
            self._list, self._taken = mirror.opportunities, max(0, self._scan._start - mirror.base)
        found = self._list[self._taken :]
        self._taken = max(self._taken, len(self._list))
        return [one for one in found if one["id"] not in self._known] if self._known else found


def _by_confidence(found: Document) -> tuple[float, str]:
    """The order of results (docs/protocol.md, section 3)."""
    return (-found.get("confidence_score", 0.0), str(found.get("id")))


def _patch(before: Document, after: Document) -> Document:
    """What leads from one state to a later one; all of it where that is of another log."""
    try:
        return diff(before, after)
    except ValueError:
        return after
