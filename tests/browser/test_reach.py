"""Whoever zooms in, has no pointer, listens, keeps nothing or comes back: the page is the same to them."""

from collections.abc import Awaitable, Callable
from itertools import cycle
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright, expect

from browser.conftest import FLAGS
from browser.test_hidden import MINUTE_MS, TURN, readers
from browser.test_page import axe
from conftest import Serve
from support.script import Script, scripting
from support.until import until
from support.visit import Visit
from support.wire import discover
from wire.proxy import Faults, running

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

UNKNOWN = "scan_01a21c00000000000000000000000000000000000000"
VIOLATIONS = """
() => axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations.map((one) =>
  `${one.id}: ${one.help}: ${one.nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`))
"""
SPACED = """
() => {
  const sheet = new CSSStyleSheet();
  const spacing = { "line-height": "1.5", "letter-spacing": ".12em", "word-spacing": ".16em" };
  const rules = Object.entries(spacing).map(([name, value]) => `${name}: ${value} !important`);
  sheet.replaceSync(`* { ${rules.join("; ")} }`);
  document.adoptedStyleSheets = [sheet];
}
"""
CUT = """
() => [...document.querySelectorAll(".scroller :is(th, td):not(td.symbol, td.prices)")]
  .filter((it) => it.clientWidth && (it.scrollWidth > it.clientWidth || it.scrollHeight > it.clientHeight))
  .map((it) => `${it.className} ${it.textContent} ${it.scrollWidth}/${it.clientWidth} ${it.scrollHeight}`)
"""
STOP = """
() => {
  const it = document.activeElement;
  const { left, top, width, height } = it.getBoundingClientRect();
  const seen = document.elementFromPoint(left + width / 2, top + height / 2);
  const marked = getComputedStyle(it).outlineStyle !== "none" || it.closest("th")?.matches(":has(:focus-visible)");
  return { name: it.getAttribute("aria-label") ?? (it.labels?.[0] ?? it).textContent, id: it.id, marked,
           clear: it === document.body || it.contains(seen) || Boolean(seen?.contains(it)) };
}
"""
"""What has the focus: by what name, whether that is seen, and whether nothing lies over it."""
KEEPS_NOTHING = """
const refuse = () => { throw new DOMException("Access is denied", "SecurityError"); };
navigator.locks.request = async () => refuse();
for (const name of ["localStorage", "sessionStorage", "indexedDB", "caches"])
  Object.defineProperty(window, name, { get: refuse });
Object.defineProperty(document, "cookie", { get: refuse, set: refuse });
"""
"""As where a browser is told to block the data of sites."""


def looker(visit: Visit) -> Callable[[], Awaitable[None]]:
    """Looks for what shuts people out: on a desk and on a phone, light and dark in turn."""
    source = axe()
    surroundings = cycle([(1280, 900, "light"), (390, 844, "dark"), (1280, 900, "dark"), (390, 844, "light")])

    async def look() -> None:
        width, height, scheme = next(surroundings)
        await visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        await visit.page.set_viewport_size({"width": width, "height": height})
        await visit.page.evaluate(source)
        assert await visit.page.evaluate(VIOLATIONS) == []
        assert await visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    return look


async def test_nobody_is_shut_out_by_what_went_wrong(serve: Serve, visit: Visit) -> None:
    """axe finds nothing: no such scan, slower, paused, cancelled, failed, offline."""
    look = looker(visit)
    async with serve(workers=1) as url, scripting() as script:
        with running(url, Faults(refuse_upgrade=403)) as proxy:
            await visit.open(f"{proxy.url}/#{UNKNOWN}")
            await expect(visit.page.locator("#notice")).to_contain_text("No scan found")
            await look()
            scan_id = (await discover(url, script.request(2))).json()["scan_id"]
            await visit.page.clock.install()
            await visit.page.goto(f"{proxy.url}/#{scan_id}")
            await (await script.started()).tell("find 7", "end")
            await expect(visit.badge).to_have_attribute("data-state", "slower")
            await expect(visit.rows).to_have_count(7)
            await look()
            await visit.page.evaluate(TURN, "hidden")
            await visit.page.clock.fast_forward(MINUTE_MS)
            await expect(visit.badge).to_have_attribute("data-state", "paused")
            await look()
            await visit.page.evaluate(TURN, "visible")
            await script.started()
            await visit.page.locator("#view").get_by_role("button", name="Cancel").click()
            await visit.until("Cancelled")
            await look()
            failing = (await discover(url, script.request(1, force_refresh=True))).json()["scan_id"]
            await visit.page.evaluate("scan_id => { location.hash = scan_id }", failing)
            await (await script.started()).tell("fail the feed is broken")
            await visit.until("Failed")
            await look()
            await visit.page.context.set_offline(offline=True)
            await visit.page.clock.fast_forward(MINUTE_MS)
            await expect(visit.badge).to_have_attribute("data-state", "waiting")
            await look()


async def test_four_times_as_large_all_of_it_is_there(serve: Serve, chromium: Browser) -> None:
    """400 % of zoom on a desk: 320 pixels wide and little height. And letters that a reader has made larger."""
    context = await chromium.new_context(viewport={"width": 320, "height": 256}, device_scale_factor=4)
    visit = Visit(await context.new_page())
    wide = "document.querySelector('.scroller tbody .symbol').getBoundingClientRect().width"
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(2))).json()["scan_id"]
        with running(url, Faults()) as proxy:
            await visit.open(f"{proxy.url}/#{scan_id}")
            await find(script)
            await expect(visit.rows.first).to_be_visible()
            assert await visit.page.evaluate("document.documentElement.scrollWidth") == 320
            assert await visit.page.evaluate(wide) >= 75, "a find without its name is none"
            session = await context.new_cdp_session(visit.page)
            await session.send("Page.setFontSizes", {"fontSizes": {"standard": 24, "fixed": 20}})
            await visit.page.set_viewport_size({"width": 390, "height": 256})
            await visit.page.reload()
            await expect(visit.rows.first).to_be_visible()
            assert await visit.page.evaluate("getComputedStyle(document.body).fontSize") == "24px"
            assert await visit.page.evaluate("document.documentElement.scrollWidth") == 390
            assert await visit.page.evaluate(wide) >= 75
        await expect(visit.badge).to_have_attribute("data-state", "waiting")
        link = visit.page.locator("#scans-list a").first
        await link.focus()
        top = await link.evaluate("it => it.getBoundingClientRect().top")
        assert await visit.page.locator("#top").evaluate("it => it.getBoundingClientRect().bottom") <= top
    await context.close()


@pytest.mark.parametrize("width", [1500, 1280, 390])
async def test_with_wide_spacing_no_cell_is_cut(serve: Serve, visit: Visit, width: int) -> None:
    """The spacing that a reader may set (WCAG 2.2, 1.4.12). Long pairs end in dots, and are whole in their details."""
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(2))).json()["scan_id"]
        await visit.page.set_viewport_size({"width": width, "height": 844})
        await visit.open(f"{url}/#{scan_id}")
        await find(script)
        await expect(visit.rows.first).to_be_visible()
        await visit.page.evaluate(SPACED)
        assert await visit.page.evaluate(CUT) == []
        assert await visit.page.evaluate("document.documentElement.scrollWidth") == width


async def test_all_is_done_by_keys(serve: Serve, visit: Visit) -> None:
    """From the first field to the end of the scan, without a pointer; each stop is seen, and nothing lies over it."""
    async with serve(workers=1) as url, scripting() as script:
        await visit.open(url)
        await expect(visit.page.locator("#catalogue > li").first).to_be_visible()
        keys = visit.page.keyboard

        async def to(name: str, key: str = "Tab") -> None:
            for _ in range(60):
                await keys.press(key)
                stop = await visit.page.evaluate(STOP)
                assert stop["id"] == "shown" or (stop["marked"] and stop["clear"]), stop
                if stop["name"].startswith(name):
                    return
            raise AssertionError(f"the keys do not lead to {name}")

        await to("Symbols")
        await keys.type("btc/usdt")
        await keys.press("ArrowDown")
        await keys.press("Escape")
        await expect(visit.page.get_by_role("listbox")).to_be_hidden()
        await keys.press("Enter")
        await expect(visit.page.get_by_role("list", name="Chosen symbols")).to_have_text("BTC/USDT×")
        await to("Choose none")
        await keys.press("Enter")
        await to("Scripted")
        await keys.press("Space")
        await to("Parameters of Scripted")
        await keys.press("Enter")
        for name, value in script.request(3)["parameters"]["scripted"].items():
            await to(name)
            await keys.press("Control+a")
            await keys.type(str(value))
        await keys.press("Enter")
        shard = await script.started()
        await expect(visit.page.locator("#shown")).to_be_focused()
        await to("Share")
        await shard.tell("find 30", "end")
        await expect(visit.rows.first).to_be_visible()
        await keys.press("Enter")
        await expect(visit.page.get_by_label("Link to this scan")).to_have_value(f"{url}/#{visit.scan_id}")
        await to("Find")
        await keys.type("n1")
        await expect(visit.page.locator("#shown-count")).to_have_text("11 of 30 shown")
        await expect(visit.page.locator("#told")).to_have_text("11 of 30 shown")
        await to("Confidence")
        await keys.press("Enter")
        await to("S0/N1")
        focused = await visit.page.evaluate("document.activeElement.dataset.id")
        await (await script.started()).tell("find 30", "end")
        await expect(visit.page.locator("#shown-count")).to_have_text("22 of 60 shown")
        await keys.press("Enter")
        await expect(visit.page.get_by_role("dialog")).to_be_visible()
        await keys.press("Escape")
        assert await visit.page.evaluate("document.activeElement.dataset.id") == focused
        await to("Export CSV", "Shift+Tab")
        async with visit.page.expect_download():
            await keys.press("Enter")
        await script.started()
        await to("Cancel", "Shift+Tab")
        await keys.press("Enter")
        await visit.until("Cancelled")
        await expect(visit.page.locator("#view").get_by_role("button", name="Repeat")).to_be_focused()
        assert visit.complaints == []


async def test_who_keeps_nothing_and_whose_line_flaps_is_told_no_tales(serve: Serve, visit: Visit) -> None:
    """Without locks the event stream is taken all the same; what is lost again and again is read aloud once."""
    await visit.page.add_init_script(KEEPS_NOTHING)
    async with serve(workers=1) as url, scripting() as script:
        with running(url, Faults(refuse_upgrade=403)) as proxy:
            scan_id = (await discover(url, script.request(2))).json()["scan_id"]
            await visit.open(f"{proxy.url}/#{scan_id}")
            await (await script.started()).tell("find 7", "end")
            await expect(visit.page.locator("#badge-text")).to_have_text("Live, slower: event stream")
            proxy.faults.refuse_upgrade = 0
            proxy.faults.reset_every = 0.8
            many = len(proxy.attempts) + 4
            await until(lambda: len(proxy.attempts) > many)  # the line has flapped
            proxy.faults.reset_every = 0
            assert len([text for text in await visit.page.evaluate("spoken") if "server" in text]) <= 2
            await (await script.started()).tell("find 7", "end")
            await visit.until("Complete")
            await expect(visit.rows).to_have_count(14)


async def test_the_way_back_leads_to_a_page_that_is_live(serve: Serve, executable: Path) -> None:
    """A browser keeps a page that is left, whole; when it is shown again it follows its scan, over one connection."""
    async with async_playwright() as playwright, serve(workers=1) as url, scripting() as script:
        browser = await playwright.chromium.launch(
            executable_path=executable, args=FLAGS, ignore_default_args=["--disable-back-forward-cache"]
        )
        visit = Visit(await browser.new_page())
        scan_id = (await discover(url, script.request(3))).json()["scan_id"]
        await visit.open(f"{url}/#{scan_id}")
        await visit.page.evaluate("addEventListener('pageshow', (event) => { window.kept = event.persisted })")
        await find(script)
        await expect(visit.rows).to_have_count(7)
        await visit.page.goto("data:text/html,elsewhere")
        while await readers(url):
            await visit.page.wait_for_timeout(50)
        await find(script)
        asked = len(visit.asked)
        await visit.page.evaluate("setTimeout(() => history.back(), 50)")  # this page is gone then
        await expect(visit.rows).to_have_count(14)
        assert await visit.page.evaluate("kept") is True
        await expect(visit.badge).to_have_attribute("data-state", "live")
        await find(script)
        await visit.until("Complete")
        assert [one for one in visit.asked[asked:] if one.endswith("/ws")] == [f"{url.replace('http', 'ws')}/ws"]
        await browser.close()


async def find(script: Script) -> None:
    """The next shard finds seven, and ends."""
    await (await script.started()).tell("find 7", "end")
