"""What is scanned, as `GET /opportunities/market` tells it: made once for each panel, and kept as bytes."""

from functools import lru_cache

import msgspec
from msgspec import UNSET

from scanstream.model import timestamp
from scanstream.panel import INPUTS, Panel, timeframe_name
from scanstream.push.bodies import Gap, MarketBody


@lru_cache(maxsize=2)  # the current panel, and the one that is about to be
def listing(panel: Panel) -> bytes:
    """The answer, encoded."""
    first, last = timestamp(int(panel.times[0])), timestamp(int(panel.times[-1]))
    body = MarketBody(
        market=panel.market,
        symbols=list(panel.symbols),
        timeframe=timeframe_name(panel.timeframe),
        bars=panel.bars,
        first=first,
        last=last,
        has={name: panel.has(name) for name in INPUTS},
        scanned=last,
        ahead=panel.ahead,
        behind=panel.behind(),
        gaps={symbol: [Gap(**run) for run in runs] for symbol, runs in panel.gaps().items()},
        older_gaps=panel.older_gaps() or UNSET,
        venues=list(panel.quotes.venues) if panel.quotes else UNSET,
        quoted=list(panel.quotes.symbols) if panel.quotes else UNSET,
        failed=panel.failed or UNSET,
    )
    return msgspec.json.encode(body)
