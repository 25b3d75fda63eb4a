"""Many short scans through one server: after the retention they leave no trace in its memory."""

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from support.process import server_process
from support.raw import resident
from support.wire import discover, until_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.soak, pytest.mark.timeout(1200)]

SCANS = 20_000
LAPS = 8
AT_ONCE = 16
MEGABYTE = 1024 * 1024


async def ask(url: str, left: Iterator[int]) -> None:
    """Discover as long as there are scans left to ask for; each client waits for its scan's end."""
    for _ in left:
        answer = await discover(url)
        assert answer.status == 202, answer
        await until_terminal(url, answer.json()["scan_id"])


async def test_resident_memory_is_flat_after_the_retention(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with server_process(tmp_path, "--retention", "5", "--fresh", "0", "--max-running", "8") as server:
        held: list[float] = []
        for _ in range(LAPS):
            left = iter(range(SCANS // LAPS))

            async with anyio.create_task_group() as clients:
                for _ in range(AT_ONCE):
                    clients.start_soon(ask, server.url, left)
            await anyio.sleep(8)  # longer than the retention and a sweep: time is the matter here
            held.append(resident(server) / MEGABYTE)
    with capsys.disabled():
        print(f"\n{SCANS} scans, resident MB after each {SCANS // LAPS}: " + " ".join(f"{size:.0f}" for size in held))
    assert held[-1] - held[1] < 10
