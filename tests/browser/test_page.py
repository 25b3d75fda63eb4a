"""The page in a real Chromium, on a real server: it shows a scan, survives a reload and a server that dies.

What a real server does too rarely comes from a stand-in for its WebSocket.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    WebSocket,
    WebSocketRoute,
    async_playwright,
    expect,
)

from conftest import ROOT, Serve
from support.process import server_process
from support.proxy import proxied
from support.script import scripting
from support.wire import discover, results

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

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
SHOWN = 20
PHASES = ["init", "queued", "running", "done"]
DONE = re.compile("^done")
PATIENCE_MS = 30_000

BEGUN_AND_DONE_AGAIN = """before => {
  const phases = seen.slice(before).map(([phase]) => phase);
  const begun = phases.findIndex((phase) => !phase.startsWith("done"));
  return begun >= 0 && phases.slice(begun).some((phase) => phase.startsWith("done"));
}"""
"""The first scan stays on show until the second one's first frame: to see `done` is not enough."""

RECORD = """
window.seen = [];
window.painted = 0;
requestAnimationFrame(function paint() { painted++; requestAnimationFrame(paint); });
addEventListener("DOMContentLoaded", () => {
  const note = () => seen.push([document.getElementById("phase").textContent, document.getElementById("bar").value]);
  new MutationObserver(note).observe(document.getElementById("scan"), { childList: true, subtree: true });
});
"""


def subject(found: dict[str, Any]) -> str:
    """The symbols, and the venues where the id tells it from others by them."""
    told = found["id"].rpartition(":2")[0].partition("@")[2]
    return f"{' + '.join(found['symbols'])} {told}".strip()


class Visit:
    """A page, and all that it asked for, was told, and complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
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
        self.hosts.add(urlsplit(request.url).netloc)

    def _websocket(self, socket: WebSocket) -> None:
        self.hosts.add(urlsplit(socket.url).netloc)
        socket.on("framesent", lambda text: self.sent.append(msgspec.json.decode(text)))
        socket.on("framereceived", lambda text: self.received.append(msgspec.json.decode(text)))

    @property
    def scan_id(self) -> str:
        """The scan that the page's address names."""
        return urlsplit(self.page.url).fragment

    async def until(self, phase: str | re.Pattern[str]) -> None:
        """The page says so."""
        await expect(self.page.locator("#phase")).to_have_text(phase, timeout=PATIENCE_MS)

    async def rows(self, table: str) -> list[list[str]]:
        """The texts of a table's rows."""
        rows: list[list[str]] = await self.page.evaluate(
            "id => [...document.getElementById(id).rows].map(row => [...row.cells].map(cell => cell.textContent))",
            table,
        )
        return rows

    async def shows_results_of(self, url: str) -> dict[str, Any]:
        """The table is the head of what `GET /opportunities/results` answers, which is returned."""
        answer: dict[str, Any] = (await results(url, self.scan_id)).json()
        rows = await self.rows("opportunities")
        expected = [
            (subject(found), found["side"], f"{found['confidence_score']:.1f}", found["strategy_id"])
            for found in answer["opportunities"][:SHOWN]
        ]
        assert [
            (symbol.strip(), side, confidence, strategy) for symbol, side, confidence, *_, strategy in rows
        ] == expected
        return answer


@pytest.fixture(scope="module")
def executable() -> Path:
    """Debian's Chromium; a browser from elsewhere would be a download."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not on this machine: apt-get install chromium")
    return CHROMIUM


@pytest.fixture(scope="module")
async def chromium(executable: Path) -> AsyncIterator[Browser]:
    """One browser for all tests."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def visit(chromium: Browser) -> AsyncIterator[Visit]:
    """A page in a browser profile of its own, 390 pixels wide as on a phone."""
    context = await chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    yield Visit(await context.new_page())
    await context.close()


async def scan(visit: Visit, symbols: str = "") -> None:
    """Press the button."""
    await visit.page.get_by_label("Symbols").fill(symbols)
    await visit.page.get_by_role("button", name="Scan").click()


def test_the_page_is_small() -> None:
    """At most 100 lines, none of them a trick of width."""
    lines = [line for name in ("index.html", "page.js") for line in (ROOT / "static" / name).read_text().splitlines()]
    assert len(lines) <= 100
    assert max(map(len, lines)) <= 120


async def test_a_click_shows_a_scan_from_its_start_to_its_end(serve: Serve, visit: Visit) -> None:
    """Phases and percents go forward only, and the table ends as the results."""
    async with serve() as url:
        await visit.page.add_init_script(RECORD)
        await visit.page.goto(url)
        await scan(visit)
        await visit.until(DONE)
        seen: list[tuple[str, int]] = await visit.page.evaluate("seen")
        phases = [PHASES.index(text.split(" ")[0]) for text, _ in seen]
        percents = [percent for _, percent in seen]
        assert phases == sorted(phases)
        assert phases[0] < phases[-1]
        assert percents == sorted(percents)
        assert percents[-1] == 100
        await expect(visit.page.get_by_role("progressbar", name="Overall progress")).to_have_attribute("value", "100")
        await expect(visit.page.get_by_text("generated prices, nothing is real")).to_be_visible()
        answer = await visit.shows_results_of(url)
        assert answer["status"] == "complete"
        assert answer["total_opportunities"] > SHOWN
        assert visit.complaints == []
        assert visit.hosts == {urlsplit(url).netloc}


async def test_below_a_path_of_a_proxy_it_is_the_same_page(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    """The real nginx strips the path; all that the page asks for is below it."""
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    visit.page.on("websocket", lambda socket: asked.append(urlsplit(socket.url).path))
    async with serve(trusted_proxy=("127.0.0.1",)) as url:
        with proxied(url, tmp_path) as (front, _):
            await visit.page.goto(f"{front}/tools/scan/")
            await scan(visit, "BTC/USDT")
            await visit.until(DONE)
            await visit.shows_results_of(f"{front}/tools/scan")
            await visit.page.reload()
            await visit.until(DONE)
            assert [ack["poll_url"] for ack in visit.received if ack["type"] == "ack"] == [
                f"/tools/scan/opportunities/status/{visit.scan_id}"
            ] * 2
            assert visit.complaints == []
            assert visit.hosts == {urlsplit(front).netloc}
            assert {path.rpartition("/")[0] for path in asked} == {"/tools/scan", "/tools/scan/static"}


async def test_the_symbols_restrict_the_scan(serve: Serve, visit: Visit) -> None:
    """What is in the field is what is scanned."""
    async with serve() as url:
        await visit.page.goto(url)
        await scan(visit, "SOL/USDT, XRP/USDT")
        await visit.until(DONE)
        answer = await visit.shows_results_of(url)
        assert {found["symbol"] for found in answer["opportunities"]} == {"SOL/USDT", "XRP/USDT"}


async def test_a_second_click_scans_again(serve: Serve, visit: Visit) -> None:
    """What is complete is not shown once more in place of a new scan."""
    async with serve() as url:
        await visit.page.add_init_script(RECORD)
        await visit.page.goto(url)
        await scan(visit, "SOL/USDT")
        await visit.until(DONE)
        first, seen = visit.scan_id, await visit.page.evaluate("seen.length")
        await scan(visit, "SOL/USDT")
        await expect(visit.page).not_to_have_url(re.compile(first), timeout=PATIENCE_MS)
        await visit.page.wait_for_function(BEGUN_AND_DONE_AGAIN, arg=seen, timeout=PATIENCE_MS)
        await visit.shows_results_of(url)


async def test_a_reload_shows_the_same_scan(serve: Serve, visit: Visit) -> None:
    """The address names the scan; a new page has no cursor and gets a snapshot."""
    async with serve() as url:
        await visit.page.goto(url)
        await scan(visit)
        await visit.until(DONE)
        before = visit.scan_id, await visit.rows("strategies"), await visit.rows("opportunities")
        visit.sent.clear()
        await visit.page.reload()
        await visit.until(DONE)
        assert visit.sent[0] == {"type": "subscribe", "scan_id": before[0]}
        assert (visit.scan_id, await visit.rows("strategies"), await visit.rows("opportunities")) == before
        assert visit.complaints == []


async def test_every_step_is_shown(serve: Serve, visit: Visit) -> None:
    """Progress, finds, and what went wrong, which is text and nothing else."""
    async with serve() as url, scripting() as script:
        scan_id = (await discover(url, script.request(4))).json()["scan_id"]
        await visit.page.goto(f"{url}/#{scan_id}")
        numbers = visit.page.locator("#numbers")
        first = await script.started()
        await expect(numbers).to_have_text("0 %, 0 of 4 shards")
        await first.tell("find 2", "end")
        await expect(numbers).to_have_text("25 %, 1 of 4 shards")
        assert await visit.rows("strategies") == [["scripted", "1 of 4", "2", "running"]]
        assert len(await visit.rows("opportunities")) == 2
        second = await script.started()
        await second.tell("fail <img src=nowhere>")
        for _ in range(2):
            await (await script.started()).tell("end")
        await visit.until(re.compile("^done"))
        [[_, shards, found, status]] = await visit.rows("strategies")
        assert (shards, found) == ("4 of 4", "2")
        assert "<img src=nowhere>" in status
        assert await visit.page.locator("img").count() == 0
        await visit.shows_results_of(url)
        assert visit.complaints == []


async def test_a_server_that_dies_and_comes_back_is_resumed(tmp_path: Path, visit: Visit) -> None:
    """The page says that it waits, goes on from its cursor, and ends equal to the results."""
    async with scripting() as script:
        with server_process(tmp_path, "--workers", "1") as server:
            scan_id = (await discover(server.url, script.request(3))).json()["scan_id"]
            await visit.page.goto(f"{server.url}/#{scan_id}")
            await (await script.started()).tell("find 7", "end")
            await script.started()
            await expect(visit.page.locator("#numbers")).to_have_text("33 %, 1 of 3 shards")
            cursor = visit.received[-1]["cursor"]
            visit.sent.clear()
            visit.received.clear()
            server.kill()
            await expect(visit.page.get_by_role("alert")).to_contain_text("no connection", timeout=PATIENCE_MS)
        with server_process(tmp_path, "--workers", "1", "--port", str(urlsplit(server.url).port)) as server:
            for _ in range(2):
                await (await script.started()).tell("find 7", "end")
            await visit.until(DONE)
            await expect(visit.page.get_by_role("alert")).to_be_empty()
            assert visit.sent[0] == {"type": "subscribe", "scan_id": scan_id, "since": cursor}
            assert "snapshot" not in {message["type"] for message in visit.received}
            answer = await visit.shows_results_of(server.url)
            assert answer["total_opportunities"] == 21
    assert all("WebSocket connection" in complaint for complaint in visit.complaints), visit.complaints


async def test_a_wrong_symbol_is_refused_in_words(serve: Serve, visit: Visit) -> None:
    """The server's own reason; what was on show stays, and the next scan goes on."""
    async with serve() as url:
        await visit.page.goto(url)
        await scan(visit, "SOL/USDT")
        await visit.until(DONE)
        await scan(visit, "NOPE/USDT")
        reason = (await discover(url, {"symbols": "NOPE/USDT"})).json()["detail"]
        await expect(visit.page.get_by_role("alert")).to_have_text(reason)
        assert "NOPE/USDT" in reason
        await visit.shows_results_of(url)
        await scan(visit, "XRP/USDT")
        await expect(visit.page.get_by_role("alert")).to_be_empty()
        await visit.until(DONE)
        assert visit.complaints == []


async def test_an_unknown_scan_is_refused_in_words(serve: Serve, visit: Visit) -> None:
    """An address that names a scan of another server."""
    async with serve() as url:
        await visit.page.goto(f"{url}/#scan_of_somebody_else")
        await expect(visit.page.get_by_role("alert")).to_have_text("No scan found. Please initiate a new scan.")
        assert visit.complaints == []


async def test_another_address_shows_another_scan(serve: Serve, visit: Visit) -> None:
    """A pasted or edited address is followed, without a reload by hand."""
    async with serve() as url:
        scan_id = (await discover(url, {"symbols": "SOL/USDT"})).json()["scan_id"]
        await visit.page.goto(url)
        await scan(visit, "XRP/USDT")
        await visit.until(DONE)
        await visit.page.evaluate("scan_id => { location.hash = scan_id }", scan_id)
        await expect(visit.page.locator("#opportunities")).to_contain_text("SOL/USDT", timeout=PATIENCE_MS)
        await visit.shows_results_of(url)


class Stand:
    """Stands in for the server's WebSocket: answers each connection's first message with the next of its scripts."""

    def __init__(self, *scripts: list[dict[str, Any]]) -> None:
        self._scripts = iter(scripts)

    def __call__(self, route: WebSocketRoute) -> None:
        """Take a connection."""
        script = next(self._scripts)

        def answer(_: str | bytes) -> None:
            for message in script:
                route.send(msgspec.json.encode(message).decode())

        route.on_message(answer)


def frame(kind: str, n: int, **more: Any) -> dict[str, Any]:
    """A message of the scan `s` with the cursor that follows `n` opportunities."""
    return {"type": kind, "scan_id": "s", "cursor": f"e-{n}.{n}", **more}


def state(phase: str, percentage: int) -> dict[str, Any]:
    """As much of a state as the page shows."""
    progress = {"percentage": percentage, "shards_completed": 1, "total_shards": 2}
    return {"phase": phase, "message": "Said", "market": "files", "progress": progress, "strategies": {}}


def opportunity(name: str) -> dict[str, Any]:
    """As much of an opportunity as the page shows."""
    words = {"side": "long", "estimated_timeframe": "1h", "risk_level": "low", "strategy_id": "x"}
    return {"id": name, "symbols": [name], "confidence_score": 1.0, "expected_return": 0.1, **words}


async def test_a_snapshot_replaces_and_an_update_adds(serve: Serve, visit: Visit) -> None:
    """Whatever the order in which they come."""
    first = frame("snapshot", 1, state=state("init", 0), opportunities=[opportunity("a")], offset=0)
    second = frame("update", 2, patch={"progress": {"percentage": 7}}, opportunities=[opportunity("b")], offset=1)
    third = frame("snapshot", 1, state=state("running", 3), opportunities=[opportunity("c")], offset=0)
    fourth = frame("update", 2, patch={"phase": "done"}, opportunities=[opportunity("d")], offset=1)
    await visit.page.route_web_socket("**/ws", Stand([frame("ack", 0), first, second, third, fourth, frame("end", 2)]))
    async with serve() as url:
        await visit.page.goto(url)
        await scan(visit)
        await visit.until("done – Said")
        await expect(visit.page.locator("#numbers")).to_have_text("3 %, 1 of 2 shards")
        await expect(visit.page.locator("#market")).to_have_text("files")
        assert [symbol for symbol, *_ in await visit.rows("opportunities")] == ["c", "d"]


async def test_a_busy_server_is_asked_again(serve: Serve, visit: Visit) -> None:
    """An error that says when to come back is no refusal: the page says why it waits, and asks the same again."""
    busy = {"type": "error", "code": "too_many_scans", "detail": "Too much is under way", "retry_after": 2}
    taken = [frame("ack", 0), frame("snapshot", 0, state=state("done", 100)), frame("end", 0)]
    await visit.page.route_web_socket("**/ws", Stand([busy], taken))
    async with serve() as url:
        await visit.page.goto(url)
        await scan(visit)
        await expect(visit.page.get_by_role("alert")).to_have_text("Too much is under way; trying again in 2 s")
        await visit.until(DONE)
        await expect(visit.page.get_by_role("alert")).to_be_empty()


async def test_many_updates_are_drawn_once_a_frame(serve: Serve, visit: Visit) -> None:
    """A thousand updates in one go: folded all, drawn a few times."""
    updates = [frame("update", n, patch={"message": f"Update {n}"}) for n in range(1000)]
    begin, end = frame("snapshot", 0, state=state("running", 3)), frame("update", 1000, patch={"phase": "done"})
    await visit.page.route_web_socket("**/ws", Stand([frame("ack", 0), begin, *updates, end, frame("end", 1000)]))
    async with serve() as url:
        await visit.page.add_init_script(RECORD)
        await visit.page.goto(url)
        await scan(visit)
        await visit.until("done – Update 999")
        drawn, painted = await visit.page.evaluate("[new Set(seen.map(([text]) => text)).size, painted]")
        assert 1 < drawn <= painted < len(updates)


async def test_nothing_is_cut_off_on_a_phone(serve: Serve, visit: Visit) -> None:
    """390 pixels: wide tables scroll in themselves, the page does not; dark where the reader wants it dark."""
    async with serve() as url:
        await visit.page.goto(url)
        await scan(visit)
        await visit.until(DONE)
        assert await visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        dark = await visit.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        await visit.page.emulate_media(color_scheme="light")
        assert await visit.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != dark
