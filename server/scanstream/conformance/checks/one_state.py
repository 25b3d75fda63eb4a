"""Promise 3, first half: one state, whichever transport shows it; and what section 2 says of every state."""

from scanstream.conformance.copy import Copy
from scanstream.conformance.doors import DOORS
from scanstream.conformance.promise import check, differing, equal, expect
from scanstream.conformance.run import Run
from scanstream.conformance.scans import state_of


@check(
    "lawful",
    "2, 4",
    "Patches lead from state to state, none goes back, no opportunity comes twice, offsets, more and skipped are true",
)
async def lawful(run: Run) -> None:
    """A scan followed over all transports at once by strict readers: each frame is held to every law."""
    record = await run.recorded()
    expect(len(record.whole.states) > 1, "more than one state of the long scan", len(record.whole.states))


@check("one-state", "1.3", "WebSocket, SSE, long poll and plain poll show the same state at the same cursor")
async def one_state(run: Run) -> None:
    """Compared at each entry at which two of them were."""
    record = await run.recorded()
    seen: dict[int, tuple[str, dict[str, object]]] = {}
    for name, copy in record.copies.items():
        equal(copy.scan_id, record.whole.scan_id, "the scan")
        for seq, state in copy.states.items():
            other, told = seen.setdefault(seq, (name, state))
            expect(told == state, f"one state at entry {seq} over {other} and {name}", differing(state, told))
    for name, copy in record.copies.items():
        equal(copy.cursor, record.whole.cursor, f"the last cursor over {name}")
        same = copy.opportunities == record.whole.opportunities
        expect(same, "one list of opportunities, in one order", f"another over {name}")


@check("status-agrees", "1.3", "What the streams have told is what the status endpoint and the results say")
async def status_agrees(run: Run) -> None:
    """At the end of the long scan."""
    record = await run.recorded()
    for copy in record.copies.values():
        await run.matches(copy)


@check("snapshot-agrees", "1.3, 4", "All patches on the first state give exactly the state of a snapshot")
async def snapshot_agrees(run: Run) -> None:
    """A reader who comes at the end, on each transport, beside those who were there from the beginning."""
    record = await run.recorded()
    for door in DOORS:
        copy = Copy(record.scan_id)
        async with door.open(run.server, copy) as reader:
            await reader.until_end()
        whole = record.whole
        expect(copy.state == whole.state, f"the folded state from {door.name}", differing(copy.state, whole.state))
        expect(
            copy.opportunities == whole.opportunities, f"the opportunities from {door.name}", len(copy.opportunities)
        )
        equal(copy.cursor, whole.cursor, "the cursor at the end")


@check("status-while-running", "1.3, 3", "A status without parameters is the state at its cursor, and has an ETag")
async def status_while_running(run: Run) -> None:
    """Beside a stream of the same scan."""
    started = await run.scans.start("long")
    copy, statuses = Copy(started.scan_id), []
    async with DOORS[0].open(run.server, copy) as reader:
        while not copy.ended:
            await reader.step()
            answer = (await run.server.get(f"/opportunities/status/{started.scan_id}")).being(200)
            statuses.append(answer.object())
            expect(answer.headers.get("etag"), "an ETag", dict(answer.headers))
            expect(str(statuses[-1]["cursor"]).endswith(".0"), "a cursor that ends in .0", statuses[-1]["cursor"])
    found = {one["id"]: one for one in copy.opportunities}
    for body in statuses:
        seq = int(body["cursor"].rpartition("-")[2].split(".")[0])
        if seq in copy.states:
            told = copy.states[seq]
            expect(state_of(body) == told, f"the stream's state at entry {seq}", differing(state_of(body), told))
        partial = body.get("partial_results", [])
        expect(len(partial) <= 10, "at most ten partial results", len(partial))
        order = [(-one["confidence_score"], one["id"]) for one in partial]
        expect(order == sorted(order), "partial results by confidence", order)
        for one in partial:
            told_so = found.get(one["id"], {})
            expect(one == told_so, f"{one['id']} of the partial results as the stream told it", differing(one, told_so))
