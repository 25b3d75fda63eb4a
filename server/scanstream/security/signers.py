"""By which keys JWTs are verified: secrets that are shared, or public keys of a JWKS (RFC 7517).

Each key verifies by the algorithms of its own kind and by no other. So a public key is never taken for a secret,
whatever the head of a token says (RFC 8725, section 3.1). The mathematics are PyJWT's and cryptography's.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from jwt.algorithms import Algorithm, ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms
from jwt.exceptions import PyJWTError

from scanstream.security.algorithms import OF_CURVES, OF_RSA, SHORTEST_SECRETS
from scanstream.security.jws import LONGEST_KID, Signed, plain_object

MOST_KEYS = 100
MOST_SECRETS = 8
MOST_TRIED = 4
"""Keys that are tried where a JWT does not say which it is signed by."""
SHORTEST_RSA, LONGEST_RSA = 2048, 8192
"""Bits (RFC 7518, section 3.3); with longer ones it takes longer than the loop has."""
LONGEST_PART = 1400
"""Characters of a number in a JWK: 8,192 bits in base64url."""

_PARTS = {"RSA": ("e", "n"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
"""What makes a public key of each kind (RFC 7638, section 3.2)."""
_OURS = secrets.token_bytes(32)
_ALGORITHMS: dict[str, Algorithm] = get_default_algorithms()


@dataclass(frozen=True, kw_only=True)
class Signer:
    """One key, as far as it verifies."""

    kid: str | None
    algorithms: frozenset[str]
    key: Any = field(repr=False)
    mark: bytes = field(repr=False)
    """Tells this key from others, in this process only, and says nothing of it."""

    def has_signed(self, token: Signed) -> bool:
        """Whether it is by this key."""
        if token.algorithm not in self.algorithms:
            return False
        try:
            return _ALGORITHMS[token.algorithm].verify(token.text, self.key, token.signature)
        except (PyJWTError, ValueError, TypeError):
            return False


class Signers:
    """Keys that are trusted."""

    def __init__(self, keys: Iterable[Signer] = ()) -> None:
        self._keys = tuple(keys)
        self._marks = frozenset(key.mark for key in self._keys)

    def fitting(self, token: Signed) -> list[Signer]:
        """Those that it may be signed by, as far as its head tells: of the name that it gives, else without one."""
        kind = [key for key in self._keys if token.algorithm in key.algorithms]
        if token.kid is None:
            return kind[:MOST_TRIED]
        named = [key for key in kind if key.kid == token.kid]
        return (named or [key for key in kind if key.kid is None])[:MOST_TRIED]

    def have(self, mark: bytes) -> bool:
        """Whether a key of this mark is among them."""
        return mark in self._marks


def of_secret(secret: bytes, allowed: frozenset[str]) -> Signer:
    """A secret that is shared with whoever signs.

    :raises ValueError: if it is too short for what is allowed, or is no secret but a public key
    """
    algorithms = allowed & SHORTEST_SECRETS.keys()
    for name in sorted(algorithms):
        if len(secret) < SHORTEST_SECRETS[name]:
            raise ValueError(f"a secret for {name} has at least {SHORTEST_SECRETS[name]} bytes (RFC 7518, section 3.2)")
    try:
        key = _ALGORITHMS["HS256"].prepare_key(secret)
    except (PyJWTError, ValueError, TypeError):
        raise ValueError("this is a key or a certificate, which others may know, and no secret") from None
    return Signer(kid=None, algorithms=algorithms, key=key, mark=_mark(b"secret", secret))


def of_secrets(content: bytes, allowed: frozenset[str]) -> Signers:
    """The secrets of a file, one a line: while one takes the place of another there are two.

    :raises ValueError: naming the line that is none
    """
    found = []
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            try:
                found.append(of_secret(line.strip(), allowed))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
    if not 0 < len(found) <= MOST_SECRETS:
        raise ValueError(f"write one secret a line, at least one and at most {MOST_SECRETS}")
    return Signers(found)


def of_jwks(content: bytes, allowed: frozenset[str]) -> Signers:
    """The public keys of a JWKS that can verify what is allowed. What else is in it is passed over.

    :raises ValueError: if there is none
    """
    keys = plain_object(content).get("keys")
    if not isinstance(keys, list) or len(keys) > MOST_KEYS:
        raise ValueError(f'this is no JWKS: it has no list of at most {MOST_KEYS} "keys"')
    found, why = [], "there is none in it"
    for key in keys:
        try:
            found.append(_of_jwk(key, allowed))
        except ValueError as error:
            why = str(error)
    if not found:
        raise ValueError(f"no key in it can be used: {why}")
    return Signers(found)


def _of_jwk(jwk: object, allowed: frozenset[str]) -> Signer:
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kty"), str) or jwk["kty"] not in _PARTS:
        raise ValueError("its kty is not RSA, EC or OKP")
    if "d" in jwk:
        raise ValueError("it is a private key, which has no place here")
    uses = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        raise ValueError("it is not for signatures")
    parts = {name: jwk.get(name) for name in _PARTS[jwk["kty"]]}
    if not all(isinstance(part, str) and len(part) <= LONGEST_PART for part in parts.values()):
        raise ValueError("a part of it is missing, or is longer than any")
    algorithms = _algorithms(jwk) & allowed
    if not algorithms:
        raise ValueError("its algorithm is not one of --jwt-algorithms")
    kid = jwk.get("kid")
    if kid is not None and (not isinstance(kid, str) or len(kid) > LONGEST_KID):
        raise ValueError("its kid is none")
    key = _public({"kty": jwk["kty"], **parts})
    material = "\n".join(f"{name}={part}" for name, part in parts.items())
    return Signer(kid=kid, algorithms=algorithms, key=key, mark=_mark(jwk["kty"].encode(), material.encode()))


def _algorithms(jwk: dict[str, Any]) -> frozenset[str]:
    """What a key of this kind verifies by, or the one that it says it is for."""
    if jwk["kty"] == "RSA":
        kind = OF_RSA
    elif jwk["kty"] == "EC":
        kind = frozenset({OF_CURVES.get(str(jwk.get("crv")), "")})
    else:
        kind = frozenset({"EdDSA"})
    return kind & {jwk["alg"]} if isinstance(jwk.get("alg"), str) else kind


def _public(jwk: dict[str, Any]) -> Any:
    reader: Any = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}[jwk["kty"]]
    try:
        key = reader.from_jwk(jwk)
    except Exception:  # of whatever kind: what is in it is somebody else's
        raise ValueError("it is not what its kty says") from None
    if jwk["kty"] == "RSA" and not SHORTEST_RSA <= key.key_size <= LONGEST_RSA:
        raise ValueError(f"an RSA key has {SHORTEST_RSA} to {LONGEST_RSA} bits")
    return key


def _mark(kind: bytes, material: bytes) -> bytes:
    return hashlib.blake2b(material, key=_OURS, person=kind, digest_size=16).digest()
