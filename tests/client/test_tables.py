"""Opportunities as CSV."""

import csv
import io
import json

import msgspec
import pytest

from scanstream.client.tables import csv_text, subject
from scanstream.model import Opportunity
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


@pytest.mark.parametrize(
    ("symbols", "short"),
    [
        (["BTC/USDT"], "BTC/USDT"),
        (["BTC/USDT", "ETH/USDT"], "BTC+ETH/USDT"),
        (["BTC/USDT", "ETH/BTC"], "BTC/USDT +1"),
        (["BTC/USDT", "ETH/BTC", "ETH/USDT"], "BTC/USDT +2"),
        (["GOLD", "SILVER"], "GOLD+SILVER"),
    ],
)
def test_what_an_opportunity_is_about_is_said_in_short(symbols: list[str], short: str) -> None:
    assert subject(symbols) == short
