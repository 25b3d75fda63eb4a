"""The port: what the doors ask of whoever knows credentials. `Open` fits it where nobody is asked who they are."""

from collections.abc import Iterable
from typing import Protocol

from scanstream.model import Milliseconds, ScanId
from scanstream.security.caller import EVERYBODY, Caller, Right


class Guard(Protocol):
    """Tells who is asking."""

    @property
    def required(self) -> bool:
        """Whether a credential is asked for."""
        ...

    async def caller(self, credential: str | None) -> Caller:
        """Who shows this: an API key, a JWT or a scan token. None: nothing was shown.

        :raises Unauthorized: if one is needed, and this is none, or no longer one
        :raises Overloaded: if nobody can say now, as the keys of JWTs cannot be had
        """
        ...

    def known(self, credential: str | None) -> Caller | None:
        """The same without waiting, where it has been shown before and is still good; None says nothing."""
        ...

    def good(self, caller: Caller) -> bool:
        """Whether what this caller has shown is still good: neither over, nor revoked."""
        ...

    def ticket(self, scan_id: ScanId, rights: Iterable[Right], expires_at: Milliseconds | None) -> str:
        """A scan token: good until then, and as long as the scan answers. On every node of the same store."""
        ...


class Open:
    """Whoever asks is let in: `--auth none`."""

    required = False

    async def caller(self, credential: str | None) -> Caller:
        """See `Guard.caller`. Whatever is shown, nobody looks at it."""
        return EVERYBODY

    def known(self, credential: str | None) -> Caller | None:
        """See `Guard.known`."""
        return EVERYBODY

    def good(self, caller: Caller) -> bool:
        """See `Guard.good`."""
        return True

    def ticket(self, scan_id: ScanId, rights: Iterable[Right], expires_at: Milliseconds | None) -> str:
        """See `Guard.ticket`. The id itself opens the scan here, so there is none."""
        return ""
