"""SIGTERM ends the server in every state: within its drain time, with exit code 0, without a traceback.

Each state is made for real. Several are in one server where they do not hide each other; the soak takes each alone.
"""

import os
import resource
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeAlias

import anyio
import pytest
from anyio import to_thread

from scanstream.engines.schema import DATABASE
from scanstream.scans.work.worker import is_stopped
from support.process import ServerProcess, exists, stand_still
from support.stubborn_server import begin, serving, until, until_phase, until_running, wanted
from support.wire import Answer, deaf, discover, request, status, websocket

pytestmark = pytest.mark.anyio

MOST_SECONDS = 6.0
SLACK_SECONDS = 4.0
"""For a machine that others load: what hangs would hang for ever."""

State: TypeAlias = Callable[[ServerProcess, Path, AsyncExitStack], Awaitable[None]]


async def hangs_in_units(server: ServerProcess, data: Path, stack: AsyncExitStack) -> None:
    """A strategy never says how much there is to do, and ignores SIGTERM."""
    await until_phase(server, await begin(server, does="hang in units"), "queued")


async def hangs_in_a_worker(server: ServerProcess, data: Path, stack: AsyncExitStack) -> None:
    """A strategy never ends, and ignores SIGTERM."""
    await until_running(server, await begin(server, does="hang"))


async def swallows_its_cancellation(server: ServerProcess, data: Path, stack: AsyncExitStack) -> None:
    """A strategy in the loop goes on whatever it is told."""
    await until_running(server, await begin(server, "stubborn_loop", does="swallow"), "stubborn_loop")


async def blocks_the_loop(server: ServerProcess, data: Path, stack: AsyncExitStack) -> None:
    """A strategy in the loop never lets anybody else run: nobody can be asked whether it has begun."""
    blocked = (await discover(server.url, wanted("stubborn_loop", does="block the loop"))).json()["scan_id"]
    with anyio.fail_after(30):
        while True:
            with anyio.move_on_after(1) as answered:
                await status(server.url, blocked)
            if answered.cancelled_caught:
                return


async def idle_worker_stands_still(server: ServerProcess, data: Path, stack: AsyncExitStack) -> None:
    """Somebody has stopped a worker that does nothing, and there is work again."""
    await until_phase(server, await begin(server), "done")
    for pid in server.workers():
        stand_still(pid)
    await begin(server)


async def busy_worker_stands_still(server: ServerProcess, data: Path, stack: AsyncExitStack) -> None:
    """A worker is stopped in the middle of its work."""
    await begin(server, does="stop")

    async def stands_still() -> bool:
        return any(map(is_stopped, server.workers()))

    await until(stands_still)


async def disk_is_full(server: ServerProcess, data: Path, stack: AsyncExitStack) -> None:
    """The write-ahead log may not grow, and scans wait for that."""
    running = await begin(server, seconds=0.5, shards=100)
    await until_running(server, running)
    size = (data / f"{DATABASE}-wal").stat().st_size
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    async def refused() -> bool:
        return (await discover(server.url, wanted())).status == 503

    await until(refused)


async def out_of_descriptors(server: ServerProcess, data: Path, stack: AsyncExitStack) -> None:
    """Nothing more can be opened, and a worker is to be."""
    scan_id = await begin(server, does="hang")
    await until_running(server, scan_id)
    server.use_up_descriptors()
    for pid in server.workers():
        os.kill(pid, signal.SIGKILL)


async def queue_is_full(server: ServerProcess, data: Path, stack: AsyncExitStack) -> None:
    """More scans than may run, and as many as may be."""
    answers = [(await discover(server.url, wanted(does="hang", shards=50))).status for _ in range(12)]
    assert set(answers) == {202}


async def clients_hang_on(server: ServerProcess, data: Path, stack: AsyncExitStack) -> None:
    """One waits in a long poll, one follows and never reads, one says nothing."""
    scan_id = await begin(server, does="hang", shards=2)
    tasks = await stack.enter_async_context(anyio.create_task_group())
    stack.callback(tasks.cancel_scope.cancel)

    async def poll() -> None:
        await request(server.url, "GET", f"/opportunities/status/{scan_id}?wait=60")

    tasks.start_soon(poll)
    socket = await stack.enter_async_context(websocket(server.url, **deaf(server.url)))
    await socket.send(type="subscribe", scan_id=scan_id)
    port = int(server.url.rpartition(":")[2])
    await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", port))


async def require_its_end(server: ServerProcess, number: int = signal.SIGTERM) -> str:
    """The signal ends it as it should; what it has said."""
    workers = server.workers()
    code, seconds, errors = await to_thread.run_sync(server.ended, number)
    assert (code, "Traceback" in errors) == (0, False), errors
    assert seconds < MOST_SECONDS + SLACK_SECONDS, errors

    async def gone() -> bool:
        return not any(map(exists, workers))

    await until(gone)
    return errors


TOGETHER: list[Sequence[State]] = [
    (queue_is_full, hangs_in_units, clients_hang_on),
    (idle_worker_stands_still, busy_worker_stands_still, hangs_in_a_worker),
    (hangs_in_units, disk_is_full),
    (out_of_descriptors,),
    (swallows_its_cancellation,),
    (blocks_the_loop,),
]
ALONE = list(dict.fromkeys(state for states in TOGETHER for state in states))
SOONER = "from scanstream import leaving\nleaving.LAST_RESORT_SECONDS = 2.0"
"""The last resort comes early: to see that it does, nobody has to wait."""


async def walk(states: Sequence[State], data: Path, **options: str) -> None:
    """Bring a server into these states, and end it."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(data, **options))
        if options:
            server.until_serving()
        for state in states:
            await state(server, data, stack)
        await require_its_end(server)


@pytest.mark.parametrize("states", TOGETHER, ids=lambda states: "+".join(state.__name__ for state in states))
async def test_sigterm_ends_the_server_in_every_state(states: Sequence[State], tmp_path: Path) -> None:
    never_stops = not {swallows_its_cancellation, blocks_the_loop}.isdisjoint(states)
    await walk(states, tmp_path, **({"before": SOONER} if never_stops else {}))


@pytest.mark.soak
@pytest.mark.parametrize("state", ALONE, ids=lambda state: state.__name__)
async def test_sigterm_ends_the_server_in_each_state_alone(state: State, tmp_path: Path) -> None:
    await walk([state], tmp_path)


SLOW_MARKET = """
import threading
from scanstream.market.synthetic import SyntheticMarket
def load(self):
    print("loading", flush=True)
    threading.Event().wait()
SyntheticMarket.load = load
"""
SLOW_STORE = """
import threading
from scanstream.engines import opening
from scanstream.errors import DataUnusable
def connect(file, stop):
    print("loading", flush=True)
    stop.wait()
    raise DataUnusable("stopped")
opening.connect = connect
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("before", [SLOW_MARKET, SLOW_STORE], ids=["market", "store"])
async def test_a_signal_while_the_server_starts_ends_it_at_once(before: str, number: int, tmp_path: Path) -> None:
    async with serving(tmp_path, before=before) as server:
        assert server.process.stdout is not None
        assert await to_thread.run_sync(server.process.stdout.readline) == "loading\n"
        assert await require_its_end(server, number) == ""


FAILING = """
import anyio, asyncio
from scanstream.scans.sweeper import Sweeper
async def run(self):
    await anyio.sleep({seconds})
    {what}
Sweeper.run = run
"""
LOST = 'raise LookupError("the sweeper has lost its broom")'


@pytest.mark.parametrize(
    ("seconds", "what", "told"),
    [
        (0, LOST, "LookupError: the sweeper has lost its broom"),
        (1, LOST, "LookupError: the sweeper has lost its broom"),
        (1, "return", "has ended, and was to go on as long as the server"),
        (
            1,
            "asyncio.current_task().cancel(); await anyio.sleep(9)",
            "has ended, and was to go on as long as the server",
        ),
    ],
    ids=["fails while it starts", "fails later", "ends", "is cancelled"],
)
async def test_a_core_that_fails_ends_the_server_in_one_line(
    seconds: int, what: str, told: str, tmp_path: Path
) -> None:
    async with serving(tmp_path, before=FAILING.format(seconds=seconds, what=what)) as server:
        _, errors = await to_thread.run_sync(lambda: server.process.communicate(timeout=30))
        assert server.process.returncode == 1
        assert len(errors.splitlines()) == 1, errors
        assert told in errors


async def test_a_strategy_that_cancels_its_own_task_ends_nobody_elses() -> None:
    async with serving(":memory:") as server:
        state = await until_phase(server, await begin(server, "stubborn_loop", does="cancel its task"), "done")
        assert state["strategies"]["stubborn_loop"]["status"] == "failed"
        for strategy in ("stubborn", "stubborn_loop"):
            assert (await until_phase(server, await begin(server, strategy), "done"))["status"] == "complete"


async def test_what_was_registered_before_the_signal_is_acknowledged_after_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await begin(server, does="hang")
        answers: list[Answer] = []

        async def ask() -> None:
            while True:
                try:
                    answers.append(await discover(server.url, wanted()))
                except (OSError, ValueError, IndexError, anyio.BrokenResourceError):  # nobody listens any more
                    return

        async with anyio.create_task_group() as clients:
            for _ in range(8):
                clients.start_soon(ask)
            while len(answers) < 50:  # noqa: ASYNC110  # until they are well under way
                await anyio.sleep(0.01)
            await require_its_end(server)
        assert all(answer.status == 202 for answer in answers[:50])
        refused = [answer for answer in answers if answer.status != 202]
        assert all(answer.json()["code"] == "restarting" for answer in refused)
        assert not any(b"the scan is kept" in answer.body for answer in refused)  # it was there, and went too early
