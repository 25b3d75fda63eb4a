"""Promise 3, second half, and 4: from any cursor, over any transport, with nothing lost and nothing twice."""

import anyio

from scanstream.conformance import strictly
from scanstream.conformance.asking import JSON
from scanstream.conformance.copy import Copy
from scanstream.conformance.cursors import place
from scanstream.conformance.doors import DOORS, Door, frames_of
from scanstream.conformance.events import of_body
from scanstream.conformance.promise import Broken, check, differing, equal, expect
from scanstream.conformance.record import Record
from scanstream.conformance.run import Run

MOST_CURSORS = 12
MOST_STEPS = 3
"""Frames between two cuts."""
SWITCHERS = 3


async def _cut_again_and_again(run: Run, copy: Copy, doors: tuple[type[Door], ...], seed: int) -> None:
    """Read a few frames over one of the doors, cut it, go on over one of them from the cursor, until the end."""
    from random import Random  # noqa: PLC0415

    random = Random(seed)  # noqa: S311  # repeatable on purpose
    while not copy.ended:
        door = random.choice(doors)
        async with door.open(run.server, copy) as reader:
            for _ in range(random.randint(1, MOST_STEPS)):
                if not copy.ended:
                    await reader.step()


async def _readers(run: Run, kind: str, sets: list[tuple[type[Door], ...]]) -> None:
    started = await run.scans.start(kind)
    copies = [Copy(started.scan_id) for _ in sets]
    async with anyio.create_task_group() as tasks:
        for copy, doors in zip(copies, sets, strict=True):
            tasks.start_soon(_cut_again_and_again, run, copy, doors, run.random.getrandbits(32))
    for copy in copies:
        await run.matches(copy)


@check(
    "resume", "1.3, 1.4", "A reader that is cut off at any frame goes on from its cursor: nothing lost, nothing twice"
)
async def resume(run: Run) -> None:
    """On each transport, again and again while the scan runs; where the cuts are is the seed's choice."""
    await _readers(run, "long", [(door,) for door in DOORS])


@check("switch", "1.3", "A client leaves one transport and goes on over another from its cursor, in mid-scan")
async def switch(run: Run) -> None:
    """From any to any, as the seed has it."""
    await _readers(run, "long", [DOORS] * SWITCHERS)


@check("every-cursor", "1.3, 2", "From every cursor of a scan the answer is an update from there, on every transport")
async def every_cursor(run: Run) -> None:
    """Of those that were seen, and of those between: fewer opportunities held than the entry had."""
    record = await run.recorded()
    cursors = record.cursors()
    cursors = [f"{cursor.rpartition('.')[0]}.0" for cursor in cursors[:: max(1, len(cursors) // 3)]] + cursors
    chosen = run.random.sample(cursors, min(MOST_CURSORS, len(cursors)))
    async with anyio.create_task_group() as tasks:
        for cursor in chosen:
            tasks.start_soon(_from, run, record, cursor)


async def _from(run: Run, record: Record, cursor: str) -> None:
    for door in DOORS:
        copy = record.held_at(cursor)
        async with door.open(run.server, copy) as reader:
            await reader.until_end()
        state = record.whole.state
        expect(copy.state == state, f"the last state from {cursor} over {door.name}", differing(copy.state, state))
        whole = copy.opportunities == record.whole.opportunities
        expect(whole, f"all opportunities from {cursor} over {door.name}", len(copy.opportunities))


@check(
    "foreign-cursor", "2", "A foreign cursor, 0.0, or one ahead of the head is answered with a snapshot, never an error"
)
async def foreign_cursor(run: Run) -> None:
    """Of another scan, of a lost store, of nobody; on every transport."""
    record, other = await run.recorded(), await run.scans.start()
    await run.scans.until_terminal(other.scan_id)
    last = place(record.whole.cursor)
    foreign = place((await run.scans.status(other.scan_id))["cursor"])
    expect(foreign.epoch != last.epoch, "an epoch of its own for each scan", foreign)
    cursors = {
        "of another scan": f"{foreign.epoch}-{last.seq}.{last.n}",
        "of another scan, as its own": str(foreign),
        "that holds nothing": f"{last.epoch}-0.0",
        "ahead of the head": f"{last.epoch}-{last.seq + 1000}.{last.n}",
        "of nobody": "zzzz-9.9",
        "that is none": "what?",
    }
    for what, cursor in cursors.items():
        for door in DOORS:
            await _begins_anew(run, record, door, cursor, what)


async def _begins_anew(run: Run, record: Record, door: type[Door], cursor: str, what: str) -> None:
    copy = Copy(record.scan_id)
    copy.cursor = cursor
    try:
        async with door.open(run.server, copy) as reader:
            await reader.until_end()
    except Broken as broken:
        raise Broken(
            f"a snapshot to a cursor {what} ({cursor}) over {door.name}: {broken.expected}", broken.seen
        ) from None
    equal(copy.state, record.whole.state, f"the state after a cursor {what}")
    equal(len(copy.opportunities), len(record.whole.opportunities), f"opportunities after a cursor {what}")


@check(
    "slow-reader", "1.4", "Who reads late gets all opportunities and the end; progress is folded together, and counted"
)
async def slow_reader(run: Run) -> None:
    """On the streams: one frame, then nothing until the scan has ended, then the rest."""
    started = await run.scans.start("long")
    async with anyio.create_task_group() as tasks:
        for door in DOORS[:4]:
            tasks.start_soon(_late, run, door, Copy(started.scan_id))


async def _late(run: Run, door: type[Door], copy: Copy) -> None:
    async with door.open(run.server, copy) as reader:
        await reader.step()
        await run.scans.until_terminal(copy.scan_id)
        await reader.until_end()
    await run.matches(copy)


@check("chunks", "2", "At most 500 opportunities come in a frame; more says that others follow at the same entry")
async def chunks(run: Run) -> None:
    """Every transport, in one go and cut between two chunks."""
    record = await run.recorded("many")
    found = len(record.whole.opportunities)
    expect(found > 500, "more than 500 opportunities of the scan that was named for that", found)
    for door in DOORS:
        copy = Copy(record.scan_id)
        async with door.open(run.server, copy) as reader:
            await reader.until_end()
        equal(len(copy.opportunities), found, f"the number of opportunities over {door.name}")
        copy = Copy(record.scan_id)
        while not copy.ended:
            async with door.open(run.server, copy) as reader:
                if not copy.ended:
                    await reader.step()
        same = copy.opportunities == record.whole.opportunities
        expect(same, f"all opportunities, chunk by chunk over {door.name}", len(copy.opportunities))


@check("only-state", "4", "Who follows the state alone gets no opportunities; a later reader gets all from its cursor")
async def only_state(run: Run) -> None:
    """On a WebSocket; then on without `only`. In both forms of follow."""
    record = await run.recorded()
    start = Copy(record.scan_id, only_state=True)
    async with run.server.socket(JSON) as socket:
        await socket.send(type="subscribe", id="o", scan_id=record.scan_id, only="state")
        await socket.until("ack", "o")
        while not start.ended:
            start.take(await socket.receive())
        equal(place(start.cursor).n, 0, "the count in the cursor of a reader of the state alone")
        whole = Copy(record.scan_id).started_from(start.state, [], str(start.cursor))
        await socket.send(type="subscribe", id="w", scan_id=record.scan_id, since=start.cursor)
        await socket.until("ack", "w")
        while not whole.ended:
            whole.take(await socket.receive())
    expect(whole.opportunities == record.whole.opportunities, "all opportunities", len(whole.opportunities))
    await _only_in_follow(run, record.scan_id)


async def _only_in_follow(run: Run, scan_id: str) -> None:
    """In both forms."""
    body = {"follow": [{"scan_id": scan_id, "only": "state"}], "wait": 5}
    frames = frames_of(await run.server.post("/opportunities/follow", body, accept="application/json"))
    stream = (await run.server.post("/opportunities/follow", body, accept="text/event-stream")).being(200)
    told = [strictly.from_json(event.data) for event in await of_body(stream.body)]
    for messages in (frames, told):
        copy = Copy(scan_id, only_state=True)
        for message in messages:
            copy.take(message)
        equal(place(copy.cursor).n, 0, "the count in the cursor of a reader of the state alone, in follow")
