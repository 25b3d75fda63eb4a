"""Triangular arbitrage against every way around in decimals, against networkx, and on quotes that nobody wants."""

import math
import tracemalloc
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import networkx
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scanstream.panel import Panel
from scanstream.quotes import Quotes
from scanstream.strategies.strategy import NothingToScan, Signal
from scanstream.strategies.triangular import Parameters, Triangular, cycles
from strategies.books_panels import Offer, exact, look, near, outcome_of, panel_with, planned_note, quotes_of, worth

FULL = Parameters()
ANY = Parameters(min_edge=0)


class Leg(NamedTuple):
    """One trade at one venue, by the oracle."""

    symbol: str
    side: str
    price: Decimal
    size: Decimal
    fee: Decimal
    rate: Decimal
    """What one unit becomes, before the fee."""
    takes: Decimal
    """How much of the currency that is given the quote takes."""
    age: int


def legs_of(quotes: Quotes, venue: int, parameters: Parameters) -> dict[tuple[str, str], Leg]:
    """(from, to) → the trade, of every quote that can be used."""
    legs: dict[tuple[str, str], Leg] = {}
    for column, symbol in enumerate(quotes.symbols):
        values = (quotes.bid, quotes.ask, quotes.bid_size, quotes.ask_size, quotes.fee)
        bid, ask, bid_size, ask_size, fee = (exact(array[venue, column]) for array in values)
        age = max(quotes.at - int(quotes.times[venue, column]), 0)
        sound = not bid.is_nan() and not ask.is_nan() and not fee.is_nan() and 0 < bid <= ask < Decimal("inf")
        if sound and age <= 1000 * parameters.max_age_seconds:
            base, _, quote = symbol.partition("/")
            legs[base, quote] = Leg(symbol, "sell", bid, bid_size, fee, bid, bid_size, age)
            legs[quote, base] = Leg(symbol, "buy", ask, ask_size, fee, 1 / ask, ask_size * ask, age)
    return legs


class Found(NamedTuple):
    """One cycle, by the oracle."""

    edge: Decimal
    gross: Decimal
    confidence: Decimal
    age: int
    legs: list[Leg]


def oracle(quotes: Quotes, parameters: Parameters) -> dict[str, Found]:
    """Every cycle that qualifies, by its key: all orders of three currencies are tried."""
    found: dict[str, Found] = {}
    for venue, name in enumerate(quotes.venues):
        legs = legs_of(quotes, venue, parameters)
        for way in permutations(sorted({currency for pair in legs for currency in pair}), 3):
            around = list(zip(way, (*way[1:], way[0]), strict=True))
            if way[0] == min(way) and all(pair in legs for pair in around):
                cycle = measured([legs[pair] for pair in around], worth(quotes, venue, way[0]), parameters)
                if cycle.edge > exact(parameters.min_edge):
                    found[f"{name},{'>'.join(way)}"] = cycle
    return found


def measured(legs: list[Leg], value: Decimal, parameters: Parameters) -> Found:
    """Send one unit around, then as much as every quote takes."""
    net, gross = Decimal(1), Decimal(1)
    takes: list[Decimal] = []
    for leg in legs:
        takes.append(leg.takes / net)
        net *= leg.rate * (1 - leg.fee)
        gross *= leg.rate
    age = max(leg.age for leg in legs)
    known = not value.is_nan() and not any(amount.is_nan() for amount in takes)
    filled = min(Decimal(1), min(takes) * value / exact(parameters.size)) if known else Decimal(0)
    freshness = 1 - Decimal(age) / (1000 * exact(parameters.max_age_seconds))
    return Found(net - 1, gross - 1, filled * freshness, age, legs)


def check(panel: Panel, parameters: Parameters) -> dict[str, Signal]:
    """Every signal is the oracle's, and there are no others."""
    assert panel.quotes is not None
    expected = oracle(panel.quotes, parameters)
    signals = {signal.key: signal for signal in look(Triangular(), panel, parameters)[0]}
    assert sorted(signals) == sorted(expected)
    for key, signal in signals.items():
        right = expected[key]
        venue, _, way = key.partition(",")
        assert near(signal.expected_return, right.edge)
        assert near(signal.confidence, right.confidence)
        assert near(signal.metadata["edge"], right.edge)
        assert near(signal.metadata["gross"], right.gross)
        assert signal.metadata["age_ms"] == right.age
        assert signal.metadata["cycle"] == way.split(">")
        assert signal.symbols == tuple(leg.symbol for leg in right.legs)
        assert signal.at == max(panel.quotes.at - leg.age for leg in right.legs)
        assert (signal.lasts, signal.hits) == (60_000, None)
        assert [plain(leg) for leg in signal.metadata["legs"]] == [
            (venue, leg.symbol, leg.side, leg.price, leg.fee, None if leg.size.is_nan() else leg.size)
            for leg in right.legs
        ]
    return signals


def plain(leg: dict[str, str | float]) -> tuple[object, ...]:
    """A leg of the metadata, in the order of the oracle's."""
    numbers = [exact(float(leg[name])) if name in leg else None for name in ("price", "fee", "size")]
    return leg["venue"], leg["symbol"], leg["side"], *numbers


def test_it_finds_what_all_permutations_find_on_the_generated_market(generated: Panel) -> None:
    whole = check(generated, FULL)
    assert whole
    assert check(generated, ANY).keys() >= whole.keys()
    assert check(generated.select(generated.symbols[:9]), FULL).keys() <= whole.keys()


COINS = ("A", "B", "C", "D", "E")
LEVEL = dict(zip(COINS, (1.0, 2.0, 10.0, 0.05, 300.0), strict=True))
"""What each is worth, so that the rates are near what they would be without arbitrage."""
PAIRS = [(base, quote) for place, base in enumerate(COINS) for quote in COINS[place + 1 :]]
sizes = st.sampled_from([np.nan, 0.0, 0.5, 40.0, 1e6])
nudges = st.integers(-60, 60).map(lambda step: 1 + step / 10_000)
offers = st.builds(
    lambda nudge, spread, sizes, fee, age: (nudge, spread, *sizes, fee, age),
    nudges,
    st.sampled_from([0.0, 0.0005, 0.002, -0.001]),
    st.tuples(sizes, sizes),
    st.sampled_from([0.0, 0.0003, 0.001]),
    st.sampled_from([0, 500, 59_999, 60_000, 60_001]),
)


def offer(pair: tuple[str, str], drawn: tuple[float, float, float, float, float, int]) -> Offer:
    """A quote near the parity of the pair, of eight digits."""
    nudge, spread, bid_size, ask_size, fee, age = drawn
    middle = LEVEL[pair[0]] / LEVEL[pair[1]] * nudge
    return Offer(float(f"{middle:.8g}"), float(f"{middle * (1 + spread):.8g}"), bid_size, ask_size, fee, age)


@settings(max_examples=100)
@given(
    drawn=st.dictionaries(st.tuples(st.sampled_from(["v", "w"]), st.sampled_from(PAIRS)), offers, min_size=3),
    turned=st.sets(st.sampled_from(PAIRS)),
    parameters=st.sampled_from([FULL, ANY, Parameters(size=7, max_age_seconds=30)]),
)
def test_it_finds_what_all_permutations_find_in_any_books(
    drawn: dict[tuple[str, tuple[str, str]], tuple[float, float, float, float, float, int]],
    turned: set[tuple[str, str]],
    parameters: Parameters,
) -> None:
    made = {}
    for (venue, pair), numbers in drawn.items():
        way = pair[::-1] if pair in turned else pair
        made[venue, "/".join(way)] = offer(way, numbers)
    panel = panel_with(quotes_of(made))
    assert panel.quotes is not None
    if len(panel.quotes.symbols) > 2:
        check(panel, parameters)


def graph(quotes: Quotes) -> networkx.DiGraph:
    """The trades of the one venue with −log(rate × (1 − fee)) as their lengths, by the oracle's own reading."""
    made = networkx.DiGraph()
    for (here, there), leg in legs_of(quotes, 0, ANY).items():
        made.add_edge(here, there, weight=-math.log(leg.rate * (1 - leg.fee)))
    return made


@settings(max_examples=100)
@given(drawn=st.lists(st.tuples(nudges, nudges, nudges, st.sampled_from([0.0, 0.0004, 0.001])), min_size=1, max_size=4))
def test_it_finds_something_where_networkx_finds_a_negative_cycle(
    drawn: list[tuple[float, float, float, float]],
) -> None:
    """A fair comparison: `negative_edge_cycle` looks for cycles of any length, so no others than of three can be here.

    The currencies are a windmill: triangles with one corner in common. Its simple cycles are the triangles, in both
    directions, and the ways there and back, which lose the spread. Where a negative cycle is, a simple one is. Sums
    that are zero but for rounding are left out.
    """
    made: dict[tuple[str, str], Offer] = {}
    for number, (first, second, third, fee) in enumerate(drawn):
        for symbol, middle in (
            (f"P{number}/H", 2 * first),
            (f"Q{number}/H", second),
            (f"P{number}/Q{number}", 2 * third),
        ):
            made["v", symbol] = Offer(middle * 0.9999, middle * 1.0001, 1, 1, fee)
    quotes = quotes_of(made)
    legs = legs_of(quotes, 0, ANY)
    ways = [way for number in range(len(drawn)) for way in permutations((f"P{number}", f"Q{number}", "H"))]
    products = [measured([legs[a, b], legs[b, c], legs[c, a]], Decimal(1), ANY).edge for a, b, c in ways]
    assume(all(abs(edge) > Decimal("1e-9") for edge in products))
    signals, _ = look(Triangular(), panel_with(quotes), ANY)
    assert networkx.negative_edge_cycle(graph(quotes)) == bool(signals)
    assert 3 * len(signals) == sum(edge > 0 for edge in products)


A_TO_B, B_TO_C, C_TO_A = ("v", "A/B"), ("v", "B/C"), ("v", "A/C")


def triangle(
    first: float = 2.0, second: float = 3.0, third: float = 6.0, **changes: float
) -> dict[tuple[str, str], Offer]:
    """A sells for 2 B, B for 3 C, and A costs 6 C: a circle without any profit."""
    spread = {A_TO_B: (first, 2.5), B_TO_C: (second, 3.5), C_TO_A: (5.0, third)}
    offers = {key: Offer(bid, ask, 1e6, 1e6) for key, (bid, ask) in spread.items()}
    return {key: made._replace(**changes) for key, made in offers.items()}  # type: ignore[arg-type]


def found_in(made: dict[tuple[str, str], Offer], parameters: Parameters = FULL) -> dict[str, Signal]:
    """What is found in these books, and checked."""
    return check(panel_with(quotes_of(made)), parameters)


@pytest.mark.parametrize(("first", "found"), [(2.001, 0), (2.00100001, 1), (2.0, 0), (2.01, 1), (1.99, 0)])
def test_the_least_edge_must_be_exceeded(first: float, found: int) -> None:
    assert list(found_in(triangle(first))) == ["v,A>B>C"] * found


def test_an_edge_that_is_the_least_one_but_for_rounding_is_not_more() -> None:
    assert 34.017 * 3 * (1 / 102) > 1.0005  # as doubles; it is equal
    even = {A_TO_B: Offer(34.017, 40), B_TO_C: Offer(3, 4), C_TO_A: Offer(90, 102)}
    assert not found_in(even)


def test_no_profit_is_none() -> None:
    assert not found_in(triangle(), ANY)
    assert found_in(triangle(2.00000001), ANY)


def test_a_profit_that_the_fees_eat_is_none() -> None:
    assert found_in(triangle(2.004))
    assert not found_in(triangle(2.004, fee=0.0006))
    assert found_in(triangle(2.006, fee=0.0006))


def test_both_directions_and_both_venues_have_keys_of_their_own() -> None:
    back = {A_TO_B: Offer(1.9, 2.0, 1, 1), B_TO_C: Offer(2.9, 3.0, 1, 1), C_TO_A: Offer(6.1, 6.2, 1, 1)}
    assert list(found_in(back)) == ["v,A>C>B"]
    there = {("w", symbol): made for (_, symbol), made in triangle(2.1).items()}
    both = found_in({**back, **there})
    assert {key: signal.symbols for key, signal in both.items()} == {
        "v,A>C>B": ("A/C", "B/C", "A/B"),
        "w,A>B>C": ("A/B", "B/C", "A/C"),
    }
    assert [leg["side"] for leg in both["v,A>C>B"].metadata["legs"]] == ["sell", "buy", "buy"]
    assert [leg["side"] for leg in both["w,A>B>C"].metadata["legs"]] == ["sell", "sell", "buy"]


def test_the_same_prices_the_other_way_up_are_the_same_cycle() -> None:
    turned = {A_TO_B: Offer(2.1, 2.2, 9, 9), ("v", "C/B"): Offer(0.3, 1 / 3, 9, 9), C_TO_A: Offer(5.0, 6.0, 9, 9)}
    [signal] = found_in(turned).values()
    assert signal.key == "v,A>B>C"
    assert [leg["side"] for leg in signal.metadata["legs"]] == ["sell", "buy", "buy"]
    assert signal.expected_return == pytest.approx(0.05)


def test_of_two_symbols_for_the_same_trade_the_better_one_is_taken() -> None:
    twice = {**triangle(2.1), ("v", "B/A"): Offer(0.3, 0.4, 1, 1)}
    signals, _ = look(Triangular(), panel_with(quotes_of(twice)), FULL)
    assert [signal.symbols for signal in signals if signal.key == "v,A>B>C"] == [("B/A", "B/C", "A/C")]
    signals, _ = look(Triangular(), panel_with(quotes_of({**twice, ("v", "B/A"): Offer(0.3, 0.6, 1, 1)})), FULL)
    assert [signal.symbols for signal in signals] == [("A/B", "B/C", "A/C")]


def test_the_trust_in_it_grows_with_its_size_and_falls_with_its_age() -> None:
    def trust(size: float, **changes: Offer) -> float:
        made = {key: changes.get(key[1].replace("/", ""), whole) for key, whole in triangle(2.1).items()}
        [signal] = found_in(made, Parameters(size=size)).values()
        return signal.confidence

    # most symbols are quoted in C, and A is worth 5.5 of it
    assert trust(2.6e6) == 1
    assert trust(11e6) == pytest.approx(0.5 / 2.1)  # a million of B is bought with less than half a million of A
    assert trust(55, AB=Offer(2.1, 2.5, 5, np.nan)) == 0.5
    assert trust(55, BC=Offer(3.0, 3.5, 10.5, 0)) == 0.5
    assert trust(55, AC=Offer(5.0, 6.0, 0, 5.25)) == pytest.approx(0.5)
    assert trust(55, AB=Offer(2.1, 2.5, np.nan, 5)) == 0
    assert trust(55, AC=Offer(5.0, 6.0, 5, np.nan)) == 0
    assert trust(55, AB=Offer(2.1, 2.5, 0, 5)) == 0
    assert trust(55, AB=Offer(2.1, 2.5, 5, 5, 0, 30_000)) == 0.25
    assert trust(55, AB=Offer(2.1, 2.5, 5, 5, 0, 60_000)) == 0


def test_what_cannot_be_valued_is_not_trusted() -> None:
    dollars = {("v", f"{coin}/USD"): Offer(1, 2, 9, 9) for coin in ("X", "Y", "Z")}
    [signal] = found_in({**triangle(2.1), **dollars}).values()
    assert signal.confidence == 0
    [signal] = found_in({**triangle(2.1), **dollars, ("v", "A/USD"): Offer(10, 10, 1, 1)}).values()
    assert signal.confidence == 1
    [signal] = found_in(
        {**triangle(2.1), **dollars, ("v", "USD/A"): Offer(0.5, 0.5, 1, 1)}, Parameters(size=1e7)
    ).values()
    assert signal.confidence == pytest.approx(0.2 / 2.1)


def test_of_currencies_that_are_quoted_in_as_often_the_first_one_counts() -> None:
    even = {B_TO_C: Offer(3, 4, 9, 9), A_TO_B: Offer(2, 3, 9, 9), ("v", "C/A"): Offer(0.2, 0.3, 9, 9)}
    [signal] = found_in(even, Parameters(size=9)).values()
    assert signal.confidence == pytest.approx(1 / 6)  # 9 of C are what 1.5 of A become


@pytest.mark.parametrize(
    ("bad", "note"),
    [
        (Offer(2.1, 2.5, 1, 1, 0, 60_001), "1 older than 60 s"),
        (Offer(2.1, np.nan), "1 broken (no price, no fee, or a bid above its ask)"),
        (Offer(2.1, 2.0), "1 broken (no price, no fee, or a bid above its ask)"),
        (Offer(0, 2.5), "1 broken (no price, no fee, or a bid above its ask)"),
        (Offer(2.1, np.inf), "1 broken (no price, no fee, or a bid above its ask)"),
        (Offer(2.1, 2.5, 1, 1, np.nan), "1 broken (no price, no fee, or a bid above its ask)"),
    ],
)
def test_what_is_stale_or_broken_is_not_used_and_the_note_counts_it(bad: Offer, note: str) -> None:
    panel = panel_with(quotes_of({**triangle(2.1), A_TO_B: bad}))
    assert look(Triangular(), panel, FULL) == ([], [f"quotes that were not used: {note}"])
    assert check(panel, FULL) == {}


def test_no_cross_rate_is_no_cycle() -> None:
    apart = {("v", f"{coin}/USD"): Offer(1, 2, 9, 9) for coin in ("X", "Y", "Z")}
    assert found_in(apart) == {}
    alone = {**triangle(2.1), A_TO_B: Offer(np.nan, np.nan), ("w", "A/B"): Offer(2.1, 2.5, 1, 1)}
    assert found_in(alone) == {}


def test_a_symbol_that_names_no_two_currencies_is_in_no_cycle() -> None:
    one = Offer(1, 1, 9, 9)
    for odd in (("X/Y", "Y/", "X/"), ("X/Y", "/X", "/Y"), ("X/Y", "Y/Y", "Z/X"), ("X", "Y", "Z")):
        made = {("v", name): one if name == "X/Y" else Offer(2, 2, 9, 9) for name in odd}
        made["v", odd[-1]] = one
        assert look(Triangular(), panel_with(quotes_of(made)), FULL) == ([], [])


def test_prices_beyond_all_measure_are_no_cycle() -> None:
    assert look(Triangular(), panel_with(quotes_of(triangle(1e300, 1e300))), FULL)[1] == [
        "quotes that were not used: 2 broken (no price, no fee, or a bid above its ask)"
    ]
    for least in (1e-200, 1e-319):
        vast = {A_TO_B: Offer(1e200, 1e201), B_TO_C: Offer(1e200, 1e201), C_TO_A: Offer(least, least)}
        assert look(Triangular(), panel_with(quotes_of(vast)), FULL) == ([], [])


def test_fewer_than_three_symbols_are_a_reason() -> None:
    two = panel_with(quotes_of({key: offer for key, offer in triangle(2.1).items() if key != C_TO_A}))
    with pytest.raises(NothingToScan, match="needs quotes of 3 symbols, cross rates among them; there are 2"):
        look(Triangular(), two, FULL)
    one = panel_with(quotes_of(triangle(2.1))).select(["A/B"])
    assert planned_note(Triangular(), one) == (
        "Nothing to scan: triangular needs quotes of 3 symbols, cross rates among them; there are 1"
    )


def test_real_candles_have_no_quotes(real: Panel) -> None:
    assert planned_note(Triangular(), real) == (
        f"Nothing to scan: triangular needs quotes, and the market {real.market} has none"
    )


def test_memory_grows_with_the_square_of_the_currencies() -> None:
    count = 250
    net = np.random.default_rng(1).uniform(0.99, 0.999, (count, count))
    tracemalloc.start()
    try:
        assert list(cycles(net, 1.0)) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * net.nbytes < count * net.nbytes / 20


def test_a_worker_makes_opportunities_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = triangle(2.1, age=1500)
    outcome = outcome_of(Triangular(), panel_with(quotes_of(made)), tmp_path, monkeypatch)
    [found] = outcome.opportunities
    assert found.id == "triangular:A/B+B/C+A/C@v,A>B>C:2026-11-23T13:59:58.500Z"
    assert (found.symbol, found.symbols, found.side) == ("A/B", ["A/B", "B/C", "A/C"], "neutral")
    assert (found.risk_level, found.estimated_timeframe, found.confidence_score) == ("low", "1m", 97.5)
    assert found.expected_return == pytest.approx(0.05)
