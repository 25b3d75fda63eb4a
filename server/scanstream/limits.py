"""What one caller, one connection and all together may have of a server: the settings, and what they are unless given.

docs/operations.md has them all in one table, each with its metric and its error.
"""

from collections.abc import Callable
from dataclasses import dataclass

from scanstream.message import MOST_FOLLOWED
from scanstream.scans.admission import Bounds
from scanstream.security.allowance import Rate

DISCOVERS_A_MINUTE = 30
"""Of a principal, where principals are told apart; else all callers are one, and nobody is to stand in for all."""
ABREAST = 64
"""Scans of one principal that are registered at once: so many go into one commit, and others have turns between."""
OWN_PART = 4
"""Where principals are told apart, one of them may have this part (a fourth) of the scans, and of the sockets."""
MAY_BE_WITHOUT = frozenset(
    {"max_own_scans", "max_discovers", "max_sockets", "max_own_sockets", "max_own_handshakes", "max_messages"}
)
"""Limits that 0 takes away."""
MOST_HEAD_BYTES = 64 * 1024
LONGEST_SILENCE_SECONDS = 600.0

Require = Callable[[bool, str, str], None]
"""(what must hold, the setting, what else is said of it)."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Settings: 0 takes a limit away that may be without."""

    max_scans: int = 10_000
    """Scans under way, waiting ones included; a discover beyond is refused."""
    max_own_scans: int | None = None
    """Of these of one principal's."""
    max_discovers: int | None = None
    """Scans that a principal starts in a minute."""
    max_sockets: int | None = None
    """WebSockets and event streams at once …"""
    max_own_sockets: int | None = None
    """… and of one principal, or from one address where nobody is asked who they are."""
    max_own_handshakes: int = 512
    """Handshakes of TLS under way from one address, where TLS ends here."""
    max_subscriptions: int = MOST_FOLLOWED
    """Scans that one WebSocket follows."""
    max_messages: int = 500
    """Messages a second that one WebSocket may send, and as many at once."""
    max_message: int = 1024 * 1024
    """Bytes of the largest message and body accepted."""
    max_head: int = 32 * 1024
    """Bytes of the largest head of a request accepted."""
    silence: float = 10.0
    """Seconds in which a new connection says something, and a head goes on; three times as long for a body."""

    def _check_limits(self, require: Require) -> None:
        for name, least in (("max_scans", 1), ("max_message", 1024), ("max_head", 1024)):
            require(getattr(self, name) >= least, name, f"must be at least {least}")
        for name in MAY_BE_WITHOUT:
            require((getattr(self, name) or 0) >= 0, name, "must be at least 0, which is no limit")
        told = f"must be from 1 to {MOST_FOLLOWED}"
        require(1 <= self.max_subscriptions <= MOST_FOLLOWED, "max_subscriptions", told)
        require(self.max_head <= MOST_HEAD_BYTES, "max_head", f"must be at most {MOST_HEAD_BYTES}")
        told = f"must be above 0 and at most {LONGEST_SILENCE_SECONDS:g}"
        require(0 < self.silence <= LONGEST_SILENCE_SECONDS, "silence", told)

    @property
    def message_rate(self) -> Rate | None:
        """How fast one WebSocket may send messages."""
        return Rate(self.max_messages, 1.0) if self.max_messages else None

    def new_work(self, *, told_apart: bool) -> Bounds:
        """How much new work there may be.

        :param told_apart: whether callers are, by their credentials
        """
        own = max(1, self.max_scans // OWN_PART) if told_apart else None
        a_minute = DISCOVERS_A_MINUTE if told_apart else None
        own, a_minute = _given(self.max_own_scans, own), _given(self.max_discovers, a_minute)
        return Bounds(self.max_scans, own, a_minute, ABREAST if told_apart else None)

    def sockets(self, places: int, *, told_apart: bool) -> tuple[int, int]:
        """How many WebSockets and event streams there may be, and how many of one principal.

        :param places: how many connections there may be
        """
        most = min(places, _given(self.max_sockets, None) or places)
        own = max(1, most // OWN_PART) if told_apart else None
        return most, _given(self.max_own_sockets, own) or most

    def handshakes(self, places: int) -> tuple[int, int]:
        """How many handshakes of TLS may be under way, and how many from one address.

        :param places: how many connections there may be
        """
        return places, self.max_own_handshakes or places


def _given(setting: int | None, otherwise: int | None) -> int | None:
    return otherwise if setting is None else setting or None
