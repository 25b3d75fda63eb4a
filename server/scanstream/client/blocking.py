"""The same client without `await`: each call blocks. It stands on `AsyncClient`, which lives in a thread of its own."""

import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from scanstream.client.addresses import DEFAULT_URL
from scanstream.client.client import TIMEOUT_SECONDS, AsyncClient
from scanstream.client.condition import Connection
from scanstream.client.ladder import RUNGS, Transport
from scanstream.client.living import Living
from scanstream.client.mirror import Mirror
from scanstream.client.results import Results
from scanstream.client.scan import Scan, Update
from scanstream.client.token import Secret
from scanstream.errors import ScanstreamError
from scanstream.model import Document, Only


class Client:
    """A client of one server; use it with `with`. Leaving it, a scan, or a call (Ctrl-C) cancels nothing at the server.

    In a running event loop (a notebook, a coroutine) it would make that loop stand still, and refuses:
    `AsyncClient` is for there.

    :param url, token, transports: as of `AsyncClient`
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, token: Secret = None, transports: Sequence[Transport] = RUNGS
    ) -> None:
        self._client = AsyncClient(url, token=token, transports=transports)
        self._living = Living(self._client)
        weakref.finalize(self, self._living.leave).atexit = False

    def __enter__(self) -> "Client":
        """Ready.

        :raises BlockedLoop: inside a running event loop
        """
        try:
            self._living.open()
        except KeyboardInterrupt:  # as it was open
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Follow nothing any more."""
        self.close()

    def close(self) -> None:
        """Follow nothing any more: iterators end, and whoever waits for a scan is told `Closed`. Scans go on."""
        self._living.close()

    aclose = close

    @property
    def url(self) -> str:
        """The server's address."""
        return self._client.url

    @property
    def connection(self) -> Connection:
        """How it is: `state`, `transport`, `attempts`, `retry_at`, `lag`, `reason`."""
        return self._client.connection

    def reconnect(self) -> None:
        """See `AsyncClient.reconnect`."""

        async def hurry() -> None:
            self._client.reconnect()

        self._living.call(hurry)

    def discover(
        self, *, idempotency_key: str | None = None, timeout: float | None = TIMEOUT_SECONDS, **request: Any
    ) -> "BlockingScan":
        """See `AsyncClient.discover`."""
        return self._scan(lambda: self._client.discover(idempotency_key=idempotency_key, timeout=timeout, **request))

    def watch(
        self,
        scan_id: str,
        *,
        since: str | None = None,
        only: Only | None = None,
        timeout: float | None = TIMEOUT_SECONDS,
    ) -> "BlockingScan":
        """See `AsyncClient.watch`."""
        return self._scan(lambda: self._client.watch(scan_id, since=since, only=only, timeout=timeout))

    def follow(
        self, scan_id: str, mirror: Mirror | None = None, *, heard: Callable[[Document], None] | None = None
    ) -> "BlockingScan":
        """See `AsyncClient.follow`; `heard` is called in the client's thread."""

        async def followed() -> Scan:
            return self._client.follow(scan_id, mirror, heard=heard)

        return self._scan(followed)

    def strategies(self) -> list[Document]:
        """See `AsyncClient.strategies`."""
        return self._living.call(self._client.strategies)

    def market(self) -> Document:
        """See `AsyncClient.market`."""
        return self._living.call(self._client.market)

    def scans(self, *, limit: int = 20, before: str | None = None) -> list[Document]:
        """See `AsyncClient.scans`."""
        return self._living.call(lambda: self._client.scans(limit=limit, before=before))

    def _scan(self, ask: Callable[[], Awaitable[Scan]]) -> "BlockingScan":
        return BlockingScan(self._living.call(ask), self._living, self)


class BlockingScan:
    """A scan that is followed; see `Scan`. Iterate over it for updates."""

    def __init__(self, scan: Scan, living: Living, client: Client) -> None:
        self._scan = scan
        self._living = living
        self._client = client
        """Nothing is followed any more once nobody holds it."""

    def __repr__(self) -> str:
        return repr(self._scan)

    def __iter__(self) -> Iterator[Update]:
        """A reader of its own, from what is held on, to the end."""
        reader = aiter(self._scan)

        async def following() -> Update | None:
            return await anext(reader, None)

        while (update := self._living.call(following)) is not None:
            yield update

    @property
    def id(self) -> str:
        """Its id at the server."""
        return self._scan.id

    @property
    def url(self) -> str:
        """The server's address, as the client was given it."""
        return self._scan.url

    @property
    def connection(self) -> Connection:
        """How the way to the server is: its client's."""
        return self._scan.connection

    @property
    def ack(self) -> Document:
        """See `Scan.ack`."""
        return self._scan.ack

    @property
    def state(self) -> Document:
        """The newest, as plain data."""
        return self._scan.state

    @property
    def status(self) -> str:
        """`scanning`, `complete`, `failed` or `cancelled`."""
        return self._scan.status

    @property
    def opportunities(self) -> list[Document]:
        """All that were found so far, in the order of the log."""
        return self._scan.opportunities

    @property
    def cursor(self) -> str | None:
        """Where it is: what `client.watch(since=)` takes."""
        return self._scan.cursor

    @property
    def done(self) -> bool:
        """Whether it has ended, and everything of it is here."""
        return self._scan.done

    @property
    def left(self) -> bool:
        """See `Scan.left`."""
        return self._scan.left

    @property
    def error(self) -> ScanstreamError | None:
        """See `Scan.error`."""
        return self._scan.error

    @property
    def over(self) -> bool:
        """See `Scan.over`."""
        return self._scan.over

    def wait(self, timeout: float | None = None) -> Document:
        """See `Scan.wait`."""
        return self._living.call(lambda: self._scan.wait(timeout))

    def results(self, timeout: float | None = None) -> Results:
        """See `Scan.results`."""
        return self._living.call(lambda: self._scan.results(timeout))

    def cancel(self) -> Document:
        """See `Scan.cancel`."""
        return self._living.call(self._scan.cancel)

    def share(self, rights: Sequence[str] = ("read",), expires_in: int = 3600) -> Document:
        """See `Scan.share`."""
        return self._living.call(lambda: self._scan.share(rights, expires_in))

    def notify(self, url: str) -> Document:
        """See `Scan.notify`."""
        return self._living.call(lambda: self._scan.notify(url))

    def close(self) -> None:
        """Stop following: iterators end. The scan goes on at the server."""
        self._living.call(self._scan.aclose)

    aclose = close
