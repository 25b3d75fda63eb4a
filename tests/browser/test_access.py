"""The page before a server that asks who is there: a key for the session, links that open one scan, and their ends."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, WebSocketRoute, expect

from browser.test_reach import looker
from scanstream.security.caller import Right
from scanstream.security.keychanges import revoke_key
from scanstream.server import serving
from scanstream.settings import Settings
from support.guards import bearer, key_in
from support.visit import Visit
from support.wire import request

pytestmark = [pytest.mark.anyio, pytest.mark.browser]


class House(NamedTuple):
    """A server, and its file of keys."""

    url: str
    keys: Path


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    keys = tmp_path / "keys.toml"
    key_in(keys, "somebody")
    async with serving(Settings(port=0, data=":memory:", workers=1, auth="required", keys=str(keys))) as url:
        yield House(url, keys)


async def key_of(house: House, name: str, *rights: Right) -> str:
    """A key that the server knows by now."""
    key = key_in(house.keys, name, *rights)
    while (await request(house.url, "GET", "/nothing", None, bearer(key))).status == 401:
        pass
    return key


async def enter(visit: Visit, key: str) -> None:
    await visit.page.get_by_label("Key", exact=True).fill(key)
    await visit.page.get_by_role("button", name="Sign in").click()


async def test_a_key_for_the_session(visit: Visit, house: House) -> None:
    page, key = visit.page, await key_of(house, "ann")
    await visit.open(house.url)
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(page.locator("#start")).to_be_hidden()
    await expect(page.locator("#access")).to_be_focused()
    badge = page.locator("#badge-text")
    await expect(badge).to_have_text("Waiting for your key")
    operator = await key_of(house, "olga", Right.OPERATE)
    for wrong, told in (
        ("", "no key"),
        ("two words", "no key"),
        ("ssk_unknown", "no key of this"),
        (operator, "right"),
    ):
        await enter(visit, wrong)
        await expect(page.locator("#access-error")).to_contain_text(told)
    await enter(visit, key)
    await expect(page.locator("#access")).to_be_hidden()
    await expect(page.locator("#strategies-state")).not_to_contain_text("Asking")
    await expect(badge).to_have_text("Connected")
    await visit.scan("BTC/USDT")
    await visit.until()
    await expect(page.locator("#scans-list li")).to_have_count(1)
    shown = await visit.rows.count()
    assert shown
    await page.reload()
    await visit.until()
    await expect(page.locator("#scans-list li")).to_have_count(1)
    assert key not in "".join([*visit.asked, page.url])
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert await page.evaluate("sessionStorage.length") == 0
    assert await visit.violations() == []


async def test_a_link_that_is_shared(visit: Visit, chromium: Browser, house: House) -> None:
    page, key = visit.page, await key_of(house, "ann")
    await visit.open(house.url)
    await enter(visit, key)
    await visit.scan("BTC/USDT")
    await visit.until()
    await page.get_by_role("button", name="Share").click()
    field = page.get_by_label("Link to this scan")
    await expect(field).to_be_visible()
    link = await field.input_value()
    assert urlsplit(link).fragment.startswith(f"{visit.scan_id}&token=sst_")
    assert key not in link
    assert urlsplit(page.url).fragment == visit.scan_id
    found = await visit.rows.count()

    context = await chromium.new_context()
    guest = Visit(await context.new_page())
    await guest.open(link)
    await guest.until()
    await expect(guest.rows).to_have_count(found)
    await expect(guest.page.locator("#shared-note")).to_be_visible()
    for hidden in ("#start", "#scans", "#sign-out", ".own"):
        await expect(guest.page.locator(hidden)).to_be_hidden()
    token = link.partition("token=")[2]
    assert token not in "".join(guest.asked), "it goes in headers"
    asked = {urlsplit(url).path for url in guest.asked}
    assert not asked & {f"/opportunities/{name}" for name in ("market", "strategies", "scans")}
    await guest.page.reload()
    await guest.until()
    await expect(guest.page.locator("#shared-note")).to_be_visible()
    assert guest.complaints == []

    wrong = link[:-1] + ("A" if link[-1] != "A" else "B")
    await guest.page.goto(wrong)
    await expect(guest.page.locator("#access-why")).to_contain_text("This link has run out")
    await enter(guest, key)
    await guest.until()
    assert urlsplit(guest.page.url).fragment == visit.scan_id
    await expect(guest.page.locator("#scans-list li")).to_have_count(1)
    await context.close()


async def test_a_link_that_has_run_out_costs_nobody_their_own_key(visit: Visit, house: House) -> None:
    page, key = visit.page, await key_of(house, "ann")
    await visit.open(house.url)
    await enter(visit, key)
    await visit.scan("BTC/USDT")
    await visit.until()
    scan_id, found = visit.scan_id, await visit.rows.count()
    share = f"/opportunities/share/{scan_id}"
    body = b'{"rights":["read"],"expires_in_seconds":2}'
    token = (await request(house.url, "POST", share, body, bearer(key))).json()["token"]
    while (await request(house.url, "GET", f"/opportunities/status/{scan_id}", None, bearer(token))).status == 200:
        pass
    for link in (f"{scan_id}&token={token}", f"{scan_id}&token=sst_cut-off"):
        await page.goto(f"{house.url}/#{link}")  # which loads itself anew: the address has another token
        await expect(page).to_have_url(f"{house.url}/#{scan_id}")  # until then what was there before may be seen
        await expect(page.locator("#link-over")).to_contain_text("The link has run out")
        await expect(page.locator("#access")).to_be_hidden()
        await visit.until()
        await expect(visit.rows).to_have_count(found)
        assert (urlsplit(page.url).fragment, await page.evaluate("sessionStorage.length")) == (scan_id, 1)
    await page.reload()
    await visit.until()
    await expect(page.locator("#link-over")).to_be_hidden()


async def test_a_key_in_an_address_is_sent_nowhere_and_does_not_stay_there(visit: Visit, house: House) -> None:
    page, key = visit.page, await key_of(house, "ann")
    body = b'{"symbols":["BTC/USDT"],"strategy_ids":["tsmom"]}'
    scan_id = (await request(house.url, "POST", "/opportunities/discover", body, bearer(key))).json()["scan_id"]
    shown: list[str] = []
    page.on("request", lambda asked: shown.append(str(asked.headers.get("authorization"))))
    await visit.open(f"{house.url}/#{scan_id}&token={key}")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(page.locator("#link-over")).to_contain_text("have it revoked")
    assert urlsplit(page.url).fragment == scan_id
    assert set(shown) == {"None"}
    await enter(visit, key)
    await visit.until()
    await page.evaluate("document.getElementById('link-over').textContent = ''")  # so that it is seen to be told again
    await page.evaluate(f"location.hash = '#{scan_id}&token=eyJh.b.c'")
    await expect(page.locator("#link-over")).to_contain_text("have it revoked")
    assert urlsplit(page.url).fragment == scan_id


async def test_who_has_no_key_asks_once_and_then_waits_for_one(visit: Visit, house: House) -> None:
    key = await key_of(house, "ann")
    body = b'{"symbols":["BTC/USDT"],"strategy_ids":["tsmom"]}'
    scan_id = (await request(house.url, "POST", "/opportunities/discover", body, bearer(key))).json()["scan_id"]
    for fragment in ("", f"#{scan_id}"):
        visit.asked.clear()
        await visit.open(f"{house.url}/{fragment}")
        await visit.page.reload()
        await expect(visit.page.get_by_role("heading", name="Sign in")).to_be_visible()
        await visit.page.wait_for_load_state("networkidle")
        asked = [path for path in map(paths, visit.asked) if not path.startswith("/static/") and path != "/"]
        assert set(asked) == {"/opportunities/strategies"}, asked
        assert len(asked) <= 2, "once, and once more after it was loaded again"
    await enter(visit, key)
    await visit.until()
    await expect(visit.page.locator("#scans-list li")).to_have_count(1)
    await expect(visit.page.locator("#market")).not_to_contain_text("Asking")


def paths(url: str) -> str:
    return urlsplit(url).path


async def test_nobody_is_shut_out_by_how_it_looks(visit: Visit, house: House) -> None:
    look = looker(visit)
    await visit.open(house.url)
    await expect(visit.page.locator("#access")).to_be_visible()
    for _ in range(4):
        await look()
    await enter(visit, "two words")
    await expect(visit.page.locator("#access-error")).to_be_visible()
    await look()
    await enter(visit, await key_of(house, "ann"))
    await visit.scan("BTC/USDT")
    await visit.until()
    await look()


async def test_a_key_that_is_taken_back(visit: Visit, house: House) -> None:
    page = visit.page
    await visit.open(house.url)
    key = await key_of(house, "ann")
    await enter(visit, key)
    await visit.scan("BTC/USDT")
    await visit.until()
    revoke_key(house.keys, "ann")
    while (await request(house.url, "GET", "/nothing", None, bearer(key))).status != 401:
        pass
    await page.locator("#try-now").dispatch_event("click")  # whatever asks next is told
    await expect(page.locator("#access-why")).to_contain_text("not good any more")
    await expect(page.locator("#badge-text")).to_have_text("Waiting for your key")
    await expect(page.locator("#start")).to_be_hidden()
    assert await page.evaluate("sessionStorage.length") == 0
    await enter(visit, key_in(house.keys, "ann", name="another"))
    await expect(page.locator("#access-error, #start").first).to_be_visible()


async def test_a_connection_that_shows_what_was_before_costs_nobody_their_key(visit: Visit, house: House) -> None:
    """It was on its way with a key that was taken back, when another one was entered."""
    page, key = visit.page, await key_of(house, "ann")
    body = b'{"symbols":["BTC/USDT"],"strategy_ids":["tsmom"]}'
    scan_id = (await request(house.url, "POST", "/opportunities/discover", body, bearer(key))).json()["scan_id"]
    late: list[WebSocketRoute] = []

    async def connected(socket: WebSocketRoute) -> None:
        late.append(socket)
        if len(late) == 1:
            await refused(socket)  # so that it comes once more, with the same key
        elif len(late) > 2:
            socket.connect_to_server()

    await page.route_web_socket("**/ws", connected)
    await visit.open(house.url)
    await enter(visit, key)
    await expect(page.locator("#access")).to_be_hidden()
    await page.evaluate(f"location.hash = '#{scan_id}'")
    while len(late) < 2:
        await page.wait_for_timeout(50)
    other = key_in(house.keys, "ann", name="another")
    revoke_key(house.keys, "ann")
    while (await request(house.url, "GET", "/nothing", None, bearer(key))).status != 401:
        pass
    await page.locator("#try-now").dispatch_event("click")
    await expect(page.locator("#access-why")).to_contain_text("not good any more")
    await enter(visit, other)
    await expect(page.locator("#access")).to_be_hidden()
    await refused(late[1])
    await visit.until()
    assert await page.evaluate("sessionStorage.length") == 1


async def refused(socket: WebSocketRoute) -> None:
    """As a server does whose caller shows nothing good."""
    socket.send('{"type":"error","code":"unauthorized","detail":"it is no credential"}')
    await socket.close(code=4401, reason="no credential")


async def test_where_nobody_is_asked_nothing_is_said_of_keys(visit: Visit, tmp_path: Path) -> None:
    async with serving(Settings(port=0, data=":memory:", workers=1)) as url:
        await visit.open(url)
        await visit.scan("BTC/USDT")
        await visit.until()
        for hidden in ("#access", "#sign-out", "#shared-note"):
            await expect(visit.page.locator(hidden)).to_be_hidden()
        await visit.page.get_by_role("button", name="Share").click()
        link = await visit.page.get_by_label("Link to this scan").input_value()
        assert urlsplit(link).fragment == visit.scan_id
        assert visit.complaints == []
