"""The fixed columns of opportunities in frames: a table that says what each field is, whatever was found.

Libraries of frames infer types from the first rows. Then a field that first appears late is lost, 1.5 after whole
numbers becomes 1, and no rows have no columns. So nothing is inferred here: `COLUMNS` is the model's `Opportunity` in
other words (tests/client/test_results.py holds the two equal), and each value is brought to its column's kind.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

Kind: TypeAlias = Literal["text", "texts", "number", "whole", "time", "json"]
"""`texts`: a list of text. `whole`: a whole number. `time`: a moment, in UTC. `json`: anything, written as JSON."""


class Column(NamedTuple):
    """One field of an opportunity."""

    name: str
    kind: Kind


COLUMNS: tuple[Column, ...] = (
    Column("id", "text"),
    Column("strategy_id", "text"),
    Column("strategy_name", "text"),
    Column("opportunity_type", "text"),
    Column("symbol", "text"),
    Column("symbols", "texts"),
    Column("exchange", "text"),
    Column("side", "text"),
    Column("entry_price", "number"),
    Column("exit_price", "number"),
    Column("stop_price", "number"),
    Column("quote_currency", "text"),
    Column("expected_return", "number"),
    Column("profit_potential_usd", "number"),
    Column("required_capital_usd", "number"),
    Column("confidence_score", "number"),
    Column("hit_rate", "number"),
    Column("hit_rate_n", "whole"),
    Column("risk_level", "text"),
    Column("estimated_timeframe", "text"),
    Column("metadata", "json"),
    Column("discovered_at", "time"),
)
"""In the model's order. Any value may be absent: a server that is older or newer than we are may leave a field out."""


def values(column: Column, opportunities: Iterable[dict[str, Any]]) -> list[Any]:
    """One column: plain Python values of its kind, None where the field is absent.

    :raises ValueError: if a value is not of its kind; names the field, the value and the opportunity
    """
    read, told = READERS[column.kind], []
    for opportunity in opportunities:
        value = opportunity.get(column.name)
        try:
            told.append(None if value is None else read(value))
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{column.name} of {opportunity.get('id')!r}: {value!r} is no {column.kind}") from error
    return told


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _whole(value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError
    return int(value)


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list | tuple):
        raise TypeError
    return [_text(item) for item in value]


def _time(value: Any) -> datetime:
    """RFC 3339, as the protocol has it; a moment that names no zone is one of UTC."""
    moment = datetime.fromisoformat(_text(value))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def json_text(value: Any) -> str:
    """Plain data as JSON, without spaces, its keys in the order that they came in."""
    return msgspec.json.encode(value).decode()


READERS: dict[Kind, Callable[[Any], Any]] = {
    "text": _text,
    "texts": _texts,
    "number": _number,
    "whole": _whole,
    "time": _time,
    "json": json_text,
}
