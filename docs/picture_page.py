"""Writes docs/pictures: the page as it is, in a real Chromium, over a scan of a real server.

    python docs/picture_page.py [DIRECTORY]

Debian's Chromium is needed, and playwright, which `make test` installs.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

PICTURES = Path(__file__).resolve().parent / "pictures"
CHROMIUM = "/usr/bin/chromium"
SECONDS = 60
MILLISECONDS = 1000 * SECONDS
BEGUN = re.compile(r"^(1[5-9]|[2-6]\d) %$")
"""Far enough for something to be seen, and under way yet."""


@contextmanager
def serving() -> Iterator[str]:
    """A server with generated prices, which keeps nothing."""
    command = [sys.executable, "-m", "scanstream", "serve", "--port", "0", "--data", ":memory:", "--workers", "1"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"http://\S+", server.stdout.readline())
        assert found is not None, "the server has not started"
        yield found[0]
    finally:
        server.terminate()
        server.wait(SECONDS)


def scanning(page: Page, url: str) -> None:
    """A scan of the whole market, long enough to be seen in the middle."""
    wanted = {"parameters": {id: {"walk_forward": 2000} for id in ("pca_statarb", "pairs")}}
    ack = page.request.post(f"{url}/opportunities/discover", data=wanted).json()
    page.goto(f"{url}/#{ack['scan_id']}")
    expect(page.locator("#percent")).to_have_text(BEGUN, timeout=MILLISECONDS)


def taken(browser: Browser, url: str, directory: Path) -> None:
    """A scan under way on a desk, then the same one complete on a phone in the dark, with one find opened."""
    desk = browser.new_page(viewport={"width": 1280, "height": 900})
    scanning(desk, url)
    desk.screenshot(path=directory / "page.png")
    expect(desk.locator("#shown-title")).to_have_text("Complete", timeout=MILLISECONDS)
    phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    phone.goto(desk.url)
    row = phone.locator("#view tbody tr[data-id^=tsmom]").first
    expect(row.get_by_role("img")).to_be_visible(timeout=MILLISECONDS)
    phone.screenshot(path=directory / "page-on-a-phone.png")
    row.click()
    expect(phone.get_by_role("dialog").get_by_role("img")).to_be_visible(timeout=MILLISECONDS)
    phone.screenshot(path=directory / "page-one-find.png")


def main() -> None:
    """Take them."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES
    directory.mkdir(parents=True, exist_ok=True)
    with serving() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        taken(browser, url, directory)
        browser.close()


if __name__ == "__main__":
    main()
