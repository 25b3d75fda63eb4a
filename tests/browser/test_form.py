"""Forms from JSON Schema: whatever the parameters of a strategy, each has a field that says what it takes."""

from pathlib import Path

import pytest
from anyio import to_thread
from playwright.async_api import expect

from conftest import Serve
from support.installing import plug_in, serving_with
from support.visit import Visit
from support.wire import status

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

MANY_KINDS = """
from enum import Enum
from typing import Annotated, Literal

from msgspec import Meta, Struct

from scanstream.strategies.strategy import Note, Parameters, Strategy


class Weight(Enum):
    EQUAL = "equal"
    BY_VOLUME = "by_volume"


class Band(Struct, frozen=True):
    low: float = 0.0
    high: float = 1.0


class Settings(Parameters, frozen=True, kw_only=True):
    whole: Annotated[int, Meta(ge=1, le=9, description="Bars")] = 3
    part: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    mode: Literal["slow", "quick", "very_quick"] = "slow"
    weight: Weight = Weight.EQUAL
    hedged: bool = True
    label: Annotated[str, Meta(max_length=20)] = "a"
    limit: int | None = None
    windows: tuple[int, ...] = (5, 20)
    venues: list[str] = []
    sides: tuple[Literal["long", "short"], ...] = ("long",)
    band: Band = Band()


class ManyKinds(Strategy):
    id, name, opportunity_type = "many_kinds", "Many kinds", "test"
    description, source = "Has parameters of every kind.", "a test"
    parameters = Settings

    def scan(self, panel, units, parameters):
        yield Note(repr(parameters))
"""


async def test_parameters_of_every_kind_have_fields(tmp_path: Path, visit: Visit) -> None:
    """What is left as it is is not sent; what is not valid is refused beside its field; `Change` puts all back."""
    directory = await to_thread.run_sync(plug_in, tmp_path, "many_kinds", MANY_KINDS, "ManyKinds")
    async with serving_with(directory) as server:
        await visit.open(server.url)
        await visit.page.get_by_role("button", name="Choose none").click()
        item = visit.page.locator("#catalogue > li").filter(has_text="Many kinds")
        await item.get_by_role("checkbox").first.check()
        await item.get_by_label("Parameters of Many kinds").click()
        await expect(item.locator(".fields .field")).to_have_count(12)  # `walk_forward` is every strategy's
        await expect(item.get_by_label("whole")).to_have_value("3")
        await expect(item.get_by_text("Bars; 1 to 9")).to_be_visible()
        await expect(item.get_by_text("above 0 to below 1")).to_be_visible()
        await expect(item.get_by_label("weight").locator("option")).to_have_text(["by volume", "equal"])
        await expect(item.get_by_label("hedged")).to_be_checked()
        await expect(item.get_by_label("windows")).to_have_value("5, 20")
        await expect(item.get_by_role("group", name="sides").get_by_label("long")).to_be_checked()

        await item.get_by_label("whole").fill("4")
        await item.get_by_label("part").fill("0.25")
        await item.get_by_label("mode").select_option(label="very quick")
        await item.get_by_label("weight").select_option(label="by volume")
        await item.get_by_label("hedged").uncheck()
        await item.get_by_label("label").fill("b")
        await item.get_by_label("limit").fill("7")
        await item.get_by_label("windows").fill("5, x")
        await item.get_by_label("venues").fill("alpha,beta")
        await item.get_by_role("group", name="sides").get_by_label("short").check()
        await item.get_by_label("band").fill('{"low": 0.5}')
        await visit.scan("SOL/USDT")
        await expect(item.get_by_label("windows")).to_have_attribute("aria-invalid", "true")
        await expect(item.locator(".error:visible")).to_contain_text("int")
        await item.get_by_label("windows").fill("5, 30")
        await visit.scan()
        await visit.until()
        given = (await status(server.url, visit.scan_id)).json()["filters"]["parameters"]["many_kinds"]
        assert given == {
            "whole": 4,
            "part": 0.25,
            "mode": "very_quick",
            "weight": "by_volume",
            "hedged": False,
            "label": "b",
            "limit": 7,
            "windows": [5, 30],
            "venues": ["alpha", "beta"],
            "sides": ["long", "short"],
            "band": {"low": 0.5, "high": 1.0},
        }
        await visit.page.get_by_role("button", name="Reset").click()
        await expect(item.get_by_label("windows")).to_have_value("5, 20")
        await visit.page.get_by_role("button", name="Change").click()
        await expect(item.get_by_label("windows")).to_have_value("5, 30")
        await expect(item.get_by_role("group", name="sides").get_by_label("short")).to_be_checked()
        await expect(item.get_by_label("hedged")).not_to_be_checked()
        assert [text for text in visit.complaints if "422" not in text] == []


async def test_the_list_of_symbols_opens_and_says_what_fits(serve: Serve, visit: Visit) -> None:
    """By a click, too; how many more there are, and that there are none; many are taken away at once."""
    async with serve() as url:
        await visit.open(url)
        field = visit.page.get_by_role("combobox", name="Symbols")
        hint = visit.page.locator("#symbols-hint")
        options = visit.page.get_by_role("listbox", name="Symbols of the market").get_by_role("option")
        await expect(hint).to_contain_text("scan all 64")
        await field.click()
        await expect(options).to_have_count(50)
        await expect(hint).to_have_text("50 of 64 that fit; write on to narrow them down.")
        await field.press("ArrowUp")  # the last one, which is scrolled to
        await expect(options.last).to_be_in_viewport()
        await field.press("Escape")
        await expect(field).to_have_attribute("aria-expanded", "false")
        await field.press_sequentially("zzz")
        await expect(hint).to_have_text("No symbol of this market has “zzz” in its name.")
        await field.fill("btc/usdt eth/usdt sol/usdt xrp/usdt ")
        chosen = visit.page.get_by_role("list", name="Chosen symbols").get_by_role("listitem")
        await expect(chosen).to_have_count(4)
        await visit.page.get_by_role("button", name="Remove all symbols").click()
        await expect(field).to_be_focused()
        await expect(chosen).to_have_count(0)
