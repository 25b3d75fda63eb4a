"""The newest prices of one symbol: what is there is told as it is, what is absent is absent."""

import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from conftest import Serve
from scanstream.market.synthetic import SyntheticMarket
from scanstream.model import timestamp
from scanstream.push import candles
from scanstream.push.bodies import CandlesBody
from scanstream.push.candles import MOST_BARS, SOME_BARS, newest
from scanstream.server import serving
from scanstream.settings import Settings
from support.wire import Answer, request

GENERATED = SyntheticMarket(symbols=4, bars=30).load()
SYMBOL = GENERATED.symbols[1]
NAN = float("nan")


def told(body: bytes) -> CandlesBody:
    """The answer, with all that the contract says of it."""
    return msgspec.json.decode(body, type=CandlesBody)


def row(bar: int) -> list[str | float]:
    """A whole candle of the second symbol."""
    prices = [float(array[bar, 1]) for array in (GENERATED.open, GENERATED.high, GENERATED.low, GENERATED.close)]
    return [timestamp(int(GENERATED.times[bar])), *prices, float(GENERATED.volume[bar, 1])]


def test_the_newest_bars_come_oldest_first() -> None:
    first, last = timestamp(int(GENERATED.times[27])), timestamp(int(GENERATED.times[29]))
    assert told(newest(GENERATED, SYMBOL, 3)) == CandlesBody(
        symbol=SYMBOL, timeframe="1h", first=first, last=last, candles=[row(27), row(28), row(29)]
    )
    assert told(newest(GENERATED, SYMBOL, MOST_BARS)).candles == [row(bar) for bar in range(30)]


@pytest.mark.parametrize("absent", ["open", "high", "low", "close"])
def test_a_bar_that_is_not_whole_is_left_out(absent: str) -> None:
    values = getattr(GENERATED, absent).copy()
    values[[26, 29], 1] = NAN, float("inf")
    body = told(newest(replace(GENERATED, **{absent: values}), SYMBOL, 5))
    assert body.candles == [row(25), row(27), row(28)]
    assert (body.first, body.last) == (row(25)[0], row(29)[0])


def test_a_volume_that_is_not_known_is_absent() -> None:
    volume = GENERATED.volume.copy()
    volume[28, 1] = NAN
    body = newest(replace(GENERATED, volume=volume), SYMBOL, 3)
    assert told(body).candles == [row(27), row(28)[:-1], row(29)]
    assert b"null" not in body


def test_a_symbol_that_has_ended_has_no_candle() -> None:
    close = GENERATED.close.copy()
    close[20:, 1] = NAN
    assert told(newest(replace(GENERATED, close=close), SYMBOL, 10)).candles == []


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    """A server of the generated market."""
    settings = Settings(port=0, data=":memory:", workers=0, allow_origin=("https://friend.example",))
    async with serving(settings) as url:
        yield url


async def ask(url: str, query: str, *, method: str = "GET", **headers: str) -> Answer:
    """The answer to a question for candles."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await request(url, method, f"/opportunities/market/candles{query}", None, named)


@pytest.mark.anyio
async def test_names_are_matched_as_in_a_discover(url: str) -> None:
    for written in ("BTC/USDT", "btc/usdt", " Btc/Usdt "):
        answer = await ask(url, f"?symbol={quote(written)}")
        assert answer.status == 200, answer
        assert (told(answer.body).symbol, len(told(answer.body).candles)) == ("BTC/USDT", SOME_BARS)
        assert (answer.headers["content-type"], answer.headers["vary"]) == ("application/json", "Origin")


REFUSED = {
    "": ("symbol", "is missing"),
    "?symbol=": ("symbol", "has no ''"),
    "?symbol=DOGE/BTC": ("symbol", "has no 'DOGE/BTC'"),
    "?symbol=BTC/USDT,ETH/USDT": ("symbol", "has no"),
    "?symbol=BTC/USDT&symbol=BTC/USDT": ("symbol", "given 2 times"),
    "?symbol=%ff%00": ("symbol", "has no"),
    f"?symbol={'x' * 20_000}": ("symbol", "has no"),
    **{f"?symbol=BTC/USDT&bars={bars}": ("bars", f"1 to {MOST_BARS}") for bars in ("0", "-1", "1e2", "", "9" * 400)},
    f"?symbol=BTC/USDT&bars={MOST_BARS + 1}": ("bars", f"1 to {MOST_BARS}"),
    "?symbol=BTC/USDT&bars=1&bars=1": ("bars", "given 2 times"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("query", REFUSED, ids=lambda query: query[:40] or "nothing")
async def test_what_cannot_be_told_is_refused_by_its_field(url: str, query: str) -> None:
    answer = await ask(url, query)
    [error] = answer.json()["errors"]
    assert (answer.status, error["field"]) == (422, REFUSED[query][0])
    assert REFUSED[query][1] in error["reason"]
    assert len(answer.body) < 4096
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.anyio
async def test_what_the_caller_has_is_not_sent_again(url: str) -> None:
    first = await ask(url, "?symbol=BTC/USDT")
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    for held in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = await ask(url, "?symbol=BTC/USDT", if_none_match=held)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert (await ask(url, "?symbol=BTC/USDT", if_none_match='"x"')).body == first.body
    assert (await ask(url, "?symbol=nothing", if_none_match=tag)).status == 422


@pytest.mark.anyio
async def test_head_hosts_and_origins_are_as_elsewhere(url: str) -> None:
    whole, head = await ask(url, "?symbol=BTC/USDT"), await ask(url, "?symbol=BTC/USDT", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.body))
    friend = await ask(url, "?symbol=BTC/USDT", origin="https://friend.example")
    assert friend.headers["access-control-allow-origin"] == "https://friend.example"
    assert "ETag" in friend.headers["access-control-expose-headers"]
    foreign = await ask(url, "?symbol=BTC/USDT", host="evil.example")
    assert (foreign.status, foreign.json()["code"]) == (403, "forbidden")


@pytest.mark.anyio
async def test_prices_are_read_beside_the_loop(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are mapped from a file, and may have to come from a disk."""
    threads: list[threading.Thread] = []

    def watched(*told: Any) -> bytes:
        threads.append(threading.current_thread())
        return newest(*told)

    monkeypatch.setattr(candles, "newest", watched)
    async with serve(workers=0) as url:
        assert (await ask(url, "?symbol=BTC/USDT")).status == 200
    assert threads
    assert threading.main_thread() not in threads
