"""Places for connections that stay: so many in all, and of these so many for each who asks."""

import ipaddress
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

from scanstream.errors import Overloaded, RateLimited
from scanstream.model import ANYONE, Principal

NETWORK_BITS = 64
"""Of an address of IPv6: what one customer is given has so many in common, and is more addresses than all of IPv4."""
RETRY_SECONDS = 5
"""When somebody is to come again who found no place: when one is free nobody knows."""


class Seat:
    """One of them, taken."""

    __slots__ = ("_seats", "_who")

    def __init__(self, seats: "Seats | None", who: str) -> None:
        self._seats = seats
        self._who = who

    def leave(self) -> None:
        """It is free again. More than once is once."""
        seats, self._seats = self._seats, None
        if seats is not None:
            seats.left(self._who)


NO_SEAT = Seat(None, "")
"""Of those who are about to be hung up on."""


class Seats:
    """All of them."""

    def __init__(self, bounds: Callable[[], tuple[int, int]]) -> None:
        """:param bounds: how many there are, and how many of them one may have; asked each time"""
        self._bounds = bounds
        self._taken = 0
        self._own: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._taken

    @property
    def most(self) -> int:
        """How many there are, taken ones included."""
        return self._bounds()[0]

    @property
    def crowded(self) -> bool:
        """Whether none is free."""
        return self._taken >= self.most

    def lacks_own(self, who: str) -> bool:
        """Whether they have as many as one may have."""
        return self._own[who] >= self._bounds()[1]

    def take(self, who: str) -> Seat:
        """One for this principal, or for whoever is at this address: see `payer`.

        :raises Overloaded: if none is free
        :raises RateLimited: if they have as many as one may have
        """
        most, own = self._bounds()
        if self._taken >= most:
            detail = "As many WebSockets and streams are open as the server takes; try again later"
            raise Overloaded(detail, retry_after=RETRY_SECONDS)
        if self._own[who] >= own:
            detail = f"{own} WebSockets and streams of yours are open, and no more may be; close one, or come later"
            raise RateLimited(detail, retry_after=RETRY_SECONDS)
        return self._taken_by(who)

    def at_once(self, principal: Principal | None) -> Seat | None:
        """One for this principal; None where none is free, or where it is an address that counts."""
        most, own = self._bounds()
        apart = principal is not None and principal != ANYONE
        return None if own < most and not apart else self.find(payer(principal, None))

    def find(self, who: str) -> Seat | None:
        """One for them; None where none is free, or they have as many as one may have."""
        most, own = self._bounds()
        return None if self._taken >= most or self._own[who] >= own else self._taken_by(who)

    def _taken_by(self, who: str) -> Seat:
        self._taken += 1
        self._own[who] += 1
        return Seat(self, who)

    def left(self, who: str) -> None:
        """See `Seat.leave`."""
        self._taken -= 1
        self._own[who] -= 1
        if not self._own[who]:
            del self._own[who]


def payer(principal: Principal | None, client: tuple[str, int] | None) -> str:
    """Whose seats these are: the principal's; of those who are not told apart, who is at that address (`network_of`).

    :param client: as the scope has it: behind a proxy that is trusted the address that it says
    """
    if principal is not None and principal != ANYONE:
        return principal
    return f"\n{network(client)}"  # as no principal is called


def network(client: tuple[str, int] | None) -> str:
    """Where a connection comes from; those without an address are one."""
    return network_of(client[0]) if client else ""


@lru_cache(1024)
def network_of(address: str) -> str:
    """Whoever is at this address, as far as addresses tell callers apart: one of IPv4, the first 64 bits of IPv6."""
    try:
        read = ipaddress.ip_address(address)
    except ValueError:  # a proxy that is trusted may say anything
        return address
    if isinstance(read, ipaddress.IPv4Address):
        return address
    if read.ipv4_mapped is not None:
        return str(read.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(read) >> NETWORK_BITS << NETWORK_BITS, NETWORK_BITS)))
