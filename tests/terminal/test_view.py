"""What a terminal, or a pipe, shows of a scan."""

import io
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from rich.console import Console

from scanstream.client.mirror import Mirror
from scanstream.terminal.view import ScanView, show
from support.histories import opportunity

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
        "market": "synthetic",
        "phase": "running" if status == "scanning" else "done",
        "message": f"It is {status}",
        "progress": progress,
        "strategies": {name: {**usual, **strategy} for name, strategy in strategies.items()},
    }


def rendered(view: ScanView, height: int = 25) -> list[str]:
    """The view on a screen of 80 columns."""
    console = Console(file=io.StringIO(), width=80, height=height, force_terminal=True, color_system=None)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("strategy", "bar"),
    [
        ({"status": "pending"}, "[--------------------]     0/0 pending, 0 found"),
        ({"status": "pending", "total_shards": 8}, "[--------------------]     0/8 pending, 0 found"),
        ({"status": "running", "total_shards": 8, "shards_completed": 2}, "[#####---------------]     2/8 running,"),
        (
            {"status": "running", "total_shards": 300, "shards_completed": 299},
            "[###################-] 299/300 running,",
        ),
        ({"status": "complete", "total_shards": 8, "shards_completed": 8}, "[####################]     8/8 complete,"),
        ({"status": "complete"}, "[####################]     0/0 complete, 0 found in 0.0 s"),
    ],
)
def test_a_bar_tells_without_colour_how_full_it_is(strategy: dict[str, Any], bar: str) -> None:
    mirror = Mirror()
    mirror.state = state("scanning", 0, pairs=strategy)
    [line] = [line for line in rendered(ScanView(mirror)) if line.startswith("pairs")]
    assert line.startswith(f"pairs          {bar}")


def test_while_the_connection_is_lost_nothing_is_promised() -> None:
    mirror = Mirror()
    view = ScanView(mirror)
    mirror.state = {**state("scanning", 5), "estimated_time_remaining_seconds": 50.0}
    assert "about 50 s left" in rendered(view)[0]
    view.lost = "Connection lost (cut off)"
    shown = rendered(view)
    assert shown[1] == "Connection lost (cut off)"
    assert "left" not in shown[0]


def test_what_is_no_market_of_ours_is_named_without_a_judgement() -> None:
    mirror = Mirror()
    for market, line in (
        ("synthetic", "Market: synthetic (generated prices, nothing in them is real)"),
        ("files:candles", "Market: files:candles (files of the server)"),
        ("ccxt:a,b", "Market: ccxt:a,b (live prices of an exchange)"),
        ("tomorrow", "Market: tomorrow"),
    ):
        mirror.state = {**state("scanning", 5), "market": market}
        assert rendered(ScanView(mirror))[1] == line


@pytest.mark.parametrize("height", [24, 16, 10])
@pytest.mark.parametrize("lines", [0, 1, 2])
def test_a_view_fits_the_screen_while_the_scan_runs_and_is_whole_at_its_end(height: int, lines: int) -> None:
    mirror = Mirror()
    mirror.state = state("scanning", 5, **{f"strategy_{number}": {"status": "running"} for number in range(8)})
    mirror.opportunities = [msgspec.to_builtins(opportunity(f"a:{number}")) for number in range(30)]
    view = ScanView(mirror)
    view.lost = " ".join(["Connection_lost" + "x" * 50] * lines)
    shown = rendered(view, height)
    assert sum("Connection_lost" in line for line in shown[1 : 1 + lines]) == lines
    above = 10 + lines
    assert len(shown) in (above, height - 1)
    assert sum("BTC/USDT" in line for line in shown) == min(10, max(0, height - 1 - above - 3))
    mirror.ended = True
    assert sum("BTC/USDT" in line for line in rendered(view, height)) == 10


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
        "Market: synthetic (generated prices, nothing in them is real)",
        "  0 %  running    shards 0/100  strategies 0/1  found 0",
        "  5 %  running    shards 5/100  strategies 0/1  found 0",
        "  5 %  done       shards 5/100  strategies 0/1  found 0",
        "It is failed in 61.2 s",
        "  a: division by [zero]",
        "  b: Nothing to scan",
    ]
