"""How a text file of candles is laid out: its delimiter, its header or the lack of one, and where its bars begin."""

import csv
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from scanstream.market.reading import headers
from scanstream.market.reading.headers import ABSENT, WANTED, Columns, Lacking
from scanstream.market.reading.numbers import Numbers
from scanstream.market.reading.times import Moments
from scanstream.panel import FIELDS, Array

HEAD_LINES = 200
"""Lines that are looked at to find out."""
MOST_TITLE_LINES = 30
"""Lines that may stand above the header."""
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_FITTING = 0.99
"""So many of the first bars must fit an order of columns that no header names."""
_WIDEST = 5.0
"""A high that is so many times the low is a volume, where nothing says what it is."""

Row = tuple[int, list[str]]
"""The number of a line, and its cells."""


class Layout(NamedTuple):
    """What is needed to read a file's bars."""

    delimiter: str
    skipped: int
    """Lines above the first bar."""
    header: list[str]
    """Its cells; empty where there is none."""
    width: int
    """Cells of a row."""
    columns: Columns
    words: str


class BadLayout(ValueError):
    """The file's layout is none that can be read; `line` says where that is seen."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def layout_of(lines: Sequence[str], symbol: str = "") -> Layout:
    """The layout of a file that begins with these lines.

    :raises BadLayout: naming the line, and what must be there
    """
    lacking: BadLayout | None = None
    split = {delimiter: list(_rows(lines, delimiter)) for delimiter in _DELIMITERS}
    for delimiter, rows in split.items():
        for index, (line, cells) in enumerate(rows[:MOST_TITLE_LINES]):
            try:
                layout = _by_header(rows[index:], delimiter, symbol)
            except Lacking as error:
                lacking = lacking or BadLayout(line, str(error))
                continue
            if layout:
                return layout
            if _is_bar(cells):
                break
    if lacking:
        raise lacking
    for delimiter, rows in split.items():
        found = next((index for index, (_, cells) in enumerate(rows[:MOST_TITLE_LINES]) if _is_bar(cells)), None)
        if found is not None:
            _require_no_header(rows[:found], rows[found][1], delimiter)
            return _without_header(rows[found:], delimiter)
    raise BadLayout(1, f"no header was found, and no bars without one; there must be {WANTED}")


def _rows(lines: Sequence[str], delimiter: str) -> Iterator[Row]:
    """The lines that are not blank, as cells; with a leading `#` only where the rest may be a header."""
    for number, line in enumerate(lines, start=1):
        plain = line.lstrip("# ") if line.startswith("#") else line
        if plain.strip():
            try:
                cells = next(csv.reader([plain], delimiter=delimiter), [])
            except csv.Error:
                continue
            yield number, [cell.strip() for cell in cells]


def _trimmed(cells: Sequence[str]) -> list[str]:
    """Without empty cells at the end."""
    kept = list(cells)
    while len(kept) > 1 and not kept[-1]:
        kept.pop()
    return kept


def _by_header(rows: Sequence[Row], delimiter: str, symbol: str) -> Layout | None:
    """The layout, if the first of the rows is a header."""
    line, cells = rows[0]
    header = _trimmed(cells)
    if len(header) < 3:
        return None
    above = headers.two_levels(header, rows[1][1]) if len(rows) > 1 and not _is_time(rows[1][1][0]) else None
    if above:
        last = rows[1][0]
        if len(rows) > 2 and not any(rows[2][1][1:]):  # the name of the index
            last = rows[2][0]
        return _layout(delimiter, last, header, above, above.words)
    unnamed = len(rows) > 1 and len(_trimmed(rows[1][1])) == len(header) + 1
    try:
        columns = headers.columns_of(header, symbol)
    except Lacking:
        if not unnamed:
            raise
        columns = None
    if columns is None and unnamed:  # R names no index at all
        header = ["", *header]
        columns = headers.columns_of(header, symbol)
    if columns is None:
        return None
    named = " and ".join(header[index] or "an unnamed index" for index in columns.time)
    title = f"; {line - 1} above the header" if line > 1 else ""
    return _layout(delimiter, line, header, _with_clock(columns, rows), f"header, {named}{title}")


def _with_clock(columns: Columns, rows: Sequence[Row]) -> Columns:
    """A column `time` beside a `date` is a time of day, unless it is a whole point in time itself."""
    if len(columns.time) == 2 and len(rows) > 1:
        cells = rows[1][1]
        clock = cells[columns.time[1]] if columns.time[1] < len(cells) else ""
        if len(clock) > len("00:00:00.000000000+00:00") or (clock.isdigit() and len(clock) > 6) or "-" in clock[1:8]:
            return columns._replace(time=columns.time[1:])
    return columns


def _layout(delimiter: str, skipped: int, header: list[str], columns: Columns, words: str) -> Layout:
    pieces = [words, columns.words if columns.words not in words else "", f"{_DELIMITERS[delimiter]} between"]
    told = "; ".join(piece for piece in pieces if piece)
    return Layout(delimiter, skipped, header, len(header), columns, told)


def _is_bar(cells: Sequence[str]) -> bool:
    """Whether it looks like a time and at least four numbers."""
    kept = _trimmed(cells)
    if len(kept) < 5:
        return False
    return _is_time(kept[0]) or (kept[0].isdigit() and len(kept) >= 6)


def _is_time(cell: str) -> bool:
    try:
        Moments().read(np.array([cell.encode("ascii")]))
    except ValueError:  # UnicodeEncodeError is one
        return False
    return True


def _require_no_header(above: Sequence[Row], bar: Sequence[str], delimiter: str) -> None:
    """See that the line above the first bar does not name its columns: to guess their order then could be wrong.

    :raises BadLayout: naming the words that are not known
    """
    if not above:
        return
    line, cells = above[-1]
    names = _trimmed(cells)
    if abs(len(names) - len(_trimmed(bar))) <= 1 and not any(cell[:1].isdigit() for cell in names):
        words = delimiter.join(names)[:200]
        raise BadLayout(line, f"the header {words} does not name open, high, low and close; call its columns {WANTED}")


def _without_header(rows: Sequence[Row], delimiter: str) -> Layout:
    line, cells = rows[0]
    kept = _trimmed(cells)
    bars = [row for _, row in rows if len(_trimmed(row)) == len(kept)]
    fits: list[tuple[float, Columns]] = []
    for columns in headers.without_header(kept):
        [(_, places)] = columns.groups
        table = _numbers(bars, places)
        fits.append((_fit(table), columns))
    best = max((fit for fit, _ in fits), default=0.0)
    if best < _FITTING:
        raise BadLayout(line, f"there is no header, and no usual order of columns fits; write one: {WANTED}")
    columns = next(columns for fit, columns in fits if fit == best)
    columns = _behind_average(columns, bars) if len(kept) == 8 else columns
    return _layout(delimiter, line - 1, [], columns, columns.words)._replace(width=len(kept))


def _numbers(rows: Sequence[Sequence[str]], places: Sequence[int]) -> Array:
    """Columns × rows, NaN for what is no number."""
    numbers = Numbers()
    cells = [[row[place] if place != ABSENT else "" for row in rows] for place in places]
    try:
        numbers.decide(cells)
        return np.array([numbers.column(column) for column in cells])
    except ValueError:
        return np.full((len(places), len(rows)), np.nan)


def _fit(table: Array) -> float:
    """The part of the bars in which the high is the highest and the low the lowest of prices that are of one size."""
    opening, high, low, closing = table[: len(FIELDS) - 1]
    whole = ~np.isnan(table[: len(FIELDS) - 1]).any(axis=0)
    fits = (high >= np.maximum(opening, closing)) & (low <= np.minimum(opening, closing)) & (high <= _WIDEST * low)
    return float(fits[whole].mean()) if whole.any() else 0.0


def _behind_average(columns: Columns, rows: Sequence[Sequence[str]]) -> Columns:
    """The volume one column later, where an average price stands in its place."""
    [(symbol, places)] = columns.groups
    volume = places[-1]
    low, high, average = _numbers(rows, (places[2], places[1], volume))
    if not (((average >= low) & (average <= high)) | (average == 0)).all():
        return columns
    return columns._replace(groups=((symbol, (*places[:-1], volume + 1)),))
