"""What a terminal shows of a scan: progress while it runs, the best finds when it has ended."""

import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from scanstream.client.flags import command
from scanstream.client.mirror import Mirror
from scanstream.client.tables import BEST, best_table

UNFINISHED = ("pending", "running")


class ScanView:
    """A scan as a bar for each strategy and a table of the best opportunities."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._progress = Progress(
            TextColumn("{task.description:<14}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[shards]:>7}", markup=False),
            TextColumn("{task.fields[status]}", markup=False),
        )
        self._tasks: dict[str, Any] = {}
        self._cursor: str | None = None
        self._changed = time.monotonic()
        self.lost = ""
        """Why nothing comes, while nothing does."""

    def __rich__(self) -> Group:
        """The view as of now."""
        if self._cursor != self._mirror.cursor:
            self._cursor, self._changed = self._mirror.cursor, time.monotonic()
        state = self._mirror.state
        for name, strategy in state.get("strategies", {}).items():
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task(name, total=None, status="", shards="")
            self._progress.update(self._tasks[name], **_bar(strategy))
        parts: list[RenderableType] = [Text(self._headline(state) if state else "acknowledged")]
        parts.append(self._progress)
        if self._mirror.opportunities:
            parts.append(best_table(self._mirror.opportunities))
        if self.lost:
            parts.append(Text(self.lost, style="yellow"))
        return Group(*parts)

    def _headline(self, state: dict[str, Any]) -> str:
        words = [state["phase"], f"{state['progress']['percentage']} %"]
        left = state.get("estimated_time_remaining_seconds")
        if left and state["status"] == "scanning" and not self.lost:
            left -= time.monotonic() - self._changed
            if left >= 1:
                words.append(f"about {left:.0f} s left")
        return " · ".join(words)


def _bar(strategy: dict[str, Any]) -> dict[str, Any]:
    done, total, status = strategy["shards_completed"], strategy["total_shards"], strategy["status"]
    ended = status not in UNFINISHED
    seconds = f" in {strategy['elapsed_ms'] / 1000:.1f} s" if ended else ""
    return {
        "total": total or (1 if ended else None),
        "completed": done if total else int(ended),
        "shards": f"{done}/{total}",
        "status": f"{status}, {strategy['opportunities_found']} found{seconds}",
    }


async def show(messages: AsyncIterator[dict[str, Any]], mirror: Mirror, console: Console, view: ScanView) -> str:
    """Show a scan whose messages come here, each once it is in the mirror, until it ends; its status."""
    if console.is_terminal:
        await anext(messages, None)  # until then there is nothing to show, and perhaps no server
        with Live(view, console=console, refresh_per_second=12):
            async for _ in messages:
                pass
    else:
        said = ""
        async for _ in messages:
            line = progress_line(mirror) if mirror.state and not mirror.ended else said
            if line != said:
                console.print(line, highlight=False)
                said = line
        if mirror.opportunities:
            console.print(best_table(mirror.opportunities))
    print_summary(mirror.state, console)
    return str(mirror.state["status"])


def print_summary(state: dict[str, Any], console: Console) -> None:
    """How it ended, and what each strategy has to say about that."""
    _print(console, f"{state['message']} in {_duration(state)}")
    for name, strategy in state["strategies"].items():
        why = strategy.get("note") or strategy.get("error", {}).get("detail")
        if why:
            _print(console, f"  {name}: {why}")


def print_hint(state: dict[str, Any], url: str, console: Console) -> None:
    """Where the rest is, for somebody who sees only the best."""
    if console.is_terminal and state["total_opportunities"] > BEST:
        _print(console, "All of them: " + command(f"results {state['scan_id']}", url))


def print_state(state: dict[str, Any], console: Console) -> None:
    """A scan as it is now, in a few lines."""
    _print(console, f"{state['scan_id']}: {state['status']}, {state['message']}")
    _print(console, progress_line_of(state))
    for name, strategy in state["strategies"].items():
        bar = _bar(strategy)
        _print(console, f"  {name:<14} {bar['shards']:>7}  {bar['status']}")
        why = strategy.get("note") or strategy.get("error", {}).get("detail")
        if why:
            _print(console, f"    {why}")


def _print(console: Console, words: str) -> None:
    console.print(words, highlight=False, markup=False, soft_wrap=True)


def progress_line(mirror: Mirror) -> str:
    """One line for a pipe: what changed is visible from line to line."""
    return progress_line_of(mirror.state)


def progress_line_of(state: dict[str, Any]) -> str:
    """See `progress_line`."""
    progress = state["progress"]
    return (
        f"{progress['percentage']:3d} %  {state['phase']:<10} shards {progress['shards_completed']}"
        f"/{progress['total_shards']}  strategies {progress['strategies_completed']}/{progress['total_strategies']}"
        f"  found {progress['opportunities_found_so_far']}"
    )


def _duration(state: dict[str, Any]) -> str:
    """From when it was let in; one that never was took no time."""
    finished = datetime.fromisoformat(state["finished_at"])
    started = datetime.fromisoformat(state.get("started_at", state["finished_at"]))
    return f"{(finished - started).total_seconds():.1f} s"
