"""Who asks to be told: written into the scan's log while it runs, and due at once where it has ended."""

from collections.abc import Iterable

from scanstream.about import node_name
from scanstream.deliveries import Deliveries, Delivery
from scanstream.errors import Expired, InvalidRequest, NoSuchRoute, NotFound, StoreUnavailable
from scanstream.log.entry import NotifyAsked
from scanstream.log.fold import MOST_TARGETS, Folded
from scanstream.log.refold import OneOfEach
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.message import NotifyAccepted
from scanstream.model import Milliseconds, Principal, ScanId
from scanstream.notify.latecomers import Latecomers, too_many
from scanstream.notify.signing import Signing
from scanstream.notify.targets import Allowed, Target


class Notices:
    """Takes who is to be told of a scan's end."""

    def __init__(self, store: Store, deliveries: Deliveries, signing: Signing, allowed: Allowed) -> None:
        self._store = store
        self._deliveries = deliveries
        self._signing = signing
        self._allowed = allowed
        self._latecomers = Latecomers(store, self._due_now)
        self._asking = OneOfEach[ScanId]()
        """One asks after the other: whoever is one too many finds that out before it is written down."""

    def read(self, url: str) -> Target:
        """An address that may be told.

        :raises NoSuchRoute: if this server tells nobody
        :raises InvalidRequest: if it is none, or may not
        """
        if not self._allowed:
            raise NoSuchRoute("This server notifies nobody: its operator says with --notify who may be told")
        try:
            return self._allowed.read(url)
        except ValueError as error:
            raise InvalidRequest.of("url", str(error)) from error

    async def ask(self, log: ScanLog, target: Target) -> NotifyAccepted:
        """Have it told of the scan's end. Durable when it returns; the same address again is the same notification.

        :raises InvalidRequest: if as many are told already as may be
        :raises Expired: if the scan has expired meanwhile
        :raises StoreUnavailable: if it could not be made durable; asked again it does no harm
        """
        scan_id = log.scan_id
        asked = NotifyAsked(
            at=self._store.now(), by=node_name(), id=self._signing.id_of(scan_id, target.url), url=target.url
        )
        async with self._asking.turn(scan_id):
            if not log.ended and not _has(log.folded, asked.id):
                await self._write(log, asked)
            if not _has(log.folded, asked.id):
                await self._latecomers.ask(log, asked)
        return NotifyAccepted(
            success=True,
            scan_id=scan_id,
            notification_id=asked.id,
            url=target.url,
            signing_secret=self._signing.secret_of(log.folded.registered.principal, target.origin),
        )

    async def due(
        self, scan_id: ScanId, principal: Principal, targets: Iterable[NotifyAsked], expires_at: Milliseconds
    ) -> None:
        """A scan has ended: these are to be told, until it expires. Durable when it returns.

        :raises StoreUnavailable: if that cannot be written now; put again it is the same
        """
        await self._deliveries.put(
            *(
                Delivery(id=one.id, scan_id=scan_id, url=one.url, expires_at=expires_at, principal=principal)
                for one in targets
            )
        )

    async def _write(self, log: ScanLog, asked: NotifyAsked) -> None:
        """Into its log; behind the barrier that says what became of it. Its end may have come first."""
        if len(log.folded.targets) >= MOST_TARGETS:
            raise too_many()
        try:
            await self._store.append(log.scan_id, asked)
        except NotFound as error:
            raise Expired.of(log.scan_id) from error
        await self._store.barrier()
        if log.left:
            raise StoreUnavailable(
                "Another node knows more of this scan; ask again", retry_after=1, scan_id=log.scan_id
            )
        if not log.ended and not _has(log.folded, asked.id):
            raise too_many()

    async def _due_now(self, log: ScanLog, target: NotifyAsked) -> None:
        """It has ended: this one is told at once."""
        expires_at = log.folded.expires_at
        assert expires_at is not None
        await self.due(log.scan_id, log.folded.registered.principal, [target], expires_at)


def _has(folded: Folded, notification_id: str) -> bool:
    return any(target.id == notification_id for target in folded.targets)
