"""Every fault of the hostile proxy against every client: each cell has a proxy and a client of its own.

A cell's client starts a scan and follows it to its end. The fault *lasts* (from before the scan until after it), or it
*passes*: the client is at work when it comes, and the scan goes on until the client is back where it was.
"""

import math
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec

from support.process import ServerProcess
from support.wire import request
from trouble.followers import PATIENCE_SECONDS, Event, Follower, clients
from wire.odd import ANSWERS, ODD
from wire.proxy import RUNGS, Attempt, Faults, Proxy

ODD_ANSWERS = (*ANSWERS, "byte by byte")
PLUGINS = Path(__file__).parent / "plugins"

LASTING: dict[str, Callable[[], Faults]] = {
    "nothing": Faults,
    "refuses Upgrade": lambda: Faults(refuse_upgrade=403),
    "closes at once": lambda: Faults(close_at_once=True),
    "mute to the server": lambda: Faults(mute="up"),
    "mute to the client": lambda: Faults(mute="down"),
    "mute both ways": lambda: Faults(mute="both"),
    "drops after 24 kB": lambda: Faults(drop_after=24_000),
    "2 s late": lambda: Faults(delay=2.0),
    "resets every 3 s": lambda: Faults(reset_every=3.0),
    "502 now and then": lambda: Faults(bad_gateway_every=3),
    "swallows the ack": lambda: Faults(swallow_acks=1),
    "holds the ack": lambda: Faults(hold_acks=1),
    "loses the ack of a subscription": lambda: Faults(lose_acks=1),
    "injects": lambda: Faults(inject=True),
    "buffers streams": lambda: Faults(refuse_upgrade=403, buffer_streams=True),
    "streams: mute": lambda: Faults(refuse_upgrade=403, mute="down"),
    "streams: drops after 24 kB": lambda: Faults(refuse_upgrade=403, drop_after=24_000),
    "streams: 2 s late": lambda: Faults(refuse_upgrade=403, delay=2.0),
    "streams: resets every 3 s": lambda: Faults(refuse_upgrade=403, reset_every=3.0),
    "streams: injects": lambda: Faults(refuse_upgrade=403, inject=True),
    "long polls": lambda: Faults(refuse_upgrade=403, refuse_streams=406),
    "long polls: 2 s late": lambda: Faults(refuse_upgrade=403, refuse_streams=406, delay=2.0),
    "long polls: resets every 3 s": lambda: Faults(refuse_upgrade=403, refuse_streams=406, reset_every=3.0),
    "long polls: 502 now and then": lambda: Faults(refuse_upgrade=403, refuse_streams=406, bad_gateway_every=3),
    "long polls: injects": lambda: Faults(refuse_upgrade=403, refuse_streams=406, inject=True),
    "closes at once, 502 and 2 s late": lambda: Faults(close_at_once=True, bad_gateway_every=3, delay=2.0),
    "drops after 24 kB, swallows the ack, 502": lambda: Faults(drop_after=24_000, swallow_acks=1, bad_gateway_every=4),
    "pages that say 200": lambda: Faults(bad_gateway_every=2, bad_status=200),
    "pages that say 404, with nonsense": lambda: Faults(
        bad_gateway_every=3, bad_status=404, bad_retry_after="-1, soon"
    ),
    "sent elsewhere": lambda: Faults(
        bad_gateway_every=2, bad_status=307, bad_retry_after="Thu, 01 Jan 1970 00:00:00 GMT"
    ),
    "forges": lambda: Faults(forge=True),
    "repeats and swaps": lambda: Faults(repeat_frames=True, swap_frames=3),
    "loses updates": lambda: Faults(lose_updates=4),
    "loses the end": lambda: Faults(lose_ends=1),
    "streams: loses the end": lambda: Faults(refuse_upgrade=403, lose_ends=1),
    "long polls: loses the end": lambda: Faults(refuse_upgrade=403, refuse_streams=406, lose_ends=1),
    "streams: forges": lambda: Faults(refuse_upgrade=403, forge=True),
    "streams: loses, repeats and swaps": lambda: Faults(
        refuse_upgrade=403, lose_updates=5, repeat_frames=True, swap_frames=4
    ),
    "long polls: loses, repeats and swaps": lambda: Faults(
        refuse_upgrade=403, refuse_streams=406, lose_updates=5, repeat_frames=True, swap_frames=4
    ),
}
"""By what they do to the network. The whole of a scan is less than 24 kB, in one frame: else it never came through."""
SPAN_SECONDS = 0.5 - 0.01
"""In which a client makes two attempts at most on each rung: half a second, less what a clock is inexact by."""

FROZEN = ("mute to the client", "mute both ways", "streams: mute")


def _oddly(odd: str, **more: Any) -> Callable[[], Faults]:
    return lambda: Faults(odd=odd, **more)


def _saying(status: int, retry_after: str) -> Callable[[], Faults]:
    return lambda: Faults(bad_gateway_every=2, bad_status=status, bad_retry_after=retry_after)


LATER = "Thu, 01 Jan 2099 00:00:00 GMT"
ODDITIES: dict[str, Callable[[], Faults]] = {
    **{odd: _oddly(odd) for odd in ODD},
    **{f"streams: {odd}": _oddly(odd, refuse_upgrade=403) for odd in ODD_ANSWERS},
    **{f"long polls: {odd}": _oddly(odd, refuse_upgrade=403, refuse_streams=406) for odd in ODD_ANSWERS},
    **{f"{status}, Retry-After: {said}": _saying(status, said) for status in (421, 429, 511) for said in ("", "2")},
    **{f"{status}": _saying(status, "") for status in (400, 407, 410, 451)},
    "425, in a lifetime": _saying(425, LATER),
}
"""What proxies and servers of other makers do; one at a time, from the first request to the last."""

PASSING: dict[str, Callable[[], Faults]] = {
    "refuses Upgrade": lambda: Faults(refuse_upgrade=403),
    "closes at once": lambda: Faults(close_at_once=True),
    "hangs up": lambda: Faults(hang_up=True),
    "502 to everything": lambda: Faults(bad_gateway_every=1),
}
"""Those whose effect is seen within seconds."""
FEW_ATTEMPTS = 4
"""After so many the trouble is felt, even if no lower rung works either."""


class Server:
    """A real one with the strategy that drips, for many scans at once."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(PLUGINS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        flags = ("--workers", "1", "--max-running", "100")
        self._process = ServerProcess(":memory:", *flags, environment={"PYTHONPATH": path})
        self.url = self._process.url

    async def get(self, path: str) -> Any:
        """A plain answer, without a proxy."""
        answer = await request(self.url, "GET", path)
        assert answer.status == 200, answer
        return answer.json()

    async def scans(self) -> list[str]:
        """The ids of all that it has."""
        return [scan["scan_id"] for scan in (await self.get("/opportunities/scans?limit=100"))["scans"]]

    def stop(self) -> None:
        """At the end."""
        self._process.stop()


class Cell:
    """One client behind one fault."""

    def __init__(self, fault: str, proxy: Proxy, follower: Follower) -> None:
        self.name = f"{fault}, {follower.kind}"
        self.fault = fault
        self.proxy = proxy
        self.follower = follower
        self.results: list[str] = []
        """The ids, as the server answers them without a proxy."""
        self.back: Event | None = None
        """That the client was on the best rung again."""
        self.cleared = 0.0
        """When the trouble was over."""

    async def end(self, server: Server) -> None:
        """It follows its scan to the end."""
        with suppress(AssertionError):  # told by `check_end`
            end = await self.follower.until_end()
            answer = await server.get(f"/opportunities/results/{end['scan_id']}?wait=20")
            self.results = [one["id"] for one in answer["opportunities"]]

    async def suffer(self, server: Server, faults: Faults, tap: Path, lasts: float) -> None:
        """Trouble comes while it is at work, and passes; the scan ends once the client is back.

        :param lasts: seconds; 0 is until the trouble is felt
        """
        with suppress(AssertionError):  # told by `check_back`
            await self.follower.until_live(transport="websocket")
            said, tried = len(self.follower.events), len(self.proxy.attempts)
            self.proxy.faults = faults
            await self.proxy.reset()
            with anyio.move_on_after(lasts or PATIENCE_SECONDS):
                while lasts or not self._felt(said, tried):  # noqa: ASYNC110  # a proxy tells nobody
                    await anyio.sleep(0.05)
            self.proxy.faults = Faults()
            self.cleared = time.monotonic()
            last = max(number for number, event in enumerate(self.follower.events) if event["event"] == "connection")
            self.back = await self.follower.until_live(last, "websocket")
        await anyio.Path(tap).unlink()
        await self.end(server)

    def _felt(self, said: int, tried: int) -> bool:
        """It has fallen to a lower rung that works, or has tried again and again."""
        lower = any(event.get("transport", "websocket") != "websocket" for event in self.follower.events[said:])
        return lower or len(self.proxy.attempts) - tried >= FEW_ATTEMPTS

    def check_end(self) -> None:
        """It has exactly the server's results: nothing is lost, nothing came twice.

        :raises AssertionError: if not
        """
        end: Event = next((event for event in self.follower.events if event["event"] == "end"), {})
        assert end, self.follower.events[-8:]
        assert end["state"]["status"] == "complete", end["state"]
        assert sorted(end["ids"]) == sorted(self.results)
        assert end["told"] == end["ids"]
        assert len(self.results) == len(set(self.results)) == end["state"]["total_opportunities"] > 0

    def noticed(self) -> float:
        """Seconds from when the network fell silent to when the client said that it waits; infinite if it did not."""
        frozen = self.proxy.muted[0]
        waits = (event["at"] for event in self.follower.events if event.get("state") == "waiting")
        return next((at - frozen for at in waits if at > frozen), math.inf)

    def crowded(self) -> dict[str, int]:
        """The most attempts within their span, by rung, where they were more than two."""
        most = {rung: self.proxy.most_attempts(SPAN_SECONDS, partial(_is_of, rung)) for rung in RUNGS}
        return {rung: number for rung, number in most.items() if number > 2}


def _is_of(rung: str, attempt: Attempt) -> bool:
    return attempt.rung == rung


@asynccontextmanager
async def proxies(upstream: str, number: int) -> AsyncIterator[list[Proxy]]:
    """So many before one server, in this loop; nothing is wrong with them yet."""
    made = [Proxy(upstream, Faults()) for _ in range(number)]
    async with anyio.create_task_group() as tasks:
        for proxy in made:
            started = anyio.Event()
            tasks.start_soon(proxy.serve, 0, started.set)
            await started.wait()
        yield made
        tasks.cancel_scope.cancel()


def dripping(found: int, pause: float, tap: Path | None = None) -> str:
    """A request: two shards that find so much, and more as long as there is a tap."""
    parameters = {"shards": 2, "found": found, "pause": pause, "tap": str(tap or "")}
    wanted = {"strategy_ids": ["dripping"], "parameters": {"dripping": parameters}, "force_refresh": True}
    return msgspec.json.encode(wanted).decode()


async def lasting(
    server: Server, kind: str, cells: list[Cell], what: str, faults: Mapping[str, Callable[[], Faults]]
) -> None:
    """Each of these faults, from the first request of this kind of client to its last."""
    async with proxies(server.url, len(faults)) as made:

        def begin() -> None:
            for proxy, fault in zip(made, faults.values(), strict=True):
                proxy.faults = fault()

        async with clients(kind, [(what, proxy.url) for proxy in made], begin) as followers:
            ours = list(map(Cell, faults, made, followers))
            cells += ours
            async with anyio.create_task_group() as tasks:
                for cell in ours:
                    tasks.start_soon(cell.end, server)


async def passing(
    server: Server,
    kind: str,
    faults: Mapping[str, Callable[[], Faults]],
    cells: list[Cell],
    directory: Path,
    lasts: float,
) -> None:
    """Each of these faults while this kind of client is at work, for so many seconds, or until it is felt."""
    taps = [directory / f"{kind} {name}" for name in faults]
    for tap in taps:
        tap.touch()
    async with proxies(server.url, len(faults)) as made:
        wanted = [(dripping(1, 0.2, tap), proxy.url) for tap, proxy in zip(taps, made, strict=True)]
        async with clients(kind, wanted, lambda: None) as followers:
            ours = list(map(Cell, faults, made, followers))
            cells += ours
            async with anyio.create_task_group() as tasks:
                for cell, fault, tap in zip(ours, faults.values(), taps, strict=True):
                    tasks.start_soon(cell.suffer, server, fault(), tap, lasts)
