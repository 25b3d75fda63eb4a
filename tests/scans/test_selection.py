"""What a request selects: one canonical form, every error named, and one slot for equivalent requests."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from scans.planted import Planted, at_once, panel
from scanstream import message
from scanstream.errors import LONGEST_DETAIL, MOST_ERRORS, InvalidRequest
from scanstream.model import ANYONE, MOST_NAMES, DiscoverRequest, Principal
from scanstream.scans.selection import MOST_TIMEFRAMES, canonical, given, slot_of, strategies_of, symbols_of
from scanstream.strategies.installed import Installed, admit
from scanstream.strategies.tsmom import TimeSeriesMomentum

PANEL = panel()
STRATEGIES: dict[str, Installed] = {"planted": admit(Planted(lambda *_: ())), "tsmom": admit(TimeSeriesMomentum())}


def request(**fields: Any) -> DiscoverRequest:
    """A request as it is decoded from JSON."""
    return msgspec.json.decode(msgspec.json.encode(fields), type=message.DiscoverRequest).plain()


def selected(**fields: Any) -> DiscoverRequest:
    """Its canonical form."""
    return at_once(canonical(request(**fields), PANEL, STRATEGIES))


def errors(**fields: Any) -> dict[str, list[str]]:
    """Field → what is wrong with it."""
    with pytest.raises(InvalidRequest) as caught:
        selected(**fields)
    found: dict[str, list[str]] = {}
    for field, reason in caught.value.errors:
        found.setdefault(field, []).append(reason)
        assert field in caught.value.detail
        assert reason in caught.value.detail
    return found


def slot(principal: Principal = ANYONE, **fields: Any) -> str:
    """The slot of a request."""
    return slot_of(principal, PANEL, selected(**fields))


@pytest.mark.parametrize(
    "symbols",
    ["B/X,A/X", " A/X , B/X ", "A/X,B/X,A/X,", ["B/X", "A/X"], ["A/X", " B/X ", "A/X", ""], ",,B/X,,A/X"],
)
def test_lists_are_trimmed_sorted_and_without_repetitions(symbols: Any) -> None:
    assert selected(symbols=symbols).symbols == ["A/X", "B/X"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("symbols", "A/X"),
        ("strategy_ids", "tsmom"),
        ("asset_tiers", "large"),
        ("opportunity_type", "momentum"),
        ("preferred_timeframes", "1d"),
    ],
)
def test_every_list_may_be_a_comma_separated_string(field: str, value: str) -> None:
    for written in (value, f"{value},{value} ", [value]):
        assert getattr(selected(**{field: written}), field) == [value]


def test_null_is_the_same_as_absent() -> None:
    fields = DiscoverRequest.__struct_fields__
    assert selected(**dict.fromkeys(fields)) == selected() == DiscoverRequest()
    assert selected(parameters={}) == DiscoverRequest()


LISTS = ("symbols", "strategy_ids", "asset_tiers", "opportunity_type", "preferred_timeframes")

UNKNOWN: list[tuple[str, Any, str]] = [
    ("symbols", "A/X,Z/X", "'Z/X'"),
    ("filter_by_risk_level", "extreme", "'extreme'"),
    ("filter_by_risk_level", "", "''"),
    ("preferred_timeframes", "1M", "'1M'"),
    ("preferred_timeframes", "12345678901d", "10 characters"),
    ("strategy_ids", ["tsmom", "nosuch"], "'nosuch'"),
    ("asset_tiers", "large,huge", "'huge'"),
    ("opportunity_type", "luck", "'luck'"),
    ("preferred_timeframes", "1d,1w", "'1w'"),
    ("preferred_timeframes", "0m", "'0m'"),
]


@pytest.mark.parametrize(("field", "value", "name"), UNKNOWN)
def test_an_unknown_name_is_an_error_of_its_field(field: str, value: Any, name: str) -> None:
    ((named, reasons),) = errors(**{field: value}).items()
    assert named == field
    assert len(reasons) == 1
    assert name in reasons[0]


@pytest.mark.parametrize("field", LISTS)
@pytest.mark.parametrize("blank", [[], [""], "", " , ", [" ", ""], ",,,"])
def test_a_list_that_names_nothing_is_an_error(field: str, blank: Any) -> None:
    assert errors(**{field: blank}) == {field: ["names nothing; leave it out to have all"]}


@pytest.mark.parametrize(
    ("field", "written", "meant"),
    [
        ("symbols", "a/x, B/x", ["A/X", "B/X"]),
        ("symbols", ["a/X", "A/X", " A/x "], ["A/X"]),
        ("strategy_ids", "TSMOM", ["tsmom"]),
        ("asset_tiers", ["Large", "MID"], ["large", "mid"]),
        ("opportunity_type", "Momentum", ["momentum"]),
        ("preferred_timeframes", "1D,4H,15m", ["15m", "1d", "4h"]),
        ("filter_by_risk_level", " Very_High ", "very_high"),
        ("parameters", {"TSMOM": {"horizon": 5}}, {"tsmom": {"horizon": 5}}),
    ],
)
def test_case_and_blanks_are_taken_kindly(field: str, written: Any, meant: Any) -> None:
    assert getattr(selected(**{field: written}), field) == meant


def test_a_name_that_may_be_two_has_to_be_written_as_it_is() -> None:
    twins = replace(PANEL, symbols=("a/X", *PANEL.symbols[1:-1], "A/x"))
    exact = at_once(canonical(request(symbols=["a/X", "A/x"]), twins, STRATEGIES))
    assert exact.symbols == ["A/x", "a/X"]
    with pytest.raises(InvalidRequest, match="may be 'a/X' or 'A/x'"):
        at_once(canonical(request(symbols="A/X"), twins, STRATEGIES))


def test_the_parameters_of_one_strategy_are_given_once() -> None:
    found = errors(parameters={"tsmom": {"horizon": 5}, "TSMOM": {"horizon": 6}})
    assert found == {"parameters.TSMOM": ["the parameters of tsmom are given twice"]}


@pytest.mark.parametrize("field", LISTS)
def test_a_list_has_a_length(field: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"length <= {MOST_NAMES}.*{field}"):
        request(**{field: ["x"] * (MOST_NAMES + 1)})
    assert field in errors(**{field: "x," * MOST_NAMES + "y"})


def test_of_timeframes_few_are_kept() -> None:
    few = [f"{number}h" for number in range(1, MOST_TIMEFRAMES + 1)]
    assert selected(preferred_timeframes=few).preferred_timeframes == sorted(few)
    assert list(errors(preferred_timeframes=[*few, "40h"])) == ["preferred_timeframes"]


def test_of_many_errors_the_first_are_named_and_the_text_says_that_there_are_more() -> None:
    with pytest.raises(InvalidRequest) as caught:
        selected(symbols=[f"S{number}" for number in range(9000)], strategy_ids="nosuch")
    assert len(caught.value.errors) == MOST_ERRORS
    told, _, more = caught.value.detail.rpartition("; and more than ")
    assert len(told.split("; ")) + int(more.removesuffix(" more")) == MOST_ERRORS
    assert len(caught.value.detail) <= LONGEST_DETAIL


def test_names_that_are_kept_are_the_markets_own() -> None:
    """However many scans name them, and however they were written, the text is there once."""
    symbols = selected(symbols=["".join(("a", "/", "x"))]).symbols
    assert isinstance(symbols, list)
    assert symbols[0] is PANEL.symbols[0]


def test_parameters_of_an_unknown_strategy_are_an_error() -> None:
    assert list(errors(parameters={"nosuch": {}})) == ["parameters.nosuch"]


def test_all_errors_are_named_at_once() -> None:
    found = errors(
        symbols="Y/X,Z/X,A/X",
        strategy_ids="nosuch",
        asset_tiers="huge",
        opportunity_type="luck",
        preferred_timeframes="soon",
        parameters={"tsmom": {"lookback": 1}, "nosuch": {}, "planted": {"walk_forward": -1}},
    )
    assert {field: len(reasons) for field, reasons in found.items()} == {
        "symbols": 2,
        "strategy_ids": 1,
        "asset_tiers": 1,
        "opportunity_type": 1,
        "preferred_timeframes": 1,
        "parameters.tsmom.lookback": 1,
        "parameters.nosuch": 1,
        "parameters.planted.walk_forward": 1,
    }


@pytest.mark.parametrize("field", ["min_profit_potential", "max_required_capital", "capital_usd"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_must_be_finite(field: str, value: float) -> None:
    with pytest.raises(InvalidRequest) as caught:
        at_once(canonical(DiscoverRequest(**{field: value}), PANEL, STRATEGIES))  # type: ignore[arg-type]
    assert [error.field for error in caught.value.errors] == [field]


def test_a_selection_that_leaves_nothing_to_scan_is_an_error() -> None:
    assert list(errors(symbols="A/X", asset_tiers="small")) == ["asset_tiers"]
    assert list(errors(strategy_ids="tsmom", opportunity_type="planted")) == ["opportunity_type"]


def test_symbols_and_tiers_select_together_in_the_panels_order() -> None:
    assert symbols_of(selected(), PANEL) == list(PANEL.symbols)
    assert symbols_of(selected(symbols="E/X,B/X,A/X"), PANEL) == ["A/X", "B/X", "E/X"]
    assert symbols_of(selected(asset_tiers="small,large"), PANEL) == ["A/X", "B/X", "E/X", "F/X"]
    assert symbols_of(selected(symbols="E/X,B/X", asset_tiers="small"), PANEL) == ["E/X"]


def test_ids_and_types_select_strategies_together() -> None:
    def ids(**fields: Any) -> list[str]:
        return [strategy.id for strategy in strategies_of(selected(**fields), STRATEGIES)]

    assert ids() == ["planted", "tsmom"]
    assert ids(strategy_ids="tsmom") == ["tsmom"]
    assert ids(opportunity_type="planted") == ["planted"]
    assert ids(strategy_ids="tsmom,planted", opportunity_type="momentum") == ["tsmom"]


def test_filters_show_what_was_given_and_nothing_else() -> None:
    assert given(selected()) == {}
    shown = given(selected(symbols="B/X, A/X", asset_tiers=None, capital_usd=500, force_refresh=True))
    assert shown == {"symbols": ["A/X", "B/X"], "capital_usd": 500.0}


EQUIVALENT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, dict.fromkeys(DiscoverRequest.__struct_fields__)),
    ({}, {"force_refresh": True}),
    ({"force_refresh": False}, {"force_refresh": True}),
    ({"symbols": "B/X, A/X,"}, {"symbols": ["A/X", "B/X", "A/X"]}),
    ({"capital_usd": 500}, {"capital_usd": 500.0}),
    ({"parameters": {"tsmom": {"horizon": 5, "z_min": 2.0}}}, {"parameters": {"tsmom": {"z_min": 2.0, "horizon": 5}}}),
    ({}, {"parameters": {}}),
    ({}, {"parameters": {"tsmom": {}}}),
    ({"parameters": {"tsmom": {"z_min": 2}}}, {"parameters": {"tsmom": {"z_min": 2.0}}}),
]


@pytest.mark.parametrize(("one", "other"), EQUIVALENT)
def test_equivalent_requests_meet_in_one_slot(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert slot(**one) == slot(**other)


DIFFERENT: list[dict[str, Any]] = [
    {},
    {"symbols": ["A/X"]},
    {"symbols": ["A/X", "B/X"]},
    {"strategy_ids": ["tsmom"]},
    {"asset_tiers": ["large"]},
    {"opportunity_type": ["momentum"]},
    {"min_profit_potential": 5.0},
    {"max_required_capital": 5.0},
    {"capital_usd": 5.0},
    {"filter_by_risk_level": "low"},
    {"filter_by_risk_level": "medium"},
    {"preferred_timeframes": ["1d"]},
    {"parameters": {"tsmom": {"horizon": 5}}},
    {"parameters": {"tsmom": {"horizon": 6}}},
    {"parameters": {"planted": {"walk_forward": 5}}},
]


def test_different_requests_have_slots_of_their_own() -> None:
    assert len({slot(**fields) for fields in DIFFERENT}) == len(DIFFERENT)


def test_slots_are_those_of_one_principal_and_of_one_market_with_its_data() -> None:
    others = [
        slot_of(Principal("somebody"), PANEL, selected()),
        slot_of(ANYONE, replace(PANEL, market="files:x"), selected()),
        slot_of(ANYONE, PANEL.select(["A/X"]), selected()),
    ]
    assert len({slot(), *others}) == 4
    assert slot() == slot()
