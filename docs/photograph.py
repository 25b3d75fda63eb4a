"""Takes docs/page.png: the page in a real Chromium, with a real scan that has just ended.

    python docs/photograph.py [FILE]

It needs Chromium where Debian puts it, as the tests of the page do.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import anyio
from playwright.async_api import async_playwright

from scanstream.server import serving
from scanstream.settings import Settings

PICTURE = Path(__file__).resolve().parent / "page.png"
CHROMIUM = Path("/usr/bin/chromium")
WIDTH, HEIGHT = 1180, 860
SECONDS = 120
MILLISECONDS = 1000 * SECONDS


async def taken(file: Path) -> None:
    """Start a scan as a visitor does, wait for its end, and take the picture."""
    with anyio.fail_after(SECONDS):
        async with serving(Settings(port=0, data=":memory:")) as url, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = await browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            await page.goto(url)
            await page.get_by_role("button", name="Scan", exact=True).click()
            await page.locator("#shown-title", has_text="Complete").wait_for(timeout=MILLISECONDS)
            await page.wait_for_load_state("networkidle")  # the prices beside the symbols
            await page.screenshot(path=file)
            await browser.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Write it to a file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, default=PICTURE)
    anyio.run(taken, parser.parse_args(arguments).file)


if __name__ == "__main__":
    main()
