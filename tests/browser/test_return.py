"""Ways to lose a scan, and ways back to it: reload, second tab, link, another address, a server that is away."""

import re
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from conftest import Serve
from support.process import server_process, stand_still
from support.script import scripting
from support.visit import Visit
from support.wire import discover, request
from wire.proxy import Faults, running

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

TOLD_SECONDS = 16
"""Within which a server that says nothing more is told: a ping after 10 s, and 5 s for its answer."""
WAITING = re.compile("^Waiting for the server since .* · (next try in|trying now)")
NOTED = """
words => {
  const badge = document.getElementById("badge-text");
  const noted = new MutationObserver(() => {
    if (!new RegExp(words).test(badge.textContent)) return;
    window.waiting = Date.now() / 1000;
    noted.disconnect();
  });
  noted.observe(badge, { childList: true, characterData: true, subtree: true });
}
"""
"""The page itself notes when it says so: whoever looks from outside does so now and then."""


async def test_a_reload_and_a_second_tab_show_the_same_scan(serve: Serve, visit: Visit) -> None:
    """In mid-scan: the address names it, what was found is there again, and both go on."""
    async with serve() as url, scripting() as script:
        scan_id = (await discover(url, script.request(3))).json()["scan_id"]
        await visit.open(f"{url}/#{scan_id}")
        await (await script.started()).tell("find 7", "end")
        await expect(visit.page.locator("#shards")).to_have_text("1 of 3 shards")
        await visit.page.reload()
        await expect(visit.page.locator("#shards")).to_have_text("1 of 3 shards")
        await expect(visit.rows).to_have_count(7)
        other = Visit(await visit.page.context.new_page())
        await other.open(url)
        await other.page.locator("#scans-list").get_by_role("link").click()
        await expect(other.rows).to_have_count(7)
        for _ in range(2):
            await (await script.started()).tell("find 7", "end")
        for tab in (visit, other):
            await tab.page.bring_to_front()
            await tab.until("Complete")
            assert tab.scan_id == scan_id
            assert (await tab.shows_results_of(url))["total_opportunities"] == 21
            assert tab.complaints == []


async def test_a_link_is_shared(serve: Serve, visit: Visit) -> None:
    """It is in the clipboard, says until when it leads there, and leads there."""
    async with serve() as url:
        await visit.open(url)
        await visit.scan("SOL/USDT")
        await visit.until("Complete")
        await visit.page.get_by_role("button", name="Share").click()
        await expect(visit.page.locator("p.share")).to_contain_text(
            re.compile(r"Copied\. It leads here until (\d\d? \w+ \d{4}, )?\d\d:\d\d")
        )
        link: str = await visit.page.evaluate("navigator.clipboard.readText()")
        assert link == f"{url}/#{visit.scan_id}"
        other = Visit(await visit.page.context.new_page())
        await other.open(link)
        await other.until("Complete")
        await other.shows_results_of(url)


async def test_another_address_shows_another_scan(serve: Serve, visit: Visit) -> None:
    """A pasted or edited one is followed without a reload; `#latest` becomes the scan's name; none is none."""
    async with serve() as url:
        scan_id = (await discover(url, {"symbols": "SOL/USDT"})).json()["scan_id"]
        await visit.open(url)
        await visit.scan("XRP/USDT")
        await visit.until("Complete")
        newest = visit.scan_id
        await visit.page.evaluate("scan_id => { location.hash = scan_id }", scan_id)
        await expect(visit.rows.first).to_contain_text("SOL/USDT")
        await visit.until("Complete")
        await visit.shows_results_of(url)
        await visit.page.evaluate("location.hash = 'latest'")
        await expect(visit.page).to_have_url(f"{url}/#{newest}")
        await visit.page.evaluate("location.hash = ''")
        await expect(visit.page.get_by_role("heading", name="No scan is shown")).to_be_visible()
        await expect(visit.page.locator("#view")).to_be_hidden()
        assert visit.complaints == []


async def test_the_way_back_is_not_written_over(serve: Serve, visit: Visit) -> None:
    """An address that names another scan stays as it is, though the scan on show has news."""
    async with serve(workers=1) as url, scripting() as script:
        first, second = [
            (await discover(url, script.request(2, symbols=[symbol]))).json()["scan_id"]
            for symbol in ("SOL/USDT", "XRP/USDT")
        ]
        await visit.open(f"{url}/#{first}")
        await visit.until("Scanning")
        await visit.page.evaluate("scan_id => { location.hash = scan_id }", second)
        await visit.until("Scanning")
        await visit.page.evaluate(
            "addEventListener('hashchange', (event) => event.stopImmediatePropagation(), { capture: true, once: true })"
        )
        await visit.page.evaluate("history.back()")
        await expect(visit.page).to_have_url(f"{url}/#{first}")
        for _ in range(4):
            await (await script.started()).tell("find 1", "end")
        await visit.until("Complete")
        assert visit.scan_id == first


async def test_an_unknown_scan_is_refused_in_words(serve: Serve, visit: Visit) -> None:
    """What the address names is not here; what can be done is said, and works."""
    async with serve() as url:
        await visit.open(f"{url}/#scan_of_somebody_else")
        alert = visit.page.locator("#notice")
        await expect(alert).to_contain_text("No scan found")
        await expect(alert).to_contain_text("Start a new one")
        await visit.scan("SOL/USDT")
        await visit.until("Complete")
        await expect(alert).to_be_hidden()
        assert visit.complaints == []


async def test_a_server_that_dies_and_comes_back_is_resumed(tmp_path: Path, visit: Visit) -> None:
    """The page says that it waits and since when, goes on by itself, and ends equal to the results."""
    async with scripting() as script:
        with server_process(tmp_path, "--workers", "1") as server:
            scan_id = (await discover(server.url, script.request(3))).json()["scan_id"]
            await visit.open(f"{server.url}/#{scan_id}")
            await (await script.started()).tell("find 7", "end")
            await script.started()
            await expect(visit.page.locator("#shards")).to_have_text("1 of 3 shards")
            await expect(visit.badge).to_have_attribute("data-state", "live")
            server.kill()
            await expect(visit.page.locator("#badge-text")).to_have_text(WAITING)
            await expect(visit.badge.get_by_role("button", name="Try now")).to_be_visible()
            await expect(visit.rows).to_have_count(7)
            await expect(visit.page.locator("#told")).to_contain_text("Waiting for the server")  # a moment is not told
        with server_process(tmp_path, "--workers", "1", "--port", str(urlsplit(server.url).port)) as server:
            for _ in range(2):
                await (await script.started()).tell("find 7", "end")
            await visit.until("Complete")
            await expect(visit.badge).to_have_text(re.compile("Connected"))
            assert (await visit.shows_results_of(server.url))["total_opportunities"] == 21
    spoken: list[str] = await visit.page.evaluate("spoken")
    assert [text for text in spoken if "server" in text] == [
        "Waiting for the server. The scan goes on without this page.",
        "The server is back.",
    ]


async def test_a_server_that_says_nothing_more_is_told(tmp_path: Path, visit: Visit) -> None:
    """Its sockets stay open, and nothing comes: as when it is frozen. With a scan on show, and without one."""
    idle = Visit(await visit.page.context.new_page())
    async with scripting() as script:
        with server_process(tmp_path, "--workers", "1") as server:
            scan_id = (await discover(server.url, script.request(1))).json()["scan_id"]
            shard = await script.started()
            await visit.open(f"{server.url}/#{scan_id}")
            await idle.open(server.url)
            await expect(idle.badge).to_have_attribute("data-state", "connected")
            await expect(visit.badge).to_have_attribute("data-state", "live")
            for page in (visit, idle):
                await page.page.evaluate(NOTED, WAITING.pattern)
            stand_still(server.pid)
            began = time.time()
            for page in (visit, idle):
                await expect(page.page.locator("#badge-text")).to_have_text(WAITING)
            took = max([await page.page.evaluate("waiting") - began for page in (visit, idle)])
            print(f"told after {took:.1f} s")
            server.process.send_signal(signal.SIGCONT)
            for page in (visit, idle):
                await expect(page.badge).not_to_contain_text("Waiting")
            await shard.tell("end")
            assert took <= TOLD_SECONDS


async def test_a_slower_way_is_told_and_left_again(serve: Serve, visit: Visit) -> None:
    """Behind a proxy that refuses WebSockets: which way is taken, that nothing is lost, and the way back up."""
    async with serve(workers=1) as url, scripting() as script:
        with running(url, Faults(refuse_upgrade=403)) as proxy:
            scan_id = (await discover(url, script.request(2))).json()["scan_id"]
            shard = await script.started()
            await visit.open(f"{proxy.url}/#{scan_id}")
            await expect(visit.badge).to_have_attribute("data-state", "slower")
            await expect(visit.page.locator("#badge-text")).to_have_text("Live, slower: event stream")
            await expect(visit.page.locator("#badge-why")).not_to_be_empty()
            await shard.tell("find 7", "end")
            await expect(visit.rows).to_have_count(7)
            proxy.faults.refuse_upgrade = 0
            await expect(visit.badge).to_have_attribute("data-state", "live")
            await (await script.started()).tell("find 7", "end")
            await visit.until("Complete")
            await expect(visit.rows).to_have_count(14)


async def test_a_start_that_nobody_answers_is_given_up(tmp_path: Path, visit: Visit) -> None:
    """Neither form nor list is lost: what is wrong is said, and a click is enough once the server is back."""
    with server_process(tmp_path, "--workers", "1") as server:
        await visit.open(server.url)
        await expect(visit.page.locator("#scans-state")).to_contain_text("There are none yet")
        await expect(visit.page.locator("#catalogue > li").first).to_be_visible()
    await visit.scan("BTC/USDT")
    await visit.page.get_by_role("button", name="Give up").click()
    go = visit.page.get_by_role("button", name="Start scan", exact=True)
    await expect(go).to_be_enabled()
    await go.click()
    await expect(visit.page.locator("#form-error")).to_contain_text("There is no connection")
    await expect(visit.page.locator("#badge-text")).to_have_text(WAITING)
    with server_process(tmp_path, "--workers", "1", "--port", str(urlsplit(server.url).port)) as server:
        assert (await request(server.url, "GET", "/opportunities/scans")).json()["scans"] == []
        await expect(visit.badge).to_have_attribute("data-state", "connected")
        await go.click()
        await visit.until("Complete")
        await visit.shows_results_of(server.url)
