"""One Chromium for all the tests of the page; each visit has a profile of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from support.visit import Visit

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def executable() -> Path:
    """Debian's Chromium; a browser from elsewhere would be a download."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not on this machine: apt-get install chromium")
    return CHROMIUM


@pytest.fixture(scope="session")
async def chromium(executable: Path) -> AsyncIterator[Browser]:
    """One browser for all."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def visit(chromium: Browser) -> AsyncIterator[Visit]:
    """A page on a desk."""
    context = await chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield Visit(await context.new_page())
    await context.close()


@pytest.fixture
async def phone(chromium: Browser) -> AsyncIterator[Visit]:
    """A page on a phone, 390 pixels wide, in the dark."""
    context = await chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    yield Visit(await context.new_page())
    await context.close()
