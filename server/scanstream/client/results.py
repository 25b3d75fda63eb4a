"""What a scan has found: a sequence of plain dicts, which becomes a frame of fixed columns and types.

Columns and types are those of columns.py, for no row and for many: floats of 64 bits, `hit_rate_n` a whole number of 64
bits, `symbols` a list of text, `discovered_at` a moment in UTC with milliseconds, `metadata` (and the legs in it) JSON
text, everything else text. What an opportunity has beside the model's fields is in the dicts, and in no frame.
"""

import csv
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, overload

from scanstream.client.columns import COLUMNS, json_text, values
from scanstream.client.failures import LibraryMissing

if TYPE_CHECKING:
    import os

    import pandas as pd
    import polars as pl
    import pyarrow as pa

FORMULA = ("=", "+", "-", "@", "\t", "\r")
Found = dict[str, Any]
"""One opportunity, as the server told it; times in it are text."""


class Results:
    """Opportunities in the server's order, the most confident first: a sequence, equal to any other of the same dicts.

    What takes Arrow's PyCapsule interface takes it as it is: `polars.DataFrame(results)`, `pyarrow.table(results)`. For
    that it is not registered as a `collections.abc.Sequence`: of one polars would infer the columns.
    """

    def __init__(self, opportunities: Iterable[Found] = ()) -> None:
        self._found = list(opportunities)

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Found]:
        return iter(self._found)

    @overload
    def __getitem__(self, index: int) -> Found: ...
    @overload
    def __getitem__(self, index: slice) -> "Results": ...
    def __getitem__(self, index: int | slice) -> "Found | Results":
        return Results(self._found[index]) if isinstance(index, slice) else self._found[index]

    def index(self, found: Found, start: int = 0, stop: int = sys.maxsize) -> int:
        """Where the first one is that is equal.

        :raises ValueError: if there is none
        """
        return self._found.index(found, start, stop)

    def count(self, found: Found) -> int:
        """How many are equal."""
        return self._found.count(found)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Results | list | tuple):
            return NotImplemented
        return self._found == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of every list

    def __repr__(self) -> str:
        each = Counter(str(found.get("strategy_id")) for found in self._found)
        told = ", ".join(f"{name} {count}" for name, count in sorted(each.items()))
        return f"<Results: {len(self)} opportunities{told and f' ({told})'}>"

    def to_dicts(self) -> list[Found]:
        """A list of one dict each, with every field as the server told it; the list and the dicts are the caller's."""
        return [dict(found) for found in self._found]

    def to_pandas(self) -> "pd.DataFrame":
        """A DataFrame; what is absent is NaN, NA (`hit_rate_n`), NaT or None. Text is what this pandas takes for text.

        :raises LibraryMissing: without pandas
        """
        pandas = _library("pandas", "to_pandas()")
        text = pandas.Series([""]).dtype  # `str` since pandas 3, `object` before
        types = {
            "text": text,
            "texts": "object",
            "number": "float64",
            "whole": "Int64",
            "time": pandas.DatetimeTZDtype("ms", "UTC"),
            "json": text,
        }
        kinds = dict(COLUMNS)
        series = {name: pandas.Series(column, dtype=types[kinds[name]]) for name, column in self._columns().items()}
        return pandas.DataFrame(series)

    def to_polars(self) -> "pl.DataFrame":
        """A DataFrame; what is absent is null.

        :raises LibraryMissing: without polars
        """
        polars = _library("polars", "to_polars()")
        types = {
            "text": polars.String,
            "texts": polars.List(polars.String),
            "number": polars.Float64,
            "whole": polars.Int64,
            "time": polars.Datetime("ms", "UTC"),
            "json": polars.String,
        }
        frame: pl.DataFrame = polars.DataFrame(self._columns(), schema={name: types[kind] for name, kind in COLUMNS})
        return frame

    def to_arrow(self) -> "pa.Table":
        """A Table; what is absent is null.

        :raises LibraryMissing: without pyarrow
        """
        arrow = _library("pyarrow", "to_arrow()")
        types = {
            "text": arrow.string(),
            "texts": arrow.list_(arrow.string()),
            "number": arrow.float64(),
            "whole": arrow.int64(),
            "time": arrow.timestamp("ms", "UTC"),
            "json": arrow.string(),
        }
        return arrow.table(self._columns(), schema=arrow.schema([(name, types[kind]) for name, kind in COLUMNS]))

    @property
    def __arrow_c_stream__(self) -> Callable[..., object]:
        """Arrow's PyCapsule interface, of pyarrow or of polars. Without either there is no such attribute."""
        for name, frame in (("pyarrow", self.to_arrow), ("polars", self.to_polars)):
            if find_spec(name):
                return lambda requested_schema=None: frame().__arrow_c_stream__(requested_schema)
        raise AttributeError("__arrow_c_stream__ needs pyarrow or polars; install one: pip install pyarrow")

    def to_csv(self, path: "str | os.PathLike[str] | TextIO") -> None:
        """Write all of them, one a line below a header, as UTF-8.

        Values are as the server told them (times are text): symbols are joined with +, metadata is JSON, what is absent
        is empty. A text that begins like a formula is led by an apostrophe.

        :param path: where, and a file that is there is replaced; or something open for text
        """
        text = self.csv_text()
        if hasattr(path, "write"):
            path.write(text)
        else:
            Path(path).write_text(text, encoding="utf-8", newline="")

    def csv_text(self) -> str:
        """The same as text."""
        text = io.StringIO()
        names = [name for name, _ in COLUMNS]
        writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for found in self._found:
            flat = {"symbols": "+".join(found.get("symbols", ())), "metadata": json_text(found.get("metadata", {}))}
            writer.writerow({name: _cell(value) for name, value in {**found, **flat}.items()})
        return text.getvalue()

    def _columns(self) -> dict[str, list[Any]]:
        return {column.name: values(column, self._found) for column in COLUMNS}


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is led by an apostrophe, as in the page's export.

    Names come from exchanges and strategies, which may be strangers'.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _library(name: str, asker: str) -> Any:
    """A library of frames, which nobody needs who asks for no frame.

    :raises LibraryMissing: if it is not installed
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:  # it is there, and lacks something itself
            raise
        raise LibraryMissing(f"{asker} needs {name}; install it with: pip install {name}") from error
