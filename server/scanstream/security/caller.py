"""A caller: on whose behalf something is asked, and what they may.

A door asks its caller for the owner to look under, and hands that to the desk. So a right is checked where the question
is asked, and which scans are whose where they are found; between the two nothing can be mixed up, as a ticket names the
one scan that it opens.
"""

from enum import StrEnum
from typing import NamedTuple, TypeAlias

from scanstream.errors import Forbidden
from scanstream.model import ANYONE, Milliseconds, Principal, ScanId

LATEST = "latest"
"""In place of a scan's id: the caller's newest one."""
NOBODY = Principal("")
"""Has no scans, and never will have: who asks on their behalf learns what one learns of ids that never were."""


class Right(StrEnum):
    """What a credential allows."""

    SCAN = "scan"
    """Start scans; read and cancel all of one's own."""
    OPERATE = "operate"
    """`/metrics`; `explain` of any scan."""
    READ = "read"
    """Of a scan token: read its scan."""
    CANCEL = "cancel"
    """Of a scan token: cancel its scan."""


OPENING = frozenset({Right.SCAN, Right.READ, Right.CANCEL})
"""Rights by which scans are opened."""


class Ticket(NamedTuple):
    """In place of a principal: its bearer was given a token for this one scan, whoever's it is."""

    scan_id: ScanId


Owner: TypeAlias = Principal | Ticket
"""Under whom a scan is looked for."""


class Caller(NamedTuple):
    """Who asks: a principal with rights, or the bearer of a token for one scan."""

    principal: Principal | None
    """None: the bearer of a scan token, which gives a right to a scan and makes nobody a principal."""
    rights: frozenset[Right]
    scan_id: ScanId | None = None
    """Of a scan token: all that it opens."""
    expires_at: Milliseconds | None = None
    """When the credential runs out; None: never."""
    credential: bytes = b""
    """A digest of what was shown: tells whether it is still good. Never the credential itself."""

    def starts(self) -> Principal:
        """Who starts a scan, or lists theirs.

        :raises Forbidden: if the credential does not allow it
        """
        if self.principal is None:
            raise Forbidden("A scan token opens one scan: it starts none, and lists none")
        if Right.SCAN not in self.rights:
            raise Forbidden("This credential lacks the right scan")
        return self.principal

    def reads(self, scan_id: str) -> Owner:
        """Under whom a scan is looked for, to be read.

        :raises Forbidden: if the credential does not allow it, whichever scan it is
        """
        return self._opens(scan_id, Right.READ)

    def cancels(self, scan_id: str) -> Owner:
        """Under whom a scan is looked for, to be cancelled.

        :raises Forbidden: if the credential does not allow it, whichever scan it is
        """
        return self._opens(scan_id, Right.CANCEL)

    def _opens(self, scan_id: str, right: Right) -> Owner:
        if self.principal is not None or scan_id == LATEST:
            return self.starts()
        if right not in self.rights:
            raise Forbidden(f"This token lacks the right {right}")
        return Ticket(self.scan_id) if self.scan_id is not None and scan_id == self.scan_id else NOBODY

    @property
    def owner(self) -> Owner:
        """Under whom a scan that was opened is looked for again, as it may have been put aside meanwhile."""
        if self.principal is not None:
            return self.principal
        return NOBODY if self.scan_id is None else Ticket(self.scan_id)

    def may_become(self, other: "Caller") -> bool:
        """Whether this other credential is of the same caller, or for the same scan, and opens no less to them."""
        same = (self.principal, self.scan_id) == (other.principal, other.scan_id)
        return same and self.rights & OPENING <= other.rights

    def operates(self) -> None:
        """Let those go on who look after the server.

        :raises Forbidden: if the credential does not allow it
        """
        if Right.OPERATE not in self.rights:
            raise Forbidden("This credential lacks the right operate")


EVERYBODY = Caller(ANYONE, frozenset({Right.SCAN, Right.OPERATE}))
"""Any caller of a server that asks nobody who they are."""
