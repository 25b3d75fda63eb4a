"""The port: what the guard asks of whoever knows JWTs."""

from typing import NamedTuple, Protocol

from scanstream.model import Milliseconds, Principal
from scanstream.security.caller import Right


class Vouched(NamedTuple):
    """What somebody who is trusted says of whoever shows their JWT."""

    principal: Principal
    rights: frozenset[Right]
    expires_at: Milliseconds
    signer: bytes
    """Tells by which key it is signed; never the key."""


class Verifier(Protocol):
    """Knows by which keys JWTs are signed."""

    async def vouched(self, credential: str) -> Vouched | None:
        """What this JWT says; None: it is not good, or none at all.

        :raises Overloaded: if nobody can say now
        """
        ...

    def trusts(self, signer: bytes) -> bool:
        """Whether that key is still one of those."""
        ...
