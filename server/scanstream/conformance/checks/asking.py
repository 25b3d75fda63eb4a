"""Section 3: what polling clients rely on: tags, waits, how answers may be cached, latest, lists."""

from typing import Any
from urllib.parse import quote

import anyio

from scanstream.conformance import laws
from scanstream.conformance.promise import NotTried, check, differing, equal, expect
from scanstream.conformance.run import Run
from scanstream.conformance.scans import state_of

LAST_MOMENTS = ("ended", "cancelled", "scan_failed")
ABREAST = (6, 18)
"""Scans that are started together before it is looked which of them wait: right behind its ack a scan need not yet."""
AT_ONCE_SECONDS = 5
"""Far more than an answer takes, far less than the wait that was asked for."""


@check("etag", "3", "A tag stands for all that a status says: 304 where nothing has changed, and only there")
async def etag(run: Run) -> None:
    """Asked again and again while a scan runs, with the tag and without; then at the end."""
    started = await run.scans.start("long")
    path, status, last = f"/opportunities/status/{started.scan_id}", "scanning", ""
    bodies: dict[str, Any] = {}
    while status == "scanning":
        answer = (await run.server.get(path, **({"if_none_match": last} if last else {}))).being(200, 304)
        tag = answer.headers.get("etag", "")
        expect(tag, "an ETag on each of them", dict(answer.headers))
        if answer.status == 304:
            equal((tag, answer.body), (last, b""), "the tag of a 304, and its body")
            continue
        body = answer.object()
        expect(tag != last, "a 304 where the tag is the same", tag)
        known = bodies.setdefault(tag, body)
        equal(body, known, f"all that was said under the tag {tag}")
        status, last = body["status"], tag
    plain = (await run.server.get(path)).being(200)
    equal(plain.headers.get("etag"), last, "the tag of a terminal state")
    equal((await run.server.get(path, if_none_match=f'"other", {last}')).status, 304, "a list of tags with this one")
    equal((await run.server.get(path, if_none_match='"other"')).status, 200, "another tag")


@check("etag-of-the-queue", "3", "A changed rank is never a 304, and two different bodies never have one tag")
async def etag_of_the_queue(run: Run) -> None:
    """As many scans as make a queue; the last one's status is asked for while those ahead of it are cancelled."""
    ahead, last = await _queued(run)
    path, tag = f"/opportunities/status/{last}", '"none"'
    bodies: dict[str, Any] = {}
    for scan_id in [*ahead, last]:
        for _ in range(2):
            answer = (await run.server.get(path, if_none_match=tag)).being(200, 304)
            plain = (await run.server.get(path)).being(200)
            told = answer if answer.status == 200 else plain
            tag = told.headers.get("etag", "")
            known = bodies.setdefault(tag, told.object())
            equal(told.object(), known, f"all that was said under the tag {tag}")
        await run.scans.cancel(scan_id)


async def _queued(run: Run) -> tuple[list[str], str]:
    """Scans, and one that waits behind some of them."""
    started: list[str] = []

    async def start() -> None:
        started.append((await run.scans.start("long")).scan_id)

    for many in ABREAST:
        async with anyio.create_task_group() as tasks:
            for _ in range(many):
                tasks.start_soon(start)
        for scan_id in reversed(started[-many:]):  # who came last waits for longest
            if (await run.scans.status(scan_id)).get("rank", 0) > 1:
                return [one for one in started if one != scan_id], scan_id
    for scan_id in started:
        await run.scans.cancel(scan_id)
    raise NotTried(
        f"none of {len(started)} scans waited behind another: name a longer one with --request long=JSON, and where the"
        " server takes scans at a pace of its own (--max-discovers) let it take them at once"
    )


@check(
    "wait", "3", "A wait ends with news, at once if there is some or the scan is over; else it is as long as it says"
)
async def wait(run: Run) -> None:
    """By parameter and by preference, with a cursor and with a tag."""
    started = await run.scans.start("long")
    path, cursor, tag, status = f"/opportunities/status/{started.scan_id}", "0", '"none"', "scanning"
    while status == "scanning":
        body = (await run.server.get(f"{path}?since={quote(cursor)}&wait=20")).being(200).object()
        seen = cursor == "0" or body["cursor"] != cursor or body["status"] != "scanning"
        expect(seen, "news at the end of a wait", body)
        cursor, status = body["cursor"], body["status"]
        answer = (await run.server.get(path, prefer="wait=20", if_none_match=tag)).being(200, 304)
        expect(answer.status == 200 or status != "scanning", "news at the end of a wait for another tag", tag)
        expect((answer.headers.get("etag") == tag) == (answer.status == 304), "another tag with each 200", tag)
        tag = answer.headers["etag"]
    await _at_once(run, f"{path}?since={quote(cursor)}&wait=20")
    tag = (await run.server.get(path)).headers["etag"]
    began = anyio.current_time()
    (await run.server.get(f"{path}?wait=20", if_none_match=tag)).being(304)
    expect(anyio.current_time() - began < AT_ONCE_SECONDS, "a terminal scan to be answered at once", "it waited")


async def _at_once(run: Run, path: str) -> dict[str, Any]:
    began = anyio.current_time()
    body = (await run.server.get(path)).being(200).object()
    expect(anyio.current_time() - began < AT_ONCE_SECONDS, f"{path} to be answered at once", "it waited")
    return body


@check("wait-bounds", "3", "A wait outside of 0 to 60 s is 422, by parameter and by preference, and in follow")
async def wait_bounds(run: Run) -> None:
    """One above, one below, one that is no number."""
    scan_id = (await run.scans.start()).scan_id
    await run.scans.until_terminal(scan_id)
    for path in (f"/opportunities/status/{scan_id}", f"/opportunities/results/{scan_id}"):
        for seconds in ("61", "-1", "soon"):
            (await run.server.get(f"{path}?wait={seconds}")).being(422)
        (await run.server.get(path, prefer="wait=61")).being(422)
        (await run.server.get(f"{path}?wait=60")).being(200)
        (await run.server.get(f"{path}?wait=0")).being(200)
    for wrong in (61, -1, "soon"):
        (await run.server.post("/opportunities/follow", _follow(scan_id, wrong))).being(422)


def _follow(scan_id: str, wait: Any) -> dict[str, Any]:
    return {"follow": [{"scan_id": scan_id}], "wait": wait}


@check("retry-after", "3", "While a scan runs, its status says when to ask again")
async def retry_after(run: Run) -> None:
    """In all the forms of a status; nothing of it when the scan is over."""
    started = await run.scans.start("long")
    path = f"/opportunities/status/{started.scan_id}"
    for query in ("", "?since=0", "?wait=0"):
        answer = (await run.server.get(path + query)).being(200)
        if answer.object()["status"] == "scanning":
            told = answer.headers.get("retry-after", "")
            expect(told.isdigit(), "Retry-After in seconds", dict(answer.headers))
    await run.scans.cancel(started.scan_id)
    await run.scans.until_terminal(started.scan_id)


@check("caching", "3", "Every answer says how it may be cached: no-cache what changes, no-store what is refused")
async def caching(run: Run) -> None:
    """Of each route."""
    scan_id = (await run.scans.start()).scan_id
    await run.scans.until_terminal(scan_id)
    for path in ("status/{}", "status/{}?since=0", "results/{}", "events/{}", "scans", "strategies", "market"):
        answer = (await run.server.get(f"/opportunities/{path.format(scan_id)}")).being(200)
        expect(answer.headers.get("cache-control"), f"Cache-Control of {path}", dict(answer.headers))
    refused = await run.server.post("/opportunities/discover", {"nonsense": 1})
    told = refused.headers.get("cache-control", "")
    expect("no-store" in told, "no-store where something is refused", told)
    status = (await run.server.get(f"/opportunities/status/{scan_id}")).headers.get("cache-control", "")
    expect("no-cache" in status.lower() and "no-store" not in status.lower(), "no-cache of a status", status)


@check("latest", "3", "latest is the newest registered scan, and lists are newest first, page by page")
async def latest(run: Run) -> None:
    """Where others start scans at the same time theirs may be newer; ours are in the list all the same."""
    ours = [(await run.scans.start()).scan_id for _ in range(3)]
    newest = (await run.server.get("/opportunities/status/latest")).being(200).object()["scan_id"]
    listed = [one["scan_id"] for one in await _list(run, "?limit=50")]
    among = [scan_id for scan_id in listed if scan_id in ours]
    equal(among, ours[::-1], "our scans in the list, newest first")
    expect(newest == ours[-1] or newest not in ours, "latest: the newest scan", newest)
    page = [one["scan_id"] for one in await _list(run, f"?limit=2&before={ours[-1]}")]
    expect(ours[-1] not in page and len(page) <= 2, "a page of two, before the one that was named", page)
    at = listed.index(ours[-1])
    equal(page, listed[at + 1 : at + 3], "the page behind it")
    await _listed_as_it_is(run, ours[-1])


async def _listed_as_it_is(run: Run, scan_id: str) -> None:
    """What a list says of a scan that has ended is its state."""
    state = state_of(await run.scans.until_terminal(scan_id))
    told = next(state_of(one) for one in await _list(run, "?limit=50") if one["scan_id"] == scan_id)
    expect(told == state, "a list to say what the status says", differing(told, state))


async def _list(run: Run, query: str) -> list[dict[str, Any]]:
    listed = (await run.server.get(f"/opportunities/scans{query}")).being(200).object()["scans"]
    expect(isinstance(listed, list), "a list of scans", listed)
    return list(listed)


@check("routes", "3", "Market, catalogue, health and contracts are where the protocol says")
async def routes(run: Run) -> None:
    """Each is asked once."""
    market = (await run.server.get("/opportunities/market")).being(200).object()
    for name in ("market", "symbols", "timeframe", "bars", "first", "last", "has"):
        expect(name in market, f"{name} of the market", sorted(market))
    for path in ("/healthz", "/readyz"):
        (await run.server.get(path)).being(200)
    (await run.server.get("/metrics")).being(200, 403)
    for path, name in (("/openapi.json", "openapi"), ("/asyncapi.json", "asyncapi")):
        expect(name in (await run.server.get(path)).being(200).object(), f"{name} in {path}", "none")
    state = await run.scans.until_terminal((await run.scans.start()).scan_id)
    equal(state["market"], market["market"], "the market of a scan")
    laws.of_state({name: value for name, value in state.items() if name not in laws.ENVELOPE})


@check(
    "explain",
    "8",
    "A scan's life is told as a timeline that only grows, with what it waits for now; at the end that is nothing",
)
async def explain(run: Run) -> None:
    """While it runs, and when it has ended."""
    scan_id = (await run.scans.start("long")).scan_id
    told: list[str] = []
    life: dict[str, Any] = {"status": "scanning"}
    while life["status"] == "scanning":
        life = (await run.server.get(f"/opportunities/explain/{scan_id}")).being(200).object()
        equal(life.get("scan_id"), scan_id, "scan_id of what is explained")
        told = _goes_on(life, told)
        for waits in life["waits_for"]:
            expect(waits.get("what") and waits.get("why"), "what it waits for, and why", waits)
    equal(life["waits_for"], [], "what a scan waits for that has ended")
    equal(life["status"], (await run.scans.status(scan_id))["status"], "the status")
    expect(life["timeline"][-1]["what"] in LAST_MOMENTS, f"{' or '.join(LAST_MOMENTS)} as the last moment", told[-1:])


def _goes_on(life: dict[str, Any], before: list[str]) -> list[str]:
    """What is told of it: all that was told before, unless there is so much by now that shards are left out."""
    told = [moment["what"] for moment in life["timeline"]]
    expect(all(moment["at"] for moment in life["timeline"]), "a time with each moment", life["timeline"])
    equal(told[:1], ["registered"], "the first moment")
    if life["left_out"] == 0:
        equal(told[: len(before)], before, "what was told before, and still is")
    return told if life["left_out"] == 0 else []
