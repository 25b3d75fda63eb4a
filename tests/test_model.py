"""The words: how times are written, what a state leaves out, and how strictly a request is read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scanstream.message import DiscoverRequest
from scanstream.model import (
    Progress,
    ScanId,
    ScanState,
    StrategyState,
    confidence_order,
    document,
    is_finite,
    timestamp,
)
from support.histories import NOON, opportunity

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z."""


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (NOON, "2026-11-23T14:00:00.000Z"),
        (NOON + 250, "2026-11-23T14:00:00.250Z"),
        (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
    ],
)
def test_a_time_is_written_in_utc_with_three_decimals(at: int, text: str) -> None:
    assert timestamp(at) == text


@given(st.integers(0, LAST))
@example(LAST)
def test_a_time_keeps_its_millisecond(at: int) -> None:
    assert (datetime.fromisoformat(timestamp(at)) - EPOCH) // timedelta(milliseconds=1) == at


def values(plain: object) -> list[object]:
    """What is in it, at any depth."""
    if isinstance(plain, dict):
        return [inner for value in plain.values() for inner in values(value)]
    if isinstance(plain, list):
        return [inner for value in plain for inner in values(value)]
    return [plain]


def placeholder() -> dict[str, Any]:
    """A scan's first state, as plain data."""
    state = ScanState(
        scan_id=ScanId("scan_1"),
        message="Scan registered",
        market="synthetic",
        filters={},
        progress=Progress(total_strategies=1),
        strategies={"tsmom": StrategyState()},
        created_at=timestamp(NOON),
        poll_url="/poll",
        results_url="/results",
    )
    return document(state)


def test_a_placeholder_has_no_null_and_nothing_without_a_value() -> None:
    assert None not in values(placeholder())
    assert not placeholder().keys() & {"started_at", "finished_at", "expires_at", "error"}
    assert not placeholder()["strategies"]["tsmom"].keys() & {"note", "error"}


def test_a_placeholder_says_that_it_is_alive() -> None:
    state = placeholder()

    assert (state["success"], state["status"], state["phase"]) == (True, "scanning", "init")
    assert (state["progress"]["total_strategies"], state["progress"]["percentage"]) == (1, 0)


def test_an_opportunity_leaves_out_what_makes_no_sense() -> None:
    plain = msgspec.to_builtins(opportunity("a:1"))

    assert None not in values(plain)
    assert not plain.keys() & {"entry_price", "exit_price", "stop_price", "hit_rate", "hit_rate_n"}


def test_results_are_ordered_by_confidence_then_id() -> None:
    best, first, second = opportunity("z"), opportunity("a"), opportunity("b")
    best = msgspec.structs.replace(best, confidence_score=99.0)

    assert sorted([second, first, best], key=confidence_order) == [best, first, second]


@pytest.mark.parametrize(
    "value",
    [0, 1.5, -0.0, 10**400, True, None, "nan", [], {}, [1.0, [2.0]], {"a": {"b": [1.0, "inf"]}}, (1.0, 2.0)],
)
def test_finite(value: object) -> None:
    assert is_finite(value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_not_finite_at_any_depth(number: float) -> None:
    for value in (number, [1.0, number], (number,), {"a": 1.0, "b": number}, {"a": [{"b": (0, number)}]}):
        assert not is_finite(value)


def read(text: str) -> DiscoverRequest:
    """A request as the doors read it."""
    return msgspec.json.decode(text, type=DiscoverRequest)


def test_every_field_of_a_request_is_optional_and_null_is_absent() -> None:
    nulls = dict.fromkeys(DiscoverRequest.__struct_fields__)

    assert read("{}") == read(msgspec.json.encode(nulls).decode()) == DiscoverRequest()
    assert msgspec.json.encode(read("{}")) == b"{}"


def test_a_list_may_be_one_text() -> None:
    assert read('{"symbols": "BTC/USDT,ETH/USDT"}').symbols == "BTC/USDT,ETH/USDT"
    assert read('{"symbols": ["BTC/USDT"]}').symbols == ["BTC/USDT"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"symbol": "BTC/USDT"}', "symbol"),
        ('{"symbols": 5}', "symbols"),
        ('{"symbols": ["BTC/USDT", 5]}', "symbols"),
        ('{"symbols": [null]}', "symbols"),
        ('{"min_profit_potential": "5"}', "min_profit_potential"),
        ('{"min_profit_potential": true}', "min_profit_potential"),
        ('{"max_required_capital": 1e999}', "max_required_capital"),
        ('{"capital_usd": 0}', "capital_usd"),
        ('{"capital_usd": -1}', "capital_usd"),
        ('{"filter_by_risk_level": 5}', "filter_by_risk_level"),
        ('{"force_refresh": 1}', "force_refresh"),
        ('{"force_refresh": "true"}', "force_refresh"),
        ('{"parameters": []}', "parameters"),
        ('{"parameters": {"tsmom": 5}}', "parameters"),
        ("[]", "object"),
        ("null", "object"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(text: str, names: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=names):
        read(text)


@pytest.mark.parametrize("text", ["", "{", "{'symbols': 1}", '{"capital_usd": NaN}', '{"a": 1} x'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        read(text)
