"""A watched server (watched.py) as a process of its own, and what its watch has seen."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from watched import LARGE_MARKET

MOST_SECONDS = 0.005
"""What may stop the loop at most."""
PLUGINS = Path(__file__).parent.parent / "tests" / "support" / "plugins"
PATIENCE_SECONDS = 180


class Seen(NamedTuple):
    """Of one workload."""

    name: str
    told: dict[str, Any]


class Control:
    """The same work again and again, beside the server (steady.py)."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).parent / "steady.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def cut(self) -> dict[str, Any]:
        """A part ends here: what was seen in it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seen: dict[str, Any] = json.loads(self._process.stdout.readline())
        return seen

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class Server:
    """A watched server, and its control."""

    def __init__(self, *flags: str, large: str = "") -> None:
        environment = {**os.environ, **({LARGE_MARKET: large} if large else {})}
        environment["PYTHONPATH"] = f"{environment.get('PYTHONPATH', '')}:{PLUGINS}"
        command = [sys.executable, str(Path(__file__).parent / "watched.py"), "serve", "--port", "0", *flags]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.seen: list[Seen] = []
        assert self._process.stdout is not None
        match = re.search(r"http://\S+:\d+", self._process.stdout.readline())
        if match is None:
            raise RuntimeError("the server did not start")
        self.url = match[0]
        self._control = Control()
        self.client = httpx.AsyncClient(base_url=self.url, timeout=PATIENCE_SECONDS)

    def cut(self, name: str, tell: bool = True) -> None:
        """A workload ends here."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if tell:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("WATCHED "):
                told = json.loads(line.removeprefix("WATCHED "))
                self.seen.append(Seen(name, {**told, "control": self._control.cut()}))
                show(self.seen[-1])
                return
        raise RuntimeError("the server has ended")

    def end(self, name: str) -> None:
        """SIGTERM, unless that was before; what is left of the watch is that of the way out."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        self.cut(name, tell=False)
        self._process.wait(30)

    async def gone(self) -> None:
        """Let go of it, whatever it does."""
        await self.client.aclose()
        self._process.kill()
        self._control.kill()

    async def discover(self, **request: Any) -> str:
        """A new scan's id."""
        answer = await self.client.post("/opportunities/discover", json={"force_refresh": True, **request})
        return str(answer.raise_for_status().json()["scan_id"])

    async def scripted(self, shards: int, found: int = 0, work: int = 0) -> str:
        """A new scan of the tests' strategy."""
        parameters = {"scripted": {"shards": shards, "found": found, "work": work}}
        return await self.discover(strategy_ids=["scripted"], parameters=parameters)

    async def ended(self, scan_id: str) -> None:
        """Wait for a scan's end."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (await self.client.get(f"/opportunities/status/{scan_id}")).json()["status"] == "scanning":
            assert time.monotonic() < deadline, scan_id
            await asyncio.sleep(0.1)

    async def cancel(self, scan_id: str) -> None:
        """End a scan."""
        (await self.client.post(f"/opportunities/cancel/{scan_id}")).raise_for_status()
        await self.ended(scan_id)

    async def idle(self) -> None:
        """Wait until nothing runs."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "scanstream_scans_unfinished 0.0" not in (await self.client.get("/metrics")).text:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


@asynccontextmanager
async def serving(*flags: str, large: str = "", way_out: str = "the way out") -> AsyncIterator[Server]:
    """A watched server; what came until it listens is its first part."""
    server = Server(*flags, large=large)
    try:
        yield server
        server.end(way_out)
    finally:
        await server.gone()


def show(seen: Seen) -> None:
    """One line, and the culprits of what is too long."""
    if seen.name == "-":
        return
    told = seen.told
    wall = max([wall for _, wall, _ in told["longest_steps"]], default=0.0)
    figures = [told["longest_step"], told["step_999"], told["longest_turn"], told["turn_999"], wall]
    print(
        f"  {seen.name:<62}" + "".join(f"{1000 * figure:9.2f}" for figure in figures) + f"   {told['steps']:>8} steps"
    )
    for cpu, _, what in told["longest_steps"][:3]:
        if cpu > MOST_SECONDS:
            print(f"      step  {1000 * cpu:7.1f} ms  {what}")
    for cpu, _, what in told["longest_turns"][:2]:
        if cpu > MOST_SECONDS:
            print(f"      turn  {1000 * cpu:7.1f} ms  {what}")
    for pause, what in told["collections"][:1]:
        print(f"      gc    {1000 * pause:7.1f} ms  {what}")
    control = told["control"]
    if told["longest_step"] > MOST_SECONDS:
        times = [1000 * control[name] for name in ("usual", "longest", "stolen")]
        print("      control: the same work took {:.2f} ms, {:.2f} at most; stolen {:.0f} ms".format(*times))
    for held, what in told["held"][:1]:
        if held > MOST_SECONDS:
            print(f"      held  {1000 * held:7.1f} ms  {what}")
