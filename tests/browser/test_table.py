"""What was found, as a table: ten thousand rows of which some thirty are in the document; sorted, filtered, walked."""

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from playwright.async_api import Browser, expect

from conftest import Serve
from support.script import scripting
from support.visit import Visit
from support.wire import discover, until_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

ROWS = 10_000
BATCH = 100
MEASURED = 20
MOST_IN_DOCUMENT = 45
MOST_SCRIPT_MS = 50.0
SECONDS = 100
SCRIPTS = {"EvaluateScript", "FunctionCall", "FireAnimationFrame", "TimerFire", "RunMicrotasks", "EventDispatch"}
"""The browser's own words for script that runs, in its trace."""
MARK = "rows-"

SETTLED = """
count => new Promise((done) => {
  const table = document.querySelector("[role=grid]");
  const look = () => Number(table.getAttribute("aria-rowcount")) > count
    ? requestAnimationFrame(() => requestAnimationFrame(done)) : requestAnimationFrame(look);
  look();
})
"""
LOOKED_AT = """
() => {
  const scroller = document.querySelector(".scroller");
  const { top } = scroller.querySelector("tbody").getBoundingClientRect();
  const edge = scroller.querySelector("thead").getBoundingClientRect().bottom;
  const row = [...scroller.querySelectorAll("tbody tr")].find((row) => row.getBoundingClientRect().top >= edge - 1);
  return [row.dataset.id, Math.round(row.getBoundingClientRect().top - edge)];
}
"""
"""The first row in sight, and where it is."""


class Growing:
    """A scan that finds a hundred more whenever it is told to, on show in a page."""

    def __init__(self, visit: Visit, shards: AsyncIterator[Any]) -> None:
        self.visit = visit
        self.size = 0
        self._shards = shards

    async def grow(self, by: int = BATCH) -> None:
        """So many more are found, and shown."""
        shard = await anext(self._shards)
        await shard.tell(f"find {by}", "end")
        self.size += by
        await self.visit.page.evaluate(SETTLED, self.size)

    async def rows(self) -> list[int]:
        """Which rows of the table are in the document."""
        told: list[int] = await self.visit.rows.evaluate_all("rows => rows.map((row) => Number(row.ariaRowIndex))")
        return told


async def started(script: Any) -> AsyncIterator[Any]:
    """Each shard, as it starts."""
    while True:
        yield await script.started()


def scripted_ms(events: list[dict[str, Any]]) -> list[float]:
    """The time of script between two marks after another, on the page's own thread."""
    marks = [event for event in events if event["name"].startswith(MARK) and "blink.user_timing" in event["cat"]]
    marks.sort(key=lambda event: event["ts"])
    thread = (marks[0]["pid"], marks[0]["tid"])
    runs = sorted(
        (event["ts"], event["ts"] + event["dur"])
        for event in events
        if event["name"] in SCRIPTS and event["ph"] == "X" and (event["pid"], event["tid"]) == thread
    )
    times = []
    for before, after in itertools.pairwise(marks):
        spent, until = 0.0, before["ts"]
        for begin, end in runs:
            begin, end = max(begin, until), min(end, after["ts"])  # noqa: PLW2901  # what was not counted yet
            if end > begin:
                spent += end - begin
                until = end
        times.append(spent / 1000)
    return times


async def test_ten_thousand_rows(serve: Serve, visit: Visit, chromium: Browser) -> None:
    """A window on them, and by the browser's own tracing at most 50 ms of script for a hundred new ones."""
    shards = ROWS // BATCH
    with anyio.fail_after(SECONDS):
        async with serve(workers=1) as url, scripting() as script:
            scan_id = (await discover(url, script.request(shards))).json()["scan_id"]
            await visit.open(f"{url}/#{scan_id}")
            growing = Growing(visit, started(script))
            for _ in range(shards - MEASURED):
                await growing.grow()
            await chromium.start_tracing(
                page=visit.page,
                categories=["devtools.timeline", "disabled-by-default-devtools.timeline", "blink.user_timing"],
            )
            for number in range(MEASURED):
                await visit.page.evaluate("name => void performance.mark(name)", f"{MARK}{number}")
                await growing.grow()
            await visit.page.evaluate("name => void performance.mark(name)", f"{MARK}{MEASURED}")
            trace = json.loads(await chromium.stop_tracing())
            times = sorted(scripted_ms(trace["traceEvents"]))
            assert len(times) == MEASURED
            p95 = times[int(0.95 * (MEASURED - 1))]
            print(f"script for {BATCH} new rows at {ROWS}: median {times[MEASURED // 2]:.1f} ms, p95 {p95:.1f} ms")
            assert p95 <= MOST_SCRIPT_MS
            await visit.until("Complete")
            grid = visit.page.get_by_role("grid", name="Opportunities")
            await expect(grid).to_have_attribute("aria-rowcount", str(ROWS + 1))
            rows = await growing.rows()
            assert rows == list(range(2, len(rows) + 2))
            assert len(rows) <= MOST_IN_DOCUMENT
            await visit.page.evaluate("document.querySelector('.scroller').scrollTop = 1e9")
            await expect(visit.rows.last).to_have_attribute("aria-rowindex", str(ROWS + 1))
            assert len(await growing.rows()) <= MOST_IN_DOCUMENT
            assert visit.complaints == []


async def test_focus_selection_and_scroll_survive_new_rows(serve: Serve, visit: Visit) -> None:
    """Also where the row is pushed far out of sight by what is found: its place is what is kept."""
    with anyio.fail_after(SECONDS):
        async with serve(workers=1) as url, scripting() as script:
            scan_id = (await discover(url, script.request(20))).json()["scan_id"]
            await visit.open(f"{url}/#{scan_id}")
            growing = Growing(visit, started(script))
            await growing.grow(300)

            # whoever looks at the top sees what is best
            await growing.grow()
            top, _ = await visit.page.evaluate(LOOKED_AT)
            assert (await growing.rows())[0] == 2

            # the focus: a row keeps it, its place on the screen, and its text that is marked
            row = visit.rows.nth(4)
            focused = await row.get_attribute("data-id")
            await row.focus()
            await visit.page.evaluate(
                "() => getSelection().selectAllChildren(document.activeElement.querySelector('.symbol'))"
            )
            selected = await visit.page.evaluate("getSelection().toString()")
            place = "() => Math.round(document.activeElement.getBoundingClientRect().top)"
            before = await visit.page.evaluate(place)
            for _ in range(4):
                await growing.grow()
            assert await visit.page.evaluate("document.activeElement.dataset.id") == focused
            assert abs(await visit.page.evaluate(place) - before) <= 1
            assert await visit.page.evaluate("getSelection().toString()") == selected
            assert selected

            # scrolled away from it: what is looked at stays, and the focus is still there
            await visit.page.evaluate("document.querySelector('.scroller').scrollTop += 4000")
            await visit.page.evaluate(
                "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
            )
            before = await visit.page.evaluate(LOOKED_AT)
            for _ in range(4):
                await growing.grow()
            assert await visit.page.evaluate(LOOKED_AT) == before
            assert await visit.page.evaluate("document.activeElement.dataset.id") == focused
            rows = await growing.rows()
            assert rows == sorted(rows), "the order in the document is that on the screen"
            assert len(rows) <= MOST_IN_DOCUMENT + 1

            # a dialog: closed, the focus is where it was
            await visit.page.keyboard.press("Enter")
            await expect(visit.page.get_by_role("dialog")).to_be_visible()
            await growing.grow()
            await visit.page.keyboard.press("Escape")
            assert await visit.page.evaluate("document.activeElement.dataset.id") == focused
            await expect(visit.page.locator(f"[data-id='{focused}']")).to_have_attribute("aria-selected", "true")
            assert top


async def test_the_table_is_walked_by_keys(serve: Serve, visit: Visit) -> None:
    """One stop for Tab, then arrows, pages, both ends; Enter opens what has the focus."""
    async with serve(workers=1) as url:
        wanted = {"strategy_ids": ["scripted"], "parameters": {"scripted": {"shards": 1, "found": 500}}}
        scan_id = (await discover(url, wanted)).json()["scan_id"]
        await until_terminal(url, scan_id)
        await visit.open(f"{url}/#{scan_id}")
        await expect(visit.rows.first).to_be_visible()
        await visit.page.get_by_role("button", name="Strategy", exact=True).focus()
        index = "() => Number(document.activeElement.ariaRowIndex)"
        for key, at in (
            ("Tab", 2),
            ("ArrowDown", 3),
            ("ArrowDown", 4),
            ("ArrowUp", 3),
            ("End", 501),
            ("ArrowDown", 501),
            ("ArrowUp", 500),
            ("Home", 2),
            ("ArrowUp", 2),
        ):
            await visit.page.keyboard.press(key)
            assert await visit.page.evaluate(index) == at, key
        await visit.page.keyboard.press("PageDown")
        page = await visit.page.evaluate(index)
        assert 8 < page < 30
        await visit.page.keyboard.press("Enter")
        dialog = visit.page.get_by_role("dialog")
        await expect(dialog.get_by_role("heading", level=2)).to_have_text(
            str(await visit.page.locator("[aria-selected=true] .symbol").text_content())
        )
        await visit.page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        assert await visit.page.evaluate(index) == page
        assert await visit.rows.evaluate_all("rows => rows.filter((row) => row.tabIndex === 0).length") == 1


async def test_the_table_is_sorted_and_filtered(serve: Serve, visit: Visit) -> None:
    """Each column both ways, what has no value last; a filter that hides all says so and can be taken away."""
    async with serve() as url:
        scan_id = (await discover(url, {"parameters": {"pairs": {"walk_forward": 0}}})).json()["scan_id"]
        state = await until_terminal(url, scan_id)
        await visit.open(f"{url}/#{scan_id}")
        answer = await visit.shows_results_of(url)
        found = {one["id"]: one for one in answer["opportunities"]}
        keys: dict[str, Any] = {
            "Return": lambda one: one["expected_return"],
            "Hit rate": lambda one: one["hit_rate"] if one.get("hit_rate_n") else None,
            "Strategy": lambda one: one["strategy_id"],
        }
        await visit.page.evaluate("document.querySelector('.scroller').style.maxHeight = 'none'")
        for title, key in keys.items():
            header = visit.page.get_by_role("grid", name="Opportunities").get_by_role("columnheader", name=title)
            told = set()
            for _ in range(2):
                await header.get_by_role("button").click()
                told.add(direction := await header.get_attribute("aria-sort"))
                await expect(visit.rows).to_have_count(len(found))
                values = [
                    key(found[id]) for id in await visit.rows.evaluate_all("rows => rows.map((row) => row.dataset.id)")
                ]
                known = [value for value in values if value is not None]
                assert values == [
                    *sorted(known, reverse=direction == "descending"),
                    *[None] * (len(values) - len(known)),
                ]
            assert told == {"ascending", "descending"}
        await visit.page.get_by_label("Side").select_option("short")
        short = [one for one in found.values() if one["side"] == "short"]
        await expect(visit.rows).to_have_count(len(short))
        await visit.page.get_by_label("Find").fill("nothing is called like this")
        await expect(visit.page.get_by_text("is shown by this filter")).to_be_visible()
        await visit.page.get_by_role("button", name="Show all").click()
        await expect(visit.rows).to_have_count(state["total_opportunities"])
        await expect(visit.rows.first).to_be_focused()
        assert visit.complaints == []


async def test_an_opportunity_is_opened(serve: Serve, visit: Visit) -> None:
    """Its prices with its levels, its legs, and all that its strategy tells."""
    async with serve() as url:
        wanted = {"strategy_ids": ["tsmom", "funding_carry"]}
        scan_id = (await discover(url, wanted)).json()["scan_id"]
        await until_terminal(url, scan_id)
        await visit.open(f"{url}/#{scan_id}")
        answer = await visit.shows_results_of(url)
        dialog = visit.page.get_by_role("dialog")
        for strategy, legs in (("tsmom", 0), ("funding_carry", 2)):
            await visit.page.get_by_label("Strategy").last.select_option(strategy)
            await visit.rows.first.click()
            id = await visit.page.locator("[aria-selected=true]").get_attribute("data-id")
            [one] = [one for one in answer["opportunities"] if one["id"] == id]
            await expect(dialog.get_by_role("img")).to_be_visible()
            await expect(dialog.locator("tbody tr")).to_have_count(legs)
            assert await dialog.locator("line").count() == sum(
                f"{name}_price" in one for name in ("entry", "exit", "stop")
            )
            told = " ".join(await dialog.locator("dt").all_text_contents())
            for name in one["metadata"]:
                assert name == "legs" or name.replace("_", " ") in told
            await dialog.get_by_role("button", name="Close").click()
            await expect(dialog).to_be_hidden()
        assert visit.complaints == []
        assert await visit.violations() == []
