"""Sections 4 and 5: many scans over one connection, event streams, and what keeps them awake."""

from typing import Any
from urllib.parse import quote

import anyio

from scanstream.conformance import strictly
from scanstream.conformance.asking import JSON, MSGPACK
from scanstream.conformance.copy import Copy
from scanstream.conformance.doors import frames_of
from scanstream.conformance.events import lines, of_body
from scanstream.conformance.promise import NotTried, check, equal, expect
from scanstream.conformance.record import Record
from scanstream.conformance.run import Run

HEARTBEAT_SECONDS = 5.0
NOBODY = "scan_nobody"


@check(
    "many-scans", "4", "One socket follows many scans, each from its own place; errors of one are no matter of others"
)
async def many_scans(run: Run) -> None:
    """Three that run and one that is not there, in both formats."""
    for subprotocol in (JSON, MSGPACK):
        copies = {(await run.scans.start()).scan_id: None for _ in range(2)}
        copies[(await run.scans.start("long")).scan_id] = None
        told = {scan_id: Copy(scan_id) for scan_id in copies}
        async with run.server.socket(subprotocol) as socket:
            for scan_id in (*told, NOBODY):
                await socket.send(type="subscribe", id=scan_id, scan_id=scan_id)
            errors: list[dict[str, Any]] = []
            while not all(copy.ended for copy in told.values()):
                message = await socket.receive()
                if message["type"] == "error":
                    errors.append(message)
                elif message["type"] != "ack":
                    told[message["scan_id"]].take(message)
            equal([(one["code"], one["id"]) for one in errors], [("not_found", NOBODY)], "the errors on the socket")
        for copy in told.values():
            await run.matches(copy)


@check("follow-many", "5", "follow brings at most one frame a scan, an end for each, one error for what is absent")
async def follow_many(run: Run) -> None:
    """As a long poll, each scan from its cursor, until all have ended; and as one stream of events."""
    scans = [(await run.scans.start()).scan_id, (await run.scans.start("long")).scan_id]
    copies = {scan_id: Copy(scan_id) for scan_id in scans}
    while open_ones := [copy for copy in copies.values() if not copy.ended]:
        asked = [{"scan_id": copy.scan_id, **({"since": copy.cursor} if copy.cursor else {})} for copy in open_ones]
        answer = (await run.server.post("/opportunities/follow", {"follow": asked, "wait": 20})).being(200)
        frames = frames_of(answer)
        told = [frame["scan_id"] for frame in frames]
        expect(len(told) == len(set(told)), "at most one frame a scan", frames)
        for frame in frames:
            copies[frame["scan_id"]].asked_anew()
            copies[frame["scan_id"]].take(frame)
    for copy in copies.values():
        await run.matches(copy)
    await _as_events(run, scans)


async def _as_events(run: Run, scans: list[str]) -> None:
    copies = {scan_id: Copy(scan_id) for scan_id in scans}
    body = {"follow": [{"scan_id": scan_id} for scan_id in (*scans, NOBODY)]}
    answer = await run.server.post("/opportunities/follow", body, accept="text/event-stream")
    events = await of_body(answer.being(200).body)
    messages = [answer._replace(body=event.data.encode()).object() for event in events]
    errors = [(one.get("scan_id"), one["code"]) for one in messages if one["type"] == "error"]
    equal(errors, [(NOBODY, "not_found")], "the errors in the stream")
    for message in messages:
        if message["type"] != "error":
            copies[message["scan_id"]].take(message)
    expect(all(copy.ended for copy in copies.values()), "an end of each before the stream closes", "not of all")


@check("follow-in-json", "5", "Without Accept follow is JSON, and an empty list where a wait brings no news")
async def follow_in_json(run: Run) -> None:
    """A scan that runs, from its cursor, with a wait of 0."""
    started = await run.scans.start("long")
    copy = Copy(started.scan_id)
    while not copy.ended:
        asked = {"follow": [{"scan_id": copy.scan_id, **({"since": copy.cursor} if copy.cursor else {})}], "wait": 0}
        answer = (await run.server.post("/opportunities/follow", asked)).being(200)
        kind = answer.headers.get("content-type", "")
        expect(kind.startswith("application/json"), "application/json", kind)
        frames = frames_of(answer)
        if not frames:
            await run.scans.cancel(started.scan_id)
            await run.scans.until_terminal(started.scan_id)
        for frame in frames:
            copy.asked_anew()
            copy.take(frame)


@check("last-event-id", "5", "Last-Event-ID resumes a stream of events, and wins over since")
async def last_event_id(run: Run) -> None:
    """Of the long scan: the header says its last cursor, the query a foreign one, and the other way round."""
    record = await run.recorded()
    path, last = f"/opportunities/events/{record.scan_id}", str(record.whole.cursor)
    equal((await run.server.get(f"{path}?since=zzzz-9.9", last_event_id=last)).status, 204, "the header to win")
    equal((await run.server.get(f"{path}?since={quote(last)}")).status, 204, "since without the header to count")
    whole = await run.server.get(f"{path}?since={quote(last)}", last_event_id="zzzz-9.9")
    expect(whole.status == 200 and "snapshot" in await _names(whole.body), "a snapshot: the header wins", whole.status)
    await _ids(run, record)


async def _ids(run: Run, record: Record) -> None:
    """The frame's cursor is the event's id, on the end too; `retry:` tells the reconnection time."""
    answer = (await run.server.get(f"/opportunities/events/{record.scan_id}")).being(200)
    told = await of_body(answer.body)
    equal([event.name for event in told][-1:], ["end"], "the last event")
    for event in told:
        equal(event.id, strictly.from_json(event.data).get("cursor"), "the id of an event: its cursor")
    equal(told[-1].id, record.whole.cursor, "the id of the last event")
    retry = any(line.startswith(b"retry:") for line in answer.body.splitlines())
    expect(retry, "retry: in a stream of events", answer.body[:300])


async def _names(body: bytes) -> list[str]:
    return [event.name for event in await of_body(body)]


@check("heads", "9", "HEAD of a stream is answered with headers, at once")
async def heads(run: Run) -> None:
    """Of a scan that runs."""
    started = await run.scans.start("long")
    for path in ("events", "status", "results"):
        answer = await run.server.ask("HEAD", f"/opportunities/{path}/{started.scan_id}")
        expect(answer.status in (200, 202), f"an answer to HEAD of {path}", answer.status)
        equal(answer.body, b"", "the body of an answer to HEAD")
    await run.scans.cancel(started.scan_id)


@check("heartbeat", "5", "A comment every 5 s keeps a stream of events awake", slow=True)
async def heartbeat(run: Run) -> None:
    """Where a scan can be had that is still for so long: one that waits behind others."""
    started = [await run.scans.start("long") for _ in range(8)]
    seen, longest, last = False, 0.0, anyio.current_time()
    async with run.server.answering("GET", f"/opportunities/events/{started[-1].scan_id}") as response:
        with anyio.move_on_after(3 * HEARTBEAT_SECONDS):
            async for line in lines(response.aiter_bytes()):
                longest, last = max(longest, anyio.current_time() - last), anyio.current_time()
                seen = seen or line.startswith(":")
                if seen or line.replace(" ", "") == "event:end":
                    break
        longest = max(longest, anyio.current_time() - last)
    for one in started:
        await run.scans.cancel(one.scan_id)
    if not seen and longest < HEARTBEAT_SECONDS + 1:
        raise NotTried(f"no scan is still for {HEARTBEAT_SECONDS:g} s here: name one with --request long=JSON")
    expect(seen, f"a comment where a stream is still for {HEARTBEAT_SECONDS:g} s", f"none in {longest:.1f} s")
