"""The crowd: clients of all kinds, each of which starts scans and follows them, and says what it was told.

Whoever speaks the protocol by itself goes to the servers; the libraries and the command go through hostile proxies. Who
is promised something tells the ledger at once, and an auditor, who takes part in nothing, polls the scan until its end.
"""

import random
import secrets
import shutil
from collections.abc import Awaitable, Callable

import anyio
import httpx
from anyio.abc import TaskGroup
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from cluster.harness import LOST
from scanstream.client.mirror import Mirror
from soak.chaos.auditor import PATIENCE, Auditor
from soak.chaos.kinds import KINDS, OFTEN
from soak.chaos.ledger import Ledger
from soak.chaos.programs import Programs
from soak.chaos.world import World
from support.readers import READERS, Dropped, Gone, Refused, SocketReader

STEP_SECONDS = 20.0
WORST = (*LOST, ConnectionClosed, InvalidHandshake, httpx.TransportError, Dropped, TimeoutError)
"""What a client meets of a server that was killed, stopped, or can take nobody in."""


class Crowd:
    """All clients of one world."""

    def __init__(self, world: World, ledger: Ledger, proxies: list[str], seed: int, audits: TaskGroup) -> None:
        """`audits`: where those of what is promised go on, beyond the crowd."""
        self.ledger = ledger
        self.random = random.Random(seed)
        self.auditor = Auditor(world, ledger, self.random, audits)
        self.over = False
        self._programs = Programs(self.auditor, proxies, self.random)

    async def run(self, pause: float) -> None:
        """All of them, until `over`, and each comes to the end of its last scan.

        :param pause: seconds between two scans of a client, at most
        """
        programs = self._programs
        members = [self._wander, self._wander, self._wander, self._post, self._speak, self._speak, self._look_on]
        members += [programs.library, programs.library, programs.command]
        if shutil.which("node") is not None:
            members.append(programs.page)
        async with anyio.create_task_group() as tasks:
            for member in members:
                tasks.start_soon(self._again, member, pause)

    async def _again(self, member: Callable[[], Awaitable[None]], pause: float) -> None:
        while not self.over:
            await member()
            await anyio.sleep(self.random.uniform(0.1, pause))

    def _kind(self) -> str:
        return self.random.choice(OFTEN)

    async def _wander(self) -> None:
        """One scan over all doors, a new one after some frames, or each loss."""
        kind = self._kind()
        if scan_id := await self.auditor.discover(kind):
            await self._follow(scan_id, Mirror(), "doors")

    async def _speak(self) -> None:
        """A scan that is started on a socket, JSON or MessagePack, and followed there until that is lost."""
        kind, mirror, scan_id = self._kind(), Mirror(), ""
        door = self.random.choice([door for door in READERS if issubclass(door, SocketReader)])
        reader = door(self.auditor.url(), "", mirror)
        try:
            with anyio.fail_after(STEP_SECONDS):
                async with reader.stack:
                    await reader.dial()
                    scan_id = await reader.discover(KINDS[kind])
                    self.auditor.acked(scan_id, kind)
                    await reader.until_end()
        except Gone:
            pass  # it was one that is shared, and old: below it is said once more
        except Refused as refused:
            self.ledger.told[str(refused)] += 1
        except WORST:
            self.ledger.told["lost"] += 1
        if scan_id:
            await self._follow(scan_id, mirror, f"socket: {door.name}")

    async def _look_on(self) -> None:
        """Somebody follows what somebody else has started."""
        running = [scan_id for scan_id, promised in self.ledger.scans.items() if not promised.state]
        if running:
            await self._follow(self.random.choice(running), Mirror(), "looks on")

    async def _follow(self, scan_id: str, mirror: Mirror, client: str) -> None:
        """To its end, from what is held, however often that takes a new connection."""
        try:
            with anyio.fail_after(PATIENCE):
                while not mirror.ended:
                    try:
                        await self._some_frames(scan_id, mirror)
                    except Refused as refused:
                        self.ledger.told[str(refused)] += 1
                        await anyio.sleep(0.5)
                    except WORST:
                        self.ledger.told["reconnects"] += 1
                        await anyio.sleep(0.1)
        except Gone:
            self.ledger.gone(scan_id, client)
        except TimeoutError:
            self.ledger.stuck(scan_id, client, f"it is at {mirror.cursor}")
        else:
            ids = [one["id"] for one in mirror.opportunities]
            self.ledger.saw(scan_id, client, ids, {**mirror.state})

    async def _some_frames(self, scan_id: str, mirror: Mirror) -> None:
        door = self.random.choice(READERS)
        self.ledger.told[f"door: {door.name}"] += 1
        with anyio.fail_after(STEP_SECONDS):
            async with door.open(self.auditor.url(), scan_id, mirror) as reader:
                for _ in range(self.random.choice([1, 3, 10])):
                    if not mirror.ended:
                        await reader.step()
                        await anyio.sleep(self.random.choice([0.0, 0.0, 0.3]))

    async def _post(self) -> None:
        """With keys: who lost the answer asks again, and who has it gets the same; every third is cancelled."""
        kind, key = self.random.choice(["quick", "steady", "chunked"]), secrets.token_hex(8)
        with anyio.move_on_after(PATIENCE):
            while (scan_id := await self.auditor.discover(kind, key)) is None:  # noqa: ASYNC110  # another process
                await anyio.sleep(0.3)
            await self.auditor.discover(kind, key)
            if self.random.random() < 1 / 3:
                await anyio.sleep(self.random.uniform(0.0, 1.0))
                self.ledger.cancelled(scan_id)
                self.ledger.told["cancels"] += 1
                await self.auditor.ask(self.auditor.url(), "POST", f"/opportunities/cancel/{scan_id}")
