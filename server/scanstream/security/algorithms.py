"""The algorithms by which JWTs may be signed (RFC 7518, RFC 8037). `none` is not among them, and cannot be allowed."""

SHORTEST_SECRETS = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Bytes that a secret has (RFC 7518, section 3.2)."""
OF_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
OF_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
"""RFC 7518, section 3.4."""
OF_PUBLIC_KEYS = OF_RSA | set(OF_CURVES.values()) | {"EdDSA"}
DEFAULT_OF_SECRETS = frozenset({"HS256"})
DEFAULT_OF_PUBLIC_KEYS = frozenset({"RS256", "ES256", "EdDSA"})


def allowed(given: str) -> frozenset[str]:
    """What a list with commas between allows; empty: what is usual.

    :raises ValueError: naming what is no algorithm
    """
    names = given.replace(",", " ").split()
    known = OF_PUBLIC_KEYS | SHORTEST_SECRETS.keys()
    for name in names:
        if name not in known:
            raise ValueError(f"there is no algorithm {name!r:.40}; there are {', '.join(sorted(known))}")
    return frozenset(names) or DEFAULT_OF_SECRETS | DEFAULT_OF_PUBLIC_KEYS
