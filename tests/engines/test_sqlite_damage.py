"""A damaged database: refused where all hangs on it, else it costs the scans that it has hit, and no others."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import anyio
import pytest

from scanstream.engines.group_commit import Malformed
from scanstream.engines.schema import DATABASE
from scanstream.engines.sqlite import open_store
from scanstream.errors import Damaged, DataUnusable
from scanstream.log.entry import AnyEntry, ScanFailed
from scanstream.model import ANYONE, ScanId
from support.stores import consuming, fact, registration

pytestmark = pytest.mark.anyio

PAGE = 4096
SCANS = [ScanId(f"scan_{number:02}") for number in range(20)]
FINISHED = SCANS[::2]
FAR = 9_000_000_000_000


def written(scan_id: ScanId) -> list[AnyEntry]:
    """The log of one of the scans."""
    return [registration(scan_id, ballast=10_000), *map(fact, range(100))]


async def filled(data: Path) -> Path:
    """A database of some hundred pages, closed in an orderly way; its file. Every other scan has ended."""
    async with open_store(data) as store:
        for scan_id in SCANS:
            await store.register(registration(scan_id, ballast=10_000), None)
            await store.append(scan_id, *map(fact, range(100)))
        for scan_id in FINISHED:
            await store.settle(scan_id, FAR)
    return data / DATABASE


def overwrite(file: Path, places: range, length: int) -> None:
    """Put rubbish over `length` bytes at each of the places."""
    with file.open("r+b") as stream:
        for place in places:
            stream.seek(place)
            stream.write(b"\xa5" * length)


DAMAGES: dict[str, Callable[[Path, int], None]] = {
    "the middle of every page": lambda file, size: overwrite(file, range(PAGE // 4, size, PAGE), PAGE // 2),
    "the middle of every page but the first": lambda file, size: overwrite(
        file, range(PAGE + PAGE // 4, size, PAGE), PAGE // 2
    ),
    "the second half lost": lambda file, size: os.truncate(file, size // PAGE // 2 * PAGE),
    "the last page lost": lambda file, size: os.truncate(file, size - PAGE),
    "the file's head": lambda file, _: overwrite(file, range(1), 100),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damage_to_what_all_hangs_on_is_refused(tmp_path: Path, damage: str) -> None:
    file = await filled(tmp_path)
    DAMAGES[damage](file, file.stat().st_size)
    with pytest.raises(DataUnusable) as caught:
        async with open_store(tmp_path):
            pass
    assert str(file) in caught.value.detail


def leaves_of_entries(file: Path) -> list[int]:
    """Page numbers of the leaves that hold entries."""
    with closing(sqlite3.connect(file)) as connection:
        query = "SELECT pageno FROM dbstat WHERE name = 'entries' AND pagetype = 'leaf' ORDER BY path"
        return [page for (page,) in connection.execute(query)]


async def ask_all(data: Path) -> tuple[set[ScanId], set[ScanId]]:
    """Scans whose log is whole, and those that say that theirs is not; nothing else comes of any question."""
    whole, damaged, said = set[ScanId](), set[ScanId](), list[tuple[str, str]]()
    async with open_store(data) as store, consuming(store) as consumer:
        for scan_id in SCANS:
            try:
                log = await store.history(scan_id)
            except Damaged as error:
                said.append((error.scan_id, error.detail))
                damaged.add(scan_id)
                continue
            assert log is not None
            seq = next((seq for seq, entry in enumerate(log) if isinstance(entry, ScanFailed)), len(log))
            assert log[:seq] == written(scan_id)[:seq]
            (damaged if seq < len(log) else whole).add(scan_id)
        for scan_id in whole - set(FINISHED):
            assert consumer.log(scan_id) == written(scan_id)
        assert await store.register(registration("scan_new", at=5), None) == "scan_new"  # the server goes on
        await store.append(ScanId("scan_new"), fact(0))
        assert await store.newest(ANYONE, 1) == ["scan_new"]
        await store.purge([ScanId("scan_new")])
    assert {scan_id for scan_id, _ in said} <= damaged
    assert not any(str(data) in detail for _, detail in said)
    return whole, damaged


@pytest.mark.parametrize("place", [0, PAGE // 2, PAGE - 200], ids=["head", "middle", "end"])
async def test_a_damaged_page_of_entries_costs_its_own_scans(tmp_path: Path, place: int) -> None:
    file = await filled(tmp_path)
    leaves = leaves_of_entries(file)
    assert len(leaves) > 20
    hit = leaves[len(leaves) // 2]
    overwrite(file, range((hit - 1) * PAGE + place, (hit - 1) * PAGE + place + 1), 200)
    for _ in range(2):  # and at the next start it is not worse
        whole, damaged = await ask_all(tmp_path)
        assert 1 <= len(damaged) <= 2
        assert whole | damaged == set(SCANS)


async def test_a_purge_of_a_damaged_scan_frees_its_id_and_its_slot(tmp_path: Path) -> None:
    file = await filled(tmp_path)
    for page in leaves_of_entries(file)[1:-1]:
        overwrite(file, range((page - 1) * PAGE, (page - 1) * PAGE + 1), 200)
    async with open_store(tmp_path) as store, consuming(store):
        await store.purge(SCANS)
        assert [await store.history(scan_id) for scan_id in SCANS] == [None] * len(SCANS)
        assert await store.newest(ANYONE, 100) == []
        assert await store.expired(FAR) == []
        slot = f"slot of {SCANS[5]}"
        assert await store.register(registration("scan_99", slot), None) == "scan_99"


RUBBISH = [b"\xa5\xa5\xa5", b"", b"{}", b'{"type":"unheard of","at":1}', b"[" * 100_000, b'{"type":"queued","at":1e99}']


def damage(file: Path, scan_id: ScanId, seq: int, body: bytes | None) -> None:
    """Put this in an entry's place; None: nothing."""
    with closing(sqlite3.connect(file)) as connection, connection:
        if body is None:
            connection.execute("DELETE FROM entries WHERE scan_id = ? AND seq = ?", (scan_id, seq))
        else:
            connection.execute("UPDATE entries SET body = ? WHERE scan_id = ? AND seq = ?", (body, scan_id, seq))


@pytest.mark.parametrize("body", [*RUBBISH, None])
async def test_an_unreadable_entry_of_a_finished_scan_is_that_scans_alone(tmp_path: Path, body: bytes | None) -> None:
    file = await filled(tmp_path)
    damage(file, FINISHED[3], 40, body)
    damage(file, FINISHED[5], 1, body)
    whole, damaged = await ask_all(tmp_path)
    assert damaged == {FINISHED[3], FINISHED[5]}
    assert len(whole) == len(SCANS) - 2


@pytest.mark.parametrize("body", [*RUBBISH, None])
async def test_an_unfinished_scan_ends_at_its_unreadable_entry(tmp_path: Path, body: bytes | None) -> None:
    file = await filled(tmp_path)
    hit = SCANS[7]
    for seq in (41, 60):
        damage(file, hit, seq, body)
    for _ in range(2):
        async with open_store(tmp_path) as store, consuming(store) as consumer:
            log = consumer.log(hit)
            assert log == await store.history(hit)
            assert len(log) == 101  # cursors behind the damage are still places in this log
            assert log[:40] == written(hit)[:40]
            end = log[40]
            assert isinstance(end, ScanFailed)
            assert end.code == "damaged"
            assert "Entry 41" in end.detail
            assert {scan_id for scan_id, _, _ in consumer.taken} == set(SCANS) - set(FINISHED)


@pytest.mark.parametrize("number", [2_000_000_000, 2**63 - 1, -5])
async def test_an_entry_with_a_number_far_beyond_the_others_is_its_scans_damage(tmp_path: Path, number: int) -> None:
    file = await filled(tmp_path)
    hit = SCANS[7]
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE entries SET seq = ? WHERE scan_id = ? AND seq = 41", (number, hit))
    async with open_store(tmp_path) as store, consuming(store) as consumer:
        assert len(consumer.log(hit)) == (0 if number > 0 else 101)
        assert len({scan_id for scan_id, _, _ in consumer.taken} | {hit}) == len(SCANS) - len(FINISHED)
        if number > 0:
            with pytest.raises(Damaged):
                await store.history(hit)


async def test_an_unfinished_scan_without_its_registration_is_shelved(tmp_path: Path) -> None:
    file = await filled(tmp_path)
    hit = SCANS[7]
    damage(file, hit, 1, b"\xa5")
    for _ in range(2):
        async with open_store(tmp_path) as store, consuming(store) as consumer:
            assert consumer.log(hit) == []
            assert len({scan_id for scan_id, _, _ in consumer.taken}) == len(SCANS) - len(FINISHED) - 1
            with pytest.raises(Damaged):
                await store.history(hit)
    async with open_store(tmp_path) as store:
        assert hit in await store.expired(FAR)  # one day it is purged as if it had ended


@pytest.mark.parametrize("name", ["identity", "key"])
@pytest.mark.parametrize("value", [b"\xff\xfe", b""])
async def test_a_store_without_its_identity_or_its_key_is_refused(tmp_path: Path, name: str, value: bytes) -> None:
    file = await filled(tmp_path)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))
    with pytest.raises(DataUnusable):
        async with open_store(tmp_path):
            pass


async def test_a_name_that_is_no_text_any_more_is_that_scans_alone(tmp_path: Path) -> None:
    file = await filled(tmp_path)
    for number, (table, column) in enumerate((("scans", "scan_id"), ("slots", "scan_id"), ("scans", "principal"))):
        with closing(sqlite3.connect(file)) as connection, connection:
            query = f"UPDATE {table} SET {column} = CAST(x'ff61' AS TEXT) WHERE scan_id = ?"  # noqa: S608  # above
            connection.execute(query, (FINISHED[number],))
    async with open_store(tmp_path) as store, consuming(store):
        listed = await store.newest(ANYONE, 100)
        assert len(set(SCANS) & set(listed)) == len(SCANS) - 2
        for scan_id in listed:
            assert (await store.history(scan_id) if scan_id in SCANS else None) != []
        assert await store.register(registration("scan_new", f"slot of {FINISHED[1]}"), None) not in SCANS


async def test_damage_that_comes_while_the_server_runs_fails_alone(tmp_path: Path) -> None:
    """Whoever is in the same transaction is not told that the store cannot write."""
    file = await filled(tmp_path)
    async with open_store(tmp_path) as store:
        leaves = leaves_of_entries(file)
        for page in leaves[: len(leaves) // 2]:
            overwrite(file, range((page - 1) * PAGE, (page - 1) * PAGE + 1), 200)
        store._connection.execute("PRAGMA shrink_memory")
        refused = spared = 0
        for number, scan_id in enumerate(SCANS[:5]):
            try:
                await store.history(scan_id)
            except Damaged:
                refused += 1
            appended = False
            async with anyio.create_task_group() as tasks:  # in one transaction with what fails
                tasks.start_soon(store.register, registration(f"scan_n{number}"), None)
                with suppress(Malformed):
                    await store.append(scan_id, fact(0))
                    appended = True
            assert await store.newest(ANYONE, 1) == [f"scan_n{number}"]
            spared += appended
        assert refused > spared
