"""All that goes wrong, as a seed has it: one thing after the other, and at the same time something with the network.

Each fault is real, lasts some seconds, and ends; then the world is whole again, and takes new work.
"""

import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
from anyio import to_thread

from onemachine.node import STOP_SECONDS, Web, Worker
from soak.chaos.full import nats_full, sqlite_full
from soak.chaos.ledger import Ledger
from soak.chaos.world import World, processes
from support.process import children, give_descriptors, use_up_descriptors
from trouble.matrix import LASTING
from wire.proxy import Faults, Proxy

HOUR = 3600.0

Fault = Callable[["Trouble"], Awaitable[None]]


class Trouble:
    """Harms a world, and mends it."""

    def __init__(self, world: World, ledger: Ledger, seed: int) -> None:
        self.world = world
        self.ledger = ledger
        self.random = random.Random(seed)
        self.happened: Counter[str] = Counter()
        self.spared = False
        """Whether servers live on from now: at the end it is looked what they hold."""
        self.over = False
        self.acked: Callable[[str, str, str], object] = ledger.acked
        """Who hears of a scan that was promised here."""

    async def run(self) -> None:
        """One fault after the other."""
        while not self.over:
            await self.breathe(0.5, 2.0)
            if not self.over:
                await self.one()

    async def one(self) -> None:
        """One fault; after it all is whole."""
        faults = _faults(self.world, spared=self.spared)
        chosen = self._next(list(faults))
        self.happened[chosen] += 1
        await faults[chosen](self)
        await self.world.whole()
        self.world.look()

    def _next(self, names: list[str]) -> str:
        """Any of those that came least often, so that in a short run each has its turn."""
        least = min(self.happened[name] for name in names)
        return self.random.choice([name for name in names if self.happened[name] == least])

    async def network(self, proxies: list[Proxy]) -> None:
        """Meanwhile: what a hostile network does to those who come through it, and a time without it."""
        while not self.over:
            name = self.random.choice(list(LASTING))
            self.happened[f"network: {name}"] += 1
            for proxy in proxies:
                proxy.faults = LASTING[name]()
            await self.breathe(3.0, 10.0)
            for proxy in proxies:
                proxy.faults = Faults()
                await proxy.reset()
            await self.breathe(2.0, 5.0)

    async def breathe(self, least: float, most: float) -> None:
        """Some time: it is what a fault lasts, or what lies between two."""
        until = anyio.current_time() + self.random.uniform(least, most)
        while not self.over and anyio.current_time() < until:  # noqa: ASYNC110  # it is time that is to pass
            await anyio.sleep(0.1)

    def web(self) -> Web:
        """One of those who have doors."""
        return self.random.choice(self.world.web)

    def node(self) -> Web | Worker:
        """Any node."""
        return self.random.choice(self.world.cluster.nodes)


async def _killed(trouble: Trouble, node: Web | Worker) -> None:
    node.kill()
    await trouble.breathe(0.0, 2.0)


async def _kill_server(trouble: Trouble) -> None:
    await _killed(trouble, trouble.web())


async def _kill_worker_node(trouble: Trouble) -> None:
    await _killed(trouble, trouble.random.choice(trouble.world.cluster.workers))


async def _stopped(node: Web | Worker) -> None:
    code = await node.stop(STOP_SECONDS)
    assert code == 0, f"{node.name} ends with {code} after SIGTERM: {node.errors[-2000:]}"


async def _stop_server(trouble: Trouble) -> None:
    await _stopped(trouble.web())


async def _stop_worker_node(trouble: Trouble) -> None:
    await _stopped(trouble.random.choice(trouble.world.cluster.workers))


async def _pause_node(trouble: Trouble) -> None:
    node = trouble.node()
    node.pause()
    await trouble.breathe(1.0, 5.0)
    node.go_on()


async def _signal_processes(trouble: Trouble, number: int) -> None:
    """Some of the worker processes, or all."""
    found = processes(trouble.world)
    for pid in trouble.random.sample(found, trouble.random.randint(min(1, len(found)), len(found))):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    await trouble.breathe(1.0, 4.0)


async def _kill_processes(trouble: Trouble) -> None:
    await _signal_processes(trouble, signal.SIGKILL)


async def _stop_processes(trouble: Trouble) -> None:
    await _signal_processes(trouble, signal.SIGTERM)


async def _pause_processes(trouble: Trouble) -> None:
    await _signal_processes(trouble, signal.SIGSTOP)  # noqa: TID251  # when it does is all one here


async def _clock_ahead(trouble: Trouble) -> None:
    """Less than the retention: what has ended meanwhile is over soon enough."""
    await _clock(trouble, trouble.random.uniform(0.1, 0.8) * trouble.world.retention)


async def _clock_back(trouble: Trouble) -> None:
    await _clock(trouble, -trouble.random.choice([1.0, 60.0, HOUR]))


async def _clock(trouble: Trouble, seconds: float) -> None:
    """Of one node; in a cluster that is to change nothing, alone it is what time it is."""
    node = trouble.node()
    for ahead in (seconds, 0.0):
        if ahead >= 0 and not trouble.world.on_nats:
            trouble.ledger.jumped()
        await trouble.world.lever(node).ask("clock", ahead)
        if ahead:
            await trouble.breathe(2.0, 6.0)


async def _no_descriptors(trouble: Trouble) -> None:
    """And workers die meanwhile, which needs some."""
    node = trouble.node()
    use_up_descriptors(node.pid)
    try:
        for pid in children(node.pid)[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await trouble.breathe(2.0, 5.0)
    finally:
        give_descriptors(node.pid)


async def _full_and_killed(trouble: Trouble) -> None:
    """The server dies while there is no room; the next one has some."""
    [server] = trouble.world.web
    await trouble.world.lever(server).ask("full")
    await trouble.breathe(1.0, 3.0)
    await _killed(trouble, server)


async def _kill_nats(trouble: Trouble) -> None:
    server = trouble.random.choice(trouble.world.cluster.nats.servers)
    await to_thread.run_sync(server.kill)
    await trouble.breathe(0.0, 4.0)


async def _stop_nats(trouble: Trouble) -> None:
    server = trouble.random.choice(trouble.world.cluster.nats.servers)
    await server.stop(STOP_SECONDS)
    await trouble.breathe(0.0, 2.0)


async def _pause_nats(trouble: Trouble) -> None:
    server = trouble.random.choice(trouble.world.cluster.nats.servers)
    server.pause()
    await trouble.breathe(1.0, 6.0)
    server.go_on()


async def _kill_all_nats(trouble: Trouble) -> None:
    for server in trouble.world.cluster.nats.servers:
        await to_thread.run_sync(server.kill)
    await trouble.breathe(0.0, 2.0)


ANYWHERE: dict[str, Fault] = {
    "SIGSTOP of a node": _pause_node,
    "kill -9 of worker processes": _kill_processes,
    "SIGTERM of worker processes": _stop_processes,
    "SIGSTOP of worker processes": _pause_processes,
    "clock ahead": _clock_ahead,
    "clock back": _clock_back,
    "no descriptors": _no_descriptors,
}
SQLITE: dict[str, Fault] = {"SQLITE_FULL": sqlite_full}
NATS: dict[str, Fault] = {
    "kill -9 of a nats-server": _kill_nats,
    "SIGTERM of a nats-server": _stop_nats,
    "SIGSTOP of a nats-server": _pause_nats,
    "kill -9 of all nats-servers": _kill_all_nats,
    "nats-servers full": nats_full,
}
ENDS: dict[str, Fault] = {"kill -9 of a server": _kill_server, "SIGTERM of a server": _stop_server}
SQLITE_ENDS: dict[str, Fault] = {"kill -9 of a server whose store is full": _full_and_killed}
NATS_ENDS: dict[str, Fault] = {
    "kill -9 of a worker": _kill_worker_node,
    "SIGTERM of a worker": _stop_worker_node,
}


def _faults(world: World, *, spared: bool) -> dict[str, Fault]:
    """What may go wrong there; `spared`: no node ends."""
    found = {**ANYWHERE, **(NATS if world.on_nats else SQLITE)}
    return found if spared else {**found, **ENDS, **(NATS_ENDS if world.on_nats else SQLITE_ENDS)}
