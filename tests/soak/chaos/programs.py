"""Clients that do not speak the protocol themselves: they use a library, or are the command; behind hostile proxies."""

import json
import random
import sys
import tempfile
from collections.abc import AsyncIterator
from subprocess import DEVNULL
from typing import Any

import anyio
import msgspec
from anyio.streams.text import TextReceiveStream

from scanstream.client import AsyncClient
from scanstream.client.failures import Unreachable
from scanstream.client.mirror import Mirror
from scanstream.errors import Expired
from soak.chaos.auditor import PATIENCE, Auditor
from soak.chaos.kinds import KINDS, OFTEN
from trouble.followers import Follower, programs


class Programs:
    """Each method is one scan of one of them."""

    def __init__(self, auditor: Auditor, proxies: list[str], random: random.Random) -> None:
        self._auditor = auditor
        self._ledger = auditor.ledger
        self._proxies = proxies
        self._random = random

    async def library(self) -> None:
        """AsyncClient."""
        kind, told = self._random.choice(OFTEN), list[str]()
        scan_id = ""
        try:
            with anyio.fail_after(PATIENCE):
                async with AsyncClient(self._random.choice(self._proxies)) as client:
                    scan = await client.discover(timeout=30, **KINDS[kind])
                    scan_id = scan.id
                    self._auditor.acked(scan_id, kind)
                    async for update in scan:
                        told += [one["id"] for one in update.opportunities]
                    state = await scan.wait()
        except Expired:
            self._ledger.gone(scan_id, "AsyncClient")
        except Unreachable as error:
            self._unreached(scan_id, "AsyncClient", error)
        except TimeoutError as error:
            self._ledger.stuck(scan_id, "AsyncClient", error)
        else:
            self._ledger.saw(scan_id, "AsyncClient", told, state)

    def _unreached(self, scan_id: str, client: str, said: object) -> None:
        """Before there is an ack nothing was promised; after it no client gives up."""
        if scan_id:
            self._ledger.stuck(scan_id, client, said)
        else:
            self._ledger.told["unreachable"] += 1

    async def page(self) -> None:
        """The page's library, in Node: two clients in one process."""
        kinds = [self._random.choice(OFTEN), self._random.choice(OFTEN)]
        wanted = [(json.dumps(KINDS[kind]), self._random.choice(self._proxies)) for kind in kinds]
        async with programs("node", wanted) as followers, anyio.create_task_group() as tasks:
            for follower, kind in zip(followers, kinds, strict=True):
                tasks.start_soon(self._listen, follower, kind)

    async def _listen(self, follower: Follower, kind: str) -> None:
        """What a program says of one scan."""
        scan_id = ""
        try:
            first = await follower.until(lambda event: event["event"] in ("started", "failed"), patience=PATIENCE)
            if first["event"] == "started":
                scan_id = first["scan_id"]
                self._auditor.acked(scan_id, kind)
            last = await follower.until(lambda event: event["event"] in ("end", "failed"), patience=PATIENCE)
        except AssertionError as error:
            self._ledger.stuck(scan_id, "the page's library", error)
            return
        if last["event"] == "end":
            self._ledger.saw(scan_id, "the page's library", last["told"], last["state"])
        elif last["code"] == "expired" and scan_id:
            self._ledger.gone(scan_id, "the page's library")
        else:
            self._unreached(scan_id, "the page's library", last)

    async def command(self) -> None:
        """`scanstream discover --json`."""
        kind, mirror = self._random.choice(["quick", "steady", "chunked"]), Mirror()
        parameters = KINDS[kind]["parameters"]["scripted"]
        words = [word for name, value in parameters.items() for word in ("--parameter", f"scripted.{name}={value}")]
        flags = ["--strategy", "scripted", "--force-refresh", "--json", "--patience", "60"]
        command = [sys.executable, "-m", "scanstream", "discover", "--url", self._random.choice(self._proxies)]
        said = _Said()
        with anyio.move_on_after(PATIENCE) as patience:
            async for message in said.messages([*command, *flags, *words]):
                if not said.scan_id:
                    said.scan_id = message["scan_id"]
                    self._auditor.acked(said.scan_id, kind)
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


class _Said:
    """What a command has said, and how it ended."""

    def __init__(self) -> None:
        self.scan_id = ""
        self.errors = ""
        self.code: int | None = None

    async def messages(self, command: list[str]) -> AsyncIterator[dict[str, Any]]:
        """Run it; the lines of its standard output, as JSON."""
        with tempfile.TemporaryFile() as errors:
            async with await anyio.open_process(command, stdin=DEVNULL, stderr=errors) as process:
                assert process.stdout is not None
                rest = ""
                async for text in TextReceiveStream(process.stdout):
                    *lines, rest = (rest + text).split("\n")
                    for line in lines:
                        yield msgspec.json.decode(line)
                self.code = await process.wait()
            errors.seek(0)
            self.errors = errors.read().decode()
