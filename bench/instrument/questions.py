"""Questions that the bench itself asks over HTTP, between what it measures."""

import httpx

from instrument.servers import Server

PATIENCE_SECONDS = 60.0


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
