"""Bytes to plain values, as strictly as RFC 8259 and MessagePack allow: what others pass over fails."""

import json
from typing import Any, NoReturn

import msgspec

from scanstream.conformance.promise import Broken
from scanstream.undecodable import UNDECODABLE


def from_json(content: bytes | str) -> Any:
    """A JSON value: in UTF-8, each name once in its object, no NaN and no Infinity.

    :raises Broken: if it is none
    """
    try:
        text = content if isinstance(content, str) else content.decode()
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Broken(f"strict JSON ({error})", content[:300]) from None


def from_messagepack(content: bytes) -> Any:
    """A value in MessagePack, with texts as its keys.

    :raises Broken: if it is none
    """
    try:
        return msgspec.msgpack.decode(content)
    except UNDECODABLE as error:
        raise Broken(f"MessagePack ({error})", content[:300]) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return told


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
