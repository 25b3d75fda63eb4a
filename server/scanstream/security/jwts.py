"""Knows JWTs: by secrets, or by the public keys of whoever signs them. It fits `Verifier`."""

import logging
from collections.abc import Callable

from scanstream.model import Milliseconds
from scanstream.security.algorithms import OF_PUBLIC_KEYS
from scanstream.security.claims import Expected, judged
from scanstream.security.fetched import Fetched
from scanstream.security.jws import Signed, plain_object, taken_apart
from scanstream.security.signers import Signer, Signers, of_jwks
from scanstream.security.verifier import Vouched
from scanstream.telling import Telling

logger = logging.getLogger("scanstream.security")


class Jwts:
    """The keys that are trusted now, from each of their sources, and what JWTs signed by them say."""

    def __init__(self, expected: Expected, allowed: frozenset[str], clock: Callable[[], Milliseconds]) -> None:
        """`allowed`: the algorithms by which they may be signed; `clock`: the wall clock."""
        self._expected = expected
        self._allowed = allowed
        self._now = clock
        self._signers: dict[str, Signers] = {}
        self._published: Fetched | None = None
        self._telling: dict[str, Telling] = {}

    def trust(self, source: str, signers: Signers) -> None:
        """From now on these are the keys of this source, and no others."""
        self._signers[source] = signers

    def published(self, url: str, changed: Callable[[], None]) -> Fetched:
        """Trust the keys that are published there, when they come.

        :param changed: is called when they have
        """

        def take(content: bytes) -> None:
            self.trust(url, of_jwks(content, self._allowed))
            changed()

        self._published = Fetched(url, take)
        return self._published

    async def vouched(self, credential: str) -> Vouched | None:
        """See `Verifier.vouched`."""
        try:
            token = taken_apart(credential)
            signer = await self._signer(token)
            claims = judged(plain_object(token.payload), self._expected, self._now())
        except ValueError as error:
            self._tell(str(error))
            return None
        return Vouched(claims.principal, claims.rights, claims.expires_at, signer.mark)

    async def _signer(self, token: Signed) -> Signer:
        if token.algorithm not in self._allowed:
            raise ValueError("its alg is not one of --jwt-algorithms")
        fitting = self._fitting(token)
        if not fitting and self._published is not None and token.algorithm in OF_PUBLIC_KEYS:
            await self._published.newer()
            fitting = self._fitting(token)
        if not fitting:
            raise ValueError("none of our keys is the one that it names, or of its kind")
        for signer in fitting:
            if signer.has_signed(token):
                return signer
        raise ValueError("its signature is not by a key of ours")

    def _fitting(self, token: Signed) -> list[Signer]:
        return [signer for signers in self._signers.values() for signer in signers.fitting(token)]

    def trusts(self, signer: bytes) -> bool:
        """See `Verifier.trusts`."""
        return any(signers.have(signer) for signers in self._signers.values())

    def _tell(self, why: str) -> None:
        """Why a JWT was refused: for the operator, as its bearer is told nothing. There are some twenty reasons."""
        if self._telling.setdefault(why, Telling()).due():
            logger.info("a JWT was refused: %s", why)
