"""A file of credentials for NATS, as `nsc` writes it: a JWT that says who we are, and the seed that we sign with.

It is read anew for each connection, so that a file may be renewed under a running node. What nats-py has for that looks
for ever for the JWT in a file without one.
"""

import base64
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

import nkeys  # type: ignore[import-untyped]

MOST_BYTES = 64 * 1024
"""A file that is longer is another one."""
_PART = re.compile(rb"-{3,} *BEGIN (?P<name>[A-Z ]+?) *-{3,}\s+(?P<value>[A-Za-z0-9._=-]+)\s+-{3,} *END (?P=name)")
_JWT, _SEED = b"NATS USER JWT", b"USER NKEY SEED"


@dataclass(frozen=True)
class Credentials:
    """What is in such a file. Never shown."""

    jwt: bytes = field(repr=False)
    seed: bytes = field(repr=False)

    def signed(self, nonce: str) -> bytes:
        """What a server wants signed, in base64."""
        pair = nkeys.from_seed(bytearray(self.seed))
        try:
            return base64.b64encode(pair.sign(nonce.encode()))
        finally:
            pair.wipe()


def read_credentials(path: Path) -> Credentials:
    """What is in the file now.

    :raises ValueError: saying why it cannot be used, without a word of what is in it
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("it is no file")
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(error.strerror or type(error).__name__) from None
    parts = {found["name"]: found["value"] for found in _PART.finditer(text)} if len(text) <= MOST_BYTES else {}
    if _JWT not in parts or _SEED not in parts:
        missing = " and ".join(name.decode() for name in (_JWT, _SEED) if name not in parts)
        raise ValueError(f"this is no file of credentials: it has no {missing}")
    credentials = Credentials(parts[_JWT], parts[_SEED])
    try:
        credentials.signed("")
    except Exception:  # of whatever kind: its words may hold what is in the file
        raise ValueError("this is no file of credentials: its seed is none") from None
    return credentials
