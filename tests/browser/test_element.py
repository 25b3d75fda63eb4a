"""`<scan-progress>` in a real Chromium, on a page of somebody's application, with the strictest policy that pages have.

The application has scanstream mounted (docs/embedding.md), so all is below a path as well.
"""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from conftest import Serve
from scanstream.app import Scanstream
from support.hosting import hosted
from support.script import Script, scripting
from support.visit import PATIENCE_MS
from support.wire import discover, request, until_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'"
)
PAGE = """<!doctype html><html lang="en"><title>A page</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/looks.css">
<script type="module" src="/scans/static/scan-progress.js"></script>
<main id="one"></main><aside id="other"></aside></html>"""
BARE = "<!doctype html><title>No module yet</title><scan-progress></scan-progress>"
LOOKS = """scan-progress { --scan-progress-background: rgb(1, 2, 3); --scan-progress-danger: rgb(4, 5, 6); }
scan-progress::part(standing) { color: rgb(7, 8, 9); }"""
RECORD = """
window.told = [];
window.violations = [];
addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective + event.blockedURI));
for (const type of ["scan-update", "scan-end", "scan-error"]) {
  addEventListener(type, ({ target, detail }) => {
    told.push([type, target.localName, detail.code ?? detail.cursor ?? detail.status]);
  });
}
"""


class Somebody:
    """A page of somebody's, with no element on it yet."""

    def __init__(self, page: Page, url: str, script: Script) -> None:
        self.page = page
        self.url = url
        self.script = script
        self.complaints: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.sockets = 0
        page.on("console", lambda message: self._complain(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("websocket", self._websocket)

    def _complain(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def _websocket(self, socket: Any) -> None:
        self.sockets += 1
        socket.on("framesent", lambda text: self.sent.append(json.loads(text)))

    @property
    def origin(self) -> str:
        """Of the page."""
        return self.url.removesuffix("/scans")

    async def go(self, page: str) -> None:
        """To a page that has the element."""
        await self.page.goto(f"{self.origin}/{page}")
        await self.page.wait_for_function("customElements.get('scan-progress') !== undefined")

    async def started(self, shards: int = 1) -> str:
        """A scan that does what the script says."""
        wanted = self.script.request(shards, force_refresh=True)
        return str((await discover(self.url, wanted)).json()["scan_id"])

    async def put(self, scan_id: str, where: str = "one", **attributes: str) -> Locator:
        """An element for a scan at the end of a part of the page."""
        await self.page.evaluate(
            """([where, attributes]) => {
              const element = document.createElement("scan-progress");
              for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
              document.getElementById(where).append(element);
            }""",
            [where, {"scan-id": scan_id, **attributes}],
        )
        return self.page.locator(f"#{where} > scan-progress").last

    async def told(self, kind: str) -> list[list[str]]:
        """The events of one type that have come to the window."""
        found: list[list[str]] = await self.page.evaluate("kind => told.filter(([type]) => type === kind)", kind)
        return found

    async def readers(self) -> int:
        """How many scans are followed on the server."""
        for line in (await request(self.url, "GET", "/metrics")).body.decode().splitlines():
            if line.startswith("scanstream_readers "):
                return round(float(line.split()[1]))
        raise AssertionError("there is no such metric")

    async def until_readers(self, count: int) -> None:
        """Wait for that."""
        with anyio.fail_after(PATIENCE_MS / 1000):
            while await self.readers() != count:  # noqa: ASYNC110  # it is told to nobody
                await anyio.sleep(0.05)


def part(element: Locator, name: str) -> Locator:
    """What the page's style would name so."""
    return element.locator(f'[part="{name}"]')


@pytest.fixture(scope="module")
def executable() -> str:
    """Debian's Chromium; a browser from elsewhere would be a download."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not on this machine: apt-get install chromium")
    return str(CHROMIUM)


@pytest.fixture(scope="module")
async def browser(executable: str) -> AsyncIterator[Browser]:
    """One browser for all tests."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        await browser.close()


def answering(body: str, media_type: str, **headers: str) -> Callable[[Request], Response]:
    """A route that always says the same."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Response(body, media_type=media_type, headers=named)


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    """Where scanstream is in somebody's application."""
    scans = Scanstream(data=":memory:", workers=2)
    routes = [
        Route("/page", answering(PAGE, "text/html", content_security_policy=POLICY)),
        Route("/open", answering(PAGE, "text/html")),
        Route("/bare", answering(BARE, "text/html")),
        Route("/looks.css", answering(LOOKS, "text/css")),
        Mount("/scans", scans),
    ]
    async with hosted(Starlette(routes=routes, lifespan=scans.lifespan)) as root:
        yield f"{root}/scans"


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser's profile, which knows nothing yet."""
    context = await browser.new_context()
    yield context
    await context.close()


@pytest.fixture
async def somebody(context: BrowserContext, url: str) -> AsyncIterator[Somebody]:
    """A page under the policy."""
    page = await context.new_page()
    await page.add_init_script(RECORD)
    async with scripting() as script:
        somebody = Somebody(page, url, script)
        await somebody.go("page")
        yield somebody
        assert await page.evaluate("violations") == []


async def test_a_scan_is_shown_from_its_start_to_its_end(somebody: Somebody) -> None:
    scan_id = await somebody.started(shards=4)
    first = await somebody.script.started()
    element = await somebody.put(scan_id)
    await expect(part(element, "standing")).to_have_text("Scanning")
    await expect(part(element, "percentage")).to_have_text("0 %")
    await expect(part(element, "line")).to_have_text("Live")
    await expect(part(element, "outcome")).to_have_text("running 0 of 4, 0 found")
    await first.tell("find 2", "end")
    await expect(part(element, "percentage")).to_have_text("25 %")
    await expect(part(element, "bar")).to_have_attribute("value", "25")
    await expect(part(element, "count")).to_have_text("2 opportunities")
    await expect(part(element, "spoken")).to_have_text("Scanning, 25 %")
    await expect(element).to_have_attribute("status", "scanning")
    await expect(element).to_have_attribute("connection", "live")
    for _ in range(3):
        await (await somebody.script.started()).tell("end")
    await expect(part(element, "standing")).to_have_text("Complete")
    await expect(part(element, "spoken")).to_have_text("Complete, 2 opportunities")
    await expect(part(element, "remark")).to_have_text("The prices are generated; nothing in them is real.")
    await expect(part(element, "cancel")).to_be_hidden()
    await expect(part(element, "remaining")).to_be_empty()
    assert await somebody.told("scan-end") == [["scan-end", "scan-progress", "complete"]]
    state = await until_terminal(somebody.url, scan_id)
    assert (await somebody.told("scan-update"))[-1][2] == state["cursor"].rpartition(".")[0] + ".2"
    shown = await element.evaluate("element => ({ ...element.state, found: element.scan.opportunities.length })")
    assert shown == {**{name: state[name] for name in state if name != "cursor"}, "found": 2}
    assert somebody.complaints == []


async def test_it_is_cancelled_by_its_button(somebody: Somebody) -> None:
    element = await somebody.put(await somebody.started())
    await somebody.script.started()
    await part(element, "cancel").click()
    await expect(part(element, "standing")).to_have_text("Cancelled", timeout=PATIENCE_MS)
    await expect(element).to_have_attribute("status", "cancelled")
    assert await somebody.told("scan-end") == [["scan-end", "scan-progress", "cancelled"]]


async def test_a_page_may_keep_it_from_cancelling(somebody: Somebody) -> None:
    element = await somebody.put(await somebody.started(), **{"no-cancel": ""})
    shard = await somebody.script.started()
    await expect(part(element, "standing")).to_have_text("Scanning")
    await expect(part(element, "cancel")).to_be_hidden()
    await element.evaluate("element => element.removeAttribute('no-cancel')")
    await expect(part(element, "cancel")).to_be_visible()
    await shard.tell("end")


async def test_what_fails_looks_like_it(somebody: Somebody) -> None:
    element = await somebody.put(await somebody.started())
    await (await somebody.script.started()).tell("fail the feed is <b>gone</b>")
    await expect(part(element, "standing")).to_have_text("Failed")
    await expect(part(element, "outcome")).to_contain_text("failed, 0 found; ")
    await expect(part(element, "outcome")).to_contain_text("<b>gone</b>")  # as text
    await expect(element).to_have_attribute("status", "failed")
    assert await somebody.told("scan-end") == [["scan-end", "scan-progress", "failed"]]


async def test_to_move_it_drops_nothing(somebody: Somebody) -> None:
    """Also to where it is itself moved with what is around it, and by `moveBefore`."""
    element = await somebody.put(await somebody.started(shards=2))
    first = await somebody.script.started()
    await expect(part(element, "standing")).to_have_text("Scanning")
    asked = len(somebody.sent)
    await somebody.page.evaluate("""() => {
      const other = document.getElementById("other");
      const element = document.querySelector("scan-progress");
      window.before = element.scan;
      other.append(element);
      document.body.prepend(other);
      document.getElementById("one").append(element);
      other.moveBefore?.(element, null);
      other.append(element);
    }""")
    await first.tell("find 1", "end")
    moved = somebody.page.locator("#other > scan-progress")
    await expect(part(moved, "count")).to_have_text("1 opportunity")
    await (await somebody.script.started()).tell("end")
    await expect(part(moved, "standing")).to_have_text("Complete")
    assert await moved.evaluate("element => element.scan === before")
    assert (somebody.sockets, [one["type"] for one in somebody.sent[asked:] if one["type"] != "ping"]) == (1, [])


async def test_one_that_is_taken_out_follows_no_more_and_one_that_is_put_back_goes_on(somebody: Somebody) -> None:
    element = await somebody.put(await somebody.started())
    shard = await somebody.script.started()
    await expect(part(element, "standing")).to_have_text("Scanning")
    await somebody.until_readers(1)
    await element.evaluate("element => { window.kept = element; element.remove(); }")
    await somebody.until_readers(0)
    assert await somebody.page.evaluate("kept.connection") is None
    await somebody.page.evaluate("document.getElementById('one').append(kept)")
    await somebody.until_readers(1)
    await shard.tell("find 1", "end")
    await expect(part(element, "standing")).to_have_text("Complete")
    await expect(part(element, "count")).to_have_text("1 opportunity")


async def test_a_hundred_mounts_leave_nothing_behind(somebody: Somebody) -> None:
    scan_id = await somebody.started()
    shard = await somebody.script.started()
    client = await somebody.page.context.new_cdp_session(somebody.page)
    await client.send("Performance.enable")

    async def left() -> dict[str, float]:
        await somebody.until_readers(0)
        for _ in range(3):
            await client.send("HeapProfiler.collectGarbage")
        counts = (await client.send("Performance.getMetrics"))["metrics"]
        return {one["name"]: one["value"] for one in counts if one["name"] in ("JSEventListeners", "Nodes")}

    async def mounts(count: int) -> None:
        for _ in range(count):
            await somebody.page.evaluate(
                """async scanId => {
                  const element = document.createElement("scan-progress");
                  element.scanId = scanId;
                  document.getElementById("one").append(element);
                  await new Promise((resolve) => element.addEventListener("scan-update", resolve, { once: true }));
                  element.remove();
                }""",
                scan_id,
            )

    await mounts(3)
    before = await left()
    await mounts(100)
    after = await left()
    assert after["JSEventListeners"] <= before["JSEventListeners"]
    assert after["Nodes"] <= before["Nodes"] + 10
    prototype = await client.send("Runtime.evaluate", {"expression": "customElements.get('scan-progress').prototype"})
    alive = await client.send("Runtime.queryObjects", {"prototypeObjectId": prototype["result"]["objectId"]})
    assert alive["objects"]["description"] == "Array(0)"
    await shard.tell("end")
    assert somebody.complaints == []


async def test_many_on_a_page_share_one_connection(somebody: Somebody) -> None:
    scans = [await somebody.started() for _ in range(2)]
    shards = [await somebody.script.started() for _ in scans]
    elements = [await somebody.put(scan_id) for scan_id in (*scans, *scans)]
    elements.append(await somebody.put(scans[0], url="./scans"))
    elements = [somebody.page.locator("scan-progress").nth(number) for number in range(5)]
    for element in elements:
        await expect(part(element, "standing")).to_have_text("Scanning")
    assert somebody.sockets == 2  # of the page's own server, and of the same by its address
    for shard in shards:
        await shard.tell("end")
    for element in elements:
        await expect(part(element, "standing")).to_have_text("Complete")


async def test_a_client_and_a_scan_of_the_page_are_its_own(somebody: Somebody) -> None:
    """They are used, also where they were set before the class was there, and are not closed."""
    scan_id = await somebody.started(shards=2)
    first = await somebody.script.started()
    await somebody.page.evaluate(
        """async scanId => {
          const { Client } = await import("/scans/static/scanstream.js");
          window.client = new Client();
          window.scan = client.watch(scanId);
          const withScan = document.createElement("scan-progress");
          Object.assign(withScan, { client, scan });
          const withClient = document.createElement("scan-progress");
          Object.assign(withClient, { client, scanId });
          document.getElementById("one").append(withScan, withClient);
        }""",
        scan_id,
    )
    elements = [somebody.page.locator("scan-progress").nth(number) for number in range(2)]
    for element in elements:
        await expect(part(element, "standing")).to_have_text("Scanning")
        await expect(part(element, "line")).to_have_text("Live")
    await somebody.page.evaluate("for (const element of document.querySelectorAll('scan-progress')) element.remove()")
    await first.tell("find 3", "end")
    await (await somebody.script.started()).tell("end")
    assert await somebody.page.evaluate("scan.done.then(({ status }) => [status, scan.opportunities.length])") == [
        "complete",
        3,
    ]
    assert (await somebody.page.evaluate("client.connection.state"), somebody.sockets) == ("live", 1)


async def test_properties_that_were_set_before_the_class_was_known_count(context: BrowserContext, url: str) -> None:
    page = await context.new_page()
    scan_id = (await discover(url, {"strategy_ids": ["tsmom"]})).json()["scan_id"]
    await page.goto(f"{url.removesuffix('/scans')}/bare")
    await page.evaluate("scanId => { document.querySelector('scan-progress').scanId = scanId; }", scan_id)
    await page.evaluate("import('/scans/static/scan-progress.js').then(() => {})")
    element = page.locator("scan-progress")
    await expect(element).to_have_attribute("scan-id", scan_id)
    await expect(part(element, "standing")).to_have_text("Complete", timeout=PATIENCE_MS)


async def test_another_scan_takes_the_place_of_the_one_before(somebody: Somebody) -> None:
    one, other = await somebody.started(), await somebody.started()
    shards = [await somebody.script.started() for _ in range(2)]
    element = await somebody.put(one)
    await expect(part(element, "standing")).to_have_text("Scanning")
    await element.evaluate("(element, scanId) => { element.scanId = scanId; }", other)
    await somebody.page.wait_for_function(
        "id => document.querySelector('scan-progress').state.scan_id === id", arg=other
    )
    await element.evaluate("element => { element.scanId = null; }")
    await expect(part(element, "standing")).to_have_text("No scan: name one with scan-id")
    await expect(part(element, "cancel")).to_be_hidden()
    await somebody.until_readers(0)
    for shard in shards:
        await shard.tell("end")


async def test_the_newest_scan_has_a_name(somebody: Somebody) -> None:
    scan_id = await somebody.started()
    shard = await somebody.script.started()
    element = await somebody.put("latest", only="state")
    await expect(part(element, "standing")).to_have_text("Scanning")
    assert await element.evaluate("element => element.state.scan_id") == scan_id
    await shard.tell("find 2", "end")
    await expect(part(element, "count")).to_have_text("2 opportunities")
    assert await element.evaluate("element => element.scan.opportunities.length") == 0


@pytest.mark.parametrize(
    ("attributes", "told"),
    [({}, "No scan found"), ({"url": "ftp://x"}, "Say which server"), ({"url": "http://:x"}, "URL")],
)
async def test_what_cannot_be_followed_is_said(somebody: Somebody, attributes: dict[str, str], told: str) -> None:
    element = await somebody.put("scan_of_nobody", **attributes)
    await expect(part(element, "refusal")).to_contain_text(told)
    await expect(part(element, "standing")).to_have_text("Not followed")
    await expect(part(element, "line")).to_be_empty()
    for name in ("cancel", "bar"):
        await expect(part(element, name)).to_be_hidden()
    [[_, _, code]] = await somebody.told("scan-error")
    assert code == ("unreachable" if attributes else "not_found")


async def test_a_server_that_is_gone_is_said_and_one_that_is_back_goes_on(
    context: BrowserContext, somebody: Somebody, serve: Serve, tmp_path: Path
) -> None:
    """It is of another origin than the page, which allows it, and which it allows."""
    data = str(tmp_path / "data")
    other = Somebody(await context.new_page(), somebody.url, somebody.script)
    await other.page.add_init_script(RECORD)
    await other.go("open")
    async with serve(data=data, allow_origin=(somebody.origin,)) as other.url:
        port = int(other.url.rpartition(":")[2])
        element = await other.put(await other.started(), url=other.url)
        await somebody.script.started()
        await expect(part(element, "line")).to_have_text("Live")
    await expect(part(element, "line")).to_contain_text("next try", timeout=PATIENCE_MS)
    await expect(element).to_have_attribute("connection", "waiting", timeout=PATIENCE_MS)
    async with serve(data=data, port=port, allow_origin=(somebody.origin,)):
        await (await somebody.script.started()).tell("find 1", "end")
        await expect(part(element, "standing")).to_have_text("Complete", timeout=PATIENCE_MS)
        await expect(part(element, "count")).to_have_text("1 opportunity")


async def test_the_page_says_how_it_looks(somebody: Somebody) -> None:
    element = await somebody.put(await somebody.started())
    shard = await somebody.script.started()

    async def style(name: str, property_: str) -> str:
        told: str = await part(element, name).evaluate(f"part => getComputedStyle(part).{property_}")
        return told

    await expect(part(element, "standing")).to_have_text("Scanning")
    assert await style("base", "backgroundColor") == "rgb(1, 2, 3)"
    assert await style("standing", "color") == "rgb(7, 8, 9)"
    assert await style("bar", "height") != "0px"
    await shard.tell("end")
    missing = await somebody.put("scan_of_nobody", "other")
    await expect(part(missing, "refusal")).to_be_visible()
    assert await part(missing, "refusal").evaluate("part => getComputedStyle(part).color") == "rgb(4, 5, 6)"
