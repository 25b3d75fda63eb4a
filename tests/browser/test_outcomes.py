"""A scan on show: each step, its time that is left, its notes, and what became of it."""

import re

import pytest
from playwright.async_api import expect

from conftest import Serve
from support.script import scripting
from support.visit import Visit
from support.wire import discover, until_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.browser]


async def test_every_step_is_shown_and_told(serve: Serve, visit: Visit) -> None:
    """Progress, finds, what went wrong (which is text and nothing else); who listens hears each quarter once."""
    async with serve() as url, scripting() as script:
        scan_id = (await discover(url, script.request(10))).json()["scan_id"]
        await visit.open(f"{url}/#{scan_id}")
        shards = visit.page.locator("#shards")
        first = await script.started()
        await expect(shards).to_have_text("0 of 10 shards")
        await expect(visit.page.get_by_text("Nothing was found yet")).to_be_visible()
        await first.tell("find 2", "end")
        await expect(shards).to_have_text("1 of 10 shards")
        await expect(visit.page.locator("#percent")).to_have_text("10 %")
        await expect(visit.page.locator("#found")).to_have_text("2 found")
        await expect(visit.rows).to_have_count(2)
        assert (await visit.strategies())["scripted"][:3] == ["1 of 10", "2", "running"]
        assert "10 % · 2 found" in await visit.page.title()
        await (await script.started()).tell("fail <img src=nowhere>")
        for number in range(3, 11):
            await (await script.started()).tell("end")
            if number < 10:
                await expect(shards).to_have_text(f"{number} of 10 shards")
        await visit.until()
        told = (await visit.strategies())["scripted"]
        assert told[:2] == ["10 of 10", "2"]
        assert "<img src=nowhere>" in " ".join(told)
        assert await visit.page.locator("img").count() == 0
        spoken: list[str] = await visit.page.evaluate("spoken")
        assert [text.partition(" percent")[0] for text in spoken if "percent" in text] == ["30", "50", "80"]
        assert sum("percent" not in text for text in spoken) <= 4, spoken
        await visit.shows_results_of(url)
        assert visit.complaints == []


async def test_the_time_that_is_left_counts_down(serve: Serve, visit: Visit) -> None:
    """As the server said it last, and less each second."""
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(4))).json()["scan_id"]
        await visit.open(f"{url}/#{scan_id}")
        first = await script.started()
        left = visit.page.locator("#eta")
        await expect(visit.page.locator("#shards")).to_have_text("0 of 4 shards")
        await visit.page.wait_for_timeout(2500)  # so long a shard takes here: the estimate of the others
        await first.tell("end")
        await expect(left).to_have_text(re.compile(r"^about [\d.]+ s left$"))
        before = await left.text_content()
        await expect(left).not_to_have_text(str(before))
        await expect(left).to_have_text("longer than estimated")
        for _ in range(3):
            await (await script.started()).tell("end")
        await visit.until()
        await expect(left).to_have_text("")


@pytest.mark.parametrize("outcome", ["Partly complete", "Failed", "Cancelled"])
async def test_what_became_of_a_scan_is_seen(serve: Serve, visit: Visit, outcome: str) -> None:
    """By its words, its mark and its colour, in the scan and in the list; with what can be done about it."""
    async with serve() as url, scripting() as script:
        wanted = script.request(2 if outcome == "Cancelled" else 1, symbols=["SOL/USDT"])
        if outcome == "Partly complete":
            wanted["strategy_ids"] = ["scripted", "tsmom"]
        scan_id = (await discover(url, wanted)).json()["scan_id"]
        await visit.open(f"{url}/#{scan_id}")
        shard = await script.started()
        if outcome == "Cancelled":
            await shard.tell("find 3", "end")
            await script.started()
            await expect(visit.page.locator("#found")).to_have_text("3 found")
            await visit.page.locator("#view").get_by_role("button", name="Cancel").click()
        else:
            await shard.tell("fail the feed is broken")
        await visit.until(outcome)
        verdict = {"Partly complete": "partial"}.get(outcome, outcome.lower())
        await expect(visit.page.locator("#view")).to_have_attribute("data-verdict", verdict)
        await expect(visit.page.locator("#scans-list > li")).to_have_attribute("data-verdict", verdict)
        advice = {
            "Partly complete": "Without the results of scripted",
            "Failed": "what went wrong with each",
            "Cancelled": "What was found until then is kept",
        }
        await expect(visit.page.locator("#view .notice:visible")).to_contain_text(advice[outcome])
        if outcome != "Cancelled":
            assert "the feed is broken" in " ".join((await visit.strategies())["scripted"])
        else:
            await expect(visit.rows).to_have_count(3)
        view = visit.page.locator("#view")
        await expect(view.get_by_role("button", name="Cancel")).to_be_hidden()
        await expect(view.get_by_role("button", name="Repeat")).to_be_visible()
        assert (await until_terminal(url, scan_id))["status"] == {"partial": "complete"}.get(verdict, verdict)
        assert visit.complaints == []


async def test_a_running_scan_is_cancelled_from_the_list(serve: Serve, visit: Visit) -> None:
    """Without being opened."""
    async with serve() as url, scripting() as script:
        scan_id = (await discover(url, script.request(2))).json()["scan_id"]
        await script.started()
        await visit.open(url)
        await visit.page.locator("#scans-list").get_by_role("button", name="Cancel").click()
        assert (await until_terminal(url, scan_id))["status"] == "cancelled"
        await expect(visit.page.locator("#scans-list > li")).to_have_attribute("data-verdict", "cancelled")
        await expect(visit.page.get_by_role("heading", name="No scan is shown")).to_be_visible()
