"""The adapter of the Python client, for `scanstream conformance client -- python tests/conformance/adapter.py`.

docs/conformance.md explains the lines. `--mutant HABIT` makes a client that breaks a promise: bad_habits.py.
"""

import json
import sys
from typing import Any

import anyio

from scanstream.client import AsyncClient, Scan
from scanstream.errors import ScanstreamError


def tell(event: str, **told: Any) -> None:
    """One line."""
    print(json.dumps({"event": event, **told}), flush=True)


async def follow(scan: Scan) -> None:
    """To its end: what an iterator is given, and what is held then."""
    tell("started", scan_id=scan.id)
    async for update in scan:
        tell("update", state=update.state, opportunities=update.opportunities, cursor=update.cursor)
    state = await scan.wait()
    tell("end", status=state["status"], state=state, ids=[one["id"] for one in scan.opportunities])


async def main(begin: dict[str, Any]) -> None:
    """One client, one scan."""
    tokens = begin.get("tokens", [])
    held = iter(tokens)
    token = (lambda: next(held, tokens[-1])) if tokens else None
    try:
        async with AsyncClient(begin["url"], token=token) as client:
            if "watch" in begin:
                await follow(await client.watch(begin["watch"], since=begin.get("since")))
            else:
                await follow(await client.discover(**begin["request"]))
    except ScanstreamError as error:
        tell("error", code=error.code, detail=error.detail)


if __name__ == "__main__":
    if "--mutant" in sys.argv:
        from conformance.bad_habits import HABITS

        HABITS[sys.argv[sys.argv.index("--mutant") + 1]].take_up()
    anyio.run(main, json.loads(sys.stdin.readline()))
