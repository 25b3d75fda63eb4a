"""A store that others write to, too, while this process has not read it yet: what a node of a cluster has to live with.

It is SQLite's. What is written `elsewhere` is durable, and any other node may have shown it; here it is fed with the
next barrier, or with the next write of our own, and not before.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import anyio
import pytest
from msgspec.structs import replace

from scanstream.engines import sqlite as engine
from scanstream.engines.sqlite import Fed, SqliteStore
from scanstream.errors import StoreUnavailable
from scanstream.log.entry import AnyEntry, Registered, encode
from scanstream.model import ANYONE, ScanId, now
from scanstream.scans.identity import new_scan_id


class BehindStore(SqliteStore):
    """The store port, shared with another node that the test plays."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.shared = True
        self.barriers = 0
        """How many were asked for."""
        self.away: Literal["", "silent", "said"] = ""
        """Whether barriers fail: by no answer, or by saying so at once."""
        self._unread: list[Fed] = []

    async def barrier(self) -> None:
        """See `Store.barrier`."""
        self.barriers += 1
        if self.away == "silent":
            await anyio.sleep_forever()
        if self.away == "said":
            raise StoreUnavailable("The stream has no leader", retry_after=2)
        await self._read_on()

    async def register(self, scan: Registered, replaces: ScanId | Literal["any"] | None) -> ScanId:
        """See `Store.register`."""
        await self._read_on()
        return await super().register(scan, replaces)

    async def append(self, scan_id: ScanId, *entries: AnyEntry) -> None:
        """See `Store.append`."""
        await self._read_on()
        await super().append(scan_id, *entries)

    async def _read_on(self) -> None:
        unread, self._unread = self._unread, []
        await self._commits.run(lambda _: (None, unread), fed=True)

    async def append_elsewhere(self, scan_id: str, *entries: AnyEntry) -> None:
        """Another node has appended this."""

        def append(connection: sqlite3.Connection) -> list[Fed]:
            head = self._head(ScanId(scan_id))
            fed = [(ScanId(scan_id), head + place, entry) for place, entry in enumerate(entries, start=1)]
            connection.executemany("INSERT INTO entries VALUES (?, ?, ?)", [(*at, encode(entry)) for *at, entry in fed])
            self._heads[ScanId(scan_id)] = head + len(entries)
            return fed

        self._unread += await self._commits.run(append)

    async def register_elsewhere(self, like: str) -> ScanId:
        """Another node has registered a scan like this one, in a slot of its own."""
        history = await self.history(ScanId(like))
        assert history is not None
        first = history[0]
        assert isinstance(first, Registered)
        at = now()
        scan_id = new_scan_id(self.key, ANYONE, at)
        scan = replace(first, at=at, scan_id=scan_id, slot=f"slot of {scan_id}")

        def register(connection: sqlite3.Connection) -> None:
            connection.execute(engine._REGISTER, (scan_id, scan.slot, scan.principal, at))
            connection.execute("INSERT INTO slots VALUES (?, ?)", (scan.slot, scan_id))
            connection.execute("INSERT INTO entries VALUES (?, 1, ?)", (scan_id, encode(scan)))
            self._heads[scan_id] = 1

        await self._commits.run(register)
        self._unread.append((scan_id, 1, scan))
        return scan_id


@contextmanager
def behind(monkeypatch: pytest.MonkeyPatch, *, shared: bool = True) -> Iterator[list[BehindStore]]:
    """Servers that are started in here stand on such a store; each is in the list."""
    opened: list[BehindStore] = []

    def opening(*arguments: Any, **named: Any) -> BehindStore:
        opened.append(BehindStore(*arguments, **named))
        opened[-1].shared = shared
        return opened[-1]

    with monkeypatch.context() as patch:
        patch.setattr(engine, "SqliteStore", opening)
        yield opened
