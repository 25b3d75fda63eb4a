"""What people write in flags, read; and commands, written for people."""

import os
from collections.abc import Iterable
from typing import Any

import msgspec

from scanstream.client.addresses import DEFAULT_URL, URL_VARIABLE, address, shown

__all__ = ["address", "command", "parameters"]


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
