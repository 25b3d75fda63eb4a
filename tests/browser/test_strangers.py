"""What others write is text, however odd it is: names, notes, findings, schemas; and however much there is of it."""

import csv
import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anyio import to_thread
from playwright.async_api import Request, Route, expect

from conftest import Serve
from support.installing import plug_in, serving_with
from support.visit import Visit
from support.wire import request

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

EVIL = "<img src=nowhere onerror='window.pwned=1'>"
TURNED = "\u202eABC/שלום"
FORMULA = "=cmd|' /C calc'!A0"

HOSTILE = f"""
from scanstream.strategies.strategy import Note, Signal, Strategy

EVIL, TURNED, FORMULA = {EVIL!r}, {TURNED!r}, {FORMULA!r}


class Hostile(Strategy):
    id, name, opportunity_type = "hostile", EVIL, "test"
    description, source = EVIL, EVIL

    def scan(self, panel, units, parameters):
        yield Note(EVIL)
        for number, symbol in enumerate((EVIL, TURNED, FORMULA, "W" * 60)):
            yield Signal(
                symbols=(symbol,), side="neutral", expected_return=-1e-7, confidence=number / 10, key=EVIL,
                exchange=EVIL,
                metadata={{EVIL: EVIL, "legs": [EVIL, 1], "tiny": 1e-9, "huge": 1e21, "nothing": -0.0}},
            )
"""

ODD: dict[str, Any] = {
    "type": "object",
    "required": ["must"],
    "$defs": {"Band": {"type": "object"}},
    "properties": {
        "perhaps": {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}], "default": None},
        "among": {"enum": ["a", None, "b"], "default": None},
        "whether": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": None},
        "kinds": {"type": ["integer", "null"], "default": None},
        "five": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": 5},
        "form": {"type": "string", "default": "a", "pattern": "^[a-z]*$", "maxLength": 9},
        "commas": {"type": "array", "items": {"type": "string"}, "default": ["a,b", " c"]},
        "nested": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}, "default": [[1, 2]]},
        "above": {"type": "number", "exclusiveMinimum": 0, "default": 1e-9},
        "unsaid": {"type": "boolean"},
        "several": {"enum": [1, 2.5, "x"]},
        "must": {"type": "integer", "minimum": -5},
        "only": {"const": "this", "default": "this"},
        "unknown": {"x-kind": 1, "default": {"k": [1]}},
        "any": True,
        "band": {"$ref": "#/$defs/Band", "default": {"low": 0}},
        "lost": {"$ref": "#/$defs/Nowhere"},
        "large": {"type": "integer", "default": 9007199254740993},
        EVIL: {"type": "string", "default": EVIL, "description": EVIL},
    },
}


def text_of(path: Path) -> str:
    """A file's, without the mark of UTF-8."""
    return path.read_text("utf-8-sig")


def entry(number: int, **more: Any) -> dict[str, Any]:
    """A strategy of the catalogue."""
    told = {
        "id": f"s{number}",
        "name": f"Strategy {number}",
        "opportunity_type": "trend",
        "description": "",
        "source": "",
    }
    return {**told, "parameters": {"type": "object", "properties": {}}, **more}


async def offers(visit: Visit, *catalogue: dict[str, Any]) -> list[dict[str, Any]]:
    """The page is told of these strategies; what it asks for then, which the server refuses."""
    asked: list[dict[str, Any]] = []

    async def discover(route: Route) -> None:
        asked.append(msgspec.json.decode(route.request.post_data or ""))
        await route.continue_()

    await visit.page.route("**/opportunities/strategies", lambda route: route.fulfill(json=list(catalogue)))
    await visit.page.route("**/opportunities/discover", discover)
    return asked


async def is_text(visit: Visit) -> None:
    """Nothing of what was written is an element, or has run, or is wider than the page."""
    assert await visit.page.locator("img").count() == 0
    assert await visit.page.evaluate("window.pwned") is None
    assert await visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_what_a_strategy_writes_is_text_wherever_it_is_shown(tmp_path: Path, visit: Visit) -> None:
    """Names, notes, symbols, venues, metadata; in the file for spreadsheets, too, and where it is narrow."""
    directory = await to_thread.run_sync(plug_in, tmp_path, "hostile_here", HOSTILE, "Hostile")
    async with serving_with(directory) as server:
        await visit.page.set_viewport_size({"width": 320, "height": 800})
        await visit.open(server.url)
        await visit.page.get_by_role("button", name="Choose none").click()
        item = visit.page.locator("#catalogue > li").filter(has_text=EVIL)
        await item.get_by_role("checkbox").check()
        await visit.scan("SOL/USDT")
        await visit.until("Complete")
        await expect(visit.rows).to_have_count(4)
        await expect(visit.page.locator("table.strategies .note")).to_have_text(EVIL)
        await expect(visit.rows.first).to_contain_text("W" * 60)
        await expect(visit.rows.first).to_contain_text("0.00 %")
        await expect(visit.rows.first).not_to_contain_text("−0.00")
        await is_text(visit)
        await visit.rows.last.click()
        dialog = visit.page.get_by_role("dialog")
        for told in (EVIL, f'["{EVIL}",1]', "0.000000001", "1,000,000,000,000,000,000,000"):
            await expect(dialog.get_by_text(told, exact=True).first).to_be_visible()
        nothing = dialog.locator("dl > div").filter(has=visit.page.get_by_text("nothing", exact=True))
        await expect(nothing.locator("dd")).to_have_text("0")
        await is_text(visit)
        await visit.page.keyboard.press("Escape")
        await expect(visit.rows.last).to_be_focused()
        async with visit.page.expect_download() as download:
            await visit.page.get_by_role("button", name="Export CSV").click()
        file = Path(await (await download.value).path())
        rows = list(csv.DictReader(io.StringIO(text_of(file))))
        assert [row["symbol"] for row in rows] == ["W" * 60, f"'{FORMULA}", TURNED, EVIL]
        assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "@", "+"))]
        assert visit.complaints == []


async def test_whatever_a_schema_says_nothing_is_sent_that_nobody_wrote(serve: Serve, visit: Visit) -> None:
    """Choices without a value, lists with commas, numbers too large to be shown; what is no schema is JSON."""
    async with serve() as url:
        asked = await offers(visit, entry(1, parameters=ODD, name=EVIL, description=EVIL), entry(2))
        await visit.open(url)
        item = visit.page.locator("#catalogue > li").first
        await item.locator("summary").click()
        await expect(item.locator(".fields .field")).to_have_count(len(ODD["properties"]))
        await is_text(visit)
        go = visit.page.get_by_role("button", name="Start scan", exact=True)
        await go.click()
        await expect(visit.page.locator("#view")).to_be_visible()
        assert asked == [{}]
        for name in ("perhaps", "among", "whether", "several"):
            await expect(item.get_by_label(name, exact=True).locator("option").first).to_have_text("–")
        await expect(item.get_by_text("at most 9 characters; in the form ^[a-z]*$")).to_be_visible()
        await expect(item.get_by_label("only")).to_have_value("0")
        await item.get_by_label("perhaps").select_option(label="b")
        await item.get_by_label("whether").select_option(label="false")
        await item.get_by_label("form").fill("")
        await item.get_by_label("five").fill("")
        await expect(item.get_by_label("five")).to_have_attribute("placeholder", "5")
        await item.get_by_label("must").fill("-6")
        await item.get_by_label("any", exact=True).fill("[1]")
        await go.click()
        await expect(visit.page.locator("#form-error")).to_be_visible()
        assert asked[1:] == [
            {"parameters": {"s1": {"perhaps": "b", "whether": False, "form": "", "must": -6, "any": [1]}}}
        ]
        await is_text(visit)


async def test_two_hundred_strategies_are_searched_and_none_are_said_to_be_none(serve: Serve, visit: Visit) -> None:
    async with serve() as url:
        asked = await offers(visit, *(entry(number) for number in range(200)))
        await visit.open(url)
        seen = visit.page.locator("#catalogue > li:visible")
        await expect(seen).to_have_count(200)
        await visit.page.get_by_role("button", name="Choose none").click()
        search = visit.page.get_by_role("searchbox", name="Search the strategies")
        await search.fill("y 17")
        await search.press("Enter")  # starts nothing
        await expect(seen).to_have_count(12)
        await visit.page.get_by_role("button", name="Choose all").click()
        await expect(visit.page.locator("#strategies-state")).to_contain_text("12 of 200 are chosen")
        height = await visit.page.locator("#start").evaluate("one => one.offsetHeight")
        assert height < 1200
        await visit.page.get_by_role("button", name="Start scan", exact=True).click()
        await expect(visit.page.locator("#form-error")).to_be_visible()  # the server has no such ones
        assert asked == [{"strategy_ids": ["s17", "s117", *(f"s17{digit}" for digit in range(10))]}]

        await visit.page.unroute_all()
        await offers(visit)
        await visit.page.reload()
        await expect(visit.page.locator("#strategies-state")).to_contain_text("This server has no strategies")


async def test_ten_thousand_symbols_are_narrowed_down_and_a_name_with_a_space_is_one(
    serve: Serve, visit: Visit
) -> None:
    async with serve() as url:
        market = msgspec.json.decode(await _market(url))
        market["symbols"] = [f"S{number:05}/USDT" for number in range(10_000)] + ["BRK B", TURNED, "W" * 200]
        await visit.page.route("**/opportunities/market", lambda route: route.fulfill(json=market))
        asked = await offers(visit, entry(1))
        await visit.open(url)
        field = visit.page.get_by_role("combobox", name="Symbols")
        await expect(visit.page.locator("#symbols-hint")).to_contain_text("scan all 10,003")
        await field.press_sequentially("s099")
        await expect(visit.page.locator("#symbols-list > li")).to_have_count(50)
        await expect(visit.page.locator("#symbols-hint")).to_contain_text("50 of 100 that fit")
        await field.fill("")
        await field.press_sequentially("brk b")
        await field.press("Enter")
        for symbol in (TURNED, "W" * 200):
            await field.fill(symbol)
            await field.press("ArrowDown")
            await field.press("Enter")
        await is_text(visit)
        await visit.page.get_by_role("button", name="Start scan", exact=True).click()
        await expect(visit.page.locator("#symbols-error")).to_be_visible()
        assert asked == [{"symbols": ["BRK B", TURNED, "W" * 200]}]


async def _market(url: str) -> bytes:
    return (await request(url, "GET", "/opportunities/market")).body


async def test_another_market_is_asked_for_anew_and_generated_prices_stay_said(serve: Serve, visit: Visit) -> None:
    """A server that was started again on another one, and a scan on show that is of the one before."""
    async with serve() as url:
        market = msgspec.json.decode(await _market(url))
        told = [{**market, "market": "files:x"}]
        asked: list[Request] = []

        async def tell(route: Route) -> None:
            asked.append(route.request)
            await route.fulfill(json=told[0])

        await visit.page.route("**/opportunities/market", tell)
        await visit.open(url)
        await expect(visit.page.locator("#market")).to_contain_text("files:x")
        generated = visit.page.locator("#generated")
        await expect(generated).to_be_hidden()
        await visit.scan("SOL/USDT")  # its state says that it is the generated one
        await visit.until("Complete")
        await expect(generated).to_be_visible()
        assert len(asked) == 2
        told[0] = {**market, "market": "files:y"}
        await visit.page.evaluate("location.hash = ''")
        await expect(generated).to_be_hidden()
        told[0] = market
        await visit.scan("XRP/USDT")
        await expect(visit.page.locator("#market")).to_contain_text("synthetic ·")
        await visit.page.evaluate("location.hash = ''")
        await expect(generated).to_be_visible()
