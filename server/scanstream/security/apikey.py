"""API keys: `ssk_` and 256 random bits in base64url.

A server knows them by one SHA-256. Passwords want a slow hash, because people choose them and all likely ones can be
tried; 256 random bits cannot be guessed at any speed, and a digest of them says nothing of what it is of. For the same
reason a look-up by the digest needs no comparison in constant time: what its timing could tell is a prefix of the
digest of the guess, which the one who guesses knows already and cannot steer towards another's.
"""

import hashlib
import secrets

PREFIX = "ssk_"
RANDOM_BYTES = 32
DIGEST_BYTES = 32


def new_key() -> str:
    """A key that nobody has. It is shown to its owner once, and kept nowhere."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def digest_of(credential: str) -> bytes:
    """What a credential is known by; of whatever text, as it may be anything that somebody shows."""
    return hashlib.sha256(credential.encode("utf-8", "surrogatepass")).digest()
