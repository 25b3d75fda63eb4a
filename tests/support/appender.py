"""A process that writes into a store until it is killed, and says what it was promised.

`python appender.py DATA` prints a line `acked SCAN SEQ` for each acknowledged append, with the seq of its last entry,
and `fed SCAN SEQ` for each entry that the feed gave.
"""

import sys
import uuid
from pathlib import Path

import anyio

from scanstream.engines.sqlite import SqliteStore, open_store
from scanstream.model import ScanId
from support.stores import fact, feeding, registration

SCANS = 8


async def main() -> None:
    """Several scans at once, in entries of one to three."""
    async with open_store(Path(sys.argv[1])) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(_read, store)
        for _ in range(SCANS):
            tasks.start_soon(_write, store, ScanId(f"scan_{uuid.uuid4().hex}"))


async def _read(store: SqliteStore) -> None:
    async for scan_id, seq, _ in feeding(store):
        print("fed", scan_id, seq, flush=True)


async def _write(store: SqliteStore, scan_id: ScanId) -> None:
    await store.register(registration(scan_id), None)
    print("acked", scan_id, 1, flush=True)
    seq = 1
    while True:
        entries = [fact(seq + 1 + number) for number in range(1 + seq % 3)]
        await store.append(scan_id, *entries)
        seq += len(entries)
        print("acked", scan_id, seq, flush=True)


if __name__ == "__main__":
    anyio.run(main)
