"""The pages as tests read them: blocks, sections, tables, and what stands in backticks."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from conftest import ROOT

MARK = "*(not yet served)*"
"""What a part of the contract bears that the code does not serve."""
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]

_BLOCK = re.compile(r"^(?:<!-- (?P<runs>runs[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
_CODE = re.compile(r"`([^`\n]+)`")

Row = dict[str, str]


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    runs: str | None
    """How it is run, if it is."""
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    text = page.read_text()
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        yield Block(page, line, match["language"], match["runs"], match["text"])


ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]


def by_heading(page: Path) -> dict[str, Block]:
    """The blocks of a page, each by the heading that it stands below: one a heading.

    :raises AssertionError: if there are more
    """
    lines = page.read_text().splitlines()

    def heading(block: Block) -> str:
        return next(line for line in reversed(lines[: block.line - 1]) if line.startswith("##")).lstrip("# ")

    found = {heading(block): block for block in blocks(page)}
    assert len(found) == len([*blocks(page)]), f"{page}: a heading with more than one block"
    return found


def only_block(page: str, runs: str, language: str = "python") -> Block:
    """The one block of a page that is run like this."""
    [block] = [block for block in blocks(DOCS / page) if (block.runs, block.language) == (runs, language)]
    return block


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _BLOCK.sub("", page.read_text())


def rows(text: str, *columns: str) -> list[Row]:
    """The rows of all tables that begin with these columns."""
    found: list[Row] = []
    header: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            header = []
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not header:
            header = cells
        elif not set(line) <= set("|-: ") and header[: len(columns)] == list(columns):
            found.append(dict(zip(header, cells, strict=True)))
    return found


def table(page: str, *columns: str) -> list[Row]:
    """The rows of a page's tables that begin with these columns; there must be some."""
    found = rows(prose(DOCS / page), *columns)
    assert found, f"{page} has no table {' | '.join(columns)}"
    return found


def code(cell: str) -> list[str]:
    """What stands in backticks."""
    return [text.replace("\\|", "|") for text in _CODE.findall(cell)]


def claimed(table: Iterable[Row], column: str) -> tuple[set[str], set[str]]:
    """(what a table says is served, what it says is not)."""
    served: set[str] = set()
    absent: set[str] = set()
    for row in table:
        (absent if MARK in row[column] else served).update(code(row[column]))
    return served, absent


def agree(offered: set[str], served: set[str], absent: set[str]) -> None:
    """What the code offers is what the page says, no more and no less."""
    assert offered - served - absent == set(), "not in the page"
    assert served - offered == set(), f"in the page, not in the code, and without {MARK}"
    assert absent & offered == set(), f"in the code, and yet with {MARK}"


def section(page: str, heading: str) -> str:
    """What stands below the only heading of the second level that begins like this, up to the next; without blocks."""
    _, *parts = re.split(r"^## ", prose(DOCS / page), flags=re.M)
    found = [part.partition("\n")[2] for part in parts if part.startswith(heading)]
    assert len(found) == 1, f"{page} has {len(found)} sections ## {heading}"
    return found[0]


def served(text: str) -> str:
    """A page's text without the sections whose headings bear the mark."""
    parts = re.split(r"^(?=## )", text, flags=re.M)
    return "".join(part for part in parts if MARK not in part.partition("\n")[0])
