"""Live candles, quotes and funding of exchanges, through ccxt."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from scanstream.errors import MarketError, SettingError
from scanstream.market.history import Candles, Payments
from scanstream.market.quoting import read_quotes
from scanstream.market.venue import PAUSES, Exchange, Venue, connect
from scanstream.panel import FIELDS, Panel, timeframe_length
from scanstream.quotes import Quotes, currencies

STABLE = ("USDT", "USD", "USDC", "FDUSD")
"""Quote currencies to choose from where no symbols are given: all are worth about a dollar, so volumes compare."""
SYMBOLS = 32
"""How many symbols are chosen then."""

Given = TypeVar("Given")


class ExchangeMarket:
    """Candles and funding of one exchange, and quotes of it and of further ones.

    `load` reads what is new each time. One thread at a time.
    """

    live = True

    def __init__(
        self,
        venues: Sequence[str],
        *,
        symbols: Sequence[str] = (),
        timeframe: str = "1h",
        bars: int = 1000,
        connect: Callable[[str], Exchange] = connect,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """Nothing is asked yet.

        :param venues: ccxt's ids; candles and funding are of the first, quotes of all
        :param symbols: `BTC/USDT`; unless given, those traded most
        :param bars: how many finished bars are held, at least 2
        :param connect: makes the ccxt object of an id
        :param pauses: seconds before each further try of a request that failed
        :raises SettingError: if one of these cannot be
        """
        self.name = f"ccxt:{','.join(venues)}"
        if not all(venues) or not venues or len(set(venues)) < len(venues):
            raise SettingError(f"--market {self.name}: write ccxt:EXCHANGE or ccxt:EXCHANGE,EXCHANGE, each once")
        if bars < 2:
            raise SettingError(f"--live-bars {bars}: a market needs at least two")
        try:
            timeframe_length(timeframe)
        except ValueError as error:
            raise SettingError(f"--live-timeframe {timeframe}: {error}") from error
        self._ids = tuple(venues)
        self._given = tuple(dict.fromkeys(symbols))
        self._timeframe = timeframe
        self._bars = bars
        self._connect = connect
        self._pauses = pauses
        self._venues: list[Venue] = []
        self._candles: Candles | None = None
        self._payments: Payments | None = None

    def load(self) -> Panel:
        """See `Market.load`. What fails after the first candles were read is told in `failed`, and raises nothing."""
        try:
            candles = self._candles or self._open()
            failed: dict[str, str] = {}
            try:
                candles.read()
            except MarketError as error:
                if not candles.held:
                    raise
                failed["candles"] = error.detail
        except MarketError as error:
            raise MarketError(f"--market {self.name}: {error.detail}") from error
        return self._panel(candles, failed)

    def _open(self) -> Candles:
        """Connect, and decide what is read from now on."""
        self._venues = [Venue(self._connect(venue), self._pauses) for venue in self._ids]
        first = self._venues[0]
        if not first.has("fetchOHLCV"):
            raise MarketError(f"{first.id} gives no candles (fetchOHLCV)")
        if self._timeframe not in first.timeframes:
            names = ", ".join(first.timeframes)
            raise MarketError(f"{first.id} has no bars of --live-timeframe {self._timeframe}; it has {names}")
        symbols = _listed(first, self._given) if self._given else _most_traded(first)
        if first.has("fetchFundingRateHistory"):
            contracts = {symbol: contract for symbol in symbols if (contract := first.perpetual(symbol))}
            self._payments = Payments(first, contracts) if contracts else None
        self._candles = Candles(first, symbols, self._timeframe, self._bars)
        return self._candles

    def _panel(self, candles: Candles, failed: dict[str, str]) -> Panel:
        funding = _tried(self._payments.read, "funding", failed) if self._payments else None
        quoting = [venue for venue in self._venues if venue.has_quotes]

        def quotes() -> Quotes:
            return read_quotes(quoting, candles.symbols)

        times, table = candles.table()
        return Panel(
            market=self.name,
            exchange=self._ids[0],
            timeframe=candles.length,
            symbols=candles.symbols,
            times=times,
            **dict[str, Any](zip(FIELDS, table, strict=True)),
            quotes=_tried(quotes, "quotes", failed) if quoting else None,
            funding=funding,
            failed=failed,
        )


def _tried(read: Callable[[], Given], name: str, failed: dict[str, str]) -> Given | None:
    try:
        return read()
    except MarketError as error:
        failed[name] = error.detail
        return None


def _listed(venue: Venue, symbols: Sequence[str]) -> Sequence[str]:
    """The symbols, if the exchange has them all."""
    listed = venue.spot()
    for symbol in symbols:
        if symbol not in listed:
            near = get_close_matches(symbol.upper(), listed, n=5)
            hint = f"; it lists {', '.join(near)}" if near else ""
            raise MarketError(f"--live-symbols: {venue.id} does not trade {symbol}{hint}")
    return symbols


def _most_traded(venue: Venue) -> Sequence[str]:
    """Of the stable currency in which most is traded, the symbols of which most is."""
    told = venue.turnover() if venue.has("fetchTickers") else {}
    turnover = {symbol: told[symbol] for symbol in venue.spot() if symbol in told}

    def total(currency: str) -> float:
        return sum(volume for symbol, volume in turnover.items() if currencies(symbol)[1] == currency)

    best = max(STABLE, key=total)
    symbols = [symbol for symbol in turnover if currencies(symbol)[1] == best]
    if not symbols:
        raise MarketError(
            f"{venue.id} does not tell how much of its symbols is traded for {', '.join(STABLE)}: "
            "name the symbols with --live-symbols"
        )
    return sorted(symbols, key=lambda symbol: (-turnover[symbol], symbol))[:SYMBOLS]
