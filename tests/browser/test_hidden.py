"""A page that nobody looks at: it pauses, says so, and is live at once when it is shown again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from playwright.async_api import expect

from conftest import Serve
from support.script import Script, scripting
from support.visit import PATIENCE_MS, Visit
from support.wire import discover, request, until_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

MINUTE_MS = 61_000
TURN = """
state => {
  Object.defineProperties(document, {
    visibilityState: { configurable: true, get: () => state },
    hidden: { configurable: true, get: () => state === "hidden" },
  });
  document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
}
"""
"""As a browser does when another tab is brought to the front."""


async def readers(url: str) -> int:
    """How many scans are followed on the server."""
    for line in (await request(url, "GET", "/metrics")).body.decode().splitlines():
        if line.startswith("scanstream_readers "):
            return round(float(line.split()[1]))
    raise AssertionError("there is no such metric")


async def find(script: Script, count: int) -> None:
    """The next shard finds so many, and ends."""
    await (await script.started()).tell(f"find {count}", "end")


@asynccontextmanager
async def hidden(visit: Visit) -> AsyncIterator[None]:
    """Nobody looks at the page. Whoever drives a browser is given pages that are always seen, so it is told so."""
    await visit.page.evaluate(TURN, "hidden")
    yield
    await visit.page.evaluate(TURN, "visible")


async def test_a_hidden_page_pauses_after_a_minute_and_catches_up(serve: Serve, visit: Visit) -> None:
    """Until then it goes on; then it lets go of the server, and says in its title that what it shows stands still."""
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(5))).json()["scan_id"]
        await visit.page.clock.install()  # so that the minute need not pass; time goes on as ever
        await visit.open(f"{url}/#{scan_id}")
        await find(script, 7)
        await expect(visit.rows).to_have_count(7)
        await expect(visit.badge).to_have_attribute("data-state", "live")
        async with hidden(visit):
            await find(script, 7)
            await expect(visit.rows).to_have_count(14)
            await expect(visit.badge).to_have_attribute("data-state", "live")
            await visit.page.clock.fast_forward(MINUTE_MS)
            await expect(visit.badge).to_have_attribute("data-state", "paused")
            await expect(visit.page.locator("#badge-text")).to_have_text("Paused while hidden")
            assert await visit.page.title() == "Paused at 40 % · 14 found – scanstream"
            with anyio.fail_after(PATIENCE_MS / 1000):
                while await readers(url):  # noqa: ASYNC110  # it is told to nobody
                    await anyio.sleep(0.05)
            asked = len(visit.asked)
            await find(script, 7)
            await find(script, 7)
            shard = await script.started()
            await visit.page.clock.fast_forward(MINUTE_MS)
            await expect(visit.badge).to_have_attribute("data-state", "paused")
            assert await visit.rows.count() == 14
            assert len(visit.asked) == asked, "it asks for nothing while nobody looks"
        await expect(visit.badge).to_have_attribute("data-state", "live")
        await expect(visit.page.locator("#found")).to_have_text("28 found")
        assert await visit.page.title() == "80 % · 28 found – scanstream"
        await shard.tell("find 7", "end")
        await visit.until("Complete")
        assert (await visit.shows_results_of(url))["total_opportunities"] == 35
        assert visit.complaints == []


async def test_a_scan_that_has_ended_meanwhile_is_shown_as_it_ended(serve: Serve, visit: Visit) -> None:
    """Also where nothing more is to be followed."""
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(2))).json()["scan_id"]
        await visit.page.clock.install()
        await visit.open(f"{url}/#{scan_id}")
        await find(script, 7)
        await expect(visit.rows).to_have_count(7)
        async with hidden(visit):
            await visit.page.clock.fast_forward(MINUTE_MS)
            await expect(visit.badge).to_have_attribute("data-state", "paused")
            await find(script, 7)
            await until_terminal(url, scan_id)
        await visit.until("Complete")
        await expect(visit.badge).to_have_attribute("data-state", "connected")
        assert await visit.page.title() == "complete · 14 found – scanstream"
        assert (await visit.shows_results_of(url))["total_opportunities"] == 14


async def test_a_page_that_the_browser_has_frozen_catches_up(serve: Serve, visit: Visit) -> None:
    """As a browser does with tabs in the background, to save power: no script runs, and timers are overdue after."""
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(3))).json()["scan_id"]
        await visit.open(f"{url}/#{scan_id}")
        await find(script, 7)
        await expect(visit.rows).to_have_count(7)
        session = await visit.page.context.new_cdp_session(visit.page)
        await session.send("Page.setWebLifecycleState", {"state": "frozen"})
        await find(script, 7)
        shard = await script.started()
        await session.send("Page.setWebLifecycleState", {"state": "active"})
        await expect(visit.rows).to_have_count(14)
        await shard.tell("find 7", "end")
        await visit.until("Complete")
        assert (await visit.shows_results_of(url))["total_opportunities"] == 21
        assert visit.complaints == []
