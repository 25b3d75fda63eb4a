"""A market's data as arrays, candles time × symbols, memory-mapped.

Written once as `<directory>/<digest>/*.npy` and mapped by every worker process: a job carries the digest, not the data.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from scanstream.errors import MarketError, Shortage
from scanstream.model import TIERS, Milliseconds, Tier, timestamp
from scanstream.quotes import Funding, Quotes, Sheet, currencies
from scanstream.shortage import of_ours

Array: TypeAlias = NDArray[np.float64]

Input = Literal["candles", "quotes", "funding"]
"""What a market may have, and a strategy may need."""
INPUTS: tuple[Input, ...] = get_args(Input)
SHEETS: dict[str, type[Sheet]] = {"quotes": Quotes, "funding": Funding}

FIELDS = ("open", "high", "low", "close", "volume")
EVERYWHERE = "*"
"""Stands for all symbols where gaps are reported."""
MOST_RUNS = 4000
"""Gaps that are told: more would be an answer of megabytes."""
STOPPED = 100
"""A symbol that ends so many bars before others has ended: it is not waited for."""
BLOCK = 1_000_000
"""Numbers that are looked at together: more would be as much memory again."""
_mapping = threading.RLock()
_META = "panel.json"


@dataclass(frozen=True, eq=False)
class Panel:
    """Candles of one market, oldest first. A bar that a symbol lacks is NaN: gaps are reported, never invented.

    A market may have quotes and funding, too; `None` where it does not.
    """

    market: str
    exchange: str
    timeframe: Milliseconds
    symbols: tuple[str, ...]
    times: NDArray[np.int64]
    """Opening time of each bar, milliseconds; bars that no symbol has are absent."""
    open: Array
    high: Array
    low: Array
    close: Array
    volume: Array
    quotes: Quotes | None = None
    funding: Funding | None = None
    failed: dict[str, str] = field(default_factory=dict)
    """Input that the market has and could not give this time → why."""
    ahead: dict[str, int] = field(default_factory=dict)
    """Symbol → how many bars of it are later than the last one here, which is the last that most symbols have."""
    path: Path | None = None
    """Where it is mapped from."""

    @property
    def bars(self) -> int:
        """How many bars there are."""
        return len(self.times)

    @cached_property
    def digest(self) -> str:
        """Names the data: equal digests are equal panels."""
        summary = hashlib.sha256(json.dumps(self._meta()).encode())
        for array in self._arrays().values():
            summary.update(np.ascontiguousarray(array).view(np.uint8).data)
        return summary.hexdigest()[:32]

    def _meta(self) -> dict[str, Any]:
        return {
            "market": self.market,
            "exchange": self.exchange,
            "timeframe": self.timeframe,
            "symbols": self.symbols,
            "failed": self.failed,
            "sheets": {name: sheet.words() for name, sheet in self._sheets().items()},
            **({"ahead": self.ahead} if self.ahead else {}),
        }

    def _sheets(self) -> dict[str, Sheet]:
        return {name: sheet for name in SHEETS if (sheet := getattr(self, name)) is not None}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        sheets = {
            f"{name}.{part}": array for name, sheet in self._sheets().items() for part, array in sheet.arrays().items()
        }
        return {"times": self.times, **{name: getattr(self, name) for name in FIELDS}, **sheets}

    def has(self, wanted: Input) -> bool:
        """Whether the market gives this, though it may have failed to do so this time."""
        return wanted == "candles" or wanted in self.failed or getattr(self, wanted) is not None

    def select(self, symbols: Iterable[str]) -> "Panel":
        """The same bars of some symbols only, in the panel's order; with the cross rates between their currencies."""
        columns, words = self.part(symbols)
        if len(columns) == len(self.symbols):
            return self
        cut: dict[str, Any] = {name: np.take(getattr(self, name), columns, axis=1) for name in FIELDS}
        return replace(self, path=None, **cut, **words)

    def part(self, symbols: Iterable[str]) -> tuple[list[int], dict[str, Any]]:
        """(the columns of these symbols, all that is no candle of a panel of them alone: symbols, quotes, funding)."""
        wanted = set(symbols)
        columns = [index for index, symbol in enumerate(self.symbols) if symbol in wanted]
        there = {currency for symbol in wanted for currency in currencies(symbol)}

        def kept(symbol: str) -> bool:
            return symbol in wanted or (symbol not in self.symbols and there.issuperset(currencies(symbol)))

        if len(columns) == len(self.symbols):
            return columns, {}
        sheets = {name: sheet.only(kept) for name, sheet in self._sheets().items()}
        return columns, {"symbols": tuple(self.symbols[index] for index in columns), **sheets}

    def tiers(self) -> dict[str, Tier]:
        """Symbol → which third of the universe it is in, by median close × volume; no tiers without volumes."""
        return self._tiers

    @cached_property
    def _tiers(self) -> dict[str, Tier]:
        turnover = _medians(self.close, self.volume)
        if np.isnan(turnover).all():
            return {}
        by_name = np.argsort(np.array(self.symbols, dtype=np.str_), kind="stable")
        ranked = by_name[np.argsort(-np.nan_to_num(turnover)[by_name], kind="stable")].tolist()
        return {self.symbols[index]: TIERS[len(TIERS) * rank // len(ranked)] for rank, index in enumerate(ranked)}

    def gaps(self) -> dict[str, list[dict[str, Any]]]:
        """Symbol → its runs of absent bars, between the first and the last bar of the panel; `*`: absent from all.

        Of each the newest runs: in all about `MOST_RUNS`.
        """
        return {symbol: told for symbol, (told, _) in self._runs.items()}

    def older_gaps(self) -> dict[str, int]:
        """Symbol → how many runs of absent bars `gaps` does not tell, as they are older."""
        return {symbol: more for symbol, (_, more) in self._runs.items() if more}

    @cached_property
    def _runs(self) -> dict[str, tuple[list[dict[str, Any]], int]]:
        most = max(4, MOST_RUNS // (len(self.symbols) + 1))
        steps = np.diff(self.times) // self.timeframe
        before = np.flatnonzero(steps > 1)
        nowhere = np.array([self.times[before] + self.timeframe, self.times[before + 1] - self.timeframe])
        found = {EVERYWHERE: _told(nowhere, steps[before] - 1, most)}
        for column, symbol in enumerate(self.symbols):
            absent = np.flatnonzero(np.isnan(self.close[:, column]))
            breaks = np.flatnonzero(np.diff(absent) > 1)
            ends = (
                absent[[*(0, *(breaks + 1)), *(*breaks, -1)]].reshape(2, -1) if absent.size else np.zeros((2, 0), int)
            )
            found[symbol] = _told(self.times[ends], ends[1] - ends[0] + 1, most)
        return {symbol: runs for symbol, runs in found.items() if runs[0]}

    def settled(self) -> "Panel":
        """The panel up to the bar that is scanned: the last one that more than half of the symbols have.

        So one symbol that is a bar ahead does not silence all others. `ahead` tells whose later bars are left out. A
        bar that exactly half have counts, too, where the one that more have is over `STOPPED` bars older: then the
        others have not fallen behind, they have ended.
        """
        there = np.isfinite(self.close)
        counts = 2 * there.sum(axis=1)
        half, more = (np.flatnonzero(counts >= len(self.symbols) + extra) for extra in (0, 1))
        last = self.bars - 1
        if half.size:
            last = int(more[-1] if more.size and half[-1] - more[-1] <= STOPPED else half[-1])
        if last == self.bars - 1:
            return self
        after = there[last + 1 :].sum(axis=0)
        ahead = {self.symbols[column]: int(after[column]) for column in np.flatnonzero(after)}
        cut: dict[str, Any] = {name: getattr(self, name)[: last + 1] for name in ("times", *FIELDS)}
        return replace(self, path=None, ahead=ahead, **cut)

    def behind(self) -> dict[str, int]:
        """Symbol → how many bars before the last one it ends; those that have that one are not named."""
        return self._behind

    @cached_property
    def _behind(self) -> dict[str, int]:
        there = np.isfinite(self.close[::-1])
        ends = np.where(there.any(axis=0), there.argmax(axis=0), self.bars)
        return {self.symbols[column]: int(ends[column]) for column in np.flatnonzero(ends)}

    def prepared(self) -> "Panel":
        """The same, with all computed that requests ask of it: of a large panel that takes longer than the loop has."""
        self.digest, self._runs, self._behind, self._tiers  # noqa: B018  # kept from now on
        return self

    def save(self, directory: Path) -> "Panel":
        """Write the panel below `directory` unless it is there, whole, already; the mapped one."""
        target = directory / self.digest
        if not _is_whole(target, self.digest):
            directory.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(dir=directory, prefix="writing-"))
            try:
                self._write(scratch)
                if not _is_whole(target, self.digest):  # another node with this directory may have been quicker
                    if target.is_symlink() or target.is_file():
                        target.unlink()
                    shutil.rmtree(target, ignore_errors=True)
                    try:
                        scratch.replace(target)
                    except OSError:
                        if not _is_whole(target, self.digest):  # it was, only just now
                            raise
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return load(target)

    def _write(self, directory: Path) -> None:
        for name, array in self._arrays().items():
            try:
                np.save(directory / f"{name}.npy", array)
            except OSError as error:
                if error.errno is None:  # NumPy says how many bytes it could write, and not why no more
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
                raise
        (directory / _META).write_text(json.dumps(self._meta()))


def load(path: Path) -> Panel:
    """Map a saved panel.

    One thread at a time: NumPy reads headers with `ast`, which CPython 3.11 fails at (SystemError: recursion depth
    mismatch) where two threads parse at once.

    :raises MarketError: if it is not there, or not whole
    :raises Shortage: if the machine lacks what it takes to map it
    """
    try:
        with _mapping:
            return _load(path)
    except Exception as error:  # whatever these bytes make of NumPy's and of our own reading
        if lacking := of_ours(error):
            raise Shortage(f"The saved market data cannot be mapped: {error}", lacking=lacking) from error
        raise MarketError(f"The saved market data in {path} cannot be read: {error}") from error


def _load(path: Path) -> Panel:
    meta = json.loads((path / _META).read_text())
    sheets: dict[str, Any] = {name: _sheet(path, name, words) for name, words in meta.pop("sheets").items()}
    arrays: dict[str, Any] = {name: _array(path, name) for name in ("times", *FIELDS)}
    return Panel(**{**meta, "symbols": tuple(meta["symbols"])}, **arrays, **sheets, path=path)


def _sheet(path: Path, name: str, words: dict[str, Any]) -> Sheet:
    kind = SHEETS[name]
    plain = {word: tuple(value) if isinstance(value, list) else value for word, value in words.items()}
    arrays: dict[str, Any] = {part: _array(path, f"{name}.{part}") for part in kind.ARRAYS}
    return kind(**plain, **arrays)


def _array(path: Path, name: str) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path / f"{name}.npy", mmap_mode="r")
    if not isinstance(array, np.memmap):
        raise TypeError(f"{name}.npy is no array")
    return array


def mapped(path: Path) -> Panel:
    """The saved panel, mapped once a process.

    :raises MarketError: if it is not there, or not whole
    """
    with _mapping:
        return _mapped(path)


@lru_cache(maxsize=4)
def _mapped(path: Path) -> Panel:
    return load(path)


def _told(ends: NDArray[np.int64], bars: NDArray[np.int64], most: int) -> tuple[list[dict[str, Any]], int]:
    """The last runs of absent bars, and how many others there are."""
    runs = zip(*ends[:, -most:].tolist(), bars[-most:].tolist(), strict=True)
    told = [{"first": timestamp(first), "last": timestamp(last), "bars": count} for first, last, count in runs]
    return told, max(0, len(bars) - most)


def _medians(one: Array, other: Array) -> Array:
    """Of each column the median of the products, without those that are no finite number; NaN where there is none.

    Whole blocks are sorted at once: that holds up no other thread.
    """
    bars, count = one.shape
    medians = np.full(count, np.nan)
    for start in range(0, count, width := max(1, BLOCK // max(1, bars))):
        columns = slice(start, start + width)
        products = one[:, columns] * other[:, columns]
        products[~np.isfinite(products)] = np.nan
        known = bars - np.isnan(products).sum(axis=0)
        products.sort(axis=0)  # NaN at the end
        places = np.arange(products.shape[1])
        middle = products[known // 2, places], products[(known - 1) // 2, places]
        medians[columns] = np.where(known % 2, middle[0], (middle[0] + middle[1]) / 2)
    return medians


def _is_whole(path: Path, digest: str) -> bool:
    try:
        return load(path).digest == digest
    except Shortage:
        raise
    except Exception:  # damaged in whatever way: it is written anew
        return False


_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def timeframe_name(length: Milliseconds) -> str:
    """`<n>s`, `<n>m`, `<n>h` or `<n>d`: the largest unit that gives a whole number. Rounded to seconds."""
    seconds = max(1, round(length / 1000)) * 1000
    return next(f"{seconds // _UNITS[unit]}{unit}" for unit in "dhms" if seconds % _UNITS[unit] == 0)


_NUMBER = re.compile(r"[0-9]{1,4000}")  # Python reads no longer ones


def timeframe_length(name: str) -> Milliseconds:
    """The inverse of `timeframe_name`.

    :raises ValueError: if it is none
    """
    number, unit = name[:-1], name[-1:]
    if unit not in _UNITS or not _NUMBER.fullmatch(number) or int(number) == 0:
        raise ValueError(f"{name!r} is no timeframe: write <n>s, <n>m, <n>h or <n>d")
    return int(number) * _UNITS[unit]
