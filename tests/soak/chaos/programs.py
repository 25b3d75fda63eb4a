"""Clients that do not speak the protocol themselves: they use a library, or are the command; behind hostile proxies.

Who they are they are told by SCANSTREAM_TOKEN, where that is asked.
"""

import json
import os
import random
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from subprocess import DEVNULL
from typing import Any

import anyio
import msgspec
from anyio.streams.text import TextReceiveStream

from scanstream.client import AsyncClient, Scan
from scanstream.client.failures import Unreachable
from scanstream.client.mirror import Mirror
from scanstream.errors import Expired, Forbidden, NotFound, Unauthorized
from soak.chaos.auditor import PATIENCE, Auditor
from soak.chaos.crowd import NOTIFIED
from soak.chaos.kinds import KINDS, OFTEN
from trouble.followers import Follower, programs


class Programs:
    """Each method is one scan of one of them."""

    def __init__(self, auditor: Auditor, proxies: list[str], random: random.Random) -> None:
        self._auditor = auditor
        self._ledger = auditor.ledger
        self._proxies = proxies
        self._random = random

    def _who(self) -> tuple[str, str]:
        """A principal, and the key that it shows."""
        owner = self._auditor.owner()
        return owner, self._auditor.world.key(owner)

    async def library(self) -> None:
        """AsyncClient."""
        kind, told, (owner, token) = self._random.choice(OFTEN), list[str](), self._who()
        scan_id = ""
        try:
            with anyio.fail_after(PATIENCE):
                async with AsyncClient(self._random.choice(self._proxies), token=token) as client:
                    scan = await client.discover(timeout=30, **KINDS[kind])
                    scan_id = scan.id
                    self._auditor.acked(scan_id, kind, owner)
                    if self._random.random() < NOTIFIED:
                        await self._notify(scan)
                    async for update in scan:
                        told += [one["id"] for one in update.opportunities]
                    state = await scan.wait()
        except Expired:
            self._ledger.gone(scan_id, "AsyncClient")
        except (Unauthorized, Forbidden, NotFound) as error:
            self._ledger.refused(scan_id, "AsyncClient", error)
        except Unreachable as error:
            self._unreached(scan_id, "AsyncClient", error)
        except TimeoutError as error:
            self._ledger.stuck(scan_id, "AsyncClient", error)
        else:
            self._ledger.saw(scan_id, "AsyncClient", told, state)

    async def _notify(self, scan: Scan) -> None:
        """Have an address told of its end: one request, which may find no server for a while, and is repeated."""
        hooks = self._auditor.world.hooks
        target = hooks.address(scan.id)
        while True:
            try:
                promised = await scan.notify(target)
            except Unreachable:
                self._ledger.told["unreachable"] += 1
                await anyio.sleep(0.3)
            else:
                hooks.promised(target, promised)
                return

    def _unreached(self, scan_id: str, client: str, said: object) -> None:
        """Before there is an ack nothing was promised; after it no client gives up."""
        if scan_id:
            self._ledger.stuck(scan_id, client, said)
        else:
            self._ledger.told["unreachable"] += 1

    async def page(self) -> None:
        """The page's library, in Node: two clients in one process."""
        await self._run("node", "the page's library", 2)

    async def notebook(self) -> None:
        """A notebook, in a kernel of its own: what it was told, and what it shows at the end."""
        await self._run("notebook", "a notebook", 1)

    async def _run(self, program: str, client: str, count: int) -> None:
        kinds, (owner, token) = self._random.choices(OFTEN, k=count), self._who()
        wanted = [(json.dumps(KINDS[kind]), self._random.choice(self._proxies)) for kind in kinds]
        async with programs(program, wanted, token) as followers, anyio.create_task_group() as tasks:
            for follower, kind in zip(followers, kinds, strict=True):
                tasks.start_soon(self._listen, client, follower, kind, owner)

    async def _listen(self, client: str, follower: Follower, kind: str, owner: str) -> None:
        """What a program says of one scan."""
        scan_id = ""
        try:
            first = await follower.until(lambda event: event["event"] in ("started", "failed"), patience=PATIENCE)
            if first["event"] == "started":
                scan_id = first["scan_id"]
                self._auditor.acked(scan_id, kind, owner)
            last = await follower.until(lambda event: event["event"] in ("end", "failed"), patience=PATIENCE)
        except AssertionError as error:
            self._ledger.stuck(scan_id, client, error)
            return
        if last["event"] == "end":
            self._ledger.saw(scan_id, client, last["told"], last["state"])
            for text in last.get("shown", ()):
                self._ledger.saw(scan_id, f"{client} shows", last["ids"], _shown(text), part=True)
        elif last["code"] == "expired" and scan_id:
            self._ledger.gone(scan_id, client)
        elif last["code"] in ("unauthorized", "forbidden", "not_found"):
            self._ledger.refused(scan_id, client, last)
        else:
            self._unreached(scan_id, client, last)

    async def command(self) -> None:
        """`scanstream discover --json`."""
        kind, mirror, (owner, token) = self._random.choice(["quick", "steady", "chunked"]), Mirror(), self._who()
        parameters = KINDS[kind]["parameters"]["scripted"]
        words = [word for name, value in parameters.items() for word in ("--parameter", f"scripted.{name}={value}")]
        flags = ["--strategy", "scripted", "--force-refresh", "--json", "--patience", "60"]
        command = [sys.executable, "-m", "scanstream", "discover", "--url", self._random.choice(self._proxies)]
        said = _Said()
        with anyio.move_on_after(PATIENCE) as patience:
            async for message in said.messages([*command, *flags, *words], token):
                if not said.scan_id:
                    said.scan_id = message["scan_id"]
                    self._auditor.acked(said.scan_id, kind, owner, token=message.get("scan_token", ""))
                mirror.apply(message)
        if patience.cancelled_caught:
            self._ledger.stuck(said.scan_id, "the command", mirror.cursor)
        elif mirror.ended:
            assert said.code == (0 if mirror.state["status"] == "complete" else 1), said.errors
            ids = [one["id"] for one in mirror.opportunities]
            self._ledger.saw(said.scan_id, "the command", ids, mirror.state)
        elif said.scan_id and "expired" in said.errors:
            self._ledger.gone(said.scan_id, "the command")
        else:
            self._unreached(said.scan_id, "the command", said.errors)


def _shown(text: str) -> dict[str, Any]:
    """What a line of a notebook says of a scan that has ended, as of its state; nothing of it where it says none."""
    said = re.search(r"\b(complete|failed|cancelled)\b.*?([\d,]+) found", text)
    return {"status": said[1], "total_opportunities": int(said[2].replace(",", ""))} if said else {"status": text}


class _Said:
    """What a command has said, and how it ended."""

    def __init__(self) -> None:
        self.scan_id = ""
        self.errors = ""
        self.code: int | None = None

    async def messages(self, command: list[str], token: str) -> AsyncIterator[dict[str, Any]]:
        """Run it; the lines of its standard output, as JSON."""
        environment = {**os.environ, "SCANSTREAM_TOKEN": token}
        with tempfile.TemporaryFile() as errors:
            async with await anyio.open_process(command, stdin=DEVNULL, stderr=errors, env=environment) as process:
                assert process.stdout is not None
                rest = ""
                async for text in TextReceiveStream(process.stdout):
                    *lines, rest = (rest + text).split("\n")
                    for line in lines:
                        yield msgspec.json.decode(line)
                self.code = await process.wait()
            errors.seek(0)
            self.errors = errors.read().decode()
