"""Promise 5: always an end, once, and last; and that results are there when it has come."""

from typing import Any
from urllib.parse import quote

import anyio

from scanstream.conformance import laws, strictly
from scanstream.conformance.asking import JSON, MSGPACK
from scanstream.conformance.copy import Copy
from scanstream.conformance.doors import DOORS, Door, EventsDoor, SocketDoor, follow_body, frames_of
from scanstream.conformance.events import MESSAGES, of_body
from scanstream.conformance.promise import NotTried, check, equal, expect, says
from scanstream.conformance.record import Record
from scanstream.conformance.run import Run
from scanstream.conformance.scans import same_found, state_of

CANCEL_SECONDS = 10
LEAST_WAITED = 0.8
"""Of one second: clocks differ."""


@check("one-end", "1.5, 4", "Each transport says the end once, and nothing of the scan after it")
async def one_end(run: Run) -> None:
    """Read on behind the end: a stream closes, on a socket a pong comes and no frame."""
    for door in DOORS[:4]:
        started = await run.scans.start()
        async with door.open(run.server, Copy(started.scan_id)) as reader:
            await reader.until_end()
            if isinstance(reader, SocketDoor):
                await reader.socket.send(type="ping", id="after")
                message = await reader.socket.receive()
                equal((message["type"], message.get("id")), ("pong", "after"), "what comes after the end")
            elif isinstance(reader, EventsDoor):
                left = [event async for event in reader.events if event.name in MESSAGES]
                expect(not left, "the stream to close after the end", left)


@check("nothing-left", "1.5, 5", "Who holds the end and asks again is told so: 204, an ack and an end, an end")
async def nothing_left(run: Run) -> None:
    """With the last cursor of the long scan, on each transport."""
    record = await run.recorded()
    scan_id, last, status = record.scan_id, str(record.whole.cursor), record.whole.state["status"]
    events = await run.server.get(f"/opportunities/events/{scan_id}", last_event_id=last)
    equal((events.status, events.body), (204, b""), "an event stream where nothing is left")
    end = {"type": "end", "scan_id": scan_id, "cursor": last, "status": status}
    for subprotocol in (JSON, MSGPACK):
        async with run.server.socket(subprotocol) as socket:
            await socket.send(type="subscribe", id="n", scan_id=scan_id, since=last)
            await socket.until("ack", "n")
            says(await socket.receive(), "the message behind the ack", **end)
    await _end_of_follow(run, record, end)
    began = anyio.current_time()
    waited = (await run.server.get(f"/opportunities/status/{scan_id}?since={quote(last)}&wait=30")).being(200).object()
    expect(anyio.current_time() - began < 10, "a long poll of a terminal scan to be answered at once", "it waited")
    equal(waited["opportunities"], [], "opportunities where nothing is left")


async def _end_of_follow(run: Run, record: Record, end: dict[str, Any]) -> None:
    """In both forms."""
    body = follow_body(record.whole)
    frames = frames_of(await run.server.post("/opportunities/follow", body, accept="application/json"))
    stream = (await run.server.post("/opportunities/follow", body, accept="text/event-stream")).being(200)
    told = [strictly.from_json(event.data) for event in await of_body(stream.body)]
    for form, messages in (("a long poll", frames), ("a stream", told)):
        equal([one.get("type") for one in messages], ["end"], f"what follow says as {form} where nothing is left")
        says(messages[0], f"the end in follow as {form}", **end)


@check(
    "results-at-the-end", "1.1, 3", "As soon as any transport has told the end, results are there, whole and in order"
)
async def results_at_the_end(run: Run) -> None:
    """Asked right behind the end, for each transport; for ever from then on."""
    async with anyio.create_task_group() as tasks:
        for door in DOORS:
            tasks.start_soon(_results_behind, run, door)


async def _results_behind(run: Run, door: type[Door]) -> None:
    started = await run.scans.start()
    copy = Copy(started.scan_id)
    async with door.open(run.server, copy) as reader:
        await reader.until_end()
        told = (await run.server.get(f"/opportunities/results/{started.scan_id}")).being(200).object()
    _whole(told, copy)


def _whole(told: dict[str, Any], copy: Copy) -> None:
    """Results as section 3 has them."""
    equal(told.get("status"), copy.state["status"], "the status of results")
    found = told["opportunities"]
    same_found(found, copy.opportunities)
    order = [(-one["confidence_score"], one["id"]) for one in found]
    expect(order == sorted(order), "results by confidence, then id", order[:5])
    equal(told.get("total_opportunities"), len(found), "total_opportunities")
    equal(told.get("strategy_performance"), copy.state["strategies"], "strategy_performance")
    equal(told.get("scan_id"), copy.scan_id, "scan_id of results")
    for name in ("execution_time_ms", "last_updated", "cursor"):
        expect(name in told, f"{name} in results", sorted(told))


@check("results-forms", "3", "Results in pages and as one line each say the same as in one piece")
async def results_forms(run: Run) -> None:
    """Of the long scan."""
    record = await run.recorded()
    path = f"/opportunities/results/{record.scan_id}"
    whole = (await run.server.get(path)).being(200).object()
    _whole(whole, record.whole)
    found, half = whole["opportunities"], max(1, len(whole["opportunities"]) // 2)
    for offset in (0, half, len(found)):
        page = (await run.server.get(f"{path}?limit={half}&offset={offset}")).being(200).object()
        equal(page["opportunities"], found[offset : offset + half], f"the page of {half} from {offset} on")
        equal(page["total_opportunities"], len(found), "total_opportunities of a page")
    lines = (await run.server.get(path, accept="application/x-ndjson")).being(200)
    kind = lines.headers.get("content-type", "")
    expect(kind.startswith("application/x-ndjson"), "application/x-ndjson", kind)
    read = [lines._replace(body=line).object() for line in lines.body.splitlines()]
    expect(read == found, "the same opportunities, one a line", len(read))


@check(
    "results-while-running", "3", "While a scan runs, results are 202 with Retry-After, and nothing is given as whole"
)
async def results_while_running(run: Run) -> None:
    """Asked until they are there; a wait ends with the scan."""
    started = await run.scans.start("long")
    path = f"/opportunities/results/{started.scan_id}"
    while (answer := (await run.server.get(path)).being(200, 202)).status == 202:
        expect("retry-after" in answer.headers, "Retry-After while it runs", dict(answer.headers))
        expect("opportunities" not in answer.object(), "no opportunities in a 202", answer.object())
        began = anyio.current_time()
        answer = (await run.server.get(f"{path}?wait=1")).being(200, 202)
        waited = answer.status == 200 or anyio.current_time() - began > LEAST_WAITED
        expect(waited, "no 202 before a wait of 1 s is over", f"one after {anyio.current_time() - began:.2f} s")
    state = await run.scans.status(started.scan_id)
    expect(state["status"] in laws.TERMINAL, "results of a terminal scan only", state["status"])
    equal(answer.object()["status"], state["status"], "the status of results")


@check("cancel", "3, 1.5", "A cancel ends the scan within 10 s for all who follow it; what was found is kept")
async def cancel(run: Run) -> None:
    """In mid-scan, with a reader on each transport; then once more, and of a scan that is complete."""
    started = await run.scans.start("long")
    copies = [Copy(started.scan_id) for _ in DOORS]
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for door, copy in zip(DOORS, copies, strict=True):
            tasks.start_soon(_until_end, run, door, copy)
        async with DOORS[0].open(run.server, Copy(started.scan_id)) as reader:
            await reader.until(lambda copy: len(copy.opportunities) > 0)
        answer = (await run.scans.cancel(started.scan_id)).being(202)
        laws.of_state(state_of(answer.object()))
        phase = answer.object()["phase"]
        expect(phase in ("cancelling", "done"), "phase cancelling, or the end", phase)
        began = anyio.current_time()
    took = anyio.current_time() - began
    expect(took < CANCEL_SECONDS + 1, f"the end within {CANCEL_SECONDS} s of the cancel", f"{took:.1f} s")
    if copies[0].state["status"] == "complete":
        raise NotTried(
            "the long scan was over before it could be cancelled: name a longer one with --request long=JSON"
        )
    for copy in copies:
        equal(copy.state["status"], "cancelled", "the status after a cancel")
        await run.matches(copy)
    again = (await run.scans.cancel(started.scan_id)).being(202).object()
    equal(state_of(again), copies[0].state, "the state after a second cancel")
    await _cancelled_too_late(run)


async def _cancelled_too_late(run: Run) -> None:
    started = await run.scans.start()
    before = await run.scans.until_terminal(started.scan_id)
    after = (await run.scans.cancel(started.scan_id)).being(202).object()
    equal(state_of(after), state_of(before), "the state after a cancel that came too late")


async def _until_end(run: Run, door: type[Door], copy: Copy) -> None:
    async with door.open(run.server, copy) as reader:
        await reader.until_end()


@check("cancel-on-a-socket", "4", "A cancel over a WebSocket is acknowledged; its outcome arrives as state")
async def cancel_on_a_socket(run: Run) -> None:
    """On the socket that follows the scan."""
    async with run.server.socket(JSON) as socket:
        scan_id = run.scans.known(await run.scans.discover_on(socket, "d", run.scans.request("long")))
        copy, acknowledged = Copy(scan_id), False
        await socket.send(type="cancel", id="c", scan_id=scan_id)
        while not copy.ended or not acknowledged:
            message = await socket.receive()
            if message["type"] == "ack":
                equal((message.get("id"), message.get("scan_id")), ("c", scan_id), "the ack of a cancel")
                acknowledged = True
            else:
                copy.take(message)
    expect(copy.state["status"] in ("cancelled", "complete"), "cancelled, or complete before", copy.state["status"])
    await run.matches(copy)


@check("failed", "1.5, 2", "A scan that fails says so, with its error, and ends like all others")
async def failed(run: Run) -> None:
    """On all transports."""
    record = await run.recorded("failing")
    equal(record.whole.state["status"], "failed", "the status of the scan that was named to fail")
    for copy in record.copies.values():
        equal(copy.cursor, record.whole.cursor, "the last cursor")
        await run.matches(copy)
