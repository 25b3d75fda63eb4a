"""What happened to the scan on show, and what it waits for: asked for when it is opened, and told as text."""

import pytest
from playwright.async_api import expect

from conftest import Serve
from support.script import scripting
from support.visit import Visit
from support.wire import discover

pytestmark = [pytest.mark.anyio, pytest.mark.browser]


async def test_the_life_of_a_scan_is_told_while_it_runs_and_to_its_end(serve: Serve, visit: Visit) -> None:
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(2))).json()["scan_id"]
        await visit.open(f"{url}/#{scan_id}")
        first = await script.started()
        life = visit.page.locator("details.life")
        assert await life.locator("li").count() == 0
        await life.locator("summary").click()
        await expect(life).to_contain_text("Shards at work here: 1, of 2 that are missing")
        await first.tell("fail <img src=nowhere>")
        await (await script.started()).tell("end")
        await visit.until()
        await expect(life).to_contain_text("ended")
        await expect(life).to_contain_text("scripted: failed, 1 of 2 shards done, 1 failed")
        await expect(life).to_contain_text("<img src=nowhere>")
        assert await visit.page.locator("img").count() == 0
        assert visit.complaints == []
