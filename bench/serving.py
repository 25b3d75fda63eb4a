"""A real server process to measure, and scans of it."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scanstream.client import AsyncClient, Scan

PLAIN = ("-m", "scanstream")
GIVING_BACK = ("-c", "from scanstream import core, cli; core.KEPT_MEMORY.clear(); cli.main()")
"""The server, but its workers give memory back to the kernel as glibc does by itself."""


@contextmanager
def server(data: Path | str, *flags: str, program: tuple[str, ...] = PLAIN) -> Iterator[str]:
    """A server process on a free port; gives its address; ends with the block."""
    command = [sys.executable, *program, "serve", "--port", "0", "--data", str(data), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            match = re.search(r"http://\S+:\d+", process.stdout.readline())
            if match is None:
                raise RuntimeError("the server did not start")
            yield match[0]
        finally:
            process.terminate()


async def followed(client: AsyncClient, request: dict[str, Any], working: Callable[[], None] = lambda: None) -> Scan:
    """A new scan, followed to its end; `working` is called whenever shards have been done."""
    scan = await client.discover(**request, force_refresh=True)
    async for update in scan:
        if update.state["progress"]["shards_completed"]:
            working()
    await scan.aclose()
    return scan
