"""What a terminal, or a pipe, shows of a scan."""

import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
from rich.console import Console

from scanstream.client.mirror import Mirror
from scanstream.client.terminal import ScanView, show

pytestmark = pytest.mark.anyio


def state(status: str, percentage: int, **strategies: dict[str, Any]) -> dict[str, Any]:
    """A state with what is shown of it."""
    usual = {"shards_completed": 0, "total_shards": 0, "opportunities_found": 0, "elapsed_ms": 0}
    progress = {
        "percentage": percentage,
        "shards_completed": percentage,
        "total_shards": 100,
        "strategies_completed": 0,
        "total_strategies": 1,
        "opportunities_found_so_far": 0,
    }
    return {
        "status": status,
        "phase": "running" if status == "scanning" else "done",
        "message": f"It is {status}",
        "progress": progress,
        "strategies": {name: {**usual, **strategy} for name, strategy in strategies.items()},
    }


def rendered(view: ScanView) -> str:
    """The view on a screen."""
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_strategy_with_nothing_to_scan_has_a_full_bar() -> None:
    mirror = Mirror()
    mirror.state = state("complete", 100, pairs={"status": "complete"})
    full = rendered(ScanView(mirror))
    assert "0/0 complete, 0 found" in full
    mirror.state = state("scanning", 0, pairs={"status": "complete", "shards_completed": 8, "total_shards": 8})
    assert full.count("━") == rendered(ScanView(mirror)).count("━")


def test_while_the_connection_is_lost_nothing_is_promised() -> None:
    mirror = Mirror()
    view = ScanView(mirror)
    mirror.state = {**state("scanning", 5), "estimated_time_remaining_seconds": 50.0}
    assert "about 50 s left" in rendered(view)
    view.lost = "Connection lost (cut off)"
    shown = rendered(view)
    assert "Connection lost (cut off)" in shown
    assert "left" not in shown


async def test_a_pipe_gets_a_line_for_each_change_and_the_reasons_at_the_end() -> None:
    mirror = Mirror()
    failed = {"status": "failed", "error": {"code": "strategy_error", "detail": "division by [zero]"}}

    async def messages() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "ack"}
        for percentage in (0, 0, 5, 5):
            mirror.state = state("scanning", percentage, a={"status": "running"})
            yield {"type": "update"}
        ended = state("failed", 5, a=failed, b={"status": "complete", "note": "Nothing to scan"})
        times = {"started_at": "2026-11-23T14:00:00.000Z", "finished_at": "2026-11-23T14:01:01.250Z"}
        mirror.state = {**ended, **times}
        yield {"type": "update"}
        mirror.ended = True
        yield {"type": "end"}

    console = Console(file=io.StringIO(), width=80)
    assert await show(messages(), mirror, console, ScanView(mirror)) == "failed"
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "  0 %  running    shards 0/100  strategies 0/1  found 0",
        "  5 %  running    shards 5/100  strategies 0/1  found 0",
        "  5 %  done       shards 5/100  strategies 0/1  found 0",
        "It is failed in 61.2 s",
        "  a: division by [zero]",
        "  b: Nothing to scan",
    ]
