"""A visitor of the page at `/`, in a real Chromium: starts scans in its form, and says what its table shows then."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from typing import Any

import anyio
from playwright.async_api import Browser, Error, Page, async_playwright

from soak.chaos.auditor import PATIENCE, Auditor
from soak.chaos.kinds import KINDS
from support.visit import ENDED, Visit
from trouble.followers import CHROMIUM, FLAGS

NOTEBOOK = ("IPython", "ipykernel", "nbclient", "nbformat")
CLIENT = "the page"
KIND = "shared"
"""What its form can ask for: that results are wanted anew is not in it."""
STEP_MS = 10_000
LOOK_SECONDS = 0.3
STATUS = {"Complete": "complete", "Partly complete": "partly complete", "Failed": "failed", "Cancelled": "cancelled"}

SHOWN = """
async () => {
  const frame = () => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
  const table = document.querySelector("#view [role=grid]"), scroller = document.querySelector("#view .scroller");
  const rows = new Map();
  for (let top = 0; ; top += Math.max(40, scroller.clientHeight)) {
    scroller.scrollTop = top;
    await frame();
    for (const row of table.querySelectorAll("tbody tr")) rows.set(Number(row.ariaRowIndex), row.dataset.id);
    if (top >= scroller.scrollHeight) break;
  }
  const count = Number(table.getAttribute("aria-rowcount")) - 1;
  return Array.from({ length: count }, (_, index) => rows.get(index + 2) ?? `nothing in row ${index + 1}`);
}
"""
"""The ids of all rows of its table, which has those in the document that are in sight."""


def missing_browser() -> str:
    """Why there can be no visitor; empty where there can."""
    return "" if CHROMIUM.exists() else f"{CHROMIUM} is not on this machine"


def missing_notebook() -> str:
    """Why there can be no notebook; empty where there can."""
    lacking = [name for name in NOTEBOOK if find_spec(name) is None]
    return f"`make notebook` installs {', '.join(lacking)}" if lacking else ""


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """A browser, for all visitors of a crowd."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


class Visitor:
    """One after the other, each with a profile of its own."""

    def __init__(self, browser: Browser, auditor: Auditor) -> None:
        self._browser = browser
        self._auditor = auditor
        self._ledger = auditor.ledger

    async def page(self) -> None:
        """Comes, signs in where that is asked, starts a scan, and looks at it until its end, whatever happens."""
        owner, scan_id = self._auditor.owner(), ""
        context = await self._browser.new_context(viewport={"width": 1280, "height": 900})
        try:
            with anyio.fail_after(PATIENCE):
                page = await context.new_page()
                page.set_default_timeout(STEP_MS)
                visit = Visit(page)
                await self._enter(page, owner)
                scan_id = await self._start(visit)
                self._auditor.acked(scan_id, KIND, owner)
                await self._until_end(visit)
            await self._look(visit, scan_id)
        except TimeoutError:
            said = await page.locator("body").inner_text()
            if scan_id:
                self._ledger.stuck(scan_id, CLIENT, said)
            else:
                self._ledger.wrong.append(f"{CLIENT} could start no scan in {PATIENCE:g} s: {said}")
        finally:
            with anyio.CancelScope(shield=True):
                await context.close()

    async def _enter(self, page: Page, owner: str) -> None:
        """Load it until it is there; then it is not loaded again, whatever becomes of the server."""
        while True:
            with suppress(Error):  # its server is on its way down or up
                await page.goto(self._auditor.url())
                if self._auditor.world.keys:
                    await page.get_by_label("Key", exact=True).fill(self._auditor.world.key(owner))
                    await page.get_by_role("button", name="Sign in").click()
                await self._fill(page)
                return
            self._ledger.told["the page: loaded again"] += 1
            await anyio.sleep(LOOK_SECONDS)

    async def _fill(self, page: Page) -> None:
        await page.get_by_role("button", name="Choose none").click()
        item = page.locator("#catalogue > li").filter(has_text="Scripted")
        await item.get_by_role("checkbox").first.check()
        await item.get_by_label("Parameters of Scripted").click()
        for name, value in KINDS[KIND]["parameters"]["scripted"].items():
            await item.get_by_label(name, exact=True).fill(f"{value:g}")

    async def _start(self, visit: Visit) -> str:
        """Press the button until there is a scan: the same settings start no second one."""
        button = visit.page.get_by_role("button", name="Start scan", exact=True)
        while not visit.scan_id:
            with suppress(Error):  # it is at work
                await button.click(timeout=1000)
            await anyio.sleep(LOOK_SECONDS)
        return visit.scan_id

    async def _until_end(self, visit: Visit) -> None:
        """It says how the scan has ended, or that it is to be had no more."""
        notice = visit.page.locator("#notice")
        while not ENDED.match(await visit.stage.text_content() or ""):
            if "expired" in (await notice.text_content() or ""):
                return
            await anyio.sleep(LOOK_SECONDS)

    async def _look(self, visit: Visit, scan_id: str) -> None:
        stage = await visit.stage.text_content() or ""
        if stage not in STATUS:
            self._ledger.gone(scan_id, CLIENT)
            return
        ids: list[str] = await visit.page.evaluate(SHOWN)
        strategies = {name: _strategy(cells) for name, cells in (await visit.strategies()).items()}
        state: dict[str, Any] = {"status": STATUS[stage], "strategies": strategies}
        state["total_opportunities"] = _number(await visit.page.locator("#shown-count").text_content() or "")
        self._ledger.saw(scan_id, CLIENT, ids, state, part=True)


def _strategy(cells: list[str]) -> dict[str, Any]:
    """A line of the table of strategies, as of the state."""
    _, found, status, _ = cells
    return {"status": status, "opportunities_found": _number(found)}


def _number(text: str) -> int:
    """The one that a text begins with; 0 where it has none."""
    found = re.match(r"[\d,]+", text)
    return int(found[0].replace(",", "")) if found else 0
