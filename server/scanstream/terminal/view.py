"""What a terminal shows of a scan: progress while it runs, the best finds when it has ended."""

import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from scanstream.client.condition import Connection
from scanstream.client.mirror import Mirror
from scanstream.terminal.flags import command
from scanstream.terminal.output import drawing, draws, print_line
from scanstream.terminal.tables import BEST, LINES_AROUND, best_table, best_title

UNFINISHED = ("pending", "running")
BAR = 20
"""Characters of a full bar, where there is room."""
LEAST_BAR = 5
SPARE = 1
"""Lines of the screen left free: there stands the cursor."""

ORIGINS = {
    "synthetic": "generated prices, nothing in them is real",
    "files": "files of the server",
    "ccxt": "live prices of an exchange",
}
"""Kind of market → what its prices are."""

SLOWER = {"stream": "a stream of events", "longpoll": "long polls", "poll": "polling"}
"""Transport that is not the best → in words."""


def market_line(market: str) -> str:
    """Which market it was, and whether anything in it is real."""
    origin = ORIGINS.get(market.partition(":")[0])
    return f"Market: {market}" + (f" ({origin})" if origin else "")


class ScanView:
    """A scan as a bar for each strategy and a table of the best opportunities.

    While the scan runs it fits the screen, which cannot scroll then: what is most important stands first.
    """

    def __init__(self, mirror: Mirror, connection: Connection | None = None) -> None:
        self._mirror = mirror
        self.connection = connection
        """How it is, where there is one."""
        self._cursor: str | None = None
        self._changed = time.monotonic()
        self.lost = ""
        """Why nothing comes, while nothing does."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The view as of now."""
        above = list(self._above(options.max_width))
        yield from above
        if self._mirror.opportunities:
            used = sum(len(console.render_lines(part, options, pad=False)) for part in above)
            rows = BEST if self._mirror.ended else min(BEST, options.max_height - SPARE - used - LINES_AROUND)
            if rows > 0:
                yield best_table(self._mirror.opportunities, rows, columns=options.max_width)

    def _above(self, columns: int) -> Iterator[RenderableType]:
        """All but the table."""
        if self._cursor != self._mirror.cursor:
            self._cursor, self._changed = self._mirror.cursor, time.monotonic()
        state = self._mirror.state
        yield Text(self._headline(state) if state else "acknowledged")
        if self.lost:
            yield Text(self.lost, style="yellow")
        elif self.connection is not None and (words := slower(self.connection)):
            yield Text(words, style="yellow")
        if state:
            yield Text(market_line(state["market"]))
            yield from _bars(state["strategies"], columns)

    def _headline(self, state: dict[str, Any]) -> str:
        words = [state["phase"], f"{state['progress']['percentage']} %"]
        left = state.get("estimated_time_remaining_seconds")
        if left and state["status"] == "scanning" and not self.lost:
            left -= time.monotonic() - self._changed
            if left >= 1:
                words.append(f"about {left:.0f} s left")
        return " · ".join(words)


def slower(connection: Connection) -> str:
    """That, and why, a scan comes over another transport than the best; empty where it does not."""
    if connection.state != "live" or connection.transport not in SLOWER:
        return ""
    why = f" ({connection.reason})" if connection.reason else ""
    return f"Slower: over {SLOWER[connection.transport]}{why}"


def _bars(strategies: dict[str, Any], columns: int) -> Iterator[Text]:
    """A line for each. Where there is too little room the bars are shorter, or left out; figures are never cut."""
    figures = {name: f"{_shards(strategy):>7} {_how(strategy)}" for name, strategy in strategies.items()}
    width = max((14, *map(len, strategies)))
    room = columns - width - len(" [] ") - max(map(len, figures.values()), default=0)
    for name, strategy in strategies.items():
        if room < LEAST_BAR:
            yield Text(f"{name} {figures[name].lstrip()}")
        else:
            bar = min(BAR, room)
            yield Text(f"{name.ljust(width)} [{'#' * _filled(strategy, bar):-<{bar}}] {figures[name]}", no_wrap=True)


def _filled(strategy: dict[str, Any], bar: int) -> int:
    """How much of the bar is; one without shards is empty or full."""
    done, total = strategy["shards_completed"], strategy["total_shards"]
    if total:
        return int(bar * done / total)
    return 0 if strategy["status"] in UNFINISHED else bar


def _shards(strategy: dict[str, Any]) -> str:
    return f"{strategy['shards_completed']}/{strategy['total_shards']}"


def _how(strategy: dict[str, Any]) -> str:
    status = strategy["status"]
    seconds = "" if status in UNFINISHED else f" in {strategy['elapsed_ms'] / 1000:.1f} s"
    return f"{status}, {strategy['opportunities_found']} found{seconds}"


async def show(news: AsyncIterator[object], mirror: Mirror, console: Console, view: ScanView) -> str:
    """Show a scan whose news come here, each once it is in the mirror, until it ends; its status."""
    if draws(console):
        await anext(news, None)  # until then there is nothing to show, and perhaps no server
        with drawing(console, view):
            async for _ in news:
                pass
    else:
        await _tell(news, mirror, console)
    print_summary(mirror.state, console)
    return str(mirror.state["status"])


async def _tell(news: AsyncIterator[object], mirror: Mirror, console: Console) -> None:
    """Line after line, as a pipe takes it."""
    said = ""
    async for _ in news:
        line = progress_line(mirror) if mirror.state else said
        if line and not said:
            print_line(market_line(mirror.state["market"]), console)
        if line != said:
            print_line(line, console)
            said = line
    if mirror.opportunities:
        print_line(best_title(mirror.opportunities), console)
        console.print(best_table(mirror.opportunities, plain=True))


def print_summary(state: dict[str, Any], console: Console) -> None:
    """How it ended, and what each strategy has to say about that."""
    print_line(f"{state['message']} in {_duration(state)}", console)
    for name, strategy in state["strategies"].items():
        why = strategy.get("note") or strategy.get("error", {}).get("detail")
        if why:
            print_line(f"  {name}: {why}", console)


def print_hint(state: dict[str, Any], url: str, console: Console) -> None:
    """Where the rest is, for somebody who sees only the best."""
    if draws(console) and state["total_opportunities"] > BEST:
        print_line("All of them: " + command(f"results {state['scan_id']}", url), console)


def print_state(state: dict[str, Any], console: Console) -> None:
    """A scan as it is now, in a few lines."""
    print_line(market_line(state["market"]), console)
    print_line(f"{state['scan_id']}: {state['status']}, {state['message']}", console)
    print_line(progress_line_of(state), console)
    for name, strategy in state["strategies"].items():
        print_line(f"  {name:<14} {_shards(strategy):>7}  {_how(strategy)}", console)
        why = strategy.get("note") or strategy.get("error", {}).get("detail")
        if why:
            print_line(f"    {why}", console)


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
