"""What a terminal shows of a scan: progress while it runs, the best finds when it has ended."""

from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from scanstream.client.connection import Connection
from scanstream.client.mirror import Mirror

BEST = 10
"""Opportunities in the table."""


class ScanView:
    """A scan as a bar for each strategy and a table of the best opportunities."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
        )
        self._tasks: dict[str, Any] = {}

    def __rich__(self) -> Group:
        """The view as of now."""
        for name, strategy in self._mirror.state.get("strategies", {}).items():
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task(name, status="")
            found, status = strategy["opportunities_found"], strategy["status"]
            self._progress.update(
                self._tasks[name],
                total=strategy["total_shards"] or None,
                completed=strategy["shards_completed"],
                status=f"{status}, {found} found",
            )
            if status not in ("pending", "running"):
                self._progress.stop_task(self._tasks[name])
        return Group(self._progress, best_table(self._mirror.opportunities))


def best_table(opportunities: list[dict[str, Any]]) -> Table:
    """The best opportunities by confidence."""
    table = Table(title=f"Best of {len(opportunities)} opportunities", title_justify="left", pad_edge=False)
    for name in ("symbol", "strategy", "side"):
        table.add_column(name, no_wrap=True)
    for name in ("confidence", "hit rate", "expected", "timeframe"):
        table.add_column(name, justify="right", no_wrap=True)
    for found in sorted(opportunities, key=lambda found: (-found["confidence_score"], found["id"]))[:BEST]:
        hit_rate = f"{found['hit_rate']:.0%} of {found['hit_rate_n']}" if "hit_rate" in found else "–"
        table.add_row(
            found["symbol"],
            found["strategy_id"],
            found["side"],
            f"{found['confidence_score']:.1f}",
            hit_rate,
            f"{found['expected_return']:+.2%}",
            found["estimated_timeframe"],
        )
    return table


async def show(connection: Connection, mirror: Mirror, console: Console) -> str:
    """Show a scan that this connection follows until it ends; its status."""
    view = ScanView(mirror)
    if console.is_terminal:
        with Live(view, console=console, refresh_per_second=12):
            await _follow(connection, mirror)
    else:
        await _follow(connection, mirror, console)
        console.print(best_table(mirror.opportunities))
    state = mirror.state
    console.print(f"{state['message']} in {_duration(state)}", highlight=False)
    for name, strategy in state["strategies"].items():
        why = strategy.get("note") or strategy.get("error", {}).get("detail")
        if why:
            console.print(f"  {name}: {why}", highlight=False)
    return str(state["status"])


async def _follow(connection: Connection, mirror: Mirror, plain: Console | None = None) -> None:
    async for message in connection.frames():
        mirror.apply(message)
        if mirror.ended:
            return
        if plain is not None:
            plain.print(progress_line(mirror), highlight=False)


def progress_line(mirror: Mirror) -> str:
    """One line for a pipe: what changed is visible from line to line."""
    state = mirror.state
    progress = state["progress"]
    return (
        f"{progress['percentage']:3d} %  {state['phase']:<10} shards {progress['shards_completed']}"
        f"/{progress['total_shards']}  strategies {progress['strategies_completed']}/{progress['total_strategies']}"
        f"  found {progress['opportunities_found_so_far']}"
    )


def _duration(state: dict[str, Any]) -> str:
    slowest = max((strategy["elapsed_ms"] for strategy in state["strategies"].values()), default=0)
    return f"{slowest / 1000:.1f} s"
