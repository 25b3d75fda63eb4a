"""The port: what the doors ask for a scan. `scans.desk` fits it, `app` binds it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from scanstream.log.cursor import Cursor, Position
from scanstream.log.scanlog import ScanLog
from scanstream.message import AckBody
from scanstream.model import DiscoverRequest, IdempotencyKey, Principal, ScanId
from scanstream.security.caller import Owner

PATIENCE_SECONDS = 1.0
"""A scan starts this long after its registration even if the client has not taken the ack."""


class Desk(Protocol):
    """Registers scans, lets them start, finds them again."""

    async def register(
        self,
        principal: Principal,
        request: DiscoverRequest,
        key: IdempotencyKey | None = None,
        *,
        prefix: str = "",
    ) -> AckBody:
        """Durable and folded when it returns; not started before `release`. The same key is the same scan.

        :param prefix: the path that the server stands below for the caller; the scan's addresses begin with it
        :raises ScanstreamError: InvalidRequest, StoreUnavailable, Restarting; for new work TooManyScans, Shortage;
            Damaged, if the record of the key's scan is
        """
        ...

    async def answered(
        self, principal: Principal, request: DiscoverRequest, key: IdempotencyKey | None = None
    ) -> AckBody | None:
        """What `register` would say if an existing scan answers the request; None where it would be new work.

        :raises ScanstreamError: InvalidRequest, StoreUnavailable; Damaged, if the record of the key's scan is
        """
        ...

    def release(self, scan_id: ScanId) -> None:
        """The ack was handed to the transport, or never can be. To be called in a `finally`; twice is once."""
        ...

    def rank(self, scan_id: ScanId) -> int | None:
        """The scan's place in the queue, from 1; None if it does not wait."""
        ...

    async def find(self, owner: Owner, scan_id: str, arrived: float | None = None) -> ScanLog:
        """The log of the caller's scan; of their newest one for `latest`. Never older than what any node had shown.

        :param arrived: by then, on the loop's clock; None: by now. One question for many scans came once

        :raises ScanstreamError: NotFound, Expired, Damaged, StoreUnavailable
        """
        ...

    def held(self, owner: Owner, scan_id: str) -> ScanLog | None:
        """The log of the caller's scan, if it can be had without waiting; where it is None, `find` knows why."""
        ...

    async def newest(self, principal: Principal, limit: int, before: str | None = None) -> list[ScanLog]:
        """The caller's scans, newest first; those older than `before` where it is given. As recent as with `find`.

        One whose record is damaged is left out.

        :raises ScanstreamError: for `before` as `find` does; StoreUnavailable
        """
        ...

    async def cancel(self, owner: Owner, scan_id: str) -> ScanLog:
        """Ask for the scan's end; its log, which says what became of that.

        :raises ScanstreamError: NotFound, Expired, Damaged, StoreUnavailable, Restarting
        """
        ...

    def acknowledge(self, log: ScanLog, position: Position) -> AckBody:
        """The ack of a scan as of now, for a reader that goes on from `position`."""
        ...

    async def place(self, log: ScanLog, cursor: Cursor | None) -> Position:
        """Where a reader with this cursor goes on, in a log that `find` has just given."""
        ...


@contextmanager
def released(desk: Desk, scan_id: ScanId) -> Iterator[None]:
    """Hand out the ack in here: the scan may start afterwards, whatever happens, or when patience is over."""
    late = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, desk.release, scan_id)
    try:
        yield
    finally:
        late.cancel()
        desk.release(scan_id)
