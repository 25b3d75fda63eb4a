"""The demonstration: a server on a free port and a client of it, in one process, over a real socket."""

from collections.abc import Callable
from typing import Any

from scanstream.client import AsyncClient, Unreachable
from scanstream.errors import ScanstreamError, SettingError
from scanstream.server import serving
from scanstream.settings import Settings
from scanstream.strategies.installed import registry
from scanstream.terminal.commands import EXIT_COMPLETE, EXIT_FAILED, tell_refused
from scanstream.terminal.output import Output, ReaderLeft, print_line
from scanstream.terminal.view import ScanView, show


async def demonstrate(make: Callable[[], Settings], request: dict[str, Any], walk_forward: int) -> int:
    """Run one scan, each rule scored on so many past bars, and show it; the exit code.

    :raises SetupError: if the server cannot start
    """
    settings = make()
    if settings.workers == 0:
        raise SettingError("--workers 0: the demo has its own workers only, and none would run (SCANSTREAM_WORKERS)")
    names = [name for name in request["strategy_ids"] or registry() if name in registry()]
    parameters = {name: {"walk_forward": walk_forward} for name in names}
    status = EXIT_FAILED
    try:
        async with serving(settings) as url:
            status = await _demonstrated(url, {**request, "parameters": parameters})
    except* ReaderLeft:
        pass
    return status


async def _demonstrated(url: str, request: dict[str, Any]) -> int:
    console = Output()
    async with AsyncClient(url) as client:
        print_line(f"Server: {url}", console)
        try:
            scan = await client.discover(**request)
            print_line(f"Acknowledged: {scan.id}", console)
            await show(aiter(scan), scan.feed.mirror, console, ScanView(scan.feed.mirror, client.connection))
        except Unreachable as unreachable:
            print_line(f"The server has gone: {unreachable}", console)
            return EXIT_FAILED
        except ScanstreamError as refused:
            return tell_refused(refused)
        return EXIT_COMPLETE if scan.status == "complete" else EXIT_FAILED
