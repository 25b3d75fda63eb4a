"""The demonstration: a server on a free port and a client of it, in one process, over a real socket."""

from collections.abc import Callable
from typing import Any

from rich.console import Console

from scanstream.app import serving
from scanstream.client.connection import Lost, Refused, connected
from scanstream.client.following import mirrored
from scanstream.client.mirror import Mirror
from scanstream.client.terminal import ScanView, show
from scanstream.settings import Settings
from scanstream.strategies.strategy import registry

_ORIGINS = {
    "synthetic": "generated prices, nothing in them is real",
    "files": "your files",
    "ccxt": "live prices of an exchange",
}

EXIT_COMPLETE, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


async def demonstrate(make: Callable[[], Settings], request: dict[str, Any], walk_forward: int) -> int:
    """Run one scan, each rule scored on so many past bars, and show it; the exit code.

    :raises SetupError: if the server cannot start
    """
    console, mirror = Console(), Mirror()
    parameters = {name: {"walk_forward": walk_forward} for name in request["strategy_ids"] or registry()}
    settings = make()
    async with serving(settings) as url, connected(url) as connection:
        console.print(f"Market: {settings.market} ({_ORIGINS[settings.market.partition(':')[0]]})", highlight=False)
        console.print(f"Server: {url}", highlight=False)
        try:
            ack = await connection.discover({**request, "parameters": parameters})
            console.print(f"Acknowledged: {ack['scan_id']}", highlight=False)
            status = await show(mirrored(connection, mirror), mirror, console, ScanView(mirror))
        except Refused as refused:
            console.print(f"Refused: {refused}", highlight=False, markup=False)
            return EXIT_USAGE
        except Lost as lost:
            console.print(f"The server has gone: {lost}", highlight=False, markup=False)
            return EXIT_FAILED
    return EXIT_COMPLETE if status == "complete" else EXIT_FAILED
