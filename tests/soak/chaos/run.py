"""One chaos run: a crowd and a world, quiet at first, then in trouble, then quiet again; and the judgement."""

import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from soak.chaos.crowd import Crowd, Member
from soak.chaos.held import MEGABYTE, Held, left_over
from soak.chaos.kinds import KINDS
from soak.chaos.ledger import Ledger
from soak.chaos.programs import Programs
from soak.chaos.strangers import Strangers
from soak.chaos.trouble import Trouble
from soak.chaos.visitors import Visitor, browsing, missing_browser, missing_notebook
from soak.chaos.world import World
from wire.proxy import Faults, Proxy

Opening = Callable[[Path, float], AbstractAsyncContextManager[World]]

CALM_SHARE = 0.15
"""Of a run's time passes before any trouble."""
SPARED_SHARE = 0.35
"""Of the trouble's time, at its end, no server ends: what its process has come to hold by then is judged."""
LEAVE_SECONDS = 10.0
"""A crowd takes to come to its ends."""
SETTLE_SECONDS = 60.0
SWEEP_SECONDS = 3.0
"""After the retention scans are purged."""


@dataclass
class Story:
    """What became of a run."""

    seed: int
    scans: int = 0
    told: Mapping[str, int] = field(default_factory=dict)
    happened: Mapping[str, int] = field(default_factory=dict)
    start: Mapping[str, Held] = field(default_factory=dict)
    end: Mapping[str, Held] = field(default_factory=dict)
    least: int = 0
    most: int = 0
    seconds: float = 0.0
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Clients that there were none of, and why."""
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """For people."""
        lines = [f"seed {self.seed}, {self.seconds:.0f} s, {self.scans} acked scans"]
        lines += [f"without {client}: {why}" for client, why in self.left_out.items()]
        lines += [", ".join(f"{name}: {count}" for name, count in sorted(self.told.items()))]
        lines += [", ".join(f"{name}: {count}" for name, count in sorted(self.happened.items()))]
        for name, held in self.end.items():
            start = self.start[name]
            lines.append(
                f"{name}: {start.resident / MEGABYTE:.1f} MB at the start's plateau, {held.resident / MEGABYTE:.1f} MB "
                f"at the end; {sum(start.descriptors.values())} and {sum(held.descriptors.values())} descriptors, "
                f"{sum(start.tasks.values())} and {sum(held.tasks.values())} tasks"
            )
        lines.append(f"a node held {self.least / MEGABYTE:.1f} to {self.most / MEGABYTE:.1f} MB in the trouble")
        return "\n".join([*lines, *self.faults])


def seed() -> int:
    """SCANSTREAM_SEED, or a new one."""
    return int(os.environ.get("SCANSTREAM_SEED", secrets.randbelow(1_000_000)))


async def chaos(
    opening: Opening, directory: Path, *, seed: int, seconds: float, retention: float, pause: float, heavy: bool
) -> Story:
    """So many seconds of it, of which three retentions are quiet.

    :param pause: of each client between two scans, at most
    :param heavy: whether there are clients that need a browser or the packages of a notebook, where these are here
    """
    began = time.monotonic()
    async with opening(directory, retention) as world:
        expected = {kind: await world.complete(world.urls[0], kind) for kind in KINDS}
        ledger = Ledger(expected, retention)
        trouble = Trouble(world, ledger, seed)
        story = Story(seed, left_out=left_out(heavy=heavy))
        async with anyio.create_task_group() as tasks:
            proxies = [await _proxy(tasks, url) for url in world.urls]
            calm = CALM_SHARE * seconds
            async with _crowded(world, ledger, proxies, seed, pause, story.left_out):
                await anyio.sleep(calm)  # how long they are there is the matter
            story.start = await _quiet(world, retention)
            left = seconds - (time.monotonic() - began) - 2 * retention - SWEEP_SECONDS - LEAVE_SECONDS
            async with _crowded(world, ledger, proxies, seed + 1, pause, story.left_out) as crowd:
                trouble.acked = crowd.auditor.acked
                await _in_trouble(trouble, proxies, left)
            story.end = await _quiet(world, 2 * retention, story.start)
            tasks.cancel_scope.cancel()
        ledger.told.update(world.hooks.told())
        missed = ledger.missed(wanted(world, story.left_out))
        elsewhere = world.hooks.faults(ledger, world.given_up())
        story.faults = [
            *ledger.faults(),
            *missed,
            *elsewhere,
            *left_over(story.start, story.end),
            *await world.unfinished(),
        ]
        story.scans, story.told, story.happened = len(ledger.scans), ledger.told, trouble.happened
        story.least, story.most = min(world.seen), max(world.seen)
        story.seconds = time.monotonic() - began
    return story


def left_out(*, heavy: bool) -> dict[str, str]:
    """Clients that cannot be here, or are not to be, and why."""
    light = "" if heavy else "it is for `make soak`"
    reasons = {
        "the page's library": "" if shutil.which("node") else "there is no node",
        "the page": light or missing_browser(),
        "a notebook": light or missing_notebook(),
    }
    return {client: why for client, why in reasons.items() if why}


def wanted(world: World, left_out: Mapping[str, str]) -> list[str]:
    """Clients of whom one at least is to come to an end."""
    told = [
        "told elsewhere",
        "told elsewhere: after a refusal",
        "doors",
        "looks on",
        "AsyncClient",
        "the command",
        "the page's library",
        "the page",
        "a notebook",
    ]
    if world.keys:
        told += [
            "has the scan token",
            "has a link",
            "who has a passing key",
            "strangers",
            "expelled",
            "renewed on a socket",
        ]
    return [client for client in told if client not in left_out]


async def _proxy(tasks: TaskGroup, url: str) -> Proxy:
    """A hostile network before a server."""
    proxy, started = Proxy(url, Faults()), anyio.Event()
    tasks.start_soon(proxy.serve, 0, started.set)
    await started.wait()
    return proxy


@asynccontextmanager
async def _crowded(
    world: World, ledger: Ledger, proxies: list[Proxy], seed: int, pause: float, left_out: Mapping[str, str]
) -> AsyncIterator[Crowd]:
    """A crowd as long as the block runs; afterwards each comes to its end."""
    async with AsyncExitStack() as stack:
        audits = await stack.enter_async_context(anyio.create_task_group())
        crowd = Crowd(world, ledger, seed, audits)
        programs = Programs(crowd.auditor, [proxy.url for proxy in proxies], crowd.random)
        members: list[Member] = [*crowd.speakers, programs.library, programs.library, programs.command]
        if world.keys:
            strangers = Strangers(crowd, world.keys)
            members += [strangers.stranger, strangers.newcomer]
        if "the page's library" not in left_out:
            members.append(programs.page)
        if "a notebook" not in left_out:
            members.append(programs.notebook)
        if "the page" not in left_out:
            members.append(Visitor(await stack.enter_async_context(browsing()), crowd.auditor).page)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(crowd.run, members, pause)
        yield crowd
        crowd.over = True


async def _in_trouble(trouble: Trouble, proxies: list[Proxy], seconds: float) -> None:
    """For so long everything goes wrong; towards the end servers live on."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(trouble.run)
        tasks.start_soon(trouble.network, proxies)
        await anyio.sleep((1 - SPARED_SHARE) * seconds)
        trouble.spared = True
        await anyio.sleep(SPARED_SHARE * seconds)
        trouble.over = True


async def _quiet(world: World, seconds: float, before: Mapping[str, Held] | None = None) -> Mapping[str, Held]:
    """What is held when all scans are over and forgotten, and the worker processes wait for work."""
    for url in world.urls:
        for _ in range(2):
            await world.complete(url, "steady")
    await anyio.sleep(seconds + SWEEP_SECONDS)  # the retention is to pass
    return await _settled(world, before)


async def _settled(world: World, before: Mapping[str, Held] | None) -> Mapping[str, Held]:
    """What is held once that has been the same for a second; no more than before, if that comes in time."""
    last = await world.held()
    with anyio.move_on_after(SETTLE_SECONDS):
        while True:
            await anyio.sleep(1)  # what lets go of something looks each second: time is the matter here
            held = await world.held()
            same = all(held[name]._replace(resident=0) == last[name]._replace(resident=0) for name in held)
            last = held
            if same and not (before and left_over(before, held)):
                break
    return last
