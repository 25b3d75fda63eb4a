"""Databases of earlier versions: what they hold is there, and in its order, after one transaction."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engines.deliveries_contract import delivery, taken
from scanstream.engines.schema import DATABASE, SCHEMA_VERSION, connect
from scanstream.engines.sqlite import open_store
from scanstream.errors import DataUnusable
from scanstream.log.entry import AnyEntry, encode
from scanstream.model import ANYONE, Principal, ScanId
from support.stores import consuming, fact, registration

pytestmark = pytest.mark.anyio

VERSION_1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE scans (
    scan_id TEXT PRIMARY KEY, slot TEXT NOT NULL, principal TEXT NOT NULL, registered_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX scans_by_end ON scans (expires_at);
CREATE INDEX scans_by_age ON scans (principal, registered_at, scan_id);
CREATE TABLE slots (slot TEXT PRIMARY KEY, scan_id TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE entries (
    scan_id TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (scan_id, seq)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
INSERT INTO meta VALUES ('identity', x'30316162');
"""
KEY = bytes(range(32))


def of_version_1(data: Path) -> None:
    """A database as the first release wrote it: three scans, the second of them settled."""
    data.mkdir(exist_ok=True)
    with closing(sqlite3.connect(data / DATABASE)) as connection, connection:
        connection.executescript(VERSION_1)
        connection.execute("INSERT INTO meta VALUES ('key', ?)", (KEY,))
        for name, at, expires_at in (("b", 3, None), ("c", 1, 5_000), ("a", 2, None)):
            scan = registration(name, at=at)
            connection.execute(
                "INSERT INTO scans VALUES (?, ?, ?, ?, ?)", (name, scan.slot, scan.principal, at, expires_at)
            )
            connection.execute("INSERT INTO slots VALUES (?, ?)", (scan.slot, name))
            entries: list[AnyEntry] = [scan, fact(0)]
            for seq, entry in enumerate(entries, start=1):
                connection.execute("INSERT INTO entries VALUES (?, ?, ?)", (name, seq, encode(entry)))


VERSION_2 = VERSION_1.replace(
    """    scan_id TEXT PRIMARY KEY, slot TEXT NOT NULL, principal TEXT NOT NULL, registered_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX scans_by_end ON scans (expires_at);
CREATE INDEX scans_by_age ON scans (principal, registered_at, scan_id);
""",
    """    number INTEGER PRIMARY KEY, scan_id TEXT NOT NULL UNIQUE, slot TEXT NOT NULL,
    principal TEXT NOT NULL, registered_at INTEGER NOT NULL, expires_at INTEGER
) STRICT;
CREATE INDEX scans_by_end ON scans (expires_at);
CREATE INDEX scans_by_order ON scans (principal, number);
""",
).replace("user_version = 1", "user_version = 2")


def version(data: Path) -> int:
    """Of the schema in this directory."""
    with closing(sqlite3.connect(data / DATABASE)) as connection:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
    assert isinstance(found, int)
    return found


async def test_a_database_of_version_1_is_taken_over_with_all_that_it_holds(tmp_path: Path) -> None:
    of_version_1(tmp_path)
    for _ in range(2):
        async with open_store(tmp_path) as store, consuming(store) as consumer:
            assert (store.identity, store.key) == ("01ab", KEY)
            assert [(scan_id, seq) for scan_id, seq, _ in consumer.taken] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
            assert consumer.log("a") == [registration("a", at=2), fact(0)]
            assert await store.newest(ANYONE, 10) == ["b", "a", "c"]
            assert await store.expired(5_000) == ["c"]
            assert await store.register(registration("d", "slot of c"), None) == "c"
        assert version(tmp_path) == SCHEMA_VERSION
    async with open_store(tmp_path) as store:
        await store.register(registration("d", at=0), None)  # the clock was set back: it is the newest all the same
        assert await store.newest(ANYONE, 2) == ["d", "b"]
        assert await store.newest(ANYONE, 2, ScanId("d")) == ["b", "a"]


async def test_a_database_of_version_2_is_taken_over_and_keeps_deliveries_from_then_on(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection, connection:
        connection.executescript(VERSION_2)
        connection.execute("INSERT INTO meta VALUES ('key', ?)", (KEY,))
        scan = registration("a", at=1)
        connection.execute("INSERT INTO scans VALUES (7, 'a', ?, ?, 1, NULL)", (scan.slot, scan.principal))
        connection.execute("INSERT INTO entries VALUES ('a', 1, ?)", (encode(scan),))
    assert version(tmp_path) == 2
    async with open_store(tmp_path) as store, consuming(store) as consumer:
        assert (store.identity, store.key) == ("01ab", KEY)
        assert consumer.log("a") == [scan]
        await store.deliveries.put(delivery("a"))
    assert version(tmp_path) == SCHEMA_VERSION
    async with open_store(tmp_path) as store:
        assert [attempt.delivery for attempt in await taken(store.deliveries, 1)] == [delivery("a")]


VERSION_3 = VERSION_2.replace(
    "PRAGMA user_version = 2",
    """CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, due INTEGER NOT NULL, pause INTEGER NOT NULL,
    tries INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX deliveries_by_due ON deliveries (due);
PRAGMA user_version = 3""",
)


async def test_a_database_of_version_3_is_taken_over_with_what_is_to_be_told_elsewhere(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection, connection:
        connection.executescript(VERSION_3)
        connection.execute("INSERT INTO meta VALUES ('key', ?)", (KEY,))
        body = b'{"id":"a","scan_id":"scan_a","url":"https://hooks.example.com/a","expires_at":2199023255552}'
        connection.execute("INSERT INTO deliveries VALUES (7, 'a', 1, 0, 4, ?)", (body,))
    async with open_store(tmp_path) as store:
        await store.deliveries.put(delivery("b", principal=Principal("bob")))
        attempts = await taken(store.deliveries, 2)
        assert [(attempt.delivery.id, attempt.number) for attempt in attempts] == [("a", 5), ("b", 1)]
        assert attempts[0].delivery == delivery("a")
    assert version(tmp_path) == SCHEMA_VERSION == 4


async def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    of_version_1(tmp_path)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        connection.execute("CREATE INDEX scans_by_order ON slots (scan_id)")  # in the way of the last step but two
    with pytest.raises(DataUnusable, match="scans_by_order"):
        connect(tmp_path / DATABASE)
    assert version(tmp_path) == 1
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        connection.execute("DROP INDEX scans_by_order")
        assert connection.execute("SELECT count(*) FROM scans").fetchone() == (3,)
    connect(tmp_path / DATABASE).close()
    assert version(tmp_path) == SCHEMA_VERSION
