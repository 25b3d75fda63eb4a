"""Opening: what takes long is said, can be stopped, and does not grow with what the store holds."""

import logging
import sqlite3
import sys
from pathlib import Path

import anyio
import pytest

from scanstream.engines import opening, schema
from scanstream.engines import sqlite as engine
from scanstream.engines.sqlite import open_store
from scanstream.model import ScanId
from support.stores import consuming, fact, registration

pytestmark = pytest.mark.anyio

ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that never ends, as on a very slow disk."""
    monkeypatch.setattr(schema, "_check", lambda connection: connection.execute(ENDLESS).fetchone())


@pytest.mark.usefixtures("endless")
async def test_what_takes_long_is_said_and_ends_when_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(opening, "SAID_AFTER_SECONDS", 0.0)
    opened = False
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:

            async def start() -> None:
                nonlocal opened
                async with open_store(tmp_path):
                    opened = True

            tasks.start_soon(start)
            while not caplog.messages:  # noqa: ASYNC110  # a log tells nobody
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    assert not opened
    assert str(tmp_path) in caplog.messages[0]
    assert "takes its time" in caplog.messages[0]
    monkeypatch.undo()
    async with open_store(tmp_path) as store:  # and the directory is free, the database whole
        assert await store.register(registration("scan_a"), None) == "scan_a"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process has read")
async def test_opening_reads_no_entries_of_finished_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_store(tmp_path) as store:
        for number in range(50):
            await store.register(registration(f"scan_{number}", ballast=50_000), None)
            await store.settle(ScanId(f"scan_{number}"), 9_000)
    read: list[int] = []

    def reader(file: Path | None, stop: object = None) -> sqlite3.Connection:
        connection = schema.connect(file)
        (hits,) = connection.execute("SELECT count(*) FROM scans").fetchone()
        assert hits == 50
        read.append(_bytes_read() - before)
        return connection

    monkeypatch.setattr(opening, "connect", reader)
    before = _bytes_read()
    async with open_store(tmp_path) as store, consuming(store) as consumer:
        assert consumer.taken == []
    assert read[0] < 500_000 < (tmp_path / schema.DATABASE).stat().st_size


def _bytes_read() -> int:
    """What this process has asked the kernel for so far, from the disk or from memory."""
    counted = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counted["rchar"])


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs are read three scans, or some bytes, at a time."""
    monkeypatch.setattr("scanstream.engines.reading.SLICE_SCANS", 3)
    monkeypatch.setattr("scanstream.engines.reading.SLICE_BYTES", 2_000)


@pytest.mark.usefixtures("small_slices")
async def test_many_unfinished_scans_are_read_in_slices_in_their_order_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "SAID_EACH_SECONDS", 0.0)
    names = [f"scan_{number:02}" for number in reversed(range(20))]
    async with open_store(tmp_path) as store:
        for name in names:
            await store.register(registration(name, ballast=1_500 if name.endswith("7") else 0), None)
            await store.append(ScanId(name), *map(fact, range(30)))
    with caplog.at_level(logging.WARNING, "scanstream"):
        async with open_store(tmp_path) as store, consuming(store) as consumer:
            assert list(dict.fromkeys(scan_id for scan_id, _, _ in consumer.taken)) == names
            for name in names:
                assert len(consumer.log(name)) == 31
                assert await store.history(ScanId(name)) == consumer.log(name)
                await store.append(ScanId(name), fact(99))
                assert await store.history(ScanId(name)) == consumer.log(name)
    assert any("20 so far" in message for message in caplog.messages)


async def test_a_thousand_scans_are_purged_in_a_few_transactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PURGE_SECONDS", 10.0)
    names = [ScanId(f"scan_{number}") for number in range(1000)]
    async with open_store(tmp_path) as store:
        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(store.register, registration(name), None)
        commits: list[str] = []
        store._connection.set_trace_callback(
            lambda statement: commits.append(statement) if statement == "COMMIT" else None
        )
        await store.purge(names)
        assert len(commits) <= 2
        monkeypatch.setattr(engine, "PURGE_SECONDS", 0.0)
        for name in names[:5]:
            await store.register(registration(name), None)
        commits.clear()
        await store.purge(names[:5])  # no transaction takes longer than one scan needs
        assert len(commits) == 5
