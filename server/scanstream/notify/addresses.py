"""Which machines may be reached: who names a host has no say in where its name points.

A host is looked up once, each of its addresses is judged, and one of those that may be reached is connected to: that
very address, not the name again, which may point elsewhere by then (DNS rebinding).
"""

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

from anyio import CapacityLimiter, to_thread

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

Resolver: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host, in the order in which they are to be tried; OSError if there are none."""
MOST_ADDRESSES = 16
"""Of one host that are looked at."""
LOOKUPS_AT_ONCE = 16

_NOT_GLOBAL = [
    ipaddress.ip_network(text)
    for text in (
        # Beside what `is_global` knows, which differs from one Python to the next (IANA's special-purpose registries).
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "168.63.129.16/32",  # Azure's own services, as its machines see them
        "2001::/23",  # Teredo, and what else is not a machine's
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address, whichever
        "3fff::/20",
    )
]
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""The only part of IPv6 that IANA has given out for machines of the internet."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def network_of(text: str) -> Network:
    """A network, or one address.

    :raises ValueError: if it is neither
    """
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("write a network or an address, as in 10.0.0.0/8") from None


def is_reachable(text: str, private: Iterable[Network] = ()) -> bool:
    """Whether a machine with this address may be told something: one of the internet, or of these networks."""
    try:
        address = _meant(ipaddress.ip_address(text))
    except ValueError:
        return False
    return any(address in network for network in private) or _is_of_the_internet(address)


def _meant(address: Address) -> Address:
    """The address that is reached by this one: an IPv4 address may stand within one of IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.scope_id is not None:
            raise ValueError("a zone is of this machine only")
    return address


def _is_of_the_internet(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    odd = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_link_local
    return address.is_global and not odd and not any(address in network for network in _NOT_GLOBAL)


class Lookup:
    """The system's own, in threads of our own: a name server that does not answer holds up nobody else's."""

    def __init__(self) -> None:
        self._threads = CapacityLimiter(LOOKUPS_AT_ONCE)

    async def __call__(self, host: str, port: int) -> list[str]:
        """See `Resolver`."""

        def found() -> Sequence[tuple[object, ...]]:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)

        infos = await to_thread.run_sync(found, abandon_on_cancel=True, limiter=self._threads)
        names = [str(info[4][0]) for info in infos if isinstance(info[4], tuple)]
        return list(dict.fromkeys(names))[:MOST_ADDRESSES]
