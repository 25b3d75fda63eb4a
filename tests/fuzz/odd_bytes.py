"""What comes from outside: bytes and texts by chance, and those of people who know where decoders break."""

from collections.abc import Callable

import msgspec
from hypothesis import strategies as st

DEEP = 20_000
"""Deeper than any recursion goes."""

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
"""What JSON can say."""
_KNOWN = ("type", "scan_id", "cursor", "state", "patch", "opportunities", "offset", "status", "code", "at", "market")


def _written(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError):
        return b"null"


objects = st.dictionaries(st.sampled_from(_KNOWN) | st.text(max_size=6), values, max_size=6)
"""Those with names that mean something."""
hostile = st.sampled_from(
    [
        b'{"type":"\xff"}',
        b'{"\xff":1}',
        b'"\xff"',
        b"[" * DEEP,
        b'{"type":' * DEEP,
        b'{"type":"end","a":' + b"[" * DEEP,
        b'{"type":1e400}',
        b"1" * 5000,
        b'{"type":"\\ud800"}',
        b"\xef\xbb\xbf{}",
        b"\x00",
        b"NaN",
    ]
)
json_bytes = st.binary(max_size=60) | hostile | values.map(_written) | objects.map(_written)
"""What comes where JSON should."""
texts = st.text(max_size=40) | st.binary(max_size=40).map(lambda data: data.decode(errors="surrogateescape"))
"""What comes where a text should: of a command line what is no UTF-8 is in it, too."""


def said(ask: Callable[[], object], kind: type[Exception]) -> str | None:
    """The words of the error of this kind that comes of it, if one does; every other is a defect."""
    try:
        ask()
    except kind as error:
        return str(error)
    return None
