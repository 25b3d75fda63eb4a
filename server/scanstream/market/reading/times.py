"""When a bar opened, as people and programs write it: numbers of any unit, dates in many forms.

A number is judged by its size: between 1990 and a year from now, seconds, milliseconds, microseconds, nanoseconds and
dates written as one number (20230101) have no value in common. What is none of these is refused, never guessed.
"""

import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scanstream.market.reading.numbers import BadCell
from scanstream.market.reading.series import Times
from scanstream.model import Milliseconds, now

EARLIEST: Milliseconds = 631_152_000_000
"""1990: no bar is older."""
_YEAR: Milliseconds = 366 * 86_400_000
_RELEASED: Milliseconds = 1_795_651_200_000
"""2026-11-26: a clock that shows less is not set, and no reason to refuse."""
_UNITS = {"seconds": 1000.0, "milliseconds": 1.0, "microseconds": 0.001, "nanoseconds": 0.000_001}
_MONTHS = {
    name: number for number, name in enumerate(re.findall("...", "janfebmaraprmayjunjulaugsepoctnovdec"), start=1)
}
NOT_A_TIME = np.iinfo(np.int64).min

_ZONE = r"(?:\s*(?:Z|(?:UTC|GMT)?(?:(?P<sign>[+-])(?P<zh>\d{2}):?(?P<zm>\d{2})?)?(?:\s*\(?(?:UTC|GMT)\)?)?))?"
_CLOCK = (
    r"(?:(?:\s*[T,;_ ]\s*|-(?=\d\d-?[AP]M))(?P<h>\d{1,2})(?::?(?P<mi>\d{2}))?(?::?(?P<s>\d{2})"
    r"(?:[.,](?P<f>\d{1,9}))?)?(?:[\s-]?(?P<ap>[AP])\.?M\.?)?" + _ZONE + ")?"
)
_DAY_NAME = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s+)?"
_MONTH_NAME = r"(?P<mon>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_FORMS = tuple(
    re.compile(_DAY_NAME + form + _CLOCK, re.I | re.A)
    for form in (
        r"(?P<y>\d{4})(?P<sep>[-/.])(?P<m>\d{1,2})(?P=sep)(?P<d>\d{1,2})",
        r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})",
        r"(?P<a>\d{1,2})(?P<sep>[-/.])(?P<b>\d{1,2})(?P=sep)(?P<y>\d{4})",
        rf"(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[-\s/]*{_MONTH_NAME}[-,\s/]*(?P<y>\d{{4}})",
        rf"{_MONTH_NAME}[-\s]*(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[-,\s]+(?P<y>\d{{4}})",
        rf"(?P<y>\d{{4}})[-\s]*{_MONTH_NAME}[-\s]*(?P<d>\d{{1,2}})",
    )
)
_SHORT_YEAR = re.compile(r"\d{1,2}[-/.]\d{1,2}[-/.]\d{2}(\D.*)?|\d{1,2}-[a-z]{3}-\d{2}(\D.*)?", re.I)
_NUMBER = re.compile(r"\d{1,20}(\.\d*)?")
_CALENDAR = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


def latest() -> Milliseconds:
    """No bar is newer: a year from now."""
    return max(now(), _RELEASED) + _YEAR


class Parts(NamedTuple):
    """What each text says, one array a part."""

    year: NDArray[np.int64]
    month: NDArray[np.int64]
    day: NDArray[np.int64]
    clock: NDArray[np.int64]
    """Milliseconds since midnight UTC; may be of the day before or after."""


class Moments:
    """The times of one file. What the first cells tell about their form holds for all."""

    def __init__(self) -> None:
        self._latest = latest()
        self._calendar: bool | None = None
        self._separator: str | None = None
        self.words = ""
        """The form, in words."""

    def read(self, texts: NDArray[np.bytes_]) -> Times:
        """Milliseconds, one a text; two rows where day and month may be either: the day first, the month first.

        :raises BadCell: if one cannot be a bar's time
        """
        texts = np.char.strip(texts) if (texts.view(np.uint8) == ord(" ")).any() else texts
        numbers = _whole(texts)
        if numbers is not None:
            return self.of_numbers(numbers)
        if all(_NUMBER.fullmatch(text) for text in (texts[0].decode(), texts[-1].decode())):
            return self._of_fractions(texts)
        return self._of_dates(texts)

    def of_numbers(self, numbers: Times) -> Times:
        """The same of whole numbers.

        :raises BadCell: if one cannot be a bar's time
        """
        found = np.full(len(numbers), NOT_A_TIME)
        units = [name for name, scale in _UNITS.items() if self._of_unit(numbers, scale, found)]
        rest = np.flatnonzero(found == NOT_A_TIME)
        if rest.size == len(numbers) and self._calendar is not False:
            for index, number in enumerate(numbers.tolist()):
                found[index] = self._of_calendar(index, str(number))
            self.words, self._calendar = "dates as numbers", True
        elif rest.size or self._calendar:
            index = int(rest[0]) if rest.size else 0
            raise BadCell(index, self._refusal(str(numbers[index])))
        else:
            self.words, self._calendar = " and ".join(units), False
        return found

    def within(self, found: Times) -> Times:
        """Milliseconds that need no reading, if they can be bars' times.

        :raises BadCell: if one cannot
        """
        bad = np.flatnonzero((found < EARLIEST) | (found > self._latest))
        if bad.size:
            day = np.datetime64(int(found[bad[0]]), "ms").astype("datetime64[D]")
            raise BadCell(int(bad[0]), f"{day} is no day between 1990 and a year from now")
        self.words = "dates"
        return found

    def _of_unit(self, numbers: Times, scale: float, found: Times) -> bool:
        """Fill in what is of this unit; whether anything is."""
        here = (numbers >= EARLIEST / scale) & (numbers <= self._latest / scale)
        if not here.any():
            return False
        found[here] = numbers[here] * 1000 if scale > 1 else numbers[here] // round(1 / scale)
        return True

    def _of_calendar(self, index: int, text: str) -> Milliseconds:
        form = _CALENDAR.get(len(text))
        try:
            moment = datetime.strptime(text, form).replace(tzinfo=UTC) if form else None
        except ValueError:
            moment = None
        at = round(moment.timestamp() * 1000) if moment else NOT_A_TIME
        if not EARLIEST <= at <= self._latest:
            raise BadCell(index, self._refusal(text))
        return at

    def _refusal(self, text: str) -> str:
        words = f"{text} cannot be the time of a bar, in whatever unit"
        number = float(text)
        if 32_874 <= number <= 60_000:
            day = np.datetime64("1899-12-30") + np.timedelta64(int(number), "D")
            return f"{words}; if it is a day as spreadsheets count them, {day}: write dates as YYYY-MM-DD"
        return f"{words}: bars are between 1990 and a year from now, as seconds, ms, µs or ns since 1970, or YYYYMMDD"

    def _of_fractions(self, texts: NDArray[np.bytes_]) -> Times:
        """Seconds or milliseconds with a fraction, such as 1325412060.0."""
        found = np.zeros(len(texts), dtype=np.int64)
        for index, text in enumerate(texts.tolist()):
            plain = text.decode(errors="replace")
            if not _NUMBER.fullmatch(plain):
                raise BadCell(index, f"{plain!r} is no number, and the first times of the file are")
            number = float(plain)
            scale = next((s for s in _UNITS.values() if EARLIEST <= number * s <= self._latest), None)
            if scale is None:
                raise BadCell(index, self._refusal(plain))
            found[index] = round(number * scale)
        self.words = "seconds with a fraction"
        return found

    def _of_dates(self, texts: NDArray[np.bytes_]) -> Times:
        parts = _uniform(texts)
        if parts is None:
            parts = _one_by_one(texts)
        found, separator = parts
        if self._separator not in (None, separator):
            raise BadCell(0, "dates are written in another way than those before: write YYYY-MM-DD throughout")
        self._separator, self.words = separator, self.words or "dates"
        if not self._separator:
            return np.asarray(self._checked(texts, _milliseconds(found))[0])
        day_first = _milliseconds(found._replace(month=found.day, day=found.month))
        return self._checked(texts, day_first, _milliseconds(found))

    def _checked(self, texts: NDArray[np.bytes_], *readings: Times) -> Times:
        """The readings as rows, if each text can be a time in one of them."""
        stacked = np.array(readings)
        stacked[(stacked < EARLIEST) | (stacked > self._latest)] = NOT_A_TIME
        bad = np.flatnonzero((stacked == NOT_A_TIME).all(axis=0))
        if bad.size:
            text = texts[bad[0]].decode(errors="replace")
            raise BadCell(int(bad[0]), f"{text} is no day between 1990 and a year from now")
        return np.asarray(stacked)

    def settle(self, found: Times) -> tuple[Times, str]:
        """One reading of all the file's times, and how day and month were told apart, in words.

        :param found: what `read` gave, all blocks behind each other
        :raises BadCell: if nothing tells them apart
        """
        if found.ndim == 1:
            return found, self.words
        day_first, month_first = found
        bad_day, bad_month = (np.flatnonzero(row == NOT_A_TIME) for row in found)
        if bad_day.size and bad_month.size:
            index = int(max(bad_day[0], bad_month[0]))
            raise BadCell(index, "some dates of this file have the day first, others the month: write YYYY-MM-DD")
        if bad_day.size:
            return month_first, "dates with the month first"
        if bad_month.size or self._separator == "." or (day_first == month_first).all():
            return day_first, "dates with the day first"
        index = int((day_first != month_first).argmax())
        one, other = (np.datetime64(int(row[index]), "ms").astype("datetime64[D]") for row in found)
        raise BadCell(index, f"the date may be {one} or {other}, as no other of the file tells: write YYYY-MM-DD")


def _whole(texts: NDArray[np.bytes_]) -> Times | None:
    """The texts as whole numbers, if all are."""
    width = texts.dtype.itemsize
    digits = np.ascontiguousarray(texts).view(np.uint8).reshape(len(texts), width)
    ended = digits == 0
    if (((digits < 48) | (digits > 57)) & ~ended).any() or ended[:, 0].any() or width > 19:
        return None
    numbers = np.zeros(len(texts), dtype=np.int64)
    for column in range(width):
        there = ~ended[:, column]
        numbers[there] = numbers[there] * 10 + (digits[there, column].astype(np.int64) - 48)
    return numbers


def _milliseconds(parts: Parts) -> Times:
    """NOT_A_TIME where there is no such day."""
    months = (parts.year - 1970) * 12 + parts.month - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]") + (parts.day - 1).astype("timedelta64[D]")
    real = (days.astype("datetime64[M]").astype(np.int64) == months) & (parts.month >= 1) & (parts.month <= 12)
    return np.where(real & (parts.day >= 1), days.astype(np.int64) * 86_400_000 + parts.clock, NOT_A_TIME)


def _uniform(texts: NDArray[np.bytes_]) -> tuple[Parts, str] | None:
    """All at once, where all texts have their digits at the same places, and all else is equal."""
    width = texts.dtype.itemsize
    letters = np.ascontiguousarray(texts).view(np.uint8).reshape(len(texts), width)
    first = letters[0]
    is_digit = (first >= 48) & (first <= 57)
    numeric = letters[:, is_digit]
    if ((numeric < 48) | (numeric > 57)).any() or (letters[:, ~is_digit] != first[~is_digit]).any():
        return None
    match = _match(texts[0].decode(errors="replace"))
    if match is None or match.groupdict().get("mon"):
        return None

    def number(name: str) -> NDArray[np.int64]:
        begin, end = match.span(name) if name in match.re.groupindex else (-1, -1)
        columns = letters[:, begin:end].astype(np.int64) - 48 if begin >= 0 else np.zeros((len(texts), 0), np.int64)
        return np.asarray(columns @ (10 ** np.arange(columns.shape[1] - 1, -1, -1)))

    return _parts(match, number, len(match["f"] or ""))


def _one_by_one(texts: NDArray[np.bytes_]) -> tuple[Parts, str]:
    """Each for itself: forms without leading zeros, names of months, and forms that differ."""
    rows: list[tuple[int, int, int, int]] = []
    separators: set[str] = set()
    form: re.Pattern[str] | None = None
    for index, text in enumerate(texts.tolist()):
        plain = text.decode("utf-8", "replace")
        match = (form.fullmatch(plain) if form else None) or _match(plain)
        if match is None:
            raise BadCell(index, _no_date(plain))
        form = match.re
        words = match.groupdict()

        def number(name: str, words: dict[str, Any] = words) -> Any:
            return np.array(int(words.get(name) or 0))

        try:
            parts, separator = _parts(match, number, len(words["f"] or ""))
        except ValueError as error:
            raise BadCell(index, f"{plain!r}: {error}") from None
        separators.add(separator)
        rows.append(tuple(int(part) for part in parts))  # type: ignore[arg-type]  # four of them
    if len(separators) > 1:
        raise BadCell(0, "some dates of this file begin with the year, others do not: write YYYY-MM-DD")
    return Parts(*np.array(rows, dtype=np.int64).T), separators.pop()


def _match(text: str) -> re.Match[str] | None:
    return next((match for form in _FORMS if (match := form.fullmatch(text))), None)


def _parts(match: re.Match[str], number: Any, places: int) -> tuple[Parts, str]:
    """The parts of what matched, and the separator where day and month may be either.

    :param number: gives the numbers of a group
    :param places: how many digits the fraction of a second has
    :raises BadCell: if the time of day cannot be
    """
    hour, minute, second = number("h"), number("mi"), number("s")
    if match["ap"]:
        if ((hour < 1) | (hour > 12)).any():
            raise BadCell(0, f"{match[0]!r} has no hour of a clock with AM and PM")
        hour = hour % 12 + (12 if match["ap"].upper() == "P" else 0)
    for name, value, most in (("hour", hour, 23), ("minute", minute, 59), ("second", second, 59)):
        if (value > most).any():
            raise BadCell(int(np.argmax(value > most)), f"the {name} is {int(np.max(value))}")
    clock = ((hour * 60 + minute) * 60 + second) * 1000 + (number("f") * 1000) // 10**places
    ahead = (number("zh") * 60 + number("zm")) * 60_000
    clock = clock + ahead if match["sign"] == "-" else clock - ahead
    groups = match.groupdict()
    if "a" in groups:
        return Parts(number("y"), number("a"), number("b"), clock), match["sep"]
    month = np.array(_MONTHS[groups["mon"].lower()]) if groups.get("mon") else number("m")
    return Parts(number("y"), month, number("d"), clock), ""


def _no_date(text: str) -> str:
    if _SHORT_YEAR.fullmatch(text):
        return f"{text!r}: the year has two digits, and nothing tells which part it is: write YYYY-MM-DD"
    if re.fullmatch(r"\d+(\.\d+)?[eE]\+?\d+", text):
        return f"{text!r}: a spreadsheet has cut the digits of this time; write the file anew from its source"
    if re.fullmatch(r"\d{1,2}:\d{2}.*", text):
        return f"{text!r} is a time of day without a date"
    if not text:
        return "there is no time"
    return f"{text!r} cannot be read as the time of a bar: write ISO 8601, or seconds since 1970"


def combined(dates: NDArray[np.bytes_], clocks: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    """Dates and times of two columns as one text each. A time that is a number (93000, 930) is given its zeros."""
    clocks = np.char.strip(clocks)
    if np.char.isdigit(clocks).all():
        clocks = np.char.zfill(clocks, 4 if np.char.str_len(clocks).max() <= 4 else 6)
    return np.char.add(np.char.add(np.char.strip(dates), b" "), clocks)
