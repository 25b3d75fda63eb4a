"""Follows scans, each with a client of its own, and says what the clients meet: see follow.mjs.

python follow.py '{"strategy_ids": ["tsmom"]}' http://127.0.0.1:8000 …
"""

import json
import os
import sys
import time
from typing import Any

import anyio

from scanstream.client import AsyncClient
from scanstream.errors import ScanstreamError


async def follow(number: int, url: str, what: str) -> None:
    """One client that follows one scan."""

    def tell(event: str, **more: Any) -> None:
        print(json.dumps({"number": number, "at": time.monotonic(), "event": event, **more}), flush=True)

    async def watch_connection(client: AsyncClient) -> None:
        connection = client.connection
        while True:
            await connection.changed()
            tell(
                "connection",
                state=connection.state,
                transport=connection.transport,
                attempts=connection.attempts,
                reason=connection.reason,
            )

    try:
        async with (
            AsyncClient(url, token=os.environ.get("SCANSTREAM_TOKEN")) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(watch_connection, client)
            scan = await (
                client.discover(timeout=90, **json.loads(what)) if what.startswith("{") else client.watch(what)
            )
            tell("started", scan_id=scan.id)
            told: list[str] = []
            async for update in scan:
                told += [one["id"] for one in update.opportunities]
                tell("update", count=len(told))
            state = await scan.wait()
            ids = [one["id"] for one in scan.opportunities]
            tell("end", scan_id=scan.id, state=state, cursor=scan.cursor, ids=ids, told=told)
            tasks.cancel_scope.cancel()
    except* ScanstreamError as group:
        for error in group.exceptions:
            tell("failed", code=getattr(error, "code", type(error).__name__), detail=str(error))


async def main() -> None:
    """All addresses at once."""
    words = sys.argv[1:]
    async with anyio.create_task_group() as tasks:
        for number, (what, url) in enumerate(zip(words[::2], words[1::2], strict=True)):
            tasks.start_soon(follow, number, url, what)


anyio.run(main)
