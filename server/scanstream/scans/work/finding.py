"""A signal as the opportunity that clients see, through the gate; and whether a request's filters let it pass."""

from typing import get_args

from msgspec import UNSET, UnsetType

from scanstream.model import (
    DEFAULT_CAPITAL_USD,
    LONGEST_SYMBOL,
    RISK_LEVELS,
    DiscoverRequest,
    Milliseconds,
    Opportunity,
    RiskLevel,
    Side,
    now,
    timestamp,
)
from scanstream.panel import Panel, timeframe_length, timeframe_name
from scanstream.quotes import currencies
from scanstream.strategies import gate
from scanstream.strategies.gate import Refused
from scanstream.strategies.installed import Installed, opportunity_type
from scanstream.strategies.strategy import Signal

MOST_SYMBOLS = 64
LONGEST_KEY, LONGEST_EXCHANGE = 256, 64
LONGEST_ID = 1024
"""Characters of an opportunity's id: strategy, symbols, key and time."""
LAST_TIME: Milliseconds = 253_402_300_799_999
"""The end of the year 9999."""
LONGEST_TIME: Milliseconds = 100 * 366 * 86_400_000
MOST_TRADES = 2**53 - 1
SIDES: tuple[Side, ...] = get_args(Side)


def opportunity(strategy: Installed, panel: Panel, signal: Signal, request: DiscoverRequest) -> Opportunity:
    """What a strategy found, plain.

    :raises Refused: naming what of it is not valid
    """
    symbols = _symbols(signal.symbols)
    key = gate.text(signal.key, "key", least=0, most=LONGEST_KEY)
    identity = f"{strategy.id}:{'+'.join(symbols)}{f'@{key}' if key else ''}:{timestamp(_time(panel, signal))}"
    if len(identity) > LONGEST_ID:
        raise Refused(f"the id of what it found has {len(identity):,} characters, at most {LONGEST_ID:,}")
    try:
        return _opportunity(identity, symbols, strategy, panel, signal, request)
    except Refused as error:
        raise Refused(f"{identity}: {error}") from None


def _opportunity(
    identity: str, symbols: list[str], strategy: Installed, panel: Panel, signal: Signal, request: DiscoverRequest
) -> Opportunity:
    capital = request.capital_usd or DEFAULT_CAPITAL_USD
    expected = gate.number(signal.expected_return, "expected_return")
    hits = _hits(signal.hits)
    return Opportunity(
        id=identity,
        strategy_id=strategy.id,
        strategy_name=strategy.name,
        opportunity_type=(
            strategy.opportunity_type if signal.opportunity_type is None else opportunity_type(signal.opportunity_type)
        ),
        symbol=symbols[0],
        symbols=symbols,
        exchange=(
            panel.exchange if signal.exchange is None else gate.text(signal.exchange, "exchange", most=LONGEST_EXCHANGE)
        ),
        side=gate.one_of(signal.side, "side", SIDES),
        entry_price=_price(signal.entry, "entry"),
        exit_price=_price(signal.exit, "exit"),
        stop_price=_price(signal.stop, "stop"),
        quote_currency=currencies(symbols[0])[1] or UNSET,
        expected_return=expected,
        profit_potential_usd=gate.number(expected * capital, "expected_return times the capital"),
        required_capital_usd=(
            capital
            if signal.required_capital is None
            else gate.number(signal.required_capital, "required_capital", least=0)
        ),
        confidence_score=round(100 * gate.number(signal.confidence, "confidence", least=0, most=1), 4),
        hit_rate=UNSET if hits is None else (hits[0] + 1) / (hits[1] + 2),
        hit_rate_n=UNSET if hits is None else hits[1],
        risk_level=risk_level(signal),
        estimated_timeframe=timeframe_name(_lasts(panel, signal)),
        metadata=gate.document(signal.metadata, "metadata"),
        discovered_at=timestamp(now()),
    )


def _symbols(value: object) -> list[str]:
    if not isinstance(value, tuple | list) or not 1 <= len(value) <= MOST_SYMBOLS:
        raise Refused(f"symbols must be a tuple of 1 to {MOST_SYMBOLS} symbols")
    return [gate.text(symbol, "a symbol", most=LONGEST_SYMBOL) for symbol in value]


def _time(panel: Panel, signal: Signal) -> Milliseconds:
    if signal.at is not None:
        return gate.whole(signal.at, "at", least=0, most=LAST_TIME)
    return int(panel.times[gate.whole(signal.bar, "bar", least=-panel.bars, most=panel.bars - 1)])


def _lasts(panel: Panel, signal: Signal) -> Milliseconds:
    if signal.lasts is not None:
        return gate.whole(signal.lasts, "lasts", least=0, most=LONGEST_TIME)
    return gate.whole(signal.horizon, "horizon", least=0, most=LONGEST_TIME // panel.timeframe) * panel.timeframe


def _price(value: object, field: str) -> float | UnsetType:
    if value is None:
        return UNSET
    price = gate.number(value, field)
    if field == "entry" and price == 0:
        raise Refused("entry must not be 0")
    return price


def _hits(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise Refused("hits must be (trades that made money, trades)")
    trades = gate.whole(value[1], "hits[1]", least=0, most=MOST_TRADES)
    return gate.whole(value[0], "hits[0]", least=0, most=trades), trades


def risk_level(signal: Signal) -> RiskLevel:
    """What the signal says; else from the distance of the stop, as a fraction of the entry.

    Without a stop nothing limits a loss: high. But low where there is no position to be lost (arbitrage): neither an
    entry nor a side.
    """
    if signal.risk_level is not None:
        return gate.one_of(signal.risk_level, "risk_level", RISK_LEVELS)
    if signal.entry is not None and signal.stop is not None:
        entry = gate.number(signal.entry, "entry")
        distance = abs(entry - gate.number(signal.stop, "stop")) / abs(entry)
        return RISK_LEVELS[sum(distance >= bound for bound in (0.02, 0.05, 0.10))]
    return "low" if signal.entry is None and signal.side == "neutral" else "high"


def accepts(request: DiscoverRequest, found: Opportunity) -> bool:
    """Whether an opportunity passes the request's filters."""
    if request.opportunity_type is not None and found.opportunity_type not in request.opportunity_type:
        return False
    if request.min_profit_potential is not None and found.profit_potential_usd < request.min_profit_potential:
        return False
    if request.max_required_capital is not None and found.required_capital_usd > request.max_required_capital:
        return False
    highest = request.filter_by_risk_level
    if highest is not None and RISK_LEVELS.index(found.risk_level) > RISK_LEVELS.index(highest):
        return False
    if request.preferred_timeframes is not None:
        longest = max(timeframe_length(name) for name in request.preferred_timeframes)
        return timeframe_length(found.estimated_timeframe) <= longest
    return True
