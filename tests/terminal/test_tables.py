"""Opportunities as tables and as CSV."""

import csv
import io
import json
from typing import Any

import msgspec
import pytest
from rich.console import Console

from scanstream.model import Opportunity
from scanstream.terminal.tables import csv_text, opportunity_table, subject
from support.histories import opportunity


def test_csv_has_every_field_and_survives_commas_and_quotes() -> None:
    found = msgspec.to_builtins(opportunity("a:1"))
    found |= {"symbols": ["A/B", "C/D"], "metadata": {"why": 'said "no", twice'}, "tomorrow": 1}
    [row] = csv.DictReader(io.StringIO(csv_text([found])))
    assert tuple(row) == Opportunity.__struct_fields__
    assert row["symbols"] == "A/B+C/D"
    assert json.loads(row["metadata"]) == {"why": 'said "no", twice'}
    assert row["entry_price"] == ""
    assert float(row["expected_return"]) == 0.033


def test_csv_of_nothing_is_a_header() -> None:
    assert csv_text([]) == ",".join(Opportunity.__struct_fields__) + "\n"


TIME = "2026-11-23T14:59:59.653Z"


def found(symbols: list[str], key: str = "", **fields: Any) -> dict[str, Any]:
    """An opportunity with what the tables show of it."""
    strategy = fields.get("strategy_id", "tsmom")
    usual = {"side": "neutral", "confidence_score": 99.4, "expected_return": 0.1042, "estimated_timeframe": "1m"}
    identity = f"{strategy}:{'+'.join(symbols)}{f'@{key}' if key else ''}:{TIME}"
    return {"id": identity, "strategy_id": strategy, "symbols": symbols, **usual, **fields}


CROSS = found(["DOGE/ETH"], "beta>gamma", strategy_id="cross_exchange")
ROUND = found(["BTC/USDT", "LTC/USDT", "LTC/BTC"], "gamma,BTC>USDT>LTC", strategy_id="triangular")
CARRY = found(
    ["1000SHIB/USDT:USDT"], strategy_id="funding_carry", hit_rate=1.0, hit_rate_n=2000, estimated_timeframe="7d"
)


@pytest.mark.parametrize(
    ("symbols", "key", "short"),
    [
        (["BTC/USDT"], "", "BTC/USDT"),
        (["BTC/USDT:USDT"], "", "BTC/USDT:USDT"),
        (["BTC/USDT", "ETH/USDT"], "", "BTC+ETH/USDT"),
        (["BTC/USDT", "ETH/BTC"], "", "BTC/USDT +1"),
        (["BTC/USDT", "ETH/BTC", "ETH/USDT"], "", "BTC/USDT +2"),
        (["GOLD", "SILVER"], "", "GOLD+SILVER"),
        (["DOGE/ETH"], "beta>gamma", "DOGE/ETH beta>gamma"),
        (["DOGE/ETH"], "gamma:1>a@b", "DOGE/ETH gamma:1>a@b"),
        (["BTC/USDT", "ETH/BTC", "ETH/USDT"], "alpha,BTC>ETH>USDT", "alpha BTC>ETH>USDT"),
        (["BTC/USDT", "ETH/BTC", "ETH/USDT"], "alpha", "BTC/USDT +2 alpha"),
        (["BTC/USDT", "ETH/USDT"], "fast", "BTC+ETH/USDT fast"),
    ],
)
def test_what_an_opportunity_is_about_is_said_in_short(symbols: list[str], key: str, short: str) -> None:
    assert subject(found(symbols, key)) == short


def test_an_id_of_another_form_says_nothing_more() -> None:
    assert subject({**CROSS, "id": "of:tomorrow@x"}) == "DOGE/ETH"


def printed(width: int, *rows: dict[str, Any], plain: bool = False) -> list[str]:
    """The table in a console of this width."""
    console = Console(file=io.StringIO(), width=width)
    console.print(opportunity_table(rows, plain=plain))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("row", [CROSS, ROUND, CARRY])
def test_eighty_columns_have_room_for_all_that_there_usually_is(row: dict[str, Any]) -> None:
    lines = printed(80, CROSS, ROUND, CARRY)
    assert "…" not in "".join(lines)
    assert max(map(len, lines)) <= 80
    [line] = [line for line in lines if line.startswith(f"{subject(row)} ")]
    assert row["strategy_id"] in line.split()
    assert "+10.42%" in line.split()
    assert ("100% of 2000" in line) == (row is CARRY)


def test_where_there_is_too_little_room_the_words_give_way_and_the_figures_stay() -> None:
    long = found(["VERYLONGNAME/USDT"], "oneexchange>anotherexchange", strategy_id="a_strategy_of_ones_own")
    lines = printed(80, {**long, "hit_rate": 1.0, "hit_rate_n": 2000, "estimated_timeframe": "365d"})
    assert lines[0].split() == ["symbol", "strategy", "side", "score", "hit", "rate", "return", "within"]
    assert lines[-1].endswith("neutral  99.4 100% of 2000 +10.42%   365d")
    assert lines[-1].startswith("VERYLONGNAME/USDT")
    assert len(lines) == 3
    assert len(lines[-1]) <= 80


def test_plain_has_no_lines_and_cuts_nothing() -> None:
    long = found(["VERYLONGNAME/USDT"], "oneexchange>anotherexchange" * 5, strategy_id="a_strategy_of_ones_own")
    header, row = printed(10_000, long, plain=True)
    assert header.startswith("symbol ")
    assert row.startswith(f"{subject(long)}  a_strategy_of_ones_own  neutral ")
