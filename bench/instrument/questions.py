"""Questions that the bench itself asks over HTTP, between what it measures."""

import time

import httpx

from instrument.servers import SCANSTREAM, Server

PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.05


def answer(server: Server, path: str) -> httpx.Response:
    """What a server says, however busy it is."""
    url = f"http://127.0.0.1:{server.port}{path}"
    return httpx.get(url, timeout=PATIENCE_SECONDS).raise_for_status()


def status_path(server: Server) -> str:
    """Of scanstream's one scan."""
    return f"/opportunities/status/{server.scan_ids[0]}"


def cursor(server: Server) -> str:
    """Where that scan is now."""
    return str(answer(server, status_path(server)).json()["cursor"])


def until_waiting(server: Server, count: int) -> None:
    """So many requests wait for news: scanstream counts its readers, the bare Starlette what it holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (waiting := _waiting(server)) != count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"of {count} requests {waiting} wait after {PATIENCE_SECONDS} s")
        time.sleep(LOOK_SECONDS)


def _waiting(server: Server) -> int:
    if server.name != SCANSTREAM:
        return int(answer(server, "/held").text)
    lines = answer(server, "/metrics").text.splitlines()
    return int(float(next(line for line in lines if line.startswith("scanstream_readers ")).split()[1]))
