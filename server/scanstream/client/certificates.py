"""Whose certificates are trusted; why that of a server is not taken, in words, and what to do about that."""

import ssl
from typing import Any, NamedTuple

import httpx

from scanstream.causes import causes

OVER, NOT_YET, ANOTHERS = (10,), (9,), (62, 64)
"""What OpenSSL calls a certificate whose time is over or has not come, or which is for other names or addresses
(X509_V_ERR_…); nearly all others say that nothing leads from it to an authority that is known."""
MEND = "name its authority's certificate with SSL_CERT_FILE, or its directory with SSL_CERT_DIR"


class Untaken(NamedTuple):
    """Why it is not."""

    says: str
    """Goes on from "its certificate"."""
    do: str


def secure(url: str) -> dict[str, Any]:
    """What a WebSocket to this server is made with: it trusts whom HTTP trusts, which has a list of its own.

    :raises OSError: if what the environment names cannot be read
    """
    return {"ssl": httpx.create_ssl_context()} if url.startswith("https:") else {}


def untaken(error: BaseException | None) -> Untaken | None:
    """Why a connection was not made, where that was for the certificate; None where it was not."""
    met = next((one for one in causes(error) if isinstance(one, ssl.SSLCertVerificationError)), None)
    if met is None:
        return None
    if met.verify_code in OVER:
        return Untaken("has expired", "have it renewed; or is this machine's clock wrong?")
    if met.verify_code in NOT_YET:
        return Untaken("is not valid yet", "is the clock of this machine right?")
    if met.verify_code in ANOTHERS:
        return Untaken(f"is for another name: {met.verify_message.rstrip('.')}", "ask by a name that is in it")
    return Untaken(f"is by an authority that is not known here ({met.verify_message})", MEND)
