"""Funding carry against decimal arithmetic, against the future, and on payments that nobody wants."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from scanstream.panel import Panel
from scanstream.strategies.funding_carry import FundingCarry, Parameters, measure
from scanstream.strategies.strategy import NothingToScan, Signal
from strategies.books_panels import exact, funding_of, look, near, outcome_of, panel_with, planned_note
from support.histories import NOON

FULL = Parameters()
SHORT = Parameters(payments=5, horizon=3, fee=0.0001, apr_min=0.02, walk_forward=20)
YEAR = 365 * 24 * 3_600_000


class Carry(NamedTuple):
    """The rule after some payments, by the oracle."""

    side: int
    mean: Decimal
    net: Decimal
    apr: Decimal
    same: int


def decide(payments: Sequence[float], interval: int, parameters: Parameters) -> Carry | None:
    """The rule after the last of these payments; None where it says nothing."""
    seen = [exact(rate) for rate in payments[-parameters.payments :]]
    if len(seen) < parameters.payments or not all(rate.is_finite() for rate in seen):
        return None
    mean = sum(seen, Decimal(0)) / len(seen)
    net = abs(mean) * parameters.horizon - 4 * exact(parameters.fee)
    apr = net * (Decimal(YEAR) / interval) / parameters.horizon
    if mean == 0 or apr < exact(parameters.apr_min):
        return None
    return Carry(1 if mean > 0 else -1, mean, net, apr, sum(rate * mean > 0 for rate in seen))


def score(payments: Sequence[float], interval: int, parameters: Parameters) -> tuple[int, int]:
    """(hits, positions): each decision is given the payments up to its own only."""
    hits = positions = 0
    over = len(payments) - parameters.horizon
    for count in range(max(parameters.payments, over - parameters.walk_forward + 1), over + 1):
        rule = decide(payments[:count], interval, parameters)
        made = [exact(rate) for rate in payments[count : count + parameters.horizon]]
        if rule is not None and all(rate.is_finite() for rate in made):
            positions += 1
            hits += rule.side * sum(made, Decimal(0)) > 4 * exact(parameters.fee)
    return hits, positions


def check(panel: Panel, parameters: Parameters) -> dict[str, Signal]:
    """Every contract's signal is the oracle's."""
    funding = panel.funding
    assert funding is not None
    signals = {signal.symbols[0]: signal for signal in look(FundingCarry(), panel, parameters)[0]}
    for column, symbol in enumerate(funding.symbols):
        payments = funding.rates[:, column].tolist()
        rule = decide(payments, funding.interval, parameters)
        assert (symbol in signals) == (rule is not None), symbol
        if rule is not None:
            signal = signals[symbol]
            assert near(signal.expected_return, rule.net)
            assert near(signal.metadata["mean"], rule.mean)
            assert near(signal.metadata["net"], rule.net)
            assert near(signal.metadata["apr"], rule.apr)
            assert near(signal.confidence, Decimal(rule.same + 1) / (parameters.payments + 2))
            assert signal.metadata["same_sign"] == rule.same
            assert sides(signal) == (("sell", "buy") if rule.side > 0 else ("buy", "sell"))
            assert (signal.at, signal.lasts) == (funding.times[-1], parameters.horizon * funding.interval)
            expected = score(payments, funding.interval, parameters) if parameters.walk_forward else None
            assert signal.hits == expected
    assert len(signals) <= len(funding.symbols)
    return signals


def sides(signal: Signal) -> tuple[str, str]:
    """What is done with the perpetual contract, and with the spot."""
    perpetual, spot = signal.metadata["legs"]
    assert (perpetual["market"], spot["market"]) == ("perpetual", "spot")
    assert (perpetual["symbol"], spot["symbol"]) == (signal.symbols[0], signal.symbols[0])
    return perpetual["side"], spot["side"]


def test_it_decides_as_decimals_do_on_the_generated_market(generated: Panel) -> None:
    whole = check(generated, FULL)
    assert whole
    assert any(signal.hits and signal.hits[1] for signal in whole.values())
    assert check(generated, SHORT)
    chosen = generated.symbols[:9]
    some = check(generated.select(chosen), FULL)
    assert some.keys() == whole.keys() & set(chosen)


ticks = st.integers(-300, 300).map(lambda tick: tick / 1_000_000)


@settings(max_examples=150)
@given(
    rates=st.integers(5, 40).flatmap(
        lambda count: st.lists(
            st.lists(ticks | st.sampled_from([np.nan, np.inf]), min_size=count, max_size=count)
            | st.just([0.0002] * count),
            min_size=1,
            max_size=4,
        )
    ),
    hours=st.sampled_from([1, 4, 8]),
    parameters=st.sampled_from([SHORT, Parameters(payments=3, horizon=1, fee=0, apr_min=0), Parameters(payments=1)]),
)
def test_it_decides_as_decimals_do_on_any_payments(
    rates: list[list[float]], hours: int, parameters: Parameters
) -> None:
    check(panel_with(funding=funding_of(*rates, hours=hours)), parameters)


def carry(payments: Sequence[float], parameters: Parameters = FULL) -> Signal | None:
    """What is found for one contract, and checked."""
    return check(panel_with(funding=funding_of(payments)), parameters).get("S0/X")


def test_who_pays_decides_the_side() -> None:
    crowd_is_long, crowd_is_short = carry([0.0003] * 30), carry([-0.0003] * 30)
    assert crowd_is_long is not None
    assert crowd_is_short is not None
    assert sides(crowd_is_long) == ("sell", "buy")
    assert sides(crowd_is_short) == ("buy", "sell")
    for signal in (crowd_is_long, crowd_is_short):
        assert signal.expected_return == pytest.approx(0.0003 * 21 - 0.002)
        assert signal.metadata["apr"] == pytest.approx((0.0003 * 21 - 0.002) * 1095 / 21)
        assert (signal.confidence, signal.lasts) == (31 / 32, 7 * 24 * 3_600_000)


@pytest.mark.parametrize(("rate", "found"), [(0.0001, True), (0.00010000001, True), (0.00009999999, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_least_yearly_return_is_enough_and_less_is_not(rate: float, found: bool, sign: int) -> None:
    assert (carry([sign * rate] * 30, Parameters(fee=0, apr_min=0.1095)) is not None) == found


def test_a_carry_that_the_fees_eat_is_none() -> None:
    assert carry([0.0001] * 40, Parameters(fee=0)) is not None
    assert carry([0.0001] * 40) is None


def test_without_payments_there_is_no_carry() -> None:
    for payments in ([0.0] * 40, [0.0001, -0.0001] * 20, [0.1, -0.1] * 20):
        assert carry(payments, Parameters(fee=0, apr_min=0)) is None


def test_what_is_nothing_but_for_rounding_is_nothing() -> None:
    assert 0.1 + 0.2 - 0.3 > 0  # as doubles; it is equal
    assert carry([0.1, 0.2, -0.3], Parameters(payments=3, fee=0, apr_min=0)) is None
    assert 0.0001 + 0.0002 + 0.0003 > 4 * 0.00015  # the same
    even = Parameters(payments=3, horizon=3, fee=0.00015)
    signal = carry([0.001] * 3 + [0.0001, 0.0002, 0.0003, 0.001], even)
    assert signal is not None
    assert signal.hits == (1, 2)


def test_payments_of_the_other_sign_lower_the_confidence() -> None:
    signal = carry([0.001] * 20 + [-0.0001] * 6 + [0.0] * 4)
    assert signal is not None
    assert (signal.confidence, signal.metadata["same_sign"]) == (21 / 32, 20)


def test_only_payments_of_the_window_count() -> None:
    assert carry([np.nan] + [0.0003] * 30) is not None
    assert carry([-0.1] * 30 + [0.0003] * 30) is not None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("age", [1, 15, 30])
def test_a_gap_within_the_window_silences_that_contract_only(bad: float, age: int) -> None:
    broken = [0.0003] * 60
    broken[-age] = bad
    panel = panel_with(funding=funding_of(broken, [0.0003] * 60))
    signals, notes = look(FundingCarry(), panel, FULL)
    assert [signal.symbols for signal in signals] == [("S1/X",)]
    assert notes == ["S0/X: a payment is missing among the last 30"]
    check(panel, FULL)


def test_a_gap_in_the_past_is_neither_hit_nor_miss() -> None:
    payments = [0.0003] * 120
    whole = carry(payments)
    payments[60] = np.nan
    gappy = carry(payments)
    assert whole is not None
    assert gappy is not None
    assert whole.hits == (70, 70)  # decisions on the payments 30 to 99
    assert gappy.hits == (19, 19)  # on those from 30 to 39, and from 91 on: what is before, and what is after it


def test_the_walk_forward_has_as_many_positions_as_there_are_horizons() -> None:
    for count, parameters, expected in (
        (30, FULL, (0, 0)),
        (50, FULL, (0, 0)),
        (51, FULL, (1, 1)),
        (400, FULL, (200, 200)),
        (400, Parameters(walk_forward=7), (7, 7)),
        (400, Parameters(walk_forward=0), None),
    ):
        signal = carry([0.0003] * count, parameters)
        assert signal is not None
        assert signal.hits == expected


@pytest.mark.parametrize(("last", "hits"), [(0.0, 0), (0.0000001, 1)])
def test_a_position_that_only_earns_its_fees_is_no_hit(last: float, hits: int) -> None:
    signal = carry([0.0003] * 30 + [0.0001] * 20 + [last], Parameters(walk_forward=1))
    assert signal is not None
    assert signal.hits == (hits, 1)


@settings(max_examples=40)
@given(last=st.integers(4, 58), seed=st.integers(0, 2**32 - 1), gap=st.booleans())
def test_what_comes_later_changes_no_decision(last: int, seed: int, gap: bool) -> None:
    random = np.random.default_rng(seed)
    before = funding_of(*random.normal(0.0001, 0.0002, (2, 60)).tolist())
    rates = before.rates.copy()
    rates[last + 1 :] = np.nan if gap else random.normal(0, 1, rates[last + 1 :].shape)
    known = last - SHORT.payments + 2
    for one, other in zip(measure(before, SHORT), measure(replace(before, rates=rates), SHORT), strict=True):
        np.testing.assert_array_equal(np.asarray(one)[:known], np.asarray(other)[:known])


def test_too_few_payments_or_none_are_a_reason() -> None:
    with pytest.raises(NothingToScan, match="needs 30 payments; the market has 29"):
        look(FundingCarry(), panel_with(funding=funding_of([0.0003] * 29)), FULL)
    panel = panel_with(funding=funding_of([0.0003] * 40))
    assert panel.funding is not None
    none = replace(panel, funding=panel.funding.only(lambda symbol: False))
    assert planned_note(FundingCarry(), none) == (
        "Nothing to scan: funding_carry needs a symbol whose perpetual contract pays funding; there is none"
    )


def test_real_candles_have_no_funding(real: Panel) -> None:
    assert planned_note(FundingCarry(), real) == (
        f"Nothing to scan: funding_carry needs funding, and the market {real.market} has none"
    )


def test_a_worker_makes_opportunities_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = panel_with(funding=funding_of([0.0003] * 60, [0.0] * 60, [-0.0004] * 60))
    outcome = outcome_of(FundingCarry(), panel, tmp_path, monkeypatch)
    first, second = outcome.opportunities
    assert (first.id, second.id) == tuple(
        f"funding_carry:{symbol}:2026-11-23T14:00:00.000Z" for symbol in ("S0/X", "S2/X")
    )
    assert (first.side, first.risk_level, first.estimated_timeframe) == ("neutral", "low", "7d")
    assert (first.entry_price, first.exit_price, first.stop_price) == (UNSET, UNSET, UNSET)
    assert (first.hit_rate, first.hit_rate_n) == (11 / 12, 10)
    assert first.profit_potential_usd == pytest.approx(4.3)
    assert panel.funding is not None
    assert panel.funding.times[-1] == NOON
