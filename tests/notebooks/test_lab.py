"""The widget in JupyterLab and Notebook 7, in a real Chromium: it moves, outlives a reload, cancels; the line outlives
the kernel.
"""

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from playwright.async_api import Page, expect

from notebooks.jupyter import PATIENCE_MS, Lab, chromium_page, lab_process, needs_chromium, needs_jupyter
from support.process import server_process
from support.script import Script, scripting

pytestmark = [pytest.mark.anyio, pytest.mark.notebook, needs_jupyter, needs_chromium, pytest.mark.timeout(240)]

SECONDS = 60
NAME = "scan.ipynb"
READY = {"lab/tree": "text=| Idle", "notebooks": ".jp-NotebookKernelStatus-fade"}
"""Frontend → what is there once its kernel is."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One for all tests here."""
    with lab_process(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server for all tests here."""
    with server_process(":memory:", "--workers", "1") as process:
        yield process.url


async def opened(page: Page, lab: Lab, frontend: str = "lab/tree") -> None:
    """Open the notebook, and wait until its kernel is there."""
    await page.goto(lab.page(NAME, frontend))
    await page.locator(READY[frontend]).first.wait_for(state="attached")


async def run_all(page: Page) -> None:
    """Run all of its cells."""
    await page.get_by_role("menuitem", name="Run", exact=True).click()
    await page.get_by_text("Run All Cells", exact=True).first.click()


def write(lab: Lab, url: str, script: Script) -> None:
    """A notebook whose last cell awaits the end of what the one before shows."""
    lab.write(
        NAME,
        f"from scanstream.notebook import connect\nclient = await connect({url!r})",
        f"scan = await client.discover(**{script.request(shards=4)!r})\nscan",
        "state = await scan.wait()\nstate['status']",
    )


async def saved(lab: Lab, *parts: str) -> None:
    """Wait until the file has all of these among its outputs."""
    with anyio.fail_after(SECONDS):
        while not all(part in lab.outputs(NAME) for part in parts):  # noqa: ASYNC110  # a file calls nobody
            await anyio.sleep(0.2)


@pytest.mark.parametrize("frontend", ["lab/tree", "notebooks"])
async def test_a_scan_is_live_through_reload_cancel_and_the_death_of_its_kernel(
    lab: Lab, url: str, frontend: str
) -> None:
    async with scripting() as script, chromium_page(viewport={"width": 1200, "height": 900}) as page:
        expect.set_options(timeout=PATIENCE_MS)
        write(lab, url, script)
        await opened(page, lab, frontend)
        await run_all(page)
        widget = page.locator(".scanstream-scan")
        with anyio.fail_after(SECONDS):
            await (await script.started()).tell("find 3", "end")
            second = await script.started()
        await expect(widget).to_contain_text("1/4")
        await expect(widget).to_contain_text("3 found")
        await expect(page.get_by_text("1 of 4 shards")).to_be_visible()

        await page.keyboard.press("Control+s")
        await saved(lab, "1 of 4 shards", "client.watch(")
        await page.reload()
        await expect(widget).to_contain_text("1/4")
        await second.tell("find 5", "end")
        await expect(widget).to_contain_text("8 found")

        await widget.get_by_role("button", name="Cancel").click()
        await expect(widget).to_contain_text("cancelled")
        await expect(widget.get_by_role("button")).to_be_hidden()

        lab.end_kernels()
        await opened(page, lab, frontend)
        await expect(page.get_by_text("client.watch(")).to_be_visible()


async def test_the_end_is_html_that_a_new_kernel_shows_dark_and_light(lab: Lab, url: str, tmp_path: Path) -> None:
    async with scripting() as script, chromium_page(viewport={"width": 1200, "height": 900}) as page:
        expect.set_options(timeout=PATIENCE_MS)
        write(lab, url, script)
        await opened(page, lab)
        await run_all(page)
        widget = page.locator(".scanstream-scan")
        colour = "element => getComputedStyle(element).color"
        await widget.wait_for()
        light = await widget.evaluate(colour)
        await page.get_by_role("menuitem", name="Settings", exact=True).click()
        await page.get_by_text("Theme", exact=True).first.hover()
        await page.get_by_text("JupyterLab Dark", exact=True).first.click()
        await expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false")
        assert await widget.evaluate(colour) != light
        await page.screenshot(path=tmp_path / "dark.png")

        with anyio.fail_after(SECONDS):
            for _ in range(4):
                await (await script.started()).tell("find 2", "end")
        await expect(page.locator(".jp-OutputArea table").first).to_contain_text("scripted")
        await expect(widget).to_have_count(0)
        await page.keyboard.press("Control+s")
        await saved(lab, "complete", "8 found")
        lab.end_kernels()
        await opened(page, lab)
        await expect(page.locator(".jp-OutputArea table").first).to_contain_text("complete")
        await expect(page.get_by_text("client.watch(")).to_be_visible()
