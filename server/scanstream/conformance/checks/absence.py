"""Promise 6: honest absence. 404 is never, 410 is no more, scanning is alive."""

from datetime import datetime
from typing import Any

import anyio

from scanstream.conformance.asking import JSON, MSGPACK, Answer
from scanstream.conformance.doors import frames_of
from scanstream.conformance.events import of_body
from scanstream.conformance.promise import NotTried, check, equal, expect
from scanstream.conformance.run import Run
from scanstream.conformance.scans import nearly

NO_SCAN = "No scan found. Please initiate a new scan."
ASKED = (
    "status/{}",
    "status/{}?since=0",
    "status/{}?wait=5",
    "results/{}",
    "results/{}?wait=5",
    "events/{}",
    "explain/{}",
)
MOST_WAIT = 12
"""Seconds that a scan's expiry is waited for."""


async def _answers(run: Run, scan_id: str) -> list[Answer]:
    asked = [await run.server.get(f"/opportunities/{path.format(scan_id)}") for path in ASKED]
    return [*asked, await run.scans.cancel(scan_id)]


async def _told(run: Run, scan_id: str, code: str) -> None:
    """On the transports that bring messages: one error, for this scan."""
    for subprotocol in (JSON, MSGPACK):
        async with run.server.socket(subprotocol) as socket:
            for kind in ("subscribe", "cancel"):
                await socket.send(type=kind, id=kind, scan_id=scan_id)
                message = await socket.receive()
                told = message["type"], message.get("id"), message.get("code")
                equal(told, ("error", kind, code), f"the answer to {kind}")
                expect(isinstance(message.get("detail"), str), "a detail in an error", message)
    body = {"follow": [{"scan_id": scan_id}], "wait": 5}
    frames = frames_of(await run.server.post("/opportunities/follow", body, accept="application/json"))
    told_by_follow = [(frame["type"], frame.get("scan_id"), frame.get("code")) for frame in frames]
    equal(told_by_follow, [("error", scan_id, code)], "what follow says")
    stream = await run.server.post("/opportunities/follow", body, accept="text/event-stream")
    events = [event.name for event in await of_body(stream.being(200).body)]
    equal(events, ["error"], "what follow says as events")


@check("not-found", "1.6", "An id that never existed is 404 on every transport, in the body that polling clients know")
async def not_found(run: Run) -> None:
    """Of nobody's making; one that is nearly a true one; one that is none."""
    true = (await run.scans.start()).scan_id
    for scan_id in (nearly(true), "scan_" + "0" * 42, "scan_1", "nothing"):
        for answer in await _answers(run, scan_id):
            answer.being(404)
            wanted = {"success": False, "status": "not_found", "scan_id": scan_id, "message": NO_SCAN}
            equal({name: answer.object().get(name) for name in wanted}, wanted, f"the body of {answer.asked}")
            _never_stored(answer)
        await _told(run, scan_id, "not_found")
    (await run.server.get(f"/opportunities/status/{true}")).being(200)


def _never_stored(answer: Answer) -> None:
    """What is absent now may be there later."""
    control = answer.headers.get("cache-control", "")
    expect("no-store" in control, "Cache-Control: no-store where something is absent", control)


@check("expired", "1.6", "A scan that has expired is 410, on every transport; until then it answers", slow=True)
async def expired(run: Run) -> None:
    """Only where scans answer for seconds: most servers keep them for an hour."""
    started = await run.scans.start()
    state = await run.scans.until_terminal(started.scan_id)
    keeps = (_moment(state, "expires_at") - _moment(state, "finished_at")).total_seconds()
    if keeps > MOST_WAIT:
        raise NotTried(f"finished scans answer for {keeps:g} s here; try a server with --retention 5")
    began = anyio.current_time()
    answer = await run.server.get(f"/opportunities/status/{started.scan_id}")
    while answer.status == 200:
        await anyio.sleep(0.05)
        answer = await run.server.get(f"/opportunities/status/{started.scan_id}")
    expect(anyio.current_time() - began > keeps - 2, f"an answer for {keeps:g} s", anyio.current_time() - began)
    answer.being(410)
    for gone in await _answers(run, started.scan_id):
        told = gone.being(410).object()
        equal((told.get("success"), told.get("status")), (False, "expired"), f"the body of {gone.asked}")
        equal(told.get("scan_id"), started.scan_id, "the scan_id in it")
        _never_stored(gone)
    await _told(run, started.scan_id, "expired")


def _moment(state: dict[str, Any], name: str) -> datetime:
    return datetime.fromisoformat(state[name])
