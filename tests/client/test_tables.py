"""Opportunities as CSV."""

import csv
import io
import json

import msgspec

from scanstream.client.tables import csv_text
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
