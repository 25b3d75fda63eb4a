"""Those who try to get at what is another's, at all times, and a principal whose keys come and go meanwhile."""

from collections.abc import Collection
from typing import NamedTuple

import anyio
import msgspec
from anyio import to_thread

from cluster.harness import LOST
from scanstream.client.mirror import Mirror
from soak.chaos.auditor import ASK_SECONDS
from soak.chaos.crowd import STEP_SECONDS, WORST, Crowd
from soak.chaos.keys import Keys, shown
from soak.chaos.ledger import Promised
from support.readers import FOR_NOW, Denied, Gone, Refused, SocketReader
from support.wire import request

RECENT = 40
"""Scans among the newest are tried: some run, some have ended, some have expired."""
TRIES = 4
"""Of one stranger, with one scan."""
KNOWN_SECONDS = 60.0
"""In which every node knows of a key that was made or taken back, whatever goes wrong: it looks each second."""
AFTER_SECONDS = 2.0
"""What is taken back is tried for so long once it was refused."""
CLIENT = "who has a passing key"
FALSE = "what a stranger takes for the secret by which JWTs are signed"


class Way(NamedTuple):
    """One way to ask for a scan."""

    method: str
    path: str
    body: bytes | None = None


WAYS = [
    Way("GET", "/opportunities/status/{}"),
    Way("GET", "/opportunities/status/{}?since=none&wait=1"),
    Way("GET", "/opportunities/results/{}"),
    Way("GET", "/opportunities/events/{}"),
    Way("GET", "/opportunities/explain/{}"),
    Way("POST", "/opportunities/cancel/{}", b""),
    Way("POST", "/opportunities/share/{}", b""),
]
NOTIFY = "/opportunities/notify/{}"
FOLLOW = "/opportunities/follow"


class Strangers:
    """Each method is one of them, once."""

    def __init__(self, crowd: Crowd, keys: Keys) -> None:
        self._crowd = crowd
        self._ledger = crowd.ledger
        self._auditor = crowd.auditor
        self._keys = keys
        self._random = crowd.random

    async def stranger(self) -> None:
        """Somebody with a key of their own, the token of another scan, nothing, or what is no key, tries some ways."""
        scans = [*self._ledger.scans.values()][-RECENT:]
        if not scans:
            return
        wanted = self._random.choice(scans)
        who, credential, allowed = self._random.choice([self._another, self._bearer, self._nobody, self._liar])(wanted)
        notify = Way("POST", NOTIFY, msgspec.json.encode({"url": self._auditor.world.hooks.foreign()}))
        for way in self._random.sample([*WAYS, notify], TRIES):
            await self._try(wanted, who, way, credential, allowed)
        await self._follow(wanted, who, credential, allowed)
        if allowed == (404,):
            await self._by_socket(wanted, who, credential)

    def _another(self, wanted: Promised) -> tuple[str, str, Collection[int]]:
        other = self._random.choice([name for name in self._auditor.world.principals if name != wanted.owner])
        return "another principal", self._keys.either_of(other), (404,)

    def _bearer(self, wanted: Promised) -> tuple[str, str, Collection[int]]:
        """A token has no right to start, so it may not have anybody told of another's end either: that is 403."""
        tokens = [one.token for one in self._ledger.scans.values() if one.token and one is not wanted]
        return "who has another scan's token", self._random.choice(tokens or ["sst_none"]), (401, 403, 404)

    def _nobody(self, wanted: Promised) -> tuple[str, str, Collection[int]]:
        return "who shows nothing", "", (401,)

    def _liar(self, wanted: Promised) -> tuple[str, str, Collection[int]]:
        false = [self._keys.of(wanted.owner)[:-1] + "~", self._keys.jwt_of(wanted.owner, secret=FALSE)]
        return "who shows what is no key and no JWT", self._random.choice(false), (401,)

    async def _try(self, wanted: Promised, who: str, way: Way, credential: str, allowed: Collection[int]) -> None:
        url, path = self._auditor.url(), way.path.format(wanted.scan_id)
        status, _ = await self._asked(url, way.method, path, way.body, credential)
        self._judge(wanted, f"{who} ({way.method} {way.path})", status, allowed)

    def _judge(self, wanted: Promised, who: str, status: int, allowed: Collection[int]) -> None:
        if not status or status in FOR_NOW:
            return
        self._ledger.told[f"strangers: {status}"] += 1
        self._ledger.told["strangers"] += 1
        if status not in allowed:
            self._ledger.given(wanted.scan_id, who, status)

    async def _asked(self, url: str, method: str, path: str, body: bytes | None, credential: str) -> tuple[int, bytes]:
        """The status, and the body as far as it came; 0 where there was no answer."""
        try:
            with anyio.fail_after(ASK_SECONDS):
                answer = await request(url, method, path, body, shown(credential))
        except (*LOST, TimeoutError):
            return 0, b""
        return answer.status, answer.body

    async def _follow(self, wanted: Promised, who: str, credential: str, allowed: Collection[int]) -> None:
        """Many scans at once: each that is not there has an error of its own."""
        body = msgspec.json.encode({"follow": [{"scan_id": wanted.scan_id}]})
        status, said = await self._asked(self._auditor.url(), "POST", FOLLOW, body, credential)
        if status != 200:
            self._judge(wanted, f"{who} (follow)", status, allowed)
            return
        try:
            frames = msgspec.json.decode(said)["frames"]
        except LOST:  # it was cut off
            return
        found = [frame for frame in frames if frame["type"] != "error" or frame["code"] == "expired"]
        self._judge(wanted, f"{who} (follow: {found})", 200 if found else 404, allowed)

    async def _by_socket(self, wanted: Promised, who: str, credential: str) -> None:
        status = 0
        reader = SocketReader(self._auditor.url(), wanted.scan_id, Mirror(), shown(credential))
        try:
            with anyio.fail_after(STEP_SECONDS):
                async with reader.stack:
                    await reader.connect()
                    status = 200
        except Denied:
            status = 404
        except Gone:
            status = 410
        except (*WORST, Refused):
            pass
        self._judge(wanted, f"{who} (subscribe)", status, (404,))

    async def newcomer(self) -> None:
        """A key is made while all goes on, known everywhere soon, used, and taken back: then it is good nowhere."""
        owner = self._auditor.owner()
        name, key = await to_thread.run_sync(self._keys.make, owner)
        if await self._known(key, 200, "made"):
            kind = self._random.choice(["steady", "shared"])
            scan_id = await self._auditor.discover(kind, owner, credential=key)
            if scan_id:
                await self._crowd.follow(scan_id, Mirror(), CLIENT, shown(key))
            await self._until_expelled(scan_id, name, key)
        else:
            await to_thread.run_sync(self._keys.take_back, name)
        if await self._known(key, 401, "taken back"):
            with anyio.move_on_after(AFTER_SECONDS):
                while True:
                    await self._still(key)
                    await anyio.sleep(0.2)

    async def _known(self, key: str, wanted: int, what: str) -> bool:
        """Whether each node comes to know what became of a key; until then it says what was so before, or nothing."""
        for url in self._auditor.world.urls:
            with anyio.move_on_after(KNOWN_SECONDS) as patience:
                while (status := await self._list(url, key)) != wanted:
                    if status not in (0, 200, 401, *FOR_NOW):
                        self._ledger.wrong.append(f"{url} answers {status} to a key that was {what}")
                    await anyio.sleep(0.3)
            if patience.cancelled_caught:
                self._ledger.wrong.append(f"{url} does not know of a key {KNOWN_SECONDS:g} s after it was {what}")
                return False
        return True

    async def _still(self, key: str) -> None:
        """What was taken back, and was known to be so, is good nowhere: also where a node has died meanwhile."""
        url = self._auditor.url()
        status = await self._list(url, key)
        if status not in (0, 401, *FOR_NOW):
            self._ledger.wrong.append(f"{url} answers {status} to a key that was taken back")

    async def _list(self, url: str, key: str) -> int:
        status, _ = await self._asked(url, "GET", "/opportunities/scans", None, key)
        return status

    async def _until_expelled(self, scan_id: str | None, name: str, key: str) -> None:
        """A socket that was opened with the key: it ends once that is taken back, and not before."""
        reader = SocketReader(self._auditor.url(), scan_id or "", Mirror(), shown(key))
        taken = False
        try:
            with anyio.fail_after(KNOWN_SECONDS):
                async with reader.stack:
                    await (reader.connect() if scan_id else reader.dial())
                    await to_thread.run_sync(self._gone, name)
                    taken = True
                    while True:
                        await reader.step()
        except Denied as denied:
            if taken:
                self._ledger.told["expelled"] += 1
            else:
                self._ledger.refused(scan_id or "", CLIENT, denied)
        except (*WORST, Refused, Gone) as error:
            self._ledger.told["lost"] += 1
            if taken and isinstance(error, TimeoutError):
                self._ledger.wrong.append(f"a socket goes on {KNOWN_SECONDS:g} s after its key was taken back")
        await to_thread.run_sync(self._gone, name)

    def _gone(self, name: str) -> None:
        """In the file no more, also where nothing could be opened with it."""
        try:
            self._keys.take_back(name)
        except KeyError:
            return
