"""What people write in flags, read.

Here and not in the command line's module, which worker processes import, too.
"""

import os
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec

DEFAULT_URL = "http://127.0.0.1:8000"
URL_VARIABLE = "SCANSTREAM_URL"


def address(text: str) -> str:
    """Where a server is.

    :raises ValueError: if no client can go there
    """
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname is not None and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is no address like http://127.0.0.1:8000")
    return text.rstrip("/")


def command(words: str, url: str) -> str:
    """A command to be typed: with `--url` where the server is not the one that is asked without it."""
    return f"scanstream {words}" + ("" if url == os.environ.get(URL_VARIABLE, DEFAULT_URL) else f" --url {url}")


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
