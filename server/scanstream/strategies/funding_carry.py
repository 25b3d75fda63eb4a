"""Funding carry: who is on the other side of the crowd's perpetual contracts is paid for it, payment after payment.

Source: He, Manela, Ross, von Wachter 2022, Fundamentals of perpetual futures, arXiv:2212.06888, for the payments and
for the position, the perpetual against the spot; Schmeling, Schrimpf, Todorov 2023, Crypto carry, BIS Working Papers
1087, for why it pays: small investors want leverage, and there is too little money against them. That the last thirty
payments tell of the next twenty-one is a convention of this project; the walk-forward tells how well it does.
"""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from scanstream.model import Milliseconds
from scanstream.panel import Array, Panel
from scanstream.quotes import Funding
from scanstream.strategies import series, strategy
from scanstream.strategies.series import Record
from scanstream.strategies.strategy import Note, NothingToScan, Signal

YEAR: Milliseconds = 365 * 24 * 3_600_000
ROUNDING = 1e-12
"""What doubles round away: a yearly return this close to the least one is exactly that, such a payment is none."""


class Parameters(strategy.Parameters, frozen=True, kw_only=True):
    """What a request may set."""

    payments: Annotated[int, Meta(ge=1, le=1000, description="Last payments of which the mean is taken")] = 30
    horizon: Annotated[int, Meta(ge=1, le=1000, description="Payments for which a position is held")] = 21
    fee: Annotated[float, Meta(ge=0, le=0.1, description="What each of the four trades costs, as a fraction")] = 0.0005
    apr_min: Annotated[float, Meta(ge=0, le=10, description="The least return in a year, net of fees")] = 0.05


class FundingCarry(strategy.Strategy):
    """Hold a perpetual contract against the spot, on the side that is paid."""

    id = "funding_carry"
    name = "Funding carry"
    opportunity_type = "carry"
    description = "Finds perpetual contracts whose funding pays, net of fees, for holding them against the spot."
    source = "He, Manela, Ross, von Wachter 2022, arXiv:2212.06888; Schmeling et al. 2023, BIS Working Papers 1087"
    needs = ("funding",)
    chunk = 1
    parameters = Parameters

    def units(self, panel: Panel, parameters: Parameters) -> int:
        """One: the whole universe."""
        funding = panel.funding
        if funding is None or not funding.symbols:
            raise NothingToScan("needs a symbol whose perpetual contract pays funding; there is none")
        if len(funding.times) < parameters.payments:
            raise NothingToScan(f"needs {parameters.payments} payments; the market has {len(funding.times)}")
        return 1

    def scan(self, panel: Panel, units: range, parameters: Parameters) -> Iterator[Signal | Note]:
        """The carry of each contract as of the last payment, with the rule's record on the payments before it."""
        funding = panel.funding
        assert funding is not None  # or `units` had nothing to scan
        rule = measure(funding, parameters)
        silent = np.isnan(rule.mean[-1])
        if silent.any():
            names = ", ".join(funding.symbols[column] for column in np.flatnonzero(silent))
            yield Note(f"{names}: a payment is missing among the last {parameters.payments}")
        past = record(funding, rule, parameters)
        for column in np.flatnonzero(rule.side[-1]).tolist():
            hits = past.of(column) if parameters.walk_forward else None
            yield _signal(funding, rule, column, hits, parameters)


class Measure(NamedTuple):
    """The rule at each payment (rows) from the first with enough before it; NaN where one of these is missing."""

    mean: Array
    net: Array
    """What the mean would make over the horizon, less the fees."""
    apr: Array
    """The same in a year."""
    side: NDArray[np.int8]
    """1: short the perpetual and long the spot; -1: the other way around; 0: nothing."""


def measure(funding: Funding, parameters: Parameters) -> Measure:
    """Apply the rule at each payment, with those up to it only."""
    mean = _windows(_known(funding), parameters.payments).mean(axis=-1)
    net = np.abs(mean) * parameters.horizon - 4 * parameters.fee
    apr = net * (YEAR / funding.interval) / parameters.horizon
    pays = (apr >= parameters.apr_min - ROUNDING) & (np.abs(mean) > ROUNDING)
    return Measure(mean, net, apr, np.where(pays, np.sign(mean), 0).astype(np.int8))


def _known(funding: Funding) -> Array:
    return np.where(np.isfinite(funding.rates), funding.rates, np.nan)


def _windows(rates: Array, length: int) -> Array:
    return np.lib.stride_tricks.sliding_window_view(rates, length, axis=0)


def record(funding: Funding, rule: Measure, parameters: Parameters) -> Record:
    """Score the rule on the last `walk_forward` payments whose horizon is over.

    A position opens just after its payment. It is a hit if the payments of its horizon made more than the four trades
    cost. One with a payment missing is not counted.
    """
    size = len(funding.symbols)
    over = max(len(rule.side) - parameters.horizon, 0)
    judged = slice(max(over - parameters.walk_forward, 0), over)
    rates = _known(funding)[parameters.payments :]
    if not over:
        return series.tally(np.arange(0), np.zeros(0, dtype=bool), np.zeros(0, dtype=bool), size)
    made = rule.side[judged] * _windows(rates, parameters.horizon)[judged].sum(axis=-1) - 4 * parameters.fee
    rows, columns = np.nonzero(rule.side[judged])
    return series.tally(columns, np.isfinite(made[rows, columns]), made[rows, columns] > ROUNDING, size)


def _signal(
    funding: Funding, rule: Measure, column: int, hits: tuple[int, int] | None, parameters: Parameters
) -> Signal:
    mean, net, apr = (float(values[-1, column]) for values in rule[:-1])
    side = int(rule.side[-1, column])
    same = int((side * funding.rates[-parameters.payments :, column] > 0).sum())
    trades = {"perpetual": "sell" if side > 0 else "buy", "spot": "buy" if side > 0 else "sell"}
    symbol = funding.symbols[column]
    return Signal(
        symbols=(symbol,),
        side="neutral",
        at=int(funding.times[-1]),
        expected_return=net,
        confidence=(same + 1) / (parameters.payments + 2),
        lasts=parameters.horizon * funding.interval,
        hits=hits,
        metadata={
            "legs": [
                {"market": market, "symbol": symbol, "side": trade, "fee": parameters.fee}
                for market, trade in trades.items()
            ],
            "mean": mean,
            "apr": apr,
            "net": net,
            "same_sign": same,
        },
    )
