"""Nothing that a server tells is kept back: the place in the queue, what was asked, when, and what is scanned."""

import re

import pytest
from playwright.async_api import expect

from conftest import Serve
from support.script import scripting
from support.visit import Visit
from support.wire import discover, request, status

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

ZONE = r"\d\d:\d\d:\d\d UTC"


async def test_the_place_in_the_queue_is_told(serve: Serve, visit: Visit) -> None:
    """No frame tells it: it changes with the scans before."""
    async with serve(workers=1, max_running=1) as url, scripting() as script:
        first = (await discover(url, script.request(1))).json()["scan_id"]
        shard = await script.started()
        second = (await discover(url, script.request(1, symbols=["BTC/USDT"]))).json()["scan_id"]
        third = (await discover(url, script.request(1, symbols=["ETH/USDT"]))).json()["scan_id"]
        await visit.open(f"{url}/#{third}")
        await visit.until("Waiting for its turn")
        rank = visit.page.locator("#rank")
        assert (await status(url, third)).json()["rank"] == 2
        await expect(rank).to_have_text("Place 2 in the queue")
        await visit.page.locator("#scans-list").get_by_role("button", name="Cancel: scripted · BTC/USDT").click()
        await expect(rank).to_have_text("Place 1 in the queue: the next")
        await visit.page.evaluate("scan_id => { location.hash = scan_id }", first)
        await visit.until("Scanning")
        await expect(rank).to_have_text("")
        await visit.page.go_back()
        await expect(rank).to_have_text("Place 1 in the queue: the next")
        await shard.tell("end")
        await visit.until("Scanning")
        await expect(rank).to_have_text("")
        await (await script.started()).tell("end")
        await visit.until("Complete")
        assert second != third
        assert visit.complaints == []


async def test_what_was_asked_and_when_is_told(serve: Serve, visit: Visit) -> None:
    """Every field of the request and of the state; the addresses for programs lead to the scan."""
    asked = {
        "symbols": ["BTC/USDT", "ETH/USDT"],
        "strategy_ids": ["donchian", "tsmom"],
        "asset_tiers": ["large"],
        "min_profit_potential": 0.5,
        "filter_by_risk_level": "high",
        "preferred_timeframes": ["12h", "2d"],
        "parameters": {"tsmom": {"walk_forward": 0, "lookback": 200}},
    }
    async with serve() as url:
        scan_id = (await discover(url, asked)).json()["scan_id"]
        await visit.open(f"{url}/#{scan_id}")
        await visit.until("Complete")
        about = visit.page.locator("#view details.about")
        await about.get_by_text("About this scan").click()
        told = dict(
            zip(
                await about.locator("dt").all_text_contents(),
                await about.locator("dd").all_text_contents(),
                strict=True,
            )
        )
        assert {name: told[name] for name in told if name not in ("Asked for", "Started", "Ended", "Kept until")} == {
            "Scan": scan_id,
            "Market": "synthetic",
            "Strategies with an outcome": "2 of 2",
            "Symbols": "BTC/USDT, ETH/USDT",
            "Chosen strategies": "donchian, tsmom",
            "Asset tiers": "large",
            "Min profit potential": "0.5",
            "Filter by risk level": "high",
            "Preferred timeframes": "12h, 2d",
            "Parameters of tsmom": "lookback 200, walk forward 0",
        }
        for name in ("Asked for", "Started", "Ended", "Kept until"):
            assert re.search(ZONE, told[name]), name
        for name in ("status", "results"):
            address = await about.get_by_role("link", name=name).get_attribute("href")
            assert address is not None
            answer = await request(url, "GET", address.removeprefix(url))
            assert answer.json()["scan_id"] == scan_id
        await expect(visit.page.locator("#strategies-done")).to_have_text("2 of 2 strategies")


async def test_what_is_scanned_is_told(serve: Serve, visit: Visit) -> None:
    """Until when its prices are, in the head; all else in a card."""
    async with serve() as url:
        market = (await request(url, "GET", "/opportunities/market")).json()
        await visit.open(url)
        await expect(visit.page.locator("#market")).to_have_text(
            re.compile(rf"^synthetic · 64 symbols · {market['timeframe']} · prices until .*{ZONE}$")
        )
        card = visit.page.locator("#market-card")
        await card.get_by_role("heading", name="Market").click()
        await expect(card).to_contain_text("generated, nothing in it is real")
        await expect(card).to_contain_text(f"{market['bars']:,} of {market['timeframe']} each")


async def test_the_focus_is_not_lost_with_a_button(serve: Serve, visit: Visit) -> None:
    """Cancel goes when the scan has ended: who pressed it by a key is left with what can be done next."""
    async with serve(workers=1) as url, scripting() as script:
        for where in ("#view", "#scans-list"):
            scan_id = (await discover(url, script.request(2, force_refresh=True))).json()["scan_id"]
            await script.started()
            await visit.open(f"{url}/#{scan_id}")
            cancel = visit.page.locator(where).get_by_role("button", name="Cancel")
            await cancel.focus()
            await visit.page.keyboard.press("Enter")
            await visit.until("Cancelled")
            await expect(visit.page.locator(where).get_by_role("button", name="Repeat").first).to_be_focused()


async def test_a_time_is_told_in_the_zone_of_its_reader(serve: Serve, visit: Visit) -> None:
    """And the zone with it: a clock that is wrong by an hour is of no consequence, as nothing is reckoned by it."""
    async with serve() as url:
        scan_id = (await discover(url, {"strategy_ids": ["tsmom"], "symbols": ["SOL/USDT"]})).json()["scan_id"]
        session = await visit.page.context.new_cdp_session(visit.page)
        await session.send("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kolkata"})
        await visit.page.clock.set_system_time(await visit.page.evaluate("Date.now() + 3600e3"))
        await visit.open(f"{url}/#{scan_id}")
        await visit.until("Complete")
        await expect(visit.page.locator("#view .head .hint")).to_contain_text(re.compile(r"kept until .*GMT\+5:30"))
        await visit.rows.first.click()
        await expect(visit.page.get_by_role("dialog")).to_contain_text(re.compile(r"Found at.*GMT\+5:30"))
