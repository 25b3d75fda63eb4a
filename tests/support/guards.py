"""A guard with a ring of keys in memory, and servers that it stands before."""

import hashlib
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from scanstream.core import Core, open_core
from scanstream.errors import Unauthorized
from scanstream.model import Milliseconds, Principal, ScanId, now
from scanstream.security.caller import Caller, Right
from scanstream.security.guard import Guard
from scanstream.security.keychanges import create_key
from scanstream.server import serving
from scanstream.settings import Settings

LENIENT: dict[str, Any] = {"port": 0, "data": ":memory:", "max_discovers": 10_000}
"""Settings of servers that many tests share."""


class Ring:
    """Knows those to whom it has given a credential: `Guard`."""

    required = True

    def __init__(self) -> None:
        self.given: dict[str, Caller] = {}
        self._shown: set[str] = set()
        self._revoked: set[bytes] = set()
        self._past: set[Caller] = set()
        self.trouble: Exception | None = None
        """Why it can say nothing now."""

    def key(
        self, principal: str, *rights: Right, text: str | None = None, expires_at: Milliseconds | None = None
    ) -> str:
        """A key for somebody; unless rights are named, to start scans."""
        text = text or f"ssk_{secrets.token_urlsafe(24)}"
        return self._given(text, Principal(principal), rights or (Right.SCAN,), expires_at)

    def _given(
        self,
        text: str,
        principal: Principal | None,
        rights: Iterable[Right],
        expires_at: Milliseconds | None,
        scan_id: ScanId | None = None,
    ) -> str:
        digest = hashlib.sha256(text.encode()).digest()
        self.given[text] = Caller(principal, frozenset(rights), scan_id, expires_at, digest)
        return text

    def revoke(self, credential: str) -> None:
        """From now on it is no good."""
        self._revoked.add(self.given[credential].credential)

    def hand_over(self, credential: str, principal: str, *rights: Right) -> None:
        """From now on it is somebody else's, or gives other rights."""
        self._past.add(self.given[credential])
        self.key(principal, *rights, text=credential)

    async def caller(self, credential: str | None) -> Caller:
        """See `Guard.caller`."""
        if self.trouble is not None:
            raise self.trouble
        caller = self.given.get(credential or "")
        if caller is None or credential is None or not self.good(caller):
            raise Unauthorized(f"{credential} is not to be told to anybody")
        self._shown.add(credential)
        return caller

    def known(self, credential: str | None) -> Caller | None:
        """See `Guard.known`."""
        if credential not in self._shown:
            return None
        caller = self.given[credential]
        return caller if self.good(caller) else None

    def has_seen(self, credential: str) -> bool:
        """Whether somebody was let in with it."""
        return credential in self._shown

    def good(self, caller: Caller) -> bool:
        """See `Guard.good`."""
        over = caller.expires_at is not None and caller.expires_at <= now()
        lost = caller.credential in self._revoked or caller in self._past
        return not lost and bool(caller.credential) and not over

    def ticket(self, scan_id: ScanId, rights: Iterable[Right], expires_at: Milliseconds | None) -> str:
        """See `Guard.ticket`."""
        return self._given(f"sst_{secrets.token_urlsafe(24)}", None, rights, expires_at, scan_id)


@asynccontextmanager
async def guarded(guard: Guard, cores: list[Core] | None = None, **settings: Any) -> AsyncIterator[str]:
    """A server that this guard stands before; gives its address, and its core into the list."""

    @asynccontextmanager
    async def opened(settings: Settings) -> AsyncIterator[Core]:
        async with open_core(settings, guard=guard) as core:
            if cores is not None:
                cores.append(core)
            yield core

    async with AsyncExitStack() as stack:
        with mock.patch("scanstream.server.open_core", opened):  # as long as it takes to start
            url = await stack.enter_async_context(serving(Settings(**{**LENIENT, **settings})))
        yield url


def key_in(file: Path, principal: str, *rights: Right, name: str = "", expires: Milliseconds | None = None) -> str:
    """A new key in a file of keys, for `--keys`; unless rights are named, to start scans."""
    return create_key(
        file,
        name=name or principal,
        principal=Principal(principal),
        rights=frozenset(rights or (Right.SCAN,)),
        created=now(),
        expires=expires,
    )


def bearer(credential: str) -> dict[str, str]:
    """As HTTP has it."""
    return {"authorization": f"Bearer {credential}"}
