"""Which files of a market hold candles, and of what."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scanstream.errors import MarketError
from scanstream.market.reading import parquet
from scanstream.market.reading.names import symbol_of

TEXT = (".csv", ".tsv")
PLAIN = ".txt"
"""Read where there is nothing else, as some collectors write their candles so; beside others it is a note of people."""
HIDDEN = (".", "_", "~$")
"""How the names of what tools keep for themselves begin: systems, editors, spreadsheets."""
PACKED = (".gz", ".zip")
MOST_DEEP = 8
"""Directories within directories that are looked into: a link may lead back to where it stands."""


class Source(NamedTuple):
    """A file that may hold candles."""

    file: Path
    symbol: str
    """What it is of, where it does not say so itself."""
    is_text: bool


def found_in(path: Path) -> tuple[list[Source], list[Path]]:
    """The sources of a market, in order; and what lies beside them and is none.

    Names that begin with one of `HIDDEN` belong to tools, and are not looked at. Of a directory with files of candles
    the directories in it are left alone, but for those that partition it (`symbol=BTC`); of one without, all are looked
    at.

    :raises MarketError: if there are none
    """
    try:
        if not path.exists():
            raise MarketError(
                f"--market files:{path}: there is no such file or directory; name a file of candles, such as"
                " SYMBOL.csv, or a directory of them"
            )
        if path.is_file():
            return [Source(path, symbol_of(path, path.parent), _is_text(path) is not False)], []
        files = list(_files(path)) if path.is_dir() else []
    except OSError as error:
        raise MarketError(f"--market files:{path}: it cannot be looked through: {error.strerror or error}") from error
    sources = [
        Source(file, symbol_of(file, path), bool(kind)) for file in files if (kind := _is_text(file)) is not None
    ]
    if not sources:
        sources = [Source(file, symbol_of(file, path), True) for file in files if file.suffix.lower() == PLAIN]
    taken = {source.file for source in sources}
    passed = [file for file in files if file not in taken]
    if not sources:
        others = sorted(path.iterdir())[:5] if path.is_dir() else []
        beside = f"; it holds {', '.join(map(str, others))}" if others else ""
        raise MarketError(
            f"--market files:{path}: there is no file of candles, such as SYMBOL.csv, .csv.gz, .parquet or .feather"
            f"{beside}"
        )
    return sources, passed


def _files(directory: Path, deep: int = 0) -> Iterator[Path]:
    """The files of a directory, and of those in it where that is wanted."""
    if deep > MOST_DEEP:
        return
    entries = sorted(entry for entry in directory.iterdir() if not entry.name.startswith(HIDDEN))
    files = [entry for entry in entries if entry.is_file()]
    flat = any(_is_text(file) is not None for file in files)
    yield from files
    for entry in entries:
        if entry.is_dir() and (not flat or "=" in entry.name or _is_text(entry) is not None):
            yield from _files(entry, deep + 1)


def _is_text(file: Path) -> bool | None:
    """Whether a name is that of a text file of candles; None if it is of no file of candles."""
    endings = [ending.lower() for ending in file.suffixes[-2:]]
    if endings and endings[-1] in PACKED:
        return True if endings[0] in TEXT or endings[-1] == ".zip" else None
    if endings and endings[-1] in parquet.ENDINGS:
        return False
    return True if endings and endings[-1] in TEXT else None
