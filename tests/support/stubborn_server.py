"""Servers with strategies that do not stop (support/stubborn), and scans of them."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from support.process import ServerProcess
from support.wire import discover, status

STUBBORN = Path(__file__).parent / "stubborn"


@asynccontextmanager
async def serving(data: Path | str, *flags: str, **options: Any) -> AsyncIterator[ServerProcess]:
    """A server that has these strategies; killed if it still runs after the block."""
    path = os.pathsep.join([str(STUBBORN), str(STUBBORN.parent / "plugins"), os.environ.get("PYTHONPATH", "")])
    environment = {"PYTHONPATH": path.rstrip(os.pathsep)}
    flags = ("--workers", "2", "--max-running", "8", *flags)
    server = await to_thread.run_sync(lambda: ServerProcess(data, *flags, environment=environment, **options))
    try:
        yield server
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(server.kill)


def wanted(strategy: str = "stubborn", **parameters: Any) -> dict[str, Any]:
    """A discover request for a scan that does what its parameters say."""
    return {
        "strategy_ids": [strategy],
        "symbols": ["BTC/USDT"],
        "parameters": {strategy: parameters},
        "force_refresh": True,
    }


async def begin(server: ServerProcess, strategy: str = "stubborn", **parameters: Any) -> str:
    """Start such a scan; its id."""
    answer = await discover(server.url, wanted(strategy, **parameters))
    assert answer.status == 202, answer
    scan_id: str = answer.json()["scan_id"]
    return scan_id


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it holds. It may take several starts of a worker process, one after the other, on a busy machine."""
    with anyio.fail_after(90):
        while not await holds():  # noqa: ASYNC110  # what happens in another process calls nobody
            await anyio.sleep(0.02)


async def state_of(server: ServerProcess, scan_id: str) -> dict[str, Any]:
    """The scan's state."""
    state: dict[str, Any] = (await status(server.url, scan_id)).json()
    return state


async def until_phase(server: ServerProcess, scan_id: str, phase: str) -> dict[str, Any]:
    """Wait until the scan is in this phase; its state."""

    async def reached() -> bool:
        return bool((await state_of(server, scan_id))["phase"] == phase)

    await until(reached)
    return await state_of(server, scan_id)


async def until_running(server: ServerProcess, scan_id: str, strategy: str = "stubborn") -> None:
    """Wait until a shard of the scan is taken up."""

    async def reached() -> bool:
        return bool((await state_of(server, scan_id))["strategies"][strategy]["status"] == "running")

    await until(reached)
