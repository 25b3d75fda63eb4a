"""Parquet and Arrow files (Feather), read by a process of its own (columnar.py). Needs the extra `parquet` (polars)."""

import importlib.util
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanstream.errors import MarketError
from scanstream.market.reading.columnar import ROWS
from scanstream.market.reading.headers import ABSENT, Columns
from scanstream.market.reading.tables import Table
from scanstream.market.reading.times import Moments

ENDINGS = (".parquet", ".pq", ".feather", ".arrow", ".ipc")
_STARTS = (b"PAR1", b"ARROW1")
_THRIFT = {
    "RUST_BACKTRACE": "0",
    "POLARS_MAX_THREADS": "1",
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0",
    "MALLOC_MMAP_THRESHOLD_": "65536",
}
"""The environment in which the process gives back at once what it has read: polars' memory (jemalloc) and NumPy's."""
_LOOK_SECONDS = 0.2
"""How often it is looked whether the reading is still wanted."""
_MOST_READ = 1 << 20
_MANY_ROWS = 500_000
"""After a file with so many the process is ended, as it would keep what it took for them."""
_LONGEST_LINE = 1 << 24
_LEAVING_SECONDS = 5.0


def is_columnar(file: Path) -> bool:
    """Whether a file is one, whatever its name is.

    :raises MarketError: if it cannot be opened
    """
    try:
        with file.open("rb") as stream:
            return stream.read(max(map(len, _STARTS))).startswith(_STARTS)
    except OSError as error:
        raise MarketError(f"{file} cannot be read: {error.strerror or error}") from error


class ColumnarReader:
    """The process that reads such files, started at the first of them."""

    def __init__(self, took: Callable[[int], None]) -> None:
        """Nothing is started yet.

        :param took: called with how many rows were read; what it raises ends the reading
        """
        self._took = took
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def __enter__(self) -> "ColumnarReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whatever it does just then; another is started for the next file."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=_LEAVING_SECONDS)
        self._process, self._rest = None, b""

    def read(self, file: Path, symbol: str) -> Table:
        """All bars of one file.

        :param symbol: what they are of, where the file does not say
        :raises MarketError: naming the file, the column or the row
        """
        answer = self._ask(file)
        if "error" in answer:
            row = f", row {answer['row']}" if "row" in answer else ""
            raise MarketError(f"{file}{row}: {answer['error']}")
        time, groups, *rest = answer["columns"]
        columns = Columns(tuple(time), tuple((name, tuple(places)) for name, places in groups), *rest)
        table = Table(file, "row", columns, columns.words or "a column a field", symbol)
        needed = len(columns.needed())
        for start, (times, *arrays) in self._parts(file, answer):
            codes = arrays[needed] if columns.symbol != ABSENT else None
            table.add(
                times,
                np.array(arrays[:needed]),
                np.arange(start + 1, start + 1 + len(times), dtype=np.int32),
                symbols=None if codes is None else (answer["names"], codes),
                over=arrays[-1] if columns.finished != ABSENT else None,
            )
        if answer["rows"] > _MANY_ROWS:
            self.close()
        moments = Moments()
        moments.words = answer["words"]
        table.settle(moments)
        return table

    def _ask(self, file: Path) -> dict[str, Any]:
        with self._naming(file):
            process = self._process = self._process or _start(file)
            assert process.stdin is not None
            process.stdin.write(json.dumps(str(file.absolute())).encode() + b"\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._line())
        return answer

    def _parts(self, file: Path, answer: dict[str, Any]) -> Iterator[tuple[int, list[NDArray[Any]]]]:
        """The rows that follow an answer: the first one's number, counted from 0, and the arrays."""
        kinds = [np.dtype(kind) for kind in answer["types"]]
        for start in range(0, answer["rows"], ROWS):
            rows = min(ROWS, answer["rows"] - start)
            with self._naming(file):
                arrays = [self._array(kind, rows) for kind in kinds]
            yield start, arrays
            self._took(rows)

    @contextmanager
    def _naming(self, file: Path) -> Iterator[None]:
        """What goes wrong with the process in here is said of this file."""
        try:
            yield
        except (OSError, EOFError, ValueError) as error:
            why = self._end() if isinstance(error, EOFError) or self._died() else str(error)
            self.close()
            raise MarketError(f"{file}: it cannot be read; {why}") from error

    def _died(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _end(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(_LEAVING_SECONDS)
        except subprocess.TimeoutExpired:
            return "the process that reads such files does not answer"
        how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        return f"the process that reads such files {how}: the file may be damaged, or larger than the memory"

    def _line(self) -> bytes:
        while b"\n" not in self._rest:
            if len(self._rest) > _LONGEST_LINE:
                raise ValueError("its columns are too many")
            self._rest += self._some()
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _array(self, kind: np.dtype[Any], rows: int) -> NDArray[Any]:
        """The bytes of one array, put where they stay."""
        array: NDArray[Any] = np.empty(rows, dtype=kind)
        left = array.view(np.uint8).data
        while left:
            some = self._rest[: len(left)] or self._some()
            self._rest = self._rest[len(left) :] if self._rest else some[len(left) :]
            some = some[: len(left)]
            left[: len(some)] = some
            left = left[len(some) :]
        return array

    def _some(self) -> bytes:
        """What has come, as soon as something has.

        :raises EOFError: if nothing will
        """
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        if hasattr(select, "poll"):  # elsewhere pipes cannot be looked at
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            while not poll.poll(_LOOK_SECONDS * 1000):
                self._took(0)
        some = os.read(descriptor, _MOST_READ)
        if not some:
            raise EOFError
        return some


def _start(file: Path) -> "subprocess.Popen[bytes]":
    """:raises MarketError: if polars is not installed"""
    if importlib.util.find_spec("polars") is None:
        raise MarketError(
            f"{file}: reading Parquet and Feather needs polars; install it with: pip install 'scanstream[parquet]'"
        )
    environment = {**os.environ, **_THRIFT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-m", "scanstream.market.reading.columnar"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
