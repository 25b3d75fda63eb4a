"""Scan ids: `scan_` + UUIDv7 in hex + 10 characters of a MAC under the store's key over (uuid, principal).

Whoever shows a right id was given it: a wrong MAC is `not_found` without looking further, a right one without a log has
`expired`. So absence is honest without tombstones, and another's scan cannot be told from one that never was.
UUIDv7: RFC 9562, section 5.7. The MAC: HMAC-SHA256 (RFC 2104), cut to 40 bits of hex.
"""

import hmac
import re
import secrets

from scanstream.model import Milliseconds, Principal, ScanId

_SCAN_ID = re.compile(r"scan_([0-9a-f]{32})([0-9a-f]{10})")


def new_scan_id(key: bytes, principal: Principal, now: Milliseconds) -> ScanId:
    """An id of its own for a scan of this principal."""
    random = secrets.randbits(74)  # asked of the system once
    value = now << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    uuid = f"{value:032x}"
    return ScanId(f"scan_{uuid}{_mac(key, principal, uuid)}")


def is_genuine(key: bytes, principal: Principal, scan_id: str) -> bool:
    """Whether this store gave this id to this principal."""
    match = _SCAN_ID.fullmatch(scan_id)
    return match is not None and hmac.compare_digest(match[2], _mac(key, principal, match[1]))


def _mac(key: bytes, principal: Principal, uuid: str) -> str:
    return hmac.digest(key, f"{uuid}\n{principal}".encode(), "sha256").hex()[:10]
