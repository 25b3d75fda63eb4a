"""Who looks at a scan in Chromium: a visitor of the page at `/`, and the reader of a notebook in JupyterLab."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from playwright.async_api import Locator, Page, expect

from notebooks.jupyter import chromium_page, lab_process
from support.visit import Visit
from trouble.followers import PATIENCE_SECONDS

NAME = "watched.ipynb"
LOOK_SECONDS = 0.1
PATIENCE_MS = 1000 * PATIENCE_SECONDS


async def _shows(place: Locator, pattern: str, count: int) -> None:
    """Wait until the number in it is so large."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            number = re.search(pattern, await place.evaluate("element => element.outerHTML"))
            if number and int(number[1]) >= count:
                return
            await anyio.sleep(LOOK_SECONDS)


class OurPage:
    """The page at `/`, on one scan."""

    def __init__(self, visit: Visit, url: str) -> None:
        self._visit = visit
        self._url = url

    async def has(self, count: int) -> None:
        """Its table has so many rows, or more; the head is one, too."""
        grid = self._visit.page.get_by_role("grid", name="Opportunities")
        await _shows(grid, r'aria-rowcount="(\d+)"', count + 1)

    async def ends(self, count: int) -> None:
        """It shows a scan that is complete, and exactly what the server answers; it is live, not waiting."""
        await expect(self._visit.stage).to_have_text("Complete", timeout=PATIENCE_MS)
        answer = await self._visit.shows_results_of(self._url)
        assert answer["total_opportunities"] == count


class LabPage:
    """A notebook in JupyterLab, of which a cell awaits the scan's end."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def has(self, count: int) -> None:
        """The widget says so many, or more."""
        await _shows(self._page.locator(".scanstream-scan"), r"\b(\d+) found", count)

    async def ends(self, count: int) -> None:
        """The widget has become html, and both outputs say the same."""
        closing = self._page.locator(".jp-OutputArea-output", has=self._page.locator("table")).first
        await expect(closing).to_contain_text(re.compile(rf"complete.*\b{count} found"), timeout=PATIENCE_MS)
        line = self._page.locator(".jp-OutputArea-output", has_text="client.watch(").first
        await expect(line).to_contain_text(re.compile(rf"complete.*\b{count} found"), timeout=PATIENCE_MS)


@asynccontextmanager
async def our_page(url: str, scan_id: str) -> AsyncIterator[OurPage]:
    """Somebody has the link of the scan open."""
    async with chromium_page(viewport={"width": 1280, "height": 900}) as page:
        visit = Visit(page)
        await visit.open(f"{url}/#{scan_id}")
        yield OurPage(visit, url)


@asynccontextmanager
async def lab_page(url: str, scan_id: str, directory: Path) -> AsyncIterator[LabPage]:
    """Somebody has run a notebook, and looks at it.

    :param directory: an empty one, of its own
    """
    with lab_process(directory) as lab:
        lab.write(
            NAME,
            f"from scanstream.notebook import connect\nclient = await connect({url!r})",
            f"scan = await client.watch({scan_id!r})\nscan",
            "state = await scan.wait()\nstate['status']",
        )
        async with chromium_page(viewport={"width": 1200, "height": 900}) as page:
            await page.goto(lab.page(NAME))
            await page.get_by_text("| Idle").wait_for()
            await page.get_by_role("menuitem", name="Run", exact=True).click()
            await page.get_by_text("Run All Cells", exact=True).first.click()
            await page.locator(".scanstream-scan").wait_for()
            yield LabPage(page)
