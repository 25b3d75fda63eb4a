"""The plain requests in detail: ETag, wait, Prefer, Retry-After, pages, NDJSON."""

import anyio
import msgspec
import pytest

from conftest import Serve
from support.script import scripting
from support.wire import Answer, discover, request, results, status, until_terminal

pytestmark = pytest.mark.anyio


async def get(url: str, path: str, **headers: str) -> Answer:
    """A GET below /opportunities."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await request(url, "GET", f"/opportunities/{path}", headers=named)


async def test_an_etag_saves_the_body_until_the_state_is_newer(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        shard = await script.started()
        while (first := await status(url, scan_id)).json()["strategies"]["scripted"]["status"] != "running":
            pass
        assert first.headers["cache-control"] == "no-cache"
        assert first.headers["retry-after"] == "1"
        epoch_seq = first.headers["etag"].strip('"')
        assert first.json()["cursor"] == f"{epoch_seq}.0"
        for tag in (first.headers["etag"], f'W/"{epoch_seq}"', f'"other", "{epoch_seq}"', "*"):
            same = await get(url, f"status/{scan_id}", if_none_match=tag)
            assert (same.status, same.body) == (304, b"")
            assert same.headers["etag"] == first.headers["etag"]
        assert (await get(url, f"status/{scan_id}", if_none_match='"other-1"')).status == 200
        await shard.tell("end")
        final = await until_terminal(url, scan_id)
        newer = await get(url, f"status/{scan_id}", if_none_match=first.headers["etag"])
        assert (newer.status, newer.json()) == (200, final)
        assert "retry-after" not in newer.headers
        assert "partial_results" not in final


@pytest.mark.parametrize("form", ["since", "etag", "prefer"])
async def test_a_wait_ends_with_the_news_and_without_news_with_its_time(serve: Serve, form: str) -> None:
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        shard = await script.started()
        while (now := await status(url, scan_id)).json()["strategies"]["scripted"]["status"] != "running":
            pass
        cursor, tag = now.json()["cursor"], now.headers["etag"]
        query, headers = {
            "since": (f"?since={cursor}&wait=", {}),
            "etag": ("?wait=", {"if_none_match": tag}),
            "prefer": (f"?since={cursor}", {"prefer": "respond-async, wait="}),
        }[form]

        async def ask(seconds: int) -> Answer:
            if form == "prefer":
                return await get(url, f"status/{scan_id}{query}", prefer=f"respond-async, wait={seconds}")
            return await get(url, f"status/{scan_id}{query}{seconds}", **headers)

        nothing = await ask(1)
        assert nothing.status == (304 if form == "etag" else 200)
        if form != "etag":
            assert nothing.json()["cursor"] == cursor
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shard.tell, "find 2", "end")
            news = await ask(60)
        assert news.status == 200
        if form != "etag":
            assert news.json()["cursor"] != cursor


@pytest.mark.parametrize("wait", ["61", "-1", "soon", "1.5", "", "9" * 400])
async def test_a_wait_out_of_bounds_is_named(serve: Serve, wait: str) -> None:
    async with serve(workers=0) as url:
        scan_id = (await discover(url)).json()["scan_id"]
        answer_of = {"status": 200, "results": 202}
        for path, passed_over in answer_of.items():
            answer = await get(url, f"{path}/{scan_id}?wait={wait}")
            assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "wait")
            preferred = await get(url, f"{path}/{scan_id}", prefer=f"respond-async, wait={wait}")
            assert "preference-applied" not in preferred.headers
            if wait in ("soon", ""):  # no number at all: passed over (RFC 7240, section 2)
                assert preferred.status == passed_over
            else:
                assert (preferred.status, preferred.json()["errors"][0]["field"]) == (422, "wait")


async def test_results_wait_page_and_stream(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        shard = await script.started()
        early = await results(url, scan_id)
        assert (early.status, early.headers["retry-after"], early.json()["status"]) == (202, "1", "scanning")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shard.tell, "find 1203", "end")
            whole = await get(url, f"results/{scan_id}?wait=60")
        body = whole.json()
        assert (whole.status, body["total_opportunities"], len(body["opportunities"])) == (200, 1203, 1203)
        order = [(-found["confidence_score"], found["id"]) for found in body["opportunities"]]
        assert order == sorted(order)
        assert body["strategy_performance"]["scripted"]["status"] == "complete"
        pages = []
        for offset in (0, 500, 1000):
            page = (await get(url, f"results/{scan_id}?limit=500&offset={offset}")).json()
            assert page["total_opportunities"] == 1203
            pages += page["opportunities"]
        assert pages == body["opportunities"]
        lines = await get(url, f"results/{scan_id}", accept="application/x-ndjson")
        assert lines.headers["content-type"].startswith("application/x-ndjson")
        assert [msgspec.json.decode(line) for line in lines.body.splitlines()] == body["opportunities"]
        for bad in ("limit=0", "limit=x", "offset=-1"):
            assert (await get(url, f"results/{scan_id}?{bad}")).status == 422


async def test_status_shows_the_best_while_it_runs(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(shards=2))).json()["scan_id"]
        await (await script.started()).tell("find 40", "end")
        last = await script.started()
        while (state := (await status(url, scan_id)).json())["total_opportunities"] < 40:
            pass
        scores = [found["confidence_score"] for found in state["partial_results"]]
        assert scores == sorted(scores, reverse=True)
        assert (len(scores), scores[0]) == (10, 39.0)
        await last.tell("end")
        await until_terminal(url, scan_id)


async def test_methods_that_only_read_also_answer_head(serve: Serve) -> None:
    async with serve(workers=0) as url:
        scan_id = (await discover(url)).json()["scan_id"]
        head = await request(url, "HEAD", f"/opportunities/status/{scan_id}")
        assert (head.status, head.body) == (200, b"")
