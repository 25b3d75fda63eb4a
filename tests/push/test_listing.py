"""What is scanned is told as bytes that are there before anybody asks; the catalogue, too; scans come one by one."""

from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
import pytest
from msgspec import UNSET

from conftest import Serve
from scanstream.market.synthetic import SyntheticMarket
from scanstream.model import timestamp
from scanstream.panel import EVERYWHERE
from scanstream.push.bodies import CatalogueEntry, Gap, MarketBody
from scanstream.push.listing import listing
from scanstream.routes import catalogue
from support.wire import discover, request

GENERATED = SyntheticMarket(symbols=4, bars=30).load()


def told(body: bytes) -> MarketBody:
    """The answer, with all that the contract says of it."""
    return msgspec.json.decode(body, type=MarketBody)


def test_all_of_a_panel_is_told() -> None:
    close = GENERATED.close.copy()
    close[5:8, 1] = close[-2:, 2] = float("nan")
    panel = replace(GENERATED, close=close, failed={"funding": "HTTP 500"}, ahead={"X/Y": 2})
    at = [timestamp(int(time)) for time in panel.times]
    assert panel.quotes is not None
    assert told(listing(panel)) == MarketBody(
        market="synthetic",
        symbols=list(panel.symbols),
        timeframe="1h",
        bars=30,
        first=at[0],
        last=at[-1],
        has={"candles": True, "quotes": True, "funding": True},
        scanned=at[-1],
        ahead={"X/Y": 2},
        behind={panel.symbols[2]: 2},
        gaps={panel.symbols[1]: [Gap(at[5], at[7], 3)], panel.symbols[2]: [Gap(at[28], at[29], 2)]},
        venues=list(panel.quotes.venues),
        quoted=list(panel.quotes.symbols),
        failed={"funding": "HTTP 500"},
    )


def test_gaps_that_are_not_told_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scanstream.panel.MOST_RUNS", 1)  # then four a symbol
    close = GENERATED.close.copy()
    close[1:21:2, 0] = float("nan")
    body = told(listing(replace(GENERATED, close=close)))
    assert [len(runs) for runs in body.gaps.values()] == [4]
    assert body.older_gaps == {GENERATED.symbols[0]: 6}
    assert EVERYWHERE not in body.gaps
    assert body.failed is UNSET


def test_a_panel_is_told_once() -> None:
    panel = replace(GENERATED)
    before = listing.cache_info().misses
    assert listing(panel) is listing(panel)
    assert listing.cache_info().misses == before + 1


@pytest.mark.anyio
async def test_a_server_has_both_answers_before_it_is_asked(serve: Serve) -> None:
    before = listing.cache_info().misses
    async with serve() as url:
        made = listing.cache_info().misses
        answers = [await request(url, "GET", "/opportunities/market") for _ in range(3)]
        assert len({answer.body for answer in answers}) == 1
        assert told(answers[0].body).market == "synthetic"
        assert (answers[0].headers["content-type"], answers[0].headers["cache-control"]) == (
            "application/json",
            "no-cache",
        )
        strategies = await request(url, "GET", "/opportunities/strategies")
        assert msgspec.json.decode(strategies.body, type=list[CatalogueEntry]) == catalogue()
    assert made == before + 1
    assert listing.cache_info().misses == made


@pytest.mark.anyio
async def test_a_long_list_of_scans_comes_in_as_many_pieces_as_it_has_scans(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scanstream.push.http.MOST_BYTES_AT_ONCE", 0)
    encoded: list[bytes] = []

    async def each(pieces: list[bytes]) -> AsyncIterator[bytes]:
        encoded.extend(pieces)
        for piece in pieces:
            yield piece

    monkeypatch.setattr("scanstream.push.http._each", each)
    async with serve() as url:
        for count in range(3):
            answer = await request(url, "GET", "/opportunities/scans")
            assert answer.body == b"".join(encoded)
            assert len(answer.body) == int(answer.headers["content-length"])
            assert len(encoded) == count + 2
            states = [scan["scan_id"] for scan in answer.json()["scans"]]
            assert len(set(states)) == count
            encoded.clear()
            await discover(url)
