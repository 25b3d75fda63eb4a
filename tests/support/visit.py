"""A visit to the page in a real browser, and all that it asked for, was told, and complained about."""

import re
from typing import Any
from urllib.parse import urlsplit

import msgspec
from playwright.async_api import ConsoleMessage, Locator, Page, Request, WebSocket, expect

from support.wire import results

PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
ENDED = re.compile("^(Complete|Partly complete|Failed|Cancelled)$")

WATCHED = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) =>
  violations.push(`${event.violatedDirective} ${event.blockedURI}`));
window.spoken = [];
window.seen = [];
addEventListener("DOMContentLoaded", () => {
  const told = document.getElementById("told");
  const all = { childList: true, characterData: true, subtree: true };
  new MutationObserver(() => spoken.push(told.textContent)).observe(told, all);
  new MutationObserver(() => {
    const title = document.getElementById("shown-title")?.textContent;
    const bar = document.querySelector("#view progress");
    if (title && bar) seen.push([title, bar.value]);
  }).observe(document.getElementById("view"), all);
});
"""
"""Before any script of the page: what its policy forbade, what a screen reader was told, which steps were shown."""


class Visit:
    """A page, from its first request on."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.asked: list[str] = []
        """Addresses, in the order of the requests; sockets, too."""
        self.sent: list[dict[str, Any]] = []
        self.received: list[dict[str, Any]] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._request)
        page.on("websocket", self._websocket)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _request(self, request: Request) -> None:
        if not request.url.startswith(("data:", "blob:")):
            self.asked.append(request.url)

    def _websocket(self, socket: WebSocket) -> None:
        self.asked.append(socket.url)
        socket.on("framesent", lambda text: self.sent.append(msgspec.json.decode(text)))
        socket.on("framereceived", lambda text: self.received.append(msgspec.json.decode(text)))

    async def open(self, url: str) -> None:
        """The page at this address, watched from its first script on."""
        await self.page.add_init_script(WATCHED)
        await self.page.goto(url)

    @property
    def hosts(self) -> set[str]:
        """Whom the page has asked."""
        return {urlsplit(url).netloc for url in self.asked}

    @property
    def scan_id(self) -> str:
        """The scan that the page's address names."""
        return urlsplit(self.page.url).fragment

    @property
    def stage(self) -> Locator:
        """What the scan is doing, or what became of it."""
        return self.page.locator("#shown-title")

    @property
    def rows(self) -> Locator:
        """The rows of opportunities that are in the document."""
        return self.page.get_by_role("grid", name="Opportunities").locator("tbody").get_by_role("row")

    @property
    def badge(self) -> Locator:
        """How the connection is."""
        return self.page.locator("#badge")

    async def scan(self, *symbols: str) -> None:
        """Choose these and press the button."""
        field = self.page.get_by_role("combobox", name="Symbols")
        for symbol in symbols:
            await field.fill(symbol)
            await field.press("Enter")
        await self.page.get_by_role("button", name="Start scan", exact=True).click()

    async def until(self, stage: str | re.Pattern[str] = ENDED) -> None:
        """The page says so."""
        await expect(self.stage).to_have_text(stage)

    async def strategies(self) -> dict[str, list[str]]:
        """Shards, number found, status and note of each strategy."""
        told: dict[str, list[str]] = await self.page.evaluate(
            """() => Object.fromEntries([...document.querySelectorAll("table.strategies tbody tr")].map((row) => [
              row.cells[0].textContent,
              [row.querySelector(".share span").textContent, row.cells[2].textContent,
               row.querySelector(".status").textContent, row.querySelector(".note").textContent]]))"""
        )
        return told

    async def shows_results_of(self, url: str) -> dict[str, Any]:
        """The table is what `GET /opportunities/results` answers, which is returned: so many, and its head."""
        answer: dict[str, Any] = (await results(url, self.scan_id)).json()
        await expect(self.page.get_by_role("grid", name="Opportunities")).to_have_attribute(
            "aria-rowcount", str(answer["total_opportunities"] + 1)
        )
        ids = await self.rows.evaluate_all("rows => rows.map((row) => row.dataset.id)")
        assert ids
        assert ids == [found["id"] for found in answer["opportunities"][: len(ids)]]
        return answer

    async def violations(self) -> list[str]:
        """What the page's policy has forbidden it."""
        told: list[str] = await self.page.evaluate("violations")
        return told
