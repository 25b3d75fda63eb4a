"""The page as a page: its first paint, what confines it, below a path, for those who see, hear and type otherwise."""

import json
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, expect

from conftest import ROOT, Serve
from support.proxy import proxied
from support.script import scripting
from support.visit import Visit
from support.wire import discover, request

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

MOST_LINES = 350


def axe() -> str:
    """The source of axe-core, which CI installs from npm beside the repository."""
    places = [Path(os.environ.get("SCANSTREAM_NODE_MODULES", "node_modules")), Path("/usr/share/javascript")]
    for place in places:
        if (found := place / "axe-core" / "axe.min.js").is_file():
            return found.read_text()
    pytest.skip(
        "axe-core is not on this machine: npm install axe-core, and name its node_modules in SCANSTREAM_NODE_MODULES"
    )


def text_of(path: Path) -> str:
    """A file's, without the mark of UTF-8."""
    return path.read_text("utf-8-sig")


def test_the_page_is_plain() -> None:
    """Small modules, nothing inline, no address but its own, none of them absolute."""
    static = ROOT / "static"
    html = (static / "index.html").read_text()
    assert "<style" not in html
    assert not re.search(r"\s(style|on\w+)=", html)
    assert re.findall(r"<script[^>]*>(.*?)</script>", html, re.S) == [""]
    assert not re.search(r'(src|href)="(/|https?:)', html)
    for file in (static / "page").iterdir():
        text = file.read_text()
        assert len(text.splitlines()) <= MOST_LINES, file
        outside = re.findall(r"https?://[^\s\"'`]+", text)
        assert set(outside) <= {"http://www.w3.org/2000/svg"}, file
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(|setAttribute\(.style", text), file


async def test_headers_confine_the_page_and_its_files(serve: Serve) -> None:
    """Also what is not there, and what has not changed."""
    async with serve() as url:
        tag = (await request(url, "GET", "/static/page/page.css")).headers["etag"]
        for path, held, status in (
            ("/", {}, 200),
            ("/static/index.html", {}, 200),
            ("/static/scanstream.js", {}, 200),
            ("/static/page/page.css", {"if-none-match": tag}, 304),
        ):
            answer = await request(url, "GET", path, headers=held)
            assert answer.status == status, path
            policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
            assert policy == {
                "default-src": "'none'",
                "script-src": "'self'",
                "style-src": "'self'",
                "connect-src": "'self'",
                "img-src": "'self' data:",
                "base-uri": "'none'",
                "form-action": "'none'",
                "frame-ancestors": "'none'",
            }
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"


async def test_generated_data_is_said_from_the_first_paint(serve: Serve, chromium: Browser, tmp_path: Path) -> None:
    """Before any script has run, or where none may; files of somebody's are not said to be generated."""
    prices = tmp_path / "A_USDT.csv"
    prices.write_text(
        "time,open,high,low,close,volume\n"
        + "".join(f"{1_700_000_000 + hour * 3600},1,1,1,1,1\n" for hour in range(300))
    )
    context = await chromium.new_context(java_script_enabled=False)
    for market, generated in (("synthetic", True), (f"files:{tmp_path}", False)):
        async with serve(market=market) as url:
            page = await context.new_page()
            await page.goto(url)
            assert await page.get_by_text("Generated data.").is_visible() is generated
            assert (b'data-market="synthetic"' in (await request(url, "GET", "/")).body) is generated
    await context.close()


async def test_below_a_path_of_a_proxy_it_is_the_same_page(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    """The real nginx strips the path; all that the page asks for is below it."""
    async with serve(trusted_proxy=("127.0.0.1",)) as url:
        with proxied(url, tmp_path) as (front, _):
            await visit.open(f"{front}/tools/scan/")
            await visit.scan("BTC/USDT")
            await visit.until("Complete")
            await visit.shows_results_of(f"{front}/tools/scan")
            await expect(visit.rows.first.get_by_role("img")).to_be_visible()
            await visit.page.reload()
            await visit.until("Complete")
            await visit.page.locator("#view").get_by_role("button", name="Repeat").click()
            await expect(visit.page.locator("#scans-list > li")).to_have_count(2)
            await visit.until("Complete")
            assert visit.complaints == []
            assert visit.hosts == {urlsplit(front).netloc}
            assert {urlsplit(asked).path.split("/")[1:3] == ["tools", "scan"] for asked in visit.asked} == {True}
            assert {"ws", "static", "opportunities"} <= {urlsplit(asked).path.split("/")[3] for asked in visit.asked}


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nobody_is_shut_out(serve: Serve, visit: Visit, scheme: str) -> None:
    """axe finds nothing: with no scan, in mid-scan with all opened, with a dialog; wide, and on a phone."""
    source = axe()
    await visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")

    async def violations() -> list[str]:
        await visit.page.evaluate(source)
        told: list[str] = await visit.page.evaluate(
            """() => axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations.map((one) =>
              `${one.id}: ${one.help}: ${one.nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`))"""
        )
        return told

    async with serve() as url, scripting() as script:
        await visit.open(url)
        await expect(visit.page.locator("#catalogue > li").first).to_be_visible()
        assert await violations() == []
        wanted = {"strategy_ids": ["scripted", "tsmom"], "parameters": script.request(2)["parameters"]}
        scan_id = (await discover(url, wanted)).json()["scan_id"]
        await visit.page.goto(f"{url}/#{scan_id}")
        await (await script.started()).tell("fail something broke")
        await expect(visit.rows.first.get_by_role("img")).to_be_visible()
        await visit.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        await visit.page.get_by_role("combobox", name="Symbols").press_sequentially("usd")
        await expect(visit.page.get_by_role("option").first).to_be_visible()
        assert await violations() == []
        await visit.page.set_viewport_size({"width": 390, "height": 844})
        await (await script.started()).tell("end")
        await visit.until("Partly complete")
        assert await violations() == []
        await visit.rows.first.click()
        await expect(visit.page.get_by_role("dialog")).to_be_visible()
        assert await violations() == []
        assert visit.complaints == []


async def test_nothing_is_cut_off_on_a_phone(serve: Serve, phone: Visit, tmp_path: Path) -> None:
    """390 pixels: nothing is wider than the page; dark where the reader wants it dark. Pictures: see `pictures`."""
    async with serve() as url:
        await phone.open(url)
        await expect(phone.page.locator("#catalogue > li").first).to_be_visible()
        widths = "[document.documentElement.scrollWidth, innerWidth]"
        assert await phone.page.evaluate(widths) == [390, 390]
        await phone.scan()
        await phone.until("Complete")
        await expect(phone.rows.first.get_by_role("img")).to_be_visible()
        assert await phone.page.evaluate(widths) == [390, 390]
        dark = await phone.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert [int(part) < 64 for part in re.findall(r"\d+", dark)] == [True] * 3
        await phone.rows.first.click()
        await expect(phone.page.get_by_role("dialog").get_by_role("img").first).to_be_visible()
        assert await phone.page.evaluate(widths) == [390, 390]
        await phone.page.keyboard.press("Escape")
        await phone.page.emulate_media(color_scheme="light")
        assert await phone.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != dark
        assert await phone.violations() == []


async def test_what_was_found_is_exported(serve: Serve, visit: Visit) -> None:
    """As the table shows it: filtered, in its order, with the words of spreadsheets disarmed."""
    async with serve() as url:
        await visit.open(url)
        await visit.scan()
        await visit.until("Complete")
        answer = await visit.shows_results_of(url)
        async with visit.page.expect_download() as download:
            await visit.page.get_by_role("button", name="JSON").click()
        whole = json.loads(text_of(await (await download.value).path()))
        assert whole["opportunities"] == answer["opportunities"]
        assert (whole["scan_id"], whole["market"]) == (visit.scan_id, "synthetic")
        await visit.page.get_by_label("Find").fill("tsmom short")
        ours = [one for one in answer["opportunities"] if one["strategy_id"] == "tsmom" and one["side"] == "short"]
        await expect(visit.page.locator("#shown-count")).to_have_text(
            f"{len(ours)} of {answer['total_opportunities']} shown"
        )
        async with visit.page.expect_download() as download:
            await visit.page.get_by_role("button", name="CSV").click()
        file = await download.value
        assert file.suggested_filename == f"{visit.scan_id}.csv"
        head, *lines = text_of(await file.path()).splitlines()
        assert head.startswith("id,strategy_id,")
        assert [line.split(",")[0] for line in lines] == [one["id"] for one in ours]
        told = await visit.page.evaluate(
            """async () => { const { cell } = await import("/static/page/exports.js");
              const told = ["=1+1", "-x", "@a", "+a", "\\tb", 'a"b', "a,b", -1.5, undefined, ["A", "B"], { z: 1 }];
              return told.map(cell); }"""
        )
        assert told == ["'=1+1", "'-x", "'@a", "'+a", '"\'\tb"', '"a""b"', '"a,b"', "-1.5", "", "A+B", '"{""z"":1}"']
        assert visit.complaints == []
