"""The auditor, who takes part in nothing: polls whatever somebody was promised, until its end and once more later."""

import random
import time
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskGroup

from cluster.harness import LOST
from soak.chaos.keys import shown
from soak.chaos.kinds import KINDS
from soak.chaos.ledger import Ledger
from soak.chaos.world import World
from support.readers import FOR_NOW
from support.wire import Answer, request

PATIENCE = 180.0
"""In which a client comes to the end of its scan, whatever happens."""
ASK_SECONDS = 30.0


class Auditor:
    """Of one world."""

    def __init__(self, world: World, ledger: Ledger, random: random.Random, audits: TaskGroup) -> None:
        self.world = world
        self.ledger = ledger
        self._random = random
        self._audits = audits

    def url(self) -> str:
        """One of the servers."""
        return self._random.choice(self.world.urls)

    def owner(self) -> str:
        """One of the principals."""
        return self._random.choice(self.world.principals)

    def headers(self, scan_id: str) -> dict[str, str]:
        """What its owner shows."""
        return self.world.headers(self.ledger.scans[scan_id].owner)

    def acked(self, scan_id: str, kind: str, owner: str, key: str = "", token: str = "") -> None:
        """Somebody was promised a scan: it is polled from now on."""
        if self.ledger.acked(scan_id, kind, owner, key, token):
            self._audits.start_soon(self.audit, scan_id)

    async def audit(self, scan_id: str) -> None:
        """Poll one scan until it has ended; what it has found then, and once more after some time."""
        for wait in (0.0, self._random.uniform(0.0, 0.5) * self.world.retention):
            await anyio.sleep(wait)  # in which the server may have died: what was there is to be there still
            with anyio.move_on_after(PATIENCE) as patience:
                while not await self._audited(scan_id):  # noqa: ASYNC110  # it asks another process
                    await anyio.sleep(0.3)
            if patience.cancelled_caught:
                self.ledger.stuck(scan_id, "an auditor", "it does not end")
            if not self.ledger.scans[scan_id].state:
                return

    async def _audited(self, scan_id: str) -> bool:
        """Whether nothing more is to be asked."""
        url, asked_at, headers = self.url(), time.monotonic(), self.headers(scan_id)
        results = await self.ask(url, "GET", f"/opportunities/results/{scan_id}?wait=10", None, headers)
        if results is None or results.status in FOR_NOW:
            return False
        if results.status == 202:
            self.ledger.alive(scan_id, asked_at)
            return False
        if not self._there(results, scan_id):
            return True
        status = await self.ask(url, "GET", f"/opportunities/status/{scan_id}", None, headers)
        if status is None or status.status in FOR_NOW:
            return False
        if not self._there(status, scan_id):
            return True
        state = {name: value for name, value in status.json().items() if name != "cursor"}
        self.ledger.ended(scan_id, state, [one["id"] for one in results.json()["opportunities"]])
        return True

    def _there(self, answer: Answer, scan_id: str) -> bool:
        """Whether the scan was found."""
        if answer.status == 404:
            self.ledger.absent(scan_id, "an auditor")
        elif answer.status == 410:
            self.ledger.gone(scan_id, "an auditor")
        elif answer.status != 200:
            self.ledger.wrong.append(f"an auditor of {scan_id} is answered {answer}")
        return answer.status == 200

    async def ask(self, url: str, method: str, path: str, *more: Any) -> Answer | None:
        """An answer; None where the connection was lost."""
        try:
            with anyio.fail_after(ASK_SECONDS):
                answer = await request(url, method, path, *more)
                answer.json()  # all of it has come
        except (*LOST, TimeoutError):
            self.ledger.told["lost"] += 1
            return None
        if answer.status in FOR_NOW:
            self.ledger.told[answer.json()["code"]] += 1
        return answer

    async def discover(self, kind: str, owner: str, key: str = "", credential: str = "") -> str | None:
        """Start a scan over HTTP; None where nothing was promised.

        :param credential: what its owner shows, if it is not the key that stays
        """
        headers = shown(credential) or self.world.headers(owner)
        headers |= {"idempotency-key": key} if key else {}
        body = msgspec.json.encode(KINDS[kind])
        answer = await self.ask(self.url(), "POST", "/opportunities/discover", body, headers)
        if answer is None or answer.status in FOR_NOW:
            return None
        if answer.status != 202:
            self.ledger.wrong.append(f"a discover is answered {answer}")
            return None
        ack = answer.json()
        scan_id: str = ack["scan_id"]
        self.acked(scan_id, kind, owner, key, ack.get("scan_token", ""))
        return scan_id
