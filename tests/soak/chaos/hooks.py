"""Who is to be told of scans' ends elsewhere: a receiver that is not always well, and the judgement of what it is told.

Each notification has an address of its own, so that it is known also where the answer was lost that says its id.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from anyio.abc import ByteStream

from soak.chaos.ledger import Ledger, Promised
from support.receiver import Received, Receiver, answers, verified

BESIDE = {"cursor", "opportunities", "more"}
"""What `data` holds beside the state."""
UNWELL = 0.4
"""How often it refuses a message that comes for the first time …"""
FORGETFUL = 0.1
"""… and hangs up on one that it has taken, so that it comes again."""


@dataclass
class Notice:
    """One address that is to be told of one scan."""

    scan_id: str
    url: str
    id: str = ""
    """Empty as long as nobody was promised it."""
    secret: str = ""
    came: list[Received] = field(default_factory=list)
    taken: int = 0
    """Of these, those that the receiver did not refuse."""


class Hooks:
    """The receiver's side."""

    def __init__(self, receiver: Receiver, seed: int = 0) -> None:
        self._receiver = receiver
        self._random = random.Random(seed)
        self.notices: dict[str, Notice] = {}
        self.strange: list[Received] = []
        """Messages at addresses that nobody has given."""
        receiver.always = self._behave

    @property
    def flags(self) -> list[str]:
        """Of a server that may tell it."""
        return ["--notify", self._receiver.url("/"), "--notify-private", "127.0.0.0/8"]

    def address(self, scan_id: str) -> str:
        """One more address, that may be told of this scan from now on."""
        path = f"/{scan_id}/{len(self.notices)}"
        self.notices[path] = Notice(scan_id, self._receiver.url(path))
        return self.notices[path].url

    def foreign(self) -> str:
        """An address that a server may tell, and of nothing that is here."""
        return self._receiver.url("/strangers")

    def promised(self, url: str, answer: Mapping[str, Any]) -> None:
        """It was answered that this address is told."""
        notice = self.notices[url.removeprefix(self._receiver.url(""))]
        notice.id, notice.secret = answer["notification_id"], answer["signing_secret"]

    async def _behave(self, stream: ByteStream) -> None:
        """The one that was received last, as nobody else had a turn since."""
        await self.take(self._receiver.got.pop(), stream)

    async def take(self, received: Received, stream: ByteStream) -> None:
        """One message: written down, and taken, or refused with a status or by hanging up."""
        notice = self.notices.get(received.line.split()[1])
        if notice is None:
            self.strange.append(received)
            return
        notice.came.append(received)
        if len(notice.came) == 1 and self._random.random() < UNWELL:
            if self._random.random() < 0.5:
                await answers(500)(stream)
            return
        notice.taken += 1
        if self._random.random() >= FORGETFUL:
            await answers(204)(stream)

    def faults(self, ledger: Ledger, given_up: Mapping[str, float]) -> list[str]:
        """What was broken.

        :param given_up: scans of whose end a server says that it tells somebody no more, and when it said so (see
            `World.given_up`)
        """
        found = [f"{one.line} was told, and nobody has asked for it" for one in self.strange]
        secrets = {ledger.scans[one.scan_id].owner: one.secret for one in self.notices.values() if one.secret}
        for notice in self.notices.values():
            promised = ledger.scans[notice.scan_id]
            name = f"{notice.url} ({notice.id or 'not promised'})"
            if notice.id and not notice.taken and not _over(notice, promised, ledger, given_up):
                found.append(
                    f"{name} was never told of the end of {promised.scan_id}, as promised: {len(notice.came)} came"
                )
                found[-1] += f", given up at {given_up.get(promised.scan_id)}, {promised}"
            if notice.secret and notice.secret != secrets[promised.owner]:
                found.append(f"{name} has another secret than other addresses there of {promised.owner}")
            for received in notice.came:
                found += [f"{name}: {fault}" for fault in _of(received, notice, promised, secrets, ledger)]
        return found

    def told(self) -> Counter[str]:
        """How much of it there was."""
        notices = self.notices.values()
        return Counter(
            {
                "told elsewhere": sum(notice.taken > 0 for notice in notices),
                "told elsewhere: promised": sum(bool(notice.id) for notice in notices),
                "told elsewhere: after a refusal": sum(0 < notice.taken < len(notice.came) for notice in notices),
                "told elsewhere: again": sum(max(0, notice.taken - 1) for notice in notices),
                "told elsewhere: expired before that": sum(bool(notice.id) and not notice.taken for notice in notices),
            }
        )


def _over(notice: Notice, promised: Promised, ledger: Ledger, given_up: Mapping[str, float]) -> bool:
    """Whether nobody need be told any more, as a server says: the scan had expired, or would have by the next attempt.

    Before its time it may give up only what the receiver had refused. It says so by its own clock, also by a wrong one.
    """
    at = given_up.get(promised.scan_id)
    return at is not None and (bool(notice.came) or ledger.over_by(promised, at))


def _of(
    received: Received, notice: Notice, promised: Promised, secrets: Mapping[str, str], ledger: Ledger
) -> Iterator[str]:
    """What is wrong with one message."""
    if notice.id and received.id != notice.id:
        yield f"it is called {received.id}"
    secret = secrets.get(promised.owner)
    if secret is not None and not verified(secret, received):
        yield "its signature is wrong"
    if received.body != notice.came[0].body:
        yield "it is not the same as the first time"
    said = received.json()
    data = said["data"]
    state = {name: value for name, value in data.items() if name not in BESIDE}
    if promised.state and state != promised.state:
        yield f"it tells another state: {state} and not {promised.state}"
    if said["type"] != f"scan.{state['status']}" or state["status"] == "scanning":
        yield f"it is called {said['type']}, and tells {state['status']}"
    ids = [one["id"] for one in data["opportunities"]]
    yield from ledger.tells(promised, ids, state, more=data.get("more", False))
