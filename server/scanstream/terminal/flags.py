"""What people write in flags, read; and commands, written for people."""

import os
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from scanstream.client.addresses import DEFAULT_URL, URL_VARIABLE, address, shown
from scanstream.security.names import key_name_of as key_name
from scanstream.security.names import principal_of as principal
from scanstream.undecodable import UNDECODABLE

__all__ = ["address", "command", "key_name", "parameters", "principal", "span"]

LONGEST_SPAN = 10 * 365 * 86_400
_SPAN = re.compile(r"([1-9][0-9]{0,9})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


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
        except UNDECODABLE:
            value = text
        found.setdefault(strategy, {})[name] = value
    return found


def span(text: str) -> int | None:
    """`90d` in seconds; None for `never`.

    :raises ValueError: if it is neither, or more than ten years
    """
    if text == "never":
        return None
    match = _SPAN.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 0 < seconds <= LONGEST_SPAN:
        raise ValueError(f"{text!r} is no span up to ten years: write 30m, 12h, 90d or 8w, or never")
    return seconds
