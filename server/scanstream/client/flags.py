"""What people write in flags, read.

Here and not in the command line's module, which imports httpx only where a command needs it.
"""

import os
import re
from collections.abc import Iterable
from typing import Any

import httpx
import msgspec

DEFAULT_URL = "http://127.0.0.1:8000"
URL_VARIABLE = "SCANSTREAM_URL"
MOST_PORT = 65_535

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/|https?:|wss?:", re.IGNORECASE)
"""`localhost:8000` has none."""
_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


def address(text: str) -> str:
    """Where a server is: `http://127.0.0.1:8000`. A missing `http://`, `ws://` in its place and a slash at the end do
    no harm; a host in other letters is written as the DNS has it.

    :raises ValueError: if no client can go there
    """
    given = text.strip()
    if not _SCHEME.match(given):
        given = f"http://{given.removeprefix('//')}"
    try:
        url = httpx.URL(given)
        host = url.host and url.raw_host.decode("ascii")  # the first fails for xn-- and no letters
    except (httpx.InvalidURL, ValueError):
        raise _no_address(text) from None
    scheme = {"ws": "http", "wss": "https"}.get(url.scheme, url.scheme)
    named = ":" in host or _NAME.fullmatch(host)
    port = 1 if url.port is None else url.port
    if scheme not in ("http", "https") or not named or url.query or url.fragment or not 0 < port <= MOST_PORT:
        raise _no_address(text)
    return str(url.copy_with(scheme=scheme, query=None)).rstrip("/")


def _no_address(text: str) -> ValueError:
    return ValueError(f"{text!r} is no address like http://127.0.0.1:8000")


def shown(url: str) -> str:
    """An address as it may be told: without the password in it."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", url)


def command(words: str, url: str) -> str:
    """A command to be typed: with `--url` where the server is not the one that is asked without it."""
    return f"scanstream {words}" + ("" if url == os.environ.get(URL_VARIABLE, DEFAULT_URL) else f" --url {shown(url)}")


def parameters(values: Iterable[str]) -> dict[str, dict[str, Any]]:
    """`STRATEGY.NAME=VALUE` → strategy → name → value; the value is JSON, or else the text itself.

    :raises ValueError: naming the first that is not of this form
    """
    found: dict[str, dict[str, Any]] = {}
    for given in values:
        path, equals, text = given.partition("=")
        strategy, dot, name = path.strip().partition(".")
        if not (equals and dot and strategy and name):
            raise ValueError(f"{given!r} is not of the form STRATEGY.NAME=VALUE, as in tsmom.lookback=252")
        try:
            value = msgspec.json.decode(text)
        except msgspec.DecodeError:
            value = text
        found.setdefault(strategy, {})[name] = value
    return found
