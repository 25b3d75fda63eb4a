"""Which host a request names, and whether this server answers to it.

A page whose host name was made to point here (DNS rebinding) is, to its browser, a page of this server; only the `Host`
that it sends tells. So every name is foreign unless it is loopback's or the operator's. An address cannot be rebound.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

_HOST = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]+(?:%[0-9A-Za-z._~-]+)?\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)"
    r"(?::(?P<port>[0-9]{0,5}))?"
)
"""RFC 3986, section 3.2.2, without user information, which HTTP does not have here (RFC 9110, section 7.2)."""
_ABSOLUTE = re.compile(rb"(?i:https?)://(?P<host>[^/?#]*)(?P<path>[^#]*)(?:#.*)?", re.DOTALL)
LONGEST_NAME = 255
LONGEST_PORT = len(":65535")
MOST_KNOWN = 512
"""Hosts that were read and are known again."""
MOST_PORT = 65_535
ANY = "*"


class Host(NamedTuple):
    """A host as a request names it."""

    name: str
    """In lower case without a dot at the end; an address as `ipaddress` writes it, or a name."""
    port: int | None
    is_address: bool


def host_of(text: str) -> Host | None:
    """What a `Host` header says; None if that is no host at all."""
    return _read(text) if len(text) <= LONGEST_NAME + LONGEST_PORT else None


@lru_cache(MOST_KNOWN)
def _read(text: str) -> Host | None:
    """The same hosts are named again and again, and to read one costs more than all else that is asked of a request."""
    match = _HOST.fullmatch(text)
    if match is None or len(match["name"]) > LONGEST_NAME or int(match["port"] or 0) > MOST_PORT:
        return None
    port = int(match["port"]) if match["port"] else None
    name = match["name"].lower()
    if name.startswith("["):
        try:
            return Host(str(ipaddress.IPv6Address(name[1:-1])), port, True)
        except ValueError:
            return None
    try:  # as browsers and curl do: 127.1 and 0x7f000001 are addresses, and no name of the DNS looks like one
        return Host(socket.inet_ntoa(socket.inet_aton(name.removesuffix("."))), port, True)
    except OSError:
        return Host(name.removesuffix("."), port, False) if name.strip(".") else None


def is_loopback(name: str) -> bool:
    """Whether a name can only mean the machine that says it (RFC 6761, section 6.3)."""
    return name == "localhost" or name.endswith(".localhost")


def is_local(text: str) -> bool:
    """Whether what listens at this address or name is reached from this machine only."""
    host = host_of(f"[{text}]" if ":" in text else text)
    if host is None or host.port is not None:
        return False
    return ipaddress.ip_address(host.name.partition("%")[0]).is_loopback if host.is_address else is_loopback(host.name)


class HostNames:
    """The names that this server answers to, beside loopback's: `scans.example.org`, `*.example.org`, `*`.

    :raises ValueError: for what is none of these
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self._exact: set[str] = set()
        self._below: list[str] = []
        self._any = False
        for text in allowed:
            self._allow(text)

    def _allow(self, text: str) -> None:
        if text == ANY:
            self._any = True
            return
        below = text.startswith("*.")
        host = host_of(in_ascii(text.removeprefix("*.")))
        if host is None or host.port is not None or ANY in host.name:
            raise ValueError(text)
        if below:
            self._below.append(f".{host.name}")
        else:
            self._exact.add(host.name)

    def have(self, host: Host) -> bool:
        """Whether a request for this host is one for us."""
        return (
            host.is_address
            or self._any
            or is_loopback(host.name)
            or host.name in self._exact
            or host.name.endswith(tuple(self._below))
        )


def origin_form(target: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """A request's target without scheme and host; these, where they are given, count instead of the `Host` header.

    As RFC 9112 has it in section 3.2.2 for `GET http://host/path`, which clients write to proxies.
    """
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        return target
    headers[:] = [(name, value) for name, value in headers if name != b"host"]
    headers.append((b"host", match["host"]))
    path = match["path"]
    return path if path.startswith(b"/") else b"/" + path


def in_ascii(name: str) -> str:
    """A name as it goes over the wire: `bücher.example` is `xn--bcher-kva.example`.

    :raises ValueError: if there is no such name
    """
    return name if name.isascii() else name.encode("idna").decode("ascii")
