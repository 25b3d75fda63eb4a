"""The crowd: clients of all kinds, each of which starts scans and follows them, and says what it was told.

Whoever speaks the protocol by itself goes to the servers; the libraries and the command go through hostile proxies. Who
is promised something tells the ledger at once, and an auditor, who takes part in nothing, polls the scan until its end.
"""

import random
import secrets
from collections.abc import Awaitable, Callable, Mapping
from itertools import cycle

import anyio
import httpx
import msgspec
from anyio.abc import TaskGroup
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from cluster.harness import LOST
from scanstream.client.mirror import Mirror, ProtocolError
from soak.chaos.auditor import PATIENCE, Auditor
from soak.chaos.keys import shown
from soak.chaos.kinds import KINDS, OFTEN
from soak.chaos.ledger import Ledger
from soak.chaos.world import World
from support.readers import FOR_NOW, READERS, Denied, Dropped, Gone, Refused, SocketReader

STEP_SECONDS = 20.0
NOTIFIED = 0.3
"""How often somebody who follows a scan wants an address told of it, too."""
SHARED_SECONDS = 86_400
"""More than clocks here are ever wrong by."""
WORST = (*LOST, ConnectionClosed, InvalidHandshake, httpx.TransportError, Dropped, TimeoutError)
"""What a client meets of a server that was killed, stopped, or can take nobody in."""

Member = Callable[[], Awaitable[None]]
Headers = Mapping[str, str]


class Crowd:
    """All clients of one world."""

    def __init__(self, world: World, ledger: Ledger, seed: int, audits: TaskGroup) -> None:
        """`audits`: where those of what is promised go on, beyond the crowd."""
        self.ledger = ledger
        self.random = random.Random(seed)
        self.auditor = Auditor(world, ledger, self.random, audits)
        self.over = False
        self.kinds = OFTEN
        """What those ask for who speak the protocol by themselves."""
        self._ways = cycle([self._by_key, *([self._by_token, self._by_link] if world.keys else [])])

    @property
    def speakers(self) -> list[Member]:
        """Those who speak the protocol by themselves."""
        return [self.wander, self.wander, self.wander, self._post, self._speak, self._speak, self.look_on]

    async def run(self, members: list[Member], pause: float) -> None:
        """All of them, until `over`, and each comes to the end of its last scan.

        :param pause: seconds between two scans of a client, at most
        """
        async with anyio.create_task_group() as tasks:
            for member in members:
                tasks.start_soon(self._again, member, pause)

    async def _again(self, member: Member, pause: float) -> None:
        while not self.over:
            await member()
            await anyio.sleep(self.random.uniform(0.1, pause))

    async def notify(self, scan_id: str) -> None:
        """Have an address told of its end: asked until it is promised, or cannot be any more."""
        target = self.auditor.world.hooks.address(scan_id)
        with anyio.move_on_after(PATIENCE) as patience:
            while not await self._asked(scan_id, target):  # noqa: ASYNC110  # it asks another process
                await anyio.sleep(0.3)
        if patience.cancelled_caught:
            self.ledger.stuck(scan_id, "who wants to be told elsewhere", target)

    async def _asked(self, scan_id: str, target: str) -> bool:
        """Whether there was an answer that settles it."""
        body, path = msgspec.json.encode({"url": target}), f"/opportunities/notify/{scan_id}"
        answer = await self.auditor.ask(self.auditor.url(), "POST", path, body, self.auditor.headers(scan_id))
        if answer is None or answer.status in FOR_NOW:
            return False
        if answer.status == 202:
            self.auditor.world.hooks.promised(target, answer.json())
        elif answer.status == 410:
            self.ledger.gone(scan_id, "who wants to be told elsewhere")
        else:
            self.ledger.refused(scan_id, "who wants to be told elsewhere", answer)
        return True

    async def wander(self) -> None:
        """One scan over all doors, a new one after some frames, or each loss."""
        kind, owner = self.random.choice(self.kinds), self.auditor.owner()
        if scan_id := await self.auditor.discover(kind, owner):
            if self.random.random() < NOTIFIED:
                await self.notify(scan_id)
            await self.follow(scan_id, Mirror(), "doors")
            if self.random.random() < NOTIFIED:
                await self.notify(scan_id)  # late, and at once

    async def _speak(self) -> None:
        """A scan that is started on a socket, JSON or MessagePack, and followed there until that is lost."""
        kind, owner, mirror, scan_id = self.random.choice(self.kinds), self.auditor.owner(), Mirror(), ""
        door = self.random.choice([door for door in READERS if issubclass(door, SocketReader)])
        reader = door(self.auditor.url(), "", mirror, self.auditor.world.headers(owner))
        try:
            with anyio.fail_after(STEP_SECONDS):
                async with reader.stack:
                    await reader.dial()
                    scan_id = await reader.discover(KINDS[kind])
                    self.auditor.acked(scan_id, kind, owner, token=reader.token)
                    await reader.until_end()
        except Gone:
            pass  # it was one that is shared, and old: below it is said once more
        except Denied as denied:
            self.ledger.refused(scan_id, f"socket: {door.name}", denied)
            return
        except Refused as refused:
            self.ledger.told[str(refused)] += 1
        except WORST:
            self.ledger.told["lost"] += 1
        if scan_id:
            await self.follow(scan_id, mirror, f"socket: {door.name}")

    async def look_on(self) -> None:
        """Somebody follows what somebody else has started: by a key of the same principal, its token, or a link."""
        running = [scan_id for scan_id, promised in self.ledger.scans.items() if not promised.state]
        if running:
            await next(self._ways)(self.random.choice(running))

    async def _by_key(self, scan_id: str) -> None:
        await self.follow(scan_id, Mirror(), "looks on")

    async def _by_token(self, scan_id: str) -> None:
        if token := self.ledger.scans[scan_id].token:  # libraries do not give it
            await self.follow(scan_id, Mirror(), "has the scan token", shown(token))

    async def _by_link(self, scan_id: str) -> None:
        """Somebody was sent a link, and has nothing else: its address opens the scan, and so does the token in it."""
        body, path = b'{"expires_in_seconds": %d}' % SHARED_SECONDS, f"/opportunities/share/{scan_id}"
        answer = await self.auditor.ask(self.auditor.url(), "POST", path, body, self.auditor.headers(scan_id))
        if answer is None or answer.status in FOR_NOW:
            return
        if answer.status == 410:
            self.ledger.gone(scan_id, "who shares it")
            return
        if answer.status != 200:
            self.ledger.refused(scan_id, "who shares it", answer)
            return
        shared = answer.json()
        opened = await self.auditor.ask(self.auditor.url(), "GET", shared["links"]["status"])
        if opened is not None and opened.status not in (200, 410, *FOR_NOW):
            self.ledger.refused(scan_id, "who has a link", opened)
        await self.follow(scan_id, Mirror(), "has a link", shown(shared["token"]))

    async def follow(self, scan_id: str, mirror: Mirror, client: str, headers: Headers | None = None) -> None:
        """To its end, from what is held, however often that takes a new connection.

        :param headers: what is shown, if not the owner's key
        """
        owns = headers is None
        headers = self.auditor.headers(scan_id) if headers is None else headers
        try:
            with anyio.fail_after(PATIENCE):
                while not mirror.ended:
                    try:
                        await self._some_frames(scan_id, mirror, headers, owns=owns)
                    except Refused as refused:
                        self.ledger.told[str(refused)] += 1
                        await anyio.sleep(0.5)
                    except WORST:
                        self.ledger.told["reconnects"] += 1
                        await anyio.sleep(0.1)
        except Gone:
            self.ledger.gone(scan_id, client)
        except Denied as denied:
            self.ledger.refused(scan_id, client, denied)
        except ProtocolError as error:
            self.ledger.wrong.append(f"{scan_id}: {client} was told what does not fit: {error}")
        except TimeoutError:
            self.ledger.stuck(scan_id, client, f"it is at {mirror.cursor}")
        else:
            ids = [one["id"] for one in mirror.opportunities]
            self.ledger.saw(scan_id, client, ids, {**mirror.state})

    async def _some_frames(self, scan_id: str, mirror: Mirror, headers: Headers, *, owns: bool) -> None:
        """Over any door; on a socket who owns the scan renews what was shown, by a JWT or a key, as it comes."""
        door = self.random.choice(READERS)
        self.ledger.told[f"door: {door.name}"] += 1
        with anyio.fail_after(STEP_SECONDS):
            async with door.open(self.auditor.url(), scan_id, mirror, headers) as reader:
                socket = reader if isinstance(reader, SocketReader) else None
                if socket and owns and (keys := self.auditor.world.keys):
                    await socket.renew(keys.either_of(self.ledger.scans[scan_id].owner))
                for _ in range(self.random.choice([1, 3, 10])):
                    if not mirror.ended:
                        await reader.step()
                        await anyio.sleep(self.random.choice([0.0, 0.0, 0.3]))
                if socket:
                    self.ledger.told["renewed on a socket"] += socket.renewed

    async def _post(self) -> None:
        """With keys: who lost the answer asks again, and who has it gets the same; every third is cancelled.

        Another principal's scan by the same key is another one.
        """
        kind, key, owner = (
            self.random.choice(["quick", "steady", "chunked"]),
            secrets.token_hex(8),
            self.auditor.owner(),
        )
        with anyio.move_on_after(PATIENCE):
            while (scan_id := await self.auditor.discover(kind, owner, key)) is None:  # noqa: ASYNC110  # another process
                await anyio.sleep(0.3)
            await self.auditor.discover(kind, owner, key)
            await self.notify(scan_id)
            if self.random.random() < 1 / 3:
                await anyio.sleep(self.random.uniform(0.0, 1.0))
                self.ledger.cancelled(scan_id)
                self.ledger.told["cancels"] += 1
                cancel, headers = f"/opportunities/cancel/{scan_id}", self.auditor.headers(scan_id)
                await self.auditor.ask(self.auditor.url(), "POST", cancel, None, headers)
            elif self.random.random() < 1 / 3:
                await self.auditor.discover(kind, self.auditor.owner(), key)
