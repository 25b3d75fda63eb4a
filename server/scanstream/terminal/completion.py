"""What the shell completes from the server: ids of strategies and of scans. Without one at hand, nothing."""

import os
from typing import Any

import httpx

from scanstream.client.addresses import DEFAULT_URL, URL_VARIABLE, address
from scanstream.client.token import headers
from scanstream.proxies import proxy_of

SECONDS = 1.0
"""As long somebody who pressed Tab waits at most."""
NEWEST = 20
LATEST = "latest"

Candidate = tuple[str, str]
"""A word, and what it stands for."""


def strategies(url: str | None, token: str | None) -> list[Candidate]:
    """The strategies of the server."""
    return _named(_asked(url, token, "/opportunities/strategies"), "id", "name")


def scans(url: str | None, token: str | None) -> list[Candidate]:
    """The newest scans."""
    found = _asked(url, token, f"/opportunities/scans?limit={NEWEST}")
    listed = found.get("scans") if isinstance(found, dict) else None
    return [(LATEST, "the newest scan"), *_named(listed, "scan_id", "message")]


def _named(listed: Any, word: str, meaning: str) -> list[Candidate]:
    """Of each in a list its word and its meaning; of what is no such list nothing."""
    found = listed if isinstance(listed, list) else []
    return [
        (str(one[word]), str(one[meaning])) for one in found if isinstance(one, dict) and {word, meaning} <= set(one)
    ]


def _asked(url: str | None, token: str | None, path: str) -> Any:
    """The server's answer; None where it has none. Completion is no place to tell somebody of errors."""
    try:
        base = url or address(os.environ.get(URL_VARIABLE, DEFAULT_URL))
        transport = httpx.HTTPTransport(proxy=proxy_of(base), verify=base.startswith("https:"))
        with httpx.Client(transport=transport, timeout=SECONDS) as client:
            return client.get(f"{base}{path}", headers=headers(token)).raise_for_status().json()
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
        return None
