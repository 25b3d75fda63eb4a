"""What the shell completes from the server: ids of strategies and of scans. Without one at hand, nothing."""

import os
from typing import Any

import httpx

from scanstream.client.flags import DEFAULT_URL, URL_VARIABLE

SECONDS = 1.0
"""As long somebody who pressed Tab waits at most."""
NEWEST = 20
LATEST = "latest"

Candidate = tuple[str, str]
"""A word, and what it stands for."""


def strategies(url: str | None) -> list[Candidate]:
    """The strategies of the server."""
    return [(found["id"], found["name"]) for found in _asked(url, "/opportunities/strategies") or []]


def scans(url: str | None) -> list[Candidate]:
    """The newest scans."""
    found = (_asked(url, f"/opportunities/scans?limit={NEWEST}") or {"scans": []})["scans"]
    return [(LATEST, "the newest scan"), *((scan["scan_id"], scan["message"]) for scan in found)]


def _asked(url: str | None, path: str) -> Any:
    """The server's answer; None where it has none. Completion is no place to tell somebody of errors."""
    base = url or os.environ.get(URL_VARIABLE, DEFAULT_URL)
    try:
        return httpx.get(f"{base}{path}", timeout=SECONDS).raise_for_status().json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
