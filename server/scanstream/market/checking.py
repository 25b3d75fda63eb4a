"""What a market of files would be, file by file, before it is served: `scanstream market check`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from scanstream.errors import MarketError
from scanstream.market.files import FilesMarket, Gathered, read, remarks, said
from scanstream.market.panels import uneven
from scanstream.market.reading.parquet import ColumnarReader
from scanstream.market.reading.progress import Progress
from scanstream.market.reading.series import Series, step
from scanstream.market.reading.sources import Source, found_in
from scanstream.model import timestamp
from scanstream.panel import timeframe_name

MOST_SHOWN = 500
"""Rows of the table for people. JSON has all."""


class Part(Struct, omit_defaults=True):
    """What one file has of one symbol; or why it cannot be read."""

    file: str
    symbol: str = ""
    bars: int = 0
    first: str = ""
    last: str = ""
    timeframe: str = ""
    """The most common step between its bars."""
    gaps: int = 0
    """Bars that are absent between its first and its last."""
    layout: str = ""
    notes: list[str] = []
    problem: str = ""


class Served(Struct):
    """The market that the files make together."""

    symbols: int
    bars: int
    timeframe: str
    first: str
    scanned: str
    ahead: dict[str, int]
    behind: dict[str, int]


class Report(Struct, omit_defaults=True):
    """All that there is to say about a market of files."""

    market: str
    would_be_served: bool = False
    files: list[Part] = []
    passed_over: list[str] = []
    problems: list[str] = []
    notes: list[str] = []
    served: Served | None = None


def check(path: Path) -> Report:
    """Read all of it, as a server would at its start. What is wrong with one file does not hide the others."""
    market = FilesMarket(path)
    report = Report(market.name)
    gathered = Gathered(market.name)
    try:
        sources, passed = found_in(path)
    except MarketError as error:
        report.problems.append(error.detail)
        return report
    report.passed_over = [_below(file, path) for file in passed]
    progress = Progress(market.name, len(sources))
    with ColumnarReader(progress.took) as columnar:
        for source in sources:
            report.files += _parts(source, path, columnar, progress, gathered)
    report.problems += [part.problem for part in report.files if part.problem]
    if any(part.bars for part in report.files):
        try:
            panel, notes = gathered.panel()
        except MarketError as error:
            report.problems.append(error.detail)
        else:
            panel = panel.settled()
            report.notes += [*notes, *uneven(panel)]
            first, last = (timestamp(int(panel.times[at])) for at in (0, -1))
            length = timeframe_name(panel.timeframe)
            report.served = Served(len(panel.symbols), panel.bars, length, first, last, panel.ahead, panel.behind())
    report.would_be_served = not report.problems
    return report


def _parts(source: Source, path: Path, columnar: ColumnarReader, progress: Progress, gathered: Gathered) -> list[Part]:
    """One for each symbol in the file."""
    parts: list[Part] = []
    name = _below(source.file, path)
    try:
        table = read(source, columnar, progress)
        for series in table.series():
            gathered.add(series)
            parts.append(_part(name, series, table.layout))
    except MarketError as error:
        return [*parts, Part(name, source.symbol, problem=error.detail)]
    told = [*remarks(table), *(words for words in table.told if "twice" not in words)]
    for part in parts[:1]:
        part.notes = told
    return parts


def _part(name: str, series: Series, layout: str) -> Part:
    if not series.bars:
        return Part(name, series.symbol, layout=layout, problem=f"{series.file}: {series.symbol} has no bars")
    length, _ = step(series.times)
    absent = int(np.maximum(np.diff(series.times) // length - 1, 0).sum()) if length else 0
    first, last = (timestamp(int(series.times[at])) for at in (0, -1))
    return Part(name, series.symbol, series.bars, first, last, said(length) if length else "", absent, layout)


def _below(file: Path, path: Path) -> str:
    return str(file.relative_to(path)) if file != path else file.name


def plain(report: Report) -> dict[str, Any]:
    """The report as JSON-like data."""
    data: dict[str, Any] = _told(msgspec.to_builtins(report))
    return {"market": report.market, "would_be_served": report.would_be_served, **data}


def _told(value: Any) -> Any:
    """The same, where names of files are bytes that are no text: JSON could not say them."""
    if isinstance(value, dict):
        return {_told(key): _told(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_told(item) for item in value]
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def lines(report: Report) -> Iterator[str]:
    """The report for people: a table of files, then what is wrong, then what would be served."""
    read_well = [part for part in report.files if not part.problem]
    yield from _table(read_well[:MOST_SHOWN])
    if len(read_well) > MOST_SHOWN:
        yield f"and {len(read_well) - MOST_SHOWN:,} more"
    for part in report.files:
        yield from (f"note: {part.file}: {words}" for words in part.notes)
    yield from (f"note: {words}" for words in report.notes)
    yield from (f"passed over: {name}" for name in report.passed_over)
    yield from (f"wrong: {words}" for words in report.problems)
    if report.served and report.would_be_served:
        served = report.served
        symbols = f"{served.symbols} {'symbol' if served.symbols == 1 else 'symbols'}"
        yield f"{report.market} would be served: {symbols}, {served.bars:,} bars of {served.timeframe}"
        yield f"from {served.first} to {served.scanned}, the bar that is scanned"
    else:
        yield f"{report.market} would not be served"


def _table(parts: Sequence[Part]) -> Iterator[str]:
    """A row a file and symbol; above the first of those that are laid out alike, how."""
    if not parts:
        return
    rows = [("file", "symbol", "bars", "first", "last", "length", "gaps")]
    for part in parts:
        first, last = (at.removesuffix(".000Z").removesuffix("T00:00:00") for at in (part.first, part.last))
        rows.append((part.file, part.symbol, f"{part.bars:,}", first, last, part.timeframe, f"{part.gaps:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    written = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    yield written[0]
    layout = ""
    for line, part in zip(written[1:], parts, strict=True):
        if part.layout != layout:
            layout = part.layout
            yield f"({layout})"
        yield line
