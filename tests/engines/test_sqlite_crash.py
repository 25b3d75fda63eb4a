"""`kill -9` of a process that writes: what it was promised is there, and no log has a hole."""

import random
from pathlib import Path

import pytest

from scanstream.engines.sqlite import open_store
from scanstream.model import ScanId
from support.process import lines_until_killed
from support.stores import consuming, fact, registration

pytestmark = pytest.mark.anyio

ROUNDS = 3


async def test_killed_at_any_moment_nothing_acked_and_nothing_fed_is_lost(tmp_path: Path) -> None:
    promised: dict[ScanId, int] = {}
    for _ in range(ROUNDS):
        count = random.randrange(1, 600)
        lines = lines_until_killed("appender.py", tmp_path, count)
        for kind, name, seq in map(str.split, lines):
            assert kind in ("acked", "fed")
            promised[ScanId(name)] = max(int(seq), promised.get(ScanId(name), 0))
        async with open_store(tmp_path) as store, consuming(store) as consumer:
            for scan_id, last in promised.items():
                log = await store.history(scan_id)
                assert log is not None, f"killed after {count} lines: {scan_id} is gone"
                assert len(log) >= last, f"killed after {count} lines: {scan_id} has {len(log)} of {last} entries"
                assert log == [registration(scan_id), *map(fact, range(2, len(log) + 1))]
                assert consumer.log(scan_id) == log
    assert promised
