"""Arbitrage between exchanges against decimal arithmetic, at its thresholds, and on quotes that nobody wants."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from scanstream.panel import Panel
from scanstream.quotes import Quotes
from scanstream.strategies.cross_exchange import CrossExchange, Parameters
from scanstream.strategies.strategy import NothingToScan, Signal
from strategies.books_panels import Offer, exact, look, near, outcome_of, panel_with, planned_note, quotes_of, worth

FULL = Parameters()
FREE = Parameters(transfer=0)


class Found(NamedTuple):
    """One pair of venues, by the oracle."""

    edge: Decimal
    gross: Decimal
    confidence: Decimal
    at: int
    age: int


def is_usable(quotes: Quotes, venue: int, column: int, longest: float) -> bool:
    """Whether a quote is sound, and new enough."""
    bid, ask, fee = (float(values[venue, column]) for values in (quotes.bid, quotes.ask, quotes.fee))
    return 0 < bid <= ask < float("inf") and abs(fee) < 1 and age_of(quotes, venue, column) <= 1000 * longest


def age_of(quotes: Quotes, venue: int, column: int) -> int:
    """Milliseconds since a quote was made."""
    return max(quotes.at - int(quotes.times[venue, column]), 0)


def confidence_of(capacity: Decimal, age: int, size: float, longest: float) -> Decimal:
    """min(1, capacity / size) × freshness."""
    filled = Decimal(0) if capacity.is_nan() else min(Decimal(1), capacity / exact(size))
    return filled * (1 - Decimal(age) / (1000 * exact(longest)))


def oracle(quotes: Quotes, parameters: Parameters) -> dict[tuple[str, str], Found]:
    """Every pair that qualifies, by symbol and key, one quote after the other."""
    found: dict[tuple[str, str], Found] = {}
    for column, symbol in enumerate(quotes.symbols):
        for buy, sell in permutations(range(len(quotes.venues)), 2):
            if not all(is_usable(quotes, venue, column, parameters.max_age_seconds) for venue in (buy, sell)):
                continue
            ask, ask_size, ask_fee = (exact(a[buy, column]) for a in (quotes.ask, quotes.ask_size, quotes.fee))
            bid, bid_size, bid_fee = (exact(a[sell, column]) for a in (quotes.bid, quotes.bid_size, quotes.fee))
            edge = bid * (1 - bid_fee) / (ask * (1 + ask_fee)) - 1 - exact(parameters.transfer)
            if edge < exact(parameters.min_edge):
                continue
            sizes = [size for size in (ask_size, bid_size) if not size.is_nan() and 0 <= size < Decimal("inf")]
            capacity = (
                min(sizes) * ask * worth(quotes, buy, symbol.split("/")[1]) if len(sizes) == 2 else Decimal("nan")
            )
            age = max(age_of(quotes, venue, column) for venue in (buy, sell))
            at = int(max(quotes.times[buy, column], quotes.times[sell, column]))
            confidence = confidence_of(capacity, age, parameters.size, parameters.max_age_seconds)
            key = f"{quotes.venues[buy]}>{quotes.venues[sell]}"
            found[symbol, key] = Found(edge, bid / ask - 1, confidence, at, age)
    return found


def check(panel: Panel, parameters: Parameters) -> dict[tuple[str, str], Signal]:
    """Every signal is the oracle's, and there are no others."""
    assert panel.quotes is not None
    expected = oracle(panel.quotes, parameters)
    signals = {(signal.symbols[0], signal.key): signal for signal in look(CrossExchange(), panel, parameters)[0]}
    assert list(signals) == list(expected)
    for key, signal in signals.items():
        right = expected[key]
        assert near(signal.expected_return, right.edge)
        assert near(signal.confidence, right.confidence)
        assert near(signal.metadata["edge"], right.edge)
        assert near(signal.metadata["gross"], right.gross)
        assert (signal.at, signal.metadata["age_ms"]) == (right.at, right.age)
        assert (len(signal.symbols), signal.lasts, signal.hits) == (1, 60_000, None)
        check_legs(panel.quotes, signal)
    return signals


def check_legs(quotes: Quotes, signal: Signal) -> None:
    """Each leg is a quote as it stands."""
    [symbol] = signal.symbols
    column = quotes.symbols.index(symbol)
    buy, sell = (quotes.venues.index(name) for name in signal.key.split(">"))
    for leg, venue, side in zip(signal.metadata["legs"], (buy, sell), ("buy", "sell"), strict=True):
        price, size = (quotes.ask, quotes.ask_size) if side == "buy" else (quotes.bid, quotes.bid_size)
        expected = {"venue": quotes.venues[venue], "symbol": symbol, "side": side, "fee": quotes.fee[venue, column]}
        expected["price"] = price[venue, column]
        if 0 <= size[venue, column] < np.inf:
            expected["size"] = size[venue, column]
        assert leg == expected


def test_it_finds_what_decimals_find_on_the_generated_market(generated: Panel) -> None:
    whole = check(generated, FULL)
    assert whole
    assert check(generated, Parameters(min_edge=0, transfer=0)).keys() >= whole.keys()
    some = check(generated.select(generated.symbols[:9]), FULL)
    assert some.keys() == {(symbol, key) for symbol, key in whole if in_selection(symbol, generated.symbols[:9])}


def in_selection(symbol: str, selected: Sequence[str]) -> bool:
    """Whether a selection has a symbol, or both currencies of a cross rate."""
    held = {currency for name in selected for currency in name.split("/")}
    return symbol in selected or (not symbol.endswith("/USDT") and held.issuperset(symbol.split("/")))


prices = st.integers(990, 1010).map(lambda tick: tick / 10)
sizes = st.sampled_from([np.nan, 0.0, 0.5, 9.9, 10.0, 200.0, -1.0, np.inf])
oddities = st.sampled_from([np.nan, 0.0, -1.0, np.inf])
fees = st.sampled_from([0.0, 0.0004, 0.001, np.nan])
offers = st.builds(Offer, prices | oddities, prices | oddities, sizes, sizes, fees, st.integers(0, 70_000))


@settings(max_examples=150)
@given(
    made=st.dictionaries(
        st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(["A/X", "B/X", "A/B"])), offers, min_size=1
    ),
    parameters=st.sampled_from([FULL, FREE, Parameters(min_edge=0, transfer=0, size=50, max_age_seconds=30)]),
)
def test_it_finds_what_decimals_find_in_any_books(made: dict[tuple[str, str], Offer], parameters: Parameters) -> None:
    panel = panel_with(quotes_of(made))
    try:
        check(panel, parameters)
    except NothingToScan:
        assert panel.quotes is not None
        assert not oracle(panel.quotes, parameters)


def of(**offers: Offer) -> Panel:
    """A panel on which each of these venues quotes A/X."""
    return panel_with(quotes_of({(venue, "A/X"): offer for venue, offer in offers.items()}))


LOW = Offer(99.9, 100.0, 50, 50)


def high(bid: float, fee: float = 0.0, age: int = 0) -> Offer:
    """Where to sell what is bought at 100."""
    return Offer(bid, bid + 1, 50, 50, fee, age)


@pytest.mark.parametrize(("bid", "found"), [(100.15, 1), (100.15000001, 1), (100.14999999, 0), (100.1, 0)])
def test_the_least_edge_is_enough_and_less_is_not(bid: float, found: int) -> None:
    signals = check(of(low=LOW, high=high(bid)), FULL)
    assert [signal.key for signal in signals.values()] == ["low>high"] * found


def test_an_edge_that_is_the_least_one_but_for_rounding_is_enough() -> None:
    assert 126.189 / 126 - 1 - 0.0005 < 0.001  # as doubles; it is equal
    assert check(of(low=Offer(125, 126), high=high(126.189)), FULL)


def test_a_profit_that_the_fees_eat_is_none() -> None:
    assert check(of(low=LOW, high=high(100.4)), FULL)
    assert not check(of(low=LOW._replace(fee=0.0015), high=high(100.4, fee=0.0015)), FULL)
    assert not check(of(low=LOW, high=high(100.4)), Parameters(transfer=0.0031))


def test_the_trust_in_it_grows_with_its_size_and_falls_with_its_age() -> None:
    def trust(low: Offer, other: Offer) -> float:
        [signal] = check(of(low=low, high=other), FULL).values()
        return signal.confidence

    assert trust(LOW, high(101)) == 1
    assert trust(LOW._replace(ask_size=10), high(101)) == 1
    assert trust(LOW._replace(ask_size=2.5), high(101)) == 0.25
    assert trust(LOW, high(101)._replace(bid_size=2.5)) == 0.25
    assert trust(LOW._replace(ask_size=np.nan), high(101)) == 0
    assert trust(LOW, high(101)._replace(bid_size=np.nan)) == 0
    assert trust(LOW._replace(ask_size=0), high(101)) == 0
    assert trust(LOW, high(101, age=15_000)) == 0.75
    assert trust(LOW._replace(age=30_000), high(101, age=15_000)) == 0.5
    assert trust(LOW._replace(age=-5), high(101, age=-5)) == 1
    assert trust(LOW, high(101, age=60_000)) == 0


@pytest.mark.parametrize("size", [np.nan, np.inf, -1.0])
def test_a_size_that_is_not_known_is_not_told(size: float) -> None:
    [signal] = check(of(low=LOW._replace(ask_size=size), high=high(101)), FULL).values()
    buy, sell = signal.metadata["legs"]
    assert "size" not in buy
    assert sell["size"] == 50


BROKEN = "quotes that were not used: 1 broken (no price, no fee, or a bid above its ask)"


@pytest.mark.parametrize(
    ("bad", "note"),
    [
        (high(101, age=60_001), "quotes that were not used: 1 older than 60 s"),
        (
            high(101)._replace(bid=np.nan),
            BROKEN,
        ),
        (
            high(101)._replace(ask=np.nan),
            BROKEN,
        ),
        (
            high(101)._replace(ask=100.9),
            BROKEN,
        ),
        (Offer(0, 101), BROKEN),
        (Offer(101, np.inf), BROKEN),
        (high(101, fee=np.nan), BROKEN),
        (high(101, fee=1), BROKEN),
    ],
)
def test_what_is_stale_or_broken_is_not_used_and_the_note_counts_it(bad: Offer, note: str) -> None:
    whole = of(low=LOW, high=high(101), other=bad)
    assert [signal.key for signal in check(whole, FULL).values()] == ["low>high"]
    assert look(CrossExchange(), whole, FULL)[1] == [note]


def test_both_kinds_are_counted_apart() -> None:
    panel = of(low=LOW, high=high(101, age=90_000), zero=Offer(0, 0, age=90_000), crossed=Offer(101, 100))
    note = "quotes that were not used: 2 broken (no price, no fee, or a bid above its ask), 1 older than 60 s"
    assert look(CrossExchange(), panel, FULL) == ([], [note])
    assert look(CrossExchange(), of(low=LOW, high=high(101)), FULL)[1] == []


def test_every_pair_that_qualifies_has_an_id_of_its_own() -> None:
    offers = {
        (venue, symbol): offer
        for symbol in ("A/X", "B/X")
        for venue, offer in (("one", LOW), ("two", LOW), ("three", high(101)), ("four", high(102)))
    }
    signals = check(panel_with(quotes_of(offers)), FULL)
    keys = ["one>three", "one>four", "two>three", "two>four", "three>four"]
    assert sorted(signals) == sorted((symbol, key) for symbol in ("A/X", "B/X") for key in keys[:4])


def test_a_locked_venue_is_no_arbitrage_with_itself() -> None:
    still = Offer(100, 100, 50, 50)
    found = check(of(one=still, two=still), Parameters(min_edge=0, transfer=0))
    assert [key for _, key in found] == ["one>two", "two>one"]


def test_without_two_venues_there_is_nothing_to_scan() -> None:
    with pytest.raises(NothingToScan, match="needs quotes of 2 venues; the market has 1"):
        look(CrossExchange(), of(only=LOW), FULL)
    apart = quotes_of({("one", "A/X"): LOW, ("two", "B/X"): LOW})
    with pytest.raises(NothingToScan, match="needs a symbol that 2 venues quote; there is none"):
        look(CrossExchange(), panel_with(apart), FULL)
    assert planned_note(CrossExchange(), of(only=LOW)) == (
        "Nothing to scan: cross_exchange needs quotes of 2 venues; the market has 1"
    )


def test_real_candles_have_no_quotes(real: Panel) -> None:
    assert planned_note(CrossExchange(), real) == (
        f"Nothing to scan: cross_exchange needs quotes, and the market {real.market} has none"
    )


def test_a_worker_makes_opportunities_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = of(low=LOW, high=high(101, age=1500), other=high(102)._replace(bid_size=np.nan))
    outcome = outcome_of(CrossExchange(), panel, tmp_path, monkeypatch)
    first, second, *_ = outcome.opportunities
    assert first.id == "cross_exchange:A/X@low>high:2026-11-23T14:00:00.000Z"
    assert (first.side, first.risk_level, first.estimated_timeframe) == ("neutral", "low", "1m")
    assert (first.entry_price, first.exit_price, first.stop_price, first.hit_rate) == (UNSET, UNSET, UNSET, UNSET)
    assert first.profit_potential_usd == pytest.approx(9.5)
    assert (first.confidence_score, second.confidence_score) == (97.5, 0)
    assert first.quote_currency == "X"
