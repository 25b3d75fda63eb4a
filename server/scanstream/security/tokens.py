"""Scan tokens: a right to one scan, for whoever holds it, until its end; made and read here.

`sst_` + base64url of 45 bytes: what it is (1), rights (1), end (6), uuid and MAC of the scan's id (21), MAC (16). The
MAC is HMAC-SHA256 under a key that is derived from the store's for this one use, cut to 128 bits (RFC 2104, section 5).
So each node of the store knows a token that another made, and one of another store is none. 45 bytes fill 60 letters to
the last bit: there is no other way to write the same token.
"""

import base64
import hmac
import re
from collections.abc import Iterable
from typing import NamedTuple

from scanstream.model import Milliseconds, ScanId
from scanstream.security.caller import Right

PREFIX = "sst_"

_TOKEN = re.compile(r"sst_([A-Za-z0-9_-]{60})")
_SCAN_ID = re.compile(r"scan_([0-9a-f]{42})")
_USE = b"scanstream: scan tokens"
"""What the derived key is for. A scan's id is a MAC of hexadecimal digits and a principal: never of this."""
_KIND = 1
_RIGHTS = {Right.READ: 1, Right.CANCEL: 2}
_MOST_END = (1 << 48) - 1
_SIGNED = 29
_MAC = 16


class Opened(NamedTuple):
    """What a token says."""

    scan_id: ScanId
    rights: frozenset[Right]
    expires_at: Milliseconds | None
    """None: it ends with its scan."""


class Tokens:
    """The scan tokens of one store."""

    def __init__(self, store_key: bytes) -> None:
        self._key = hmac.digest(store_key, _USE, "sha256")

    def minted(self, scan_id: ScanId, rights: Iterable[Right], expires_at: Milliseconds | None) -> str:
        """A token for this scan.

        :raises ValueError: if that is no scan's id, or a right that no token has
        """
        match = _SCAN_ID.fullmatch(scan_id)
        given = set(rights)
        if match is None or not given or not given <= _RIGHTS.keys():
            raise ValueError("a scan token is for one scan, and to read or to cancel it")
        end = 0 if expires_at is None else min(max(1, expires_at), _MOST_END)
        signed = bytes((_KIND, sum(_RIGHTS[right] for right in given))) + end.to_bytes(6) + bytes.fromhex(match[1])
        return PREFIX + base64.urlsafe_b64encode(signed + self._mac(signed)).decode()

    def read(self, token: str) -> Opened | None:
        """What it says, over or not; None: this store has made no such token."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        content = base64.urlsafe_b64decode(match[1])
        signed = content[:_SIGNED]
        if not hmac.compare_digest(content[_SIGNED:], self._mac(signed)) or signed[0] != _KIND:
            return None
        end = int.from_bytes(signed[2:8])
        rights = frozenset(right for right, bit in _RIGHTS.items() if signed[1] & bit)
        return Opened(ScanId(f"scan_{signed[8:].hex()}"), rights, end or None)

    def _mac(self, signed: bytes) -> bytes:
        return hmac.digest(self._key, signed, "sha256")[:_MAC]
