"""Section 9: how long a connection may say nothing, and how long a reader may take nothing."""

from typing import Any

import anyio

from scanstream.conformance.promise import check, equal, expect
from scanstream.conformance.run import Run
from scanstream.conformance.wire import Unread, Wire, unread, wired

NOTHING_SECONDS, PART_SECONDS = 10.0, 30.0
"""For a connection that says nothing; for a head or a body that does not go on."""
PAUSE_SECONDS = 6.0
"""A pause that a slow client may make in a body."""
TRICKLE_SECONDS = 2.0
LATE_SECONDS = 3.0
"""What a busy machine may be late."""
STALL_GRACE_SECONDS = 3.0
EARLY_SECONDS = 1.0
SUBSCRIPTIONS = 24
"""Each brings the long scan anew: more than lies between a server and a reader that takes nothing."""
AT_ONCE_SECONDS = 5.0
DISCOVER = "/opportunities/discover"


@check(
    "silent",
    "9",
    "A connection that says nothing is closed after 10 s, a request that does not go on after 30 s",
    slow=True,
)
async def silent(run: Run) -> None:
    """Beside them a body that pauses is waited for."""
    run.patience.longer(PART_SECONDS + LATE_SECONDS)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_closed, run, "a connection that says nothing", "", NOTHING_SECONDS)
        tasks.start_soon(_closed, run, "half a head", "head", PART_SECONDS)
        tasks.start_soon(_closed, run, "half a body", "body", PART_SECONDS)
        tasks.start_soon(_trickles, run)
        tasks.start_soon(_pauses, run)


async def _closed(run: Run, what: str, part: str, seconds: float) -> None:
    """It says a part of a request, and nothing more."""
    async with wired(run.server) as wire:
        whole = wire.head("POST", DISCOVER, content_length="2", content_type="application/json")
        said = {"": b"", "head": whole[:-2], "body": whole + b"{"}[part]
        await wire.say(said)
        run.trace.noted(f"{what}: {said!r}")
        await _hung_up(wire, what, seconds)


async def _hung_up(wire: Wire, what: str, seconds: float) -> None:
    """What is answered before does not matter."""
    with anyio.move_on_after(seconds + LATE_SECONDS) as scope:
        while await wire.take():
            pass
    expect(not scope.cancelled_caught, f"{what} to be closed after {seconds:g} s", "it is open")


async def _trickles(run: Run) -> None:
    """A head that goes on and on, a line at a time."""
    what = "a head that is not whole"
    async with wired(run.server) as wire, anyio.create_task_group() as tasks:
        tasks.start_soon(_line_by_line, wire)
        await _hung_up(wire, what, PART_SECONDS)
        tasks.cancel_scope.cancel()


async def _line_by_line(wire: Wire) -> None:
    number, going = 0, await wire.say(wire.head("GET", "/healthz")[:-2])
    while going:
        await anyio.sleep(TRICKLE_SECONDS)
        number += 1
        going = await wire.say(f"x-{number}: 1\r\n".encode())


async def _pauses(run: Run) -> None:
    async with wired(run.server) as wire:
        await wire.say(wire.head("POST", "/opportunities/follow", content_length="2", content_type="application/json"))
        await wire.say(b"{")
        await anyio.sleep(PAUSE_SECONDS)
        await wire.say(b"}")
        status, _ = await wire.answer()
        equal(status, 422, f"the answer to a body that paused for {PAUSE_SECONDS:g} s")


@check(
    "stalled",
    "4, 9",
    "Who takes nothing is cut off within --stall and 3 s, who takes a little is not, and nobody waits for them",
    slow=True,
)
async def stalled(run: Run) -> None:
    """Three that are told much: one takes nothing, one for nearly as long as it may, one a little now and then."""
    record = await run.recorded()
    stall = run.options.stall
    run.patience.longer(stall + STALL_GRACE_SECONDS + LATE_SECONDS)
    async with unread(run.server) as stuck, unread(run.server) as resting, unread(run.server) as slow:
        began = anyio.current_time()
        for reader in (stuck, resting, slow):
            await _told_much(reader, record.scan_id)
        cut_off = anyio.current_time() + stall + STALL_GRACE_SECONDS + LATE_SECONDS
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_takes_a_little, slow, record.scan_id, cut_off)
            tasks.start_soon(_rests, resting, began + stall - EARLY_SECONDS, stall)
            tasks.start_soon(_is_cut_off, stuck, cut_off, stall)
            tasks.start_soon(_nobody_waits, run, cut_off)


async def _told_much(reader: Unread, scan_id: str) -> None:
    for number in range(SUBSCRIPTIONS):
        if not await reader.say(type="subscribe", id=str(number), scan_id=scan_id):
            return


async def _is_cut_off(reader: Unread, at: float, stall: float) -> None:
    await anyio.sleep_until(at)
    expect(not await reader.answers(), f"a reader that takes nothing for {stall:g} s to be cut off", "it is answered")


async def _rests(reader: Unread, until: float, stall: float) -> None:
    await anyio.sleep_until(until)
    what = f"a reader that takes nothing for a little less than {stall:g} s to be told on"
    expect(await reader.answers(), what, f"it is closed ({reader.close_code})")


async def _takes_a_little(reader: Unread, scan_id: str, until: float) -> None:
    """Each time as much as comes in one piece; more than it takes is there for it."""
    pause = min(1.0, max(0.25, (until - anyio.current_time()) / 40))
    while anyio.current_time() < until:
        messages = await reader.take()
        expect(messages is not None, "a reader that takes a little to be told on", f"closed ({reader.close_code})")
        await reader.say(type="subscribe", id="more", scan_id=scan_id)
        await anyio.sleep(pause)
    expect(await reader.answers(), "a reader that takes a little to be told on", f"closed ({reader.close_code})")


async def _nobody_waits(run: Run, until: float) -> None:
    """Questions and answers on another socket, and a scan, as if nothing was."""
    async with run.server.socket() as socket:
        await run.scans.discover_on(socket, "d", run.scans.request())
        while anyio.current_time() < until:
            began = anyio.current_time()
            await socket.send(type="ping", id="p")
            await socket.until("pong", "p")
            took = anyio.current_time() - began
            expect(took < AT_ONCE_SECONDS, "an answer at once, whoever else takes nothing", f"after {took:.1f} s")
            await anyio.sleep(0.5)


def sized(length: int) -> bytes:
    """The head of a client's text frame of so many bytes (RFC 6455, section 5.2), masked with zeros."""
    return b"\x81\xff" + length.to_bytes(8, "big") + bytes(4)


HUGE = 1 << 40


@check("too-large", "3, 4", "A body that is too large is 413 before it has come, a message that is closes with 1009")
async def too_large(run: Run) -> None:
    """A terabyte is announced, and none of it sent."""
    async with wired(run.server) as wire:
        await wire.say(wire.head("POST", DISCOVER, content_length=str(HUGE), content_type="application/json"))
        status, _ = await wire.answer()
        equal(status, 413, f"the answer to a body of {HUGE} bytes")
    async with unread(run.server) as socket:
        await socket.raw(sized(HUGE))
        told: Any = []
        while told is not None:
            told = await socket.take()
        equal(socket.close_code, 1009, f"the close code after a message of {HUGE} bytes")
