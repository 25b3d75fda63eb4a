"""The guard where a credential is asked for: `--auth required`. It fits `Guard`."""

from collections.abc import Callable, Iterable

from scanstream.errors import Unauthorized
from scanstream.model import Milliseconds, ScanId, now
from scanstream.security import apikey, tokens
from scanstream.security.apikey import DIGEST_BYTES, digest_of
from scanstream.security.caller import Caller, Right
from scanstream.security.keyfile import Entry
from scanstream.security.tokens import Tokens
from scanstream.security.verifier import Verifier

LONGEST_CREDENTIAL = 8192
"""Characters of what is looked at at all."""
MOST_KNOWN = 10_000
"""Credentials, beside API keys, that were found good and are known again: some 5 MB."""
REFUSAL = "A valid credential is needed: an API key, a JWT or a scan token, as in Authorization: Bearer …"
"""Whatever is wrong with what was shown, and where nothing was."""

_KEY, _JWT, _TOKEN = b"k", b"j", b"t"
"""What a caller's credential begins with, so that it is known by what it is judged again."""


class Required:
    """Lets in who shows an API key of the file, a JWT of somebody who is trusted, or a scan token of this store."""

    required = True

    def __init__(
        self, store_key: bytes, verifier: Verifier | None = None, *, clock: Callable[[], Milliseconds] = now
    ) -> None:
        """`clock`: the wall clock, by which credentials end. Where it is set back, what had ended is good again."""
        self._tokens = Tokens(store_key)
        self._verifier = verifier
        self._now = clock
        self._keys: dict[bytes, Caller] = {}
        self._known: dict[bytes, Caller] = {}

    def take_keys(self, entries: Iterable[Entry]) -> None:
        """From now on these are the API keys, and no others."""
        self._keys = {
            entry.digest: Caller(
                entry.principal, entry.rights, expires_at=entry.expires, credential=_KEY + entry.digest
            )
            for entry in entries
        }

    def forget(self) -> None:
        """Judge anew whatever is shown, as somebody is trusted no more."""
        self._known.clear()

    def known(self, credential: str | None) -> Caller | None:
        """See `Guard.known`: one hash, one look into a dict, one at the clock."""
        if not credential or len(credential) > LONGEST_CREDENTIAL:
            return None
        digest = digest_of(credential)
        caller = self._keys.get(digest) or self._known.get(digest)
        return caller if caller is not None and self._lasts(caller) else None

    async def caller(self, credential: str | None) -> Caller:
        """See `Guard.caller`."""
        caller = self.known(credential)
        if caller is None and credential and len(credential) <= LONGEST_CREDENTIAL:
            caller = await self._found(credential)
        if caller is None or not self._lasts(caller):
            raise Unauthorized(REFUSAL)
        return caller

    async def _found(self, credential: str) -> Caller | None:
        """Who shows what is not known yet, and known from then on."""
        digest, caller = digest_of(credential), None
        if credential.startswith(tokens.PREFIX):
            opened = self._tokens.read(credential)
            if opened is not None:
                caller = Caller(None, opened.rights, opened.scan_id, opened.expires_at, _TOKEN + digest)
        elif self._verifier is not None and not credential.startswith(apikey.PREFIX):
            vouched = await self._verifier.vouched(credential)
            if vouched is not None:
                principal, rights, expires_at, signer = vouched
                caller = Caller(principal, rights, None, expires_at, _JWT + signer + digest)
        if caller is not None and self._lasts(caller):
            while len(self._known) >= MOST_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[digest] = caller
        return caller

    def _lasts(self, caller: Caller) -> bool:
        return caller.expires_at is None or self._now() < caller.expires_at

    def good(self, caller: Caller) -> bool:
        """See `Guard.good`. A key whose principal or rights were changed in the file is another one."""
        if not self._lasts(caller):
            return False
        kind, rest = caller.credential[:1], caller.credential[1:]
        if kind == _KEY:
            return self._keys.get(rest) == caller
        if kind == _JWT:
            return self._verifier is not None and self._verifier.trusts(rest[:-DIGEST_BYTES])
        return kind == _TOKEN

    def ticket(self, scan_id: ScanId, rights: Iterable[Right], expires_at: Milliseconds | None) -> str:
        """See `Guard.ticket`.

        :raises ValueError: for other rights than to read and to cancel
        """
        return self._tokens.minted(scan_id, rights, expires_at)
