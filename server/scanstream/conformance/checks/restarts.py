"""What a restart costs: nothing. Only where a command is named that does it; nobody restarts a stranger's server."""

import subprocess
from collections.abc import Sequence
from typing import Any

import anyio
from anyio.abc import TaskGroup

from scanstream.conformance import laws
from scanstream.conformance.asking import JSON, MSGPACK, ServerGone
from scanstream.conformance.copy import Copy
from scanstream.conformance.doors import DOORS, Door, EventsDoor, FollowEventsDoor, PackedDoor, SocketDoor
from scanstream.conformance.promise import Cut, NotTried, check, equal, expect
from scanstream.conformance.run import Run

STREAMS: tuple[type[Door], ...] = (SocketDoor, PackedDoor, EventsDoor, FollowEventsDoor)
SCANS = 3
STOP_SECONDS = 6.0
START_SECONDS = 10.0
"""From the restart until every scan that was acknowledged has begun, or waits for its turn."""
LATE_SECONDS = 2.0
PAUSE_SECONDS = 0.1
AWAY_SECONDS = 30.0
"""From the command on, until somebody is cut off."""


class Watched:
    """What its clients see of a restart."""

    def __init__(self, acked: list[str]) -> None:
        self.acked = acked
        self.copies: list[tuple[type[Door], Copy]] = []
        self.first: float | None = None
        """When the first of them was told, or cut off."""
        self.last = 0.0
        self.told: dict[str, tuple[Any, int | None]] = {}
        """By subprotocol: the last message, and the code that the socket was closed with."""
        self.all_listen = anyio.Event()
        self.listening = 0

    def listens(self) -> None:
        """One more reader is there."""
        self.listening += 1
        if self.listening == len(STREAMS) + 2:
            self.all_listen.set()

    def leaves(self) -> None:
        """Somebody is told, or cut off."""
        self.last = anyio.current_time()
        self.first = self.first or self.last


@check(
    "restart",
    "1, 4, 9",
    "A restart tells everybody who listens, is over in 6 s, and costs nothing: every scan goes on to its end",
)
async def restart(run: Run) -> None:
    """With readers on every transport, and scans that are acknowledged until the last moment."""
    watched = await _through(run, run.options.restart, "--restart COMMAND")
    for subprotocol, (message, code) in watched.told.items():
        said = message.get("type"), message.get("code")
        equal(said, ("error", "restarting"), f"the last message on {subprotocol}")
        expect(isinstance(message.get("retry_after"), int | float), "retry_after in it", message)
        equal(code, 1012, f"the code that {subprotocol} is closed with")
    assert watched.first is not None
    took = watched.last - watched.first
    expect(took < STOP_SECONDS + LATE_SECONDS, f"all connections to end within {STOP_SECONDS:g} s", f"{took:.1f} s")
    await _costs_nothing(run, watched)


@check("crash", "1", "A server that dies loses nothing that it has acknowledged: every scan goes on to its end")
async def crash(run: Run) -> None:
    """The same without a word of goodbye."""
    await _costs_nothing(run, await _through(run, run.options.crash, "--crash COMMAND"))


async def _through(run: Run, command: str, flag: str) -> Watched:
    """Everything that is seen of it, until the server is back."""
    if not command:
        raise NotTried(f"needs a command that does it: {flag}")
    watched = Watched([(await run.scans.start("long")).scan_id for _ in range(SCANS)])
    try:
        async with anyio.create_task_group() as tasks:
            _listen(run, watched, tasks)
            await watched.all_listen.wait()
            tasks.start_soon(_start_on, run, watched)
            await _commanded(command)
            with anyio.move_on_after(AWAY_SECONDS):
                while len(watched.told) < 2 or not watched.first:  # noqa: ASYNC110  # seen from outside
                    await anyio.sleep(PAUSE_SECONDS)
            tasks.cancel_scope.cancel()
    finally:
        with anyio.move_on_after(AWAY_SECONDS, shield=True):
            await _back(run)
    if watched.first is None or len(watched.told) < 2:
        raise NotTried(f"{flag} restarts nothing: connections went on for {AWAY_SECONDS:g} s")
    return watched


def _listen(run: Run, watched: Watched, tasks: TaskGroup) -> None:
    """Readers on every stream, and two that hear the last words."""
    first, second, *_ = watched.acked
    for door in STREAMS:
        copy = Copy(first)
        watched.copies.append((door, copy))
        tasks.start_soon(_until_cut, run, door, copy, watched)
    for subprotocol in (JSON, MSGPACK):
        tasks.start_soon(_last_words, run, subprotocol, second, watched)


async def _commanded(command: str) -> None:
    """What it says on standard error is for whoever looks on."""
    opening = anyio.open_process(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=None, start_new_session=True
    )
    async with await opening as process:
        code = await process.wait()
    if code:
        raise NotTried(f"the command {command!r} has failed with exit code {code}")


async def _until_cut(run: Run, door: type[Door], copy: Copy, watched: Watched) -> None:
    """A reader that is cut off with what it has by then."""
    try:
        async with door.open(run.server, copy) as reader:
            await reader.step()
            watched.listens()
            await reader.until_end()
        raise NotTried("the long scan was over before the restart: name a longer one with --request long=JSON")
    except (Cut, ServerGone):
        watched.leaves()


async def _last_words(run: Run, subprotocol: str, scan_id: str, watched: Watched) -> None:
    last: dict[str, Any] = {}
    async with run.server.socket(subprotocol) as socket:
        await socket.send(type="subscribe", id="r", scan_id=scan_id)
        watched.listens()
        try:
            while True:
                last = await socket.receive()
                if last["type"] == "error":
                    watched.leaves()
        except Cut:
            watched.leaves()
            watched.told[subprotocol] = last, socket.connection.close_code


async def _start_on(run: Run, watched: Watched) -> None:
    """Scans one after the other, as long as they are acknowledged."""
    while watched.first is None:
        try:
            answer = await run.server.post("/opportunities/discover", run.scans.request())
        except ServerGone:
            return
        if answer.status != 202:
            return
        watched.acked.append(run.scans.known(answer.object()))
        await anyio.sleep(PAUSE_SECONDS)


async def _back(run: Run) -> None:
    """Until it is ready: the time of the check is what it has."""
    while True:
        try:
            if (await run.server.get("/readyz")).status == 200:
                return
        except ServerGone:
            run.trace.noted("nobody is there yet")
        await anyio.sleep(PAUSE_SECONDS)


async def _costs_nothing(run: Run, watched: Watched) -> None:
    """Every scan is there, begins, and ends; every reader goes on from its cursor, over another transport."""
    with anyio.move_on_after(START_SECONDS + LATE_SECONDS):
        for scan_id in watched.acked:
            while (await run.scans.status(scan_id))["phase"] == "init":  # noqa: ASYNC110  # seen from outside
                await anyio.sleep(PAUSE_SECONDS)
    for scan_id in watched.acked:
        phase = (await run.scans.status(scan_id))["phase"]
        expect(phase != "init", f"every scan to begin within {START_SECONDS:g} s of the restart", f"{scan_id}: {phase}")
    others: Sequence[type[Door]] = DOORS[1:] + DOORS[:1]
    for (door, copy), other in zip(watched.copies, others, strict=False):
        run.trace.noted(f"{door.name} was cut at {copy.cursor}; {other.name} goes on")
        async with other.open(run.server, copy) as reader:
            await reader.until_end()
        await run.matches(copy)
    for scan_id in watched.acked:
        state = await run.scans.until_terminal(scan_id)
        expect(state["status"] in laws.TERMINAL, "an end of every scan", state["status"])
