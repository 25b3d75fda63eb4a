"""What a terminal may have: nothing that it obeys, every figure however narrow it is, and its cursor back."""

import io
import signal
from typing import Any

import msgspec
import pytest
from anyio import to_thread
from rich.console import Console

from client.programs import Terminal, running, scripted
from scanstream.client.mirror import Mirror
from scanstream.terminal.output import Output, draws, legible, print_line
from scanstream.terminal.tables import opportunity_table, strategy_table
from scanstream.terminal.view import ScanView
from support.histories import opportunity
from support.process import server_process
from support.script import scripting

EVIL = "\x1b[2J\x1b]0;title\x07[/bold] [link=x]:apple:\x9b31m\u202eabc"


def written(*things: Any, columns: int = 80) -> str:
    """What standard output gets."""
    console = Output()
    console.file, console.width = io.StringIO(), columns
    for thing in things:
        console.print(thing)
    return str(console.file.getvalue())


def test_nothing_that_others_write_is_obeyed_and_brackets_are_brackets() -> None:
    catalogue = [{"id": EVIL, "opportunity_type": EVIL, "description": EVIL, "parameters": {"properties": {EVIL: {}}}}]
    found = {**msgspec.to_builtins(opportunity("a:1")), "symbols": [EVIL], "strategy_id": EVIL, "side": EVIL}
    shown = written(strategy_table(catalogue, plain=True), opportunity_table([found], plain=True), columns=1000)

    assert not set(shown) & {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u202e"} - {"\n"}
    assert shown.count("[/bold] [link=x]:apple:") == 7
    assert legible("a\r\nb\tc\x00") == "a\nb\tc\ufffd"


def test_a_note_of_several_lines_is_several_lines() -> None:
    console = Output()
    console.file = io.StringIO()
    print_line("one\ntwo \x1b[31m[red]", console)
    assert console.file.getvalue() == "one\ntwo \ufffd[31m[red]\n"


@pytest.mark.parametrize(("term", "does"), [("xterm", True), ("dumb", False), ("unknown", False)])
def test_only_where_lines_can_be_written_over_they_are(term: str, does: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    assert draws(Console(force_terminal=True)) is does
    assert not draws(Console(file=io.StringIO()))


@pytest.mark.parametrize("columns", [20, 30, 40, 50, 60, 80, 200])
def test_however_narrow_a_terminal_is_no_figure_is_cut(columns: int) -> None:
    """Bars are shorter, then gone; columns of the table are left out whole."""
    usual = {"opportunities_found": 1234567, "elapsed_ms": 98765, "status": "complete"}
    mirror = Mirror()
    mirror.state = {
        "status": "complete",
        "phase": "done",
        "market": "synthetic",
        "progress": {"percentage": 100},
        "strategies": {"a_strategy": {**usual, "shards_completed": 4096, "total_shards": 4096}},
    }
    found = {**msgspec.to_builtins(opportunity("a:1")), "expected_return": -0.000001, "confidence_score": 99.9}
    mirror.opportunities = [found]
    shown = " ".join(written(ScanView(mirror), columns=columns).split())
    for figure in ("4096/4096", "1234567", "98.8 s"):
        assert figure in shown, shown
    if columns >= 40:
        assert "99.9" in shown
        assert "+0.00%" in shown
    assert ("[####" in shown) == (columns >= 80)


@pytest.mark.anyio
@pytest.mark.clients
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_leaves_a_terminal_with_its_cursor(number: signal.Signals) -> None:
    """And ends the program as signals do."""
    with server_process(":memory:", "--workers", "1") as server:
        async with scripting() as script:
            with running(Terminal, "discover", "--url", server.url, *scripted(script)) as following:
                await script.started()
                await to_thread.run_sync(following.until, "running")
                following.process.send_signal(number)
                assert await to_thread.run_sync(following.end) == -number
                assert following.raw.rfind(b"\x1b[?25h") > following.raw.rfind(b"\x1b[?25l") >= 0
