"""Numbers as people and programs write them: decimal points and commas, thousands, absent values."""

import math
import re
from collections.abc import Sequence

import numpy as np

from scanstream.panel import Array

ABSENT = frozenset(["", "nan", "null", "none", "na", "n/a", "#n/a", "-", "--", "nat"])
"""What stands where there is no value, in any case."""
_SCALE = {"k": 1e3, "m": 1e6, "b": 1e9}
"""Volumes as some pages write them: `45.67K`."""
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_POINT = re.compile(r"[+-]?(\d+(,\d{3}){2,}|\d{1,3}(,\d{3})+\.\d*|\d*\.(\d{1,2}|\d{4,})|0\.\d+)")
"""Numbers that can only be written with a decimal point."""
_COMMA = re.compile(r"[+-]?(\d+(\.\d{3}){2,}|\d{1,3}(\.\d{3})+,\d*|\d*,(\d{1,2}|\d{4,})|0,\d+)")
"""Numbers that can only be written with a decimal comma."""


class Numbers:
    """How the numbers of one file are written. Decided by the first cells that tell, and held from then on."""

    def __init__(self) -> None:
        self._decimal = ""

    def took_points(self) -> None:
        """Numbers of the file were read with decimal points already."""
        self._decimal = self._decimal or "."

    def column(self, cells: Sequence[str]) -> Array:
        """All cells of a column, NaN where one is absent.

        :raises ValueError: if one is no number; `index` of `BadCell` says which
        """
        try:
            values = np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:
            return np.array([self._at(index, cell) for index, cell in enumerate(cells)])
        return values

    def decide(self, columns: Sequence[Sequence[str]]) -> None:
        """Look at the cells for what a comma means; nothing to do where there is none.

        :raises BadCell: if they do not agree, or do not tell
        """
        if not any("," in cell for column in columns for cell in column):
            return
        cells = [(index, _bare(cell)) for column in columns for index, cell in enumerate(column)]
        point = next((cell for cell in cells if _POINT.fullmatch(cell[1])), None)
        comma = next((cell for cell in cells if _COMMA.fullmatch(cell[1])), None)
        if point and comma:
            index = max(point[0], comma[0])
            raise BadCell(index, f"{point[1]} and {comma[1]} are not written alike: use decimal points throughout")
        if not point and not comma and not self._decimal:
            index, text = next(cell for cell in cells if "," in cell[1])
            raise BadCell(
                index,
                f"{text} may be {text.replace(',', '.')} or {text.replace(',', '')}: "
                "write numbers with a decimal point, and without thousands",
            )
        decided = "." if point else "," if comma else self._decimal
        if self._decimal not in ("", decided):
            index, text = point or comma or cells[0]
            raise BadCell(index, f"{text}: numbers before it were written with {self._decimal!r} before the fraction")
        self._decimal = decided

    def _at(self, index: int, cell: str) -> float:
        try:
            return self.read(cell)
        except ValueError as error:
            raise BadCell(index, str(error)) from None

    def read(self, cell: str) -> float:
        """One cell.

        :raises ValueError: if it is no number
        """
        text = _bare(cell)
        if text.lower() in ABSENT:
            return math.nan
        scale = _SCALE.get(text[-1].lower(), 1.0)
        text = text[:-1] if scale != 1.0 else text
        if self._decimal == ",":
            if not re.fullmatch(r"[+-]?(\d*|\d{1,3}(\.\d{3})+)(,\d*)?([eE][+-]?\d+)?", text):
                raise ValueError(f"{cell!r} is no number with a decimal comma")
            text = text.replace(".", "").replace(",", ".")
        elif "," in text:
            if not re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?", text):
                raise ValueError(f"{cell!r} is no number")
            text = text.replace(",", "")
        if not _PLAIN.fullmatch(text):
            raise ValueError(f"{cell!r} is no number")
        return float(text) * scale


class BadCell(ValueError):
    """A cell that is not what its column needs."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index
        """Where it is in its column."""


def _bare(cell: str) -> str:
    """Without currency signs and the spaces and apostrophes that some put between thousands."""
    text = cell.strip().strip("$€£¥₿").strip()
    return re.sub(r"(?<=\d)[\s'’](?=\d{3})", "", text) if len(text) > 4 else text
