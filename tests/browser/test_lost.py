"""What cannot be shown any more: expired, unknown, cut off, lost by the server; a page that comes in part."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Route, expect

from conftest import ROOT, Serve
from support.process import server_process
from support.script import scripting
from support.visit import Visit
from support.wire import discover, request, status

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

GONE = 410
START = "Start scan"


async def test_an_expired_scan_is_refused_in_words(serve: Serve, visit: Visit) -> None:
    """By a link; whoever has it on show keeps what is shown."""
    async with serve(retention=1) as url:
        scan_id = (await discover(url, {"strategy_ids": ["tsmom"], "symbols": ["SOL/USDT"]})).json()["scan_id"]
        while (await status(url, scan_id)).status != GONE:  # once it has ended, and a second is over
            await visit.page.wait_for_timeout(50)
        await visit.open(f"{url}/#{scan_id}")
        await expect(visit.page.get_by_role("alert").filter(visible=True)).to_have_text(
            "This scan has expired: what has ended is kept for a while only. Start a new one, or open one of the list."
        )
        await expect(visit.page.get_by_role("heading", name="No scan is shown")).to_be_visible()
        assert await visit.page.title() == "scanstream"


async def test_an_address_that_is_cut_off_is_said_to_be(serve: Serve, visit: Visit) -> None:
    """And is forgotten with the next scan."""
    async with serve() as url:
        await visit.open(f"{url}/#scan")
        await expect(visit.page.locator("#notice")).to_contain_text("This address names no scan")
        await visit.scan("SOL/USDT")
        await visit.until("Complete")
        await expect(visit.page.locator("#notice")).to_be_hidden()


async def test_the_newest_of_none_is_said_to_be_none(serve: Serve, visit: Visit) -> None:
    async with serve() as url:
        await visit.open(f"{url}/#latest")
        await expect(visit.page.locator("#notice")).to_contain_text("No scan found")


async def test_a_server_that_has_lost_its_data_is_told(tmp_path: Path, visit: Visit) -> None:
    """What was found stays, and is said to be old; nothing pretends to go on, and its settings can be used again."""
    async with scripting() as script:
        with server_process(tmp_path / "one", "--workers", "1") as server:
            scan_id = (await discover(server.url, script.request(3))).json()["scan_id"]
            await visit.open(f"{server.url}/#{scan_id}")
            await (await script.started()).tell("find 7", "end")
            await script.started()
            await expect(visit.rows).to_have_count(7)
            server.kill()
        port = str(urlsplit(server.url).port)
        with server_process(tmp_path / "another", "--workers", "1", "--port", port) as server:
            await visit.until("Lost")
            view = visit.page.locator("#view")
            await expect(view).to_have_attribute("data-verdict", "lost")
            await expect(visit.page.locator("#notice")).to_contain_text("this server has lost its data")
            await expect(view.locator(".message")).to_have_text(
                re.compile(r"^What is shown here is as of \d\d:\d\d:\d\d")
            )
            await expect(visit.rows).to_have_count(7)
            assert (await visit.strategies())["scripted"][2] == "not known"
            await expect(view.get_by_role("button", name="Cancel")).to_be_hidden()
            await expect(visit.badge).to_have_attribute("data-state", "connected")
            assert await visit.page.title() == "lost · 7 found – scanstream"
            await view.get_by_role("button", name="Repeat").click()
            await (await script.started()).tell("find 1", "end")
            await expect(visit.page.locator("#notice")).to_be_hidden()
            await expect(visit.rows).to_have_count(1)
            await expect(view).to_have_attribute("data-verdict", "scanning")
            for _ in range(2):
                await (await script.started()).tell("end")
            await visit.until("Complete")


async def test_a_start_without_an_answer_starts_one_scan_however_often_it_is_pressed(
    serve: Serve, visit: Visit
) -> None:
    """The same settings have the same key until they are answered; then they are a scan of their own again."""
    async with serve() as url:
        await visit.open(url)
        await expect(visit.page.get_by_text("scan all 64")).to_be_visible()

        async def swallow(route: Route) -> None:
            await route.fetch()  # the server has started it, and nobody hears of that

        await visit.page.route("**/opportunities/discover", swallow)
        await visit.scan("SOL/USDT")
        listed = visit.page.locator("#scans-list > li")
        await expect(listed).to_have_count(1)
        go = visit.page.get_by_role("button", name=START)
        await visit.page.get_by_role("button", name="Give up").focus()
        await visit.page.keyboard.press("Enter")
        await expect(go).to_be_enabled()
        await expect(go).to_be_focused()
        await visit.page.unroute("**/opportunities/discover")
        await go.click()
        await visit.until("Complete")
        await expect(listed).to_have_count(1)
        before = visit.scan_id
        await go.click()
        await expect(visit.page).not_to_have_url(re.compile(before))
        await visit.until("Complete")
        assert len((await request(url, "GET", "/opportunities/scans")).json()["scans"]) == 2


async def test_a_page_that_does_not_arrive_whole_says_so(serve: Serve, visit: Visit) -> None:
    """A module that is lost on the way stops all of them: what is said then needs none."""
    async with serve() as url:
        await visit.page.route("**/page/words.js", lambda route: route.abort())
        await visit.open(url)
        late = visit.page.get_by_text("The program of this page has not arrived whole")
        await visit.page.evaluate("document.getAnimations().forEach((one) => one.finish())")  # as ten seconds would
        await expect(late).to_be_visible()
        await visit.page.unroute_all()
        await visit.page.reload()
        await expect(visit.badge).to_have_attribute("data-state", "connected")
        await expect(late).to_be_hidden()


def test_every_module_is_asked_for_at_once() -> None:
    """Where an answer takes a second, modules that are found one in another would take ten."""
    static = ROOT / "static"
    found: set[Path] = set()
    pending = [static / "page" / "main.js"]
    while pending:
        file = pending.pop()
        found.add(file)
        imported = re.findall(r'^(?:import|export)\s(?:[^;"]*?\sfrom\s)?"(\.\.?/[^"]+)";', file.read_text(), re.M)
        pending += [path for name in imported if (path := (file.parent / name).resolve()) not in found]
    named = re.findall(r'<link rel="modulepreload" href="([^"]+)">', (static / "index.html").read_text())
    begun = {"static/page/main.js"}
    assert sorted(named) == sorted({file.relative_to(ROOT).as_posix() for file in found} - begun)
