"""Scans are started, repeated and changed from the page: what is chosen is what is asked."""

import re
from typing import Any

import pytest
from playwright.async_api import expect

from conftest import Serve
from support.visit import Visit
from support.wire import discover, request, status

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

STAGES = ["Registered", "Waiting for its turn", "Scanning", "Complete"]


async def filters_of(url: str, visit: Visit) -> dict[str, Any]:
    """What the scan on show was asked."""
    told: dict[str, Any] = (await status(url, visit.scan_id)).json()["filters"]
    return told


async def test_a_click_shows_a_scan_from_its_start_to_its_end(serve: Serve, visit: Visit) -> None:
    """Stages and percents go forward only, and the table ends as the results."""
    async with serve() as url:
        await visit.open(url)
        await visit.scan()
        await visit.until("Complete")
        seen: list[tuple[str, int]] = await visit.page.evaluate("seen")
        stages = [STAGES.index(stage) for stage, _ in seen]
        percents = [percent for _, percent in seen]
        assert stages == sorted(stages)
        assert percents == sorted(percents)
        assert percents[-1] == 100
        answer = await visit.shows_results_of(url)
        assert answer["total_opportunities"] > 50
        assert {id: told[1] for id, told in (await visit.strategies()).items()} == {
            id: str(one["opportunities_found"]) for id, one in answer["strategy_performance"].items()
        }
        first_row = visit.rows.first
        await expect(first_row.get_by_role("img")).to_have_attribute(
            "aria-label", re.compile(r"^\S+/\S+, the last 60 prices: from [\d.,]+ to [\d.,]+$")
        )
        assert visit.complaints == []
        assert visit.hosts == {url.removeprefix("http://")}
        assert await visit.violations() == []


async def test_symbols_are_completed_and_chosen(serve: Serve, visit: Visit) -> None:
    """By keys alone: written in part, chosen from the list, taken away again."""
    async with serve() as url:
        await visit.open(url)
        field = visit.page.get_by_role("combobox", name="Symbols")
        await expect(visit.page.get_by_text("scan all 64")).to_be_visible()
        await field.press_sequentially("eth")
        options = visit.page.get_by_role("option")
        await expect(options.first).to_have_text("ETH/USDT")
        await field.press("ArrowDown")
        await expect(field).to_have_attribute("aria-activedescendant", "symbols-option-0")
        await expect(options.first).to_have_attribute("aria-selected", "true")
        await field.press("Enter")
        await field.fill("sol/usdt, XRP/USDT;doge/usdt ")
        chosen = visit.page.get_by_role("list", name="Chosen symbols").get_by_role("listitem")
        await expect(chosen).to_have_text(["ETH/USDT×", "SOL/USDT×", "XRP/USDT×", "DOGE/USDT×"])
        await visit.page.get_by_role("button", name="Remove XRP/USDT").click()
        await expect(field).to_be_focused()
        await field.press("Backspace")
        await field.press_sequentially("bt")
        await options.get_by_text("BTC/USDT").click()
        await expect(chosen).to_have_text(["ETH/USDT×", "SOL/USDT×", "BTC/USDT×"])
        await visit.page.get_by_role("button", name="Start scan", exact=True).click()
        await visit.until()
        assert await filters_of(url, visit) == {"symbols": ["BTC/USDT", "ETH/USDT", "SOL/USDT"]}
        assert visit.complaints == []


async def test_parameters_and_filters_are_those_of_the_form(serve: Serve, visit: Visit) -> None:
    """Every strategy of the catalogue has its fields; what is left as it is is not sent."""
    async with serve() as url:
        catalogue = (await request(url, "GET", "/opportunities/strategies")).json()
        await visit.open(url)
        items = visit.page.locator("#catalogue > li")
        await expect(items).to_have_count(len(catalogue))
        for entry, item in zip(catalogue, await items.all(), strict=True):
            assert await item.locator(".fields .field").count() == len(entry["parameters"]["properties"]), entry["id"]
            if entry["id"] not in ("tsmom", "donchian"):
                await item.get_by_role("checkbox").first.uncheck()
        tsmom = items.filter(has_text="Time-series momentum")
        await tsmom.get_by_label("Parameters of Time-series momentum").click()
        await tsmom.get_by_label("walk forward").fill("0")
        await expect(tsmom.locator("summary")).to_contain_text("walk_forward 0")
        await visit.page.get_by_text("Filters", exact=True).click()
        await visit.page.get_by_label("Highest risk").select_option("high")
        await visit.page.get_by_label("Minimum profit").fill("2.5")
        await visit.page.get_by_label("Preferred timeframes").fill("12h, 1d")
        await visit.page.get_by_label("large").check()
        await visit.page.get_by_label("momentum", exact=True).check()
        await visit.scan()
        await visit.until()
        asked = await filters_of(url, visit)
        assert asked == {
            "strategy_ids": ["donchian", "tsmom"],
            "parameters": {"tsmom": {"walk_forward": 0}},
            "asset_tiers": ["large"],
            "opportunity_type": ["momentum"],
            "filter_by_risk_level": "high",
            "min_profit_potential": 2.5,
            "preferred_timeframes": ["12h", "1d"],
        }

        await visit.page.get_by_role("button", name="Reset").click()
        await visit.page.get_by_role("button", name="Change").click()  # the scan's settings, back in the form
        before = visit.scan_id
        await visit.scan()
        await expect(visit.page).not_to_have_url(re.compile(before))
        await visit.until()
        assert await filters_of(url, visit) == asked
        assert visit.complaints == []


async def test_a_scan_is_repeated(serve: Serve, visit: Visit) -> None:
    """As a scan of its own, from the scan on show and from the list; the way back leads to the one before."""
    async with serve() as url:
        await visit.open(url)
        await visit.scan("SOL/USDT")
        await visit.until("Complete")
        first = visit.scan_id
        await visit.page.locator("#view").get_by_role("button", name="Repeat").click()
        await expect(visit.page).not_to_have_url(re.compile(first))
        await visit.until("Complete")
        second = visit.scan_id
        assert await filters_of(url, visit) == {"symbols": ["SOL/USDT"]}
        listed = visit.page.locator("#scans-list > li")
        await expect(listed).to_have_count(2)
        await listed.last.get_by_role("button", name="Repeat").click()
        await expect(visit.page).not_to_have_url(re.compile(second))
        await visit.until("Complete")
        await visit.page.go_back()
        await visit.page.go_back()
        await expect(visit.page).to_have_url(re.compile(first))
        await expect(listed.last.get_by_role("link")).to_have_attribute("aria-current", "true")
        await visit.until("Complete")
        await visit.shows_results_of(url)
        assert visit.complaints == []


async def test_what_the_server_refuses_is_said_beside_its_field(serve: Serve, visit: Visit) -> None:
    """In the server's words; what was on show stays, and the next scan goes on."""
    async with serve() as url:
        await visit.open(url)
        await visit.scan("SOL/USDT")
        await visit.until("Complete")
        shown = visit.scan_id
        await visit.scan("NOPE/USDT")
        [told] = (await discover(url, {"symbols": ["SOL/USDT", "NOPE/USDT"]})).json()["errors"]
        field = visit.page.get_by_role("combobox", name="Symbols")
        await expect(field).to_have_attribute("aria-invalid", "true")
        await expect(field).to_be_focused()
        await expect(visit.page.locator("#symbols-error")).to_have_text(told["reason"])
        assert visit.scan_id == shown
        await visit.page.get_by_role("button", name="Remove NOPE/USDT").click()

        tsmom = visit.page.locator("#catalogue > li").filter(has_text="Time-series momentum")
        await tsmom.get_by_label("Parameters of Time-series momentum").click()
        await tsmom.get_by_label("walk forward").fill("-1")
        await visit.page.get_by_role("button", name="Start scan", exact=True).click()
        await expect(visit.page.locator("#form-error")).to_be_visible()
        await expect(tsmom.get_by_label("walk forward")).to_have_attribute("aria-invalid", "true")
        await expect(tsmom.locator(".error:visible")).to_contain_text("0")
        await visit.page.get_by_role("button", name="Reset").click()
        await expect(visit.page.locator(".error:visible, #form-error:visible")).to_have_count(0)

        for tick in await visit.page.locator("#catalogue input[name=strategy]").all():
            await tick.uncheck()
        await visit.page.get_by_role("button", name="Start scan", exact=True).click()
        await expect(visit.page.locator("#form-error")).to_have_text("Choose at least one strategy")
        await visit.page.get_by_role("button", name="Reset").click()
        await visit.scan("XRP/USDT")
        await expect(visit.page).not_to_have_url(re.compile(shown))
        await visit.until("Complete")
        assert [text for text in visit.complaints if "422" not in text] == []
