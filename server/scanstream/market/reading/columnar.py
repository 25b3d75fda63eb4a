"""What a process of its own runs: Parquet and Arrow files (Feather), read by polars.

A library that reads anybody's bytes may panic, crash, or be killed for its memory. Here this costs this process only,
and what it writes on the standard error is nobody's. For each path that comes in as a line, an answer goes out: a line
of JSON, and the arrays behind it, in parts of so many rows that nobody holds all of them a second time.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from scanstream.market.reading.headers import ABSENT, UNFINISHED, WANTED, columns_of
from scanstream.market.reading.numbers import BadCell, Numbers
from scanstream.market.reading.times import Moments, combined

ARROW = b"ARROW1"
_LONGEST_WORDS = 300
"""Of what the library says about a file."""
_PLAIN = (ValueError, FileNotFoundError, PermissionError)
"""What says by itself what to do."""
ROWS = 65_536
"""How many rows each part of an answer has, but for the last."""
_SLICE = 65_536
"""Texts that are converted at once."""


def read(file: Path) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """What the file holds: words about it, and arrays: times, numbers (needed columns × rows), symbols, what is over.

    :raises ValueError: saying what is wrong with it
    """
    import polars  # noqa: PLC0415  # an extra, and only this process loads it

    schema, load = _kind(file, polars)
    names = list(schema)
    columns = columns_of(names)
    if columns is None:
        raise ValueError(f"its columns are {', '.join(names[:20]) or 'none'}; there must be {WANTED}")
    needed = columns.needed()

    def column(index: int) -> Any:
        """One at a time: the whole frame beside the arrays would be as much memory again."""
        return load([names[index]])[names[index]]

    moments = Moments()
    opened = [column(index) for index in columns.time]
    if not len(opened[0]):
        raise ValueError("it has no rows")
    times, told = moments.settle(_times(opened, moments))
    opened.clear()
    arrays: list[NDArray[Any]] = [times, *(_numbers(column(index)) for index in needed)]
    answer: dict[str, Any] = {"rows": len(times), "columns": columns, "words": told}
    if columns.symbol != ABSENT:
        answer["names"], codes = _coded(column(columns.symbol))
        arrays.append(codes)
    if columns.finished != ABSENT:
        finished = column(columns.finished).cast(str).str.to_lowercase()
        arrays.append(~finished.is_in(UNFINISHED).fill_null(False).to_numpy())
    return answer, arrays


def _kind(file: Path, polars: Any) -> tuple[dict[str, Any], Any]:
    """The file's schema, and what loads some of its columns; told by its first bytes, not by its name."""
    with file.open("rb") as stream:
        start = stream.read(len(ARROW))
    source: Any = file.read_bytes() if set("*?[").intersection(str(file)) else file  # polars takes these for patterns
    if start == ARROW:
        return polars.read_ipc_schema(source), lambda columns: polars.read_ipc(source, columns=columns)
    if start[:4] == b"\xff\xff\xff\xff":  # a stream, without a footer
        whole = polars.read_ipc_stream(source)
        return whole.schema, whole.select
    return polars.read_parquet_schema(source), lambda columns: polars.read_parquet(
        source, columns=columns, hive_partitioning=False
    )


def _times(columns: Sequence[Any], moments: Moments) -> NDArray[np.int64]:
    for column in columns:
        if column.null_count():
            raise ValueError(f"row {int(column.is_null().arg_max()) + 1}: there is no time")
    kind = str(columns[0].dtype)
    if len(columns) == 1 and kind.startswith("Date"):  # dates, and dates with times
        milliseconds = columns[0].dt.epoch("ms").to_numpy()
        return np.asarray(moments.within(milliseconds.astype(np.int64)))
    if len(columns) == 1 and columns[0].dtype.is_integer():
        return moments.of_numbers(columns[0].cast(int).to_numpy())
    if len(columns) == 1 and columns[0].dtype.is_float() and bool((columns[0] % 1 == 0).all()):
        return moments.of_numbers(columns[0].cast(int).to_numpy())
    texts = [column.cast(str) for column in columns]
    blocks = []
    for start in range(0, len(texts[0]), _SLICE):
        parts = [np.array([t.encode("ascii", "replace") for t in text[start : start + _SLICE]]) for text in texts]
        try:
            blocks.append(moments.read(combined(*parts) if len(parts) == 2 else parts[0]))
        except BadCell as error:
            raise BadCell(start + error.index, str(error)) from error
    return np.concatenate(blocks, axis=-1)


def _numbers(column: Any) -> NDArray[np.float64]:
    """A column as numbers, NaN where there is none."""
    if column.dtype.is_numeric():
        return np.asarray(column.cast(float).fill_null(float("nan")).to_numpy())
    if str(column.dtype) == "Null":
        return np.full(len(column), np.nan)
    if str(column.dtype) not in ("String", "Categorical", "Enum"):
        raise ValueError(f"the column {column.name} is {column.dtype}; it must be numbers")
    numbers, cells = Numbers(), [cell or "" for cell in column.cast(str)]
    try:
        numbers.decide([cells])
        return numbers.column(cells)
    except BadCell as error:
        raise BadCell(error.index, f"{column.name}: {error}") from error


def _coded(column: Any) -> tuple[list[str], NDArray[np.int32]]:
    """Names, and which of them each row has."""
    import polars  # noqa: PLC0415

    texts = column.cast(str).fill_null("").str.strip_chars()
    names = texts.unique(maintain_order=True).to_list()
    codes = texts.cast(polars.Enum(names)).to_physical()
    return names, np.asarray(codes.cast(polars.Int32).to_numpy())


def answers(paths: Iterator[str]) -> Iterator[tuple[dict[str, Any], list[NDArray[Any]]]]:
    """One for each path, whatever the library does."""
    for path in paths:
        try:
            yield read(Path(json.loads(path)))
        except BadCell as error:
            yield {"error": str(error), "row": error.index + 1}, []
        except BaseException as error:  # polars panics with what is no Exception
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            kind = type(error).__name__
            words = lines[0] if lines else kind
            if not isinstance(error, _PLAIN):
                words = f"it cannot be read as Parquet or Feather, write it anew ({kind}: {words[:_LONGEST_WORDS]})"
            yield {"error": words}, []


def main() -> None:
    """Answer until no more paths come."""
    out: IO[bytes] = os.fdopen(os.dup(1), "wb")
    quiet = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):  # nothing but answers may come between them
        os.dup2(quiet, descriptor)
    for answer, arrays in answers(iter(sys.stdin)):
        out.write(json.dumps({**answer, "types": [array.dtype.str for array in arrays]}).encode() + b"\n")
        for start in range(0, answer.get("rows", 0), ROWS):
            for array in arrays:
                out.write(np.ascontiguousarray(array[start : start + ROWS]).view(np.uint8).data)
        out.flush()
        arrays.clear()


if __name__ == "__main__":
    main()
