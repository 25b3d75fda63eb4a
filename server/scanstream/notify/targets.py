"""Which addresses may be told: an address is taken apart strictly, and its parts are compared with what is allowed.

Addresses are read here, once, and only what was read is used: whoever connects is given the parts. What two readers
might take for two things is refused, with what to write instead: logins, backslashes, fragments, numbers that look
like addresses, dots and slashes that are written as %2e and %2f. So nothing that is allowed means something else.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote

from scanstream.message import LONGEST_URL

PORTS = {"http": 80, "https": 443}
LONGEST_NAME = 253
LONGEST_LABEL = 63

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?"
    r"(?P<fragment>#.*)?"
)
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
_PATH = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
_QUERY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class Target(NamedTuple):
    """An address, taken apart: a host in lower case, and a port whether it was written or not."""

    scheme: str
    host: str
    """A name, or an address as `ipaddress` writes it."""
    port: int
    path: str
    query: str

    @property
    def authority(self) -> str:
        """Host and port as `Host` has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Who is told, whatever the path."""
        return f"{self.scheme}://{self.authority}"

    @property
    def asked(self) -> str:
        """Path and query, as a request's first line has them."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def url(self) -> str:
        """The address, always written in the same way."""
        return self.origin + self.asked


def target_of(text: str) -> Target:
    """An address, taken apart.

    :raises ValueError: saying what is wrong with it, with no word of its path, which may be a secret
    """
    if len(text) > LONGEST_URL:
        raise ValueError(f"it has {len(text)} characters; at most {LONGEST_URL} are taken")
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("write it in ASCII without blanks and backslashes: a name as xn--…, all else as %XX")
    parts = _URL.fullmatch(text)
    if parts is None:
        raise ValueError("write scheme, host and path, as in https://hooks.example.com/scans")
    scheme = parts["scheme"].lower()
    if scheme not in PORTS:
        raise ValueError(f"the scheme is {scheme[:20]}; write https")
    if parts["fragment"] is not None:
        raise ValueError("write it without #…, which no request has")
    host, port = _host_and_port(parts["authority"])
    return Target(scheme, host, port or PORTS[scheme], _path(parts["path"] or "/"), _query(parts["query"] or ""))


def _host_and_port(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise ValueError("write it without a login: whoever is told knows us by the signature")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise ValueError("host and port cannot be read; write them as in hooks.example.com:8443, or [2001:db8::1]:8443")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port < 65_536:
        raise ValueError("the port must be from 1 to 65535")
    host = match["host"].lower()
    return (_address(host) if host.startswith("[") or _looks_like_one(host) else _name(host)), port


def _looks_like_one(host: str) -> bool:
    """Whether systems would take this for an address: what ends in a number is none of the DNS's names."""
    return _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]) is not None


def _address(host: str) -> str:
    """The one way to write it: 127.1, 0x7f000001 and zones mean what each system makes of them."""
    try:
        return str(ipaddress.IPv6Address(host[1:-1]) if host.startswith("[") else ipaddress.IPv4Address(host))
    except ValueError:
        told = "the host is an address that cannot be read; write it as in 192.0.2.1, or [2001:db8::1]"
        raise ValueError(told) from None


def _name(host: str) -> str:
    labels = host.split(".")
    if len(host) > LONGEST_NAME or not all(len(one) <= LONGEST_LABEL and _LABEL.fullmatch(one) for one in labels):
        raise ValueError("the host is no name; write it as in hooks.example.com, without a dot at its end")
    return host


def _path(path: str) -> str:
    if _PATH.fullmatch(path) is None:
        raise ValueError("its path has characters that are to be written as %XX")
    for segment in path.split("/"):
        plain = _unquoted(segment)
        if plain.partition(";")[0] in (".", "..") or not plain.isprintable() or "/" in plain or "\\" in plain:
            raise ValueError("its path has . or .. for a part, or a slash, a backslash or a control character as %XX")
    return path


def _unquoted(segment: str) -> str:
    """As the last of several servers may read it, each of which undoes one layer of %XX."""
    while (plain := unquote(segment, errors="replace")) != segment:
        segment = plain
    return segment


def _query(query: str) -> str:
    if _QUERY.fullmatch(query) is None:
        raise ValueError("its query has characters that are to be written as %XX")
    return query


def prefix_of(text: str) -> Target:
    """What is allowed: an address, with all that is below its path.

    :raises ValueError: saying what is wrong with it
    """
    target = target_of(text)
    if "?" in text:
        raise ValueError("write it without ?…: whatever query a target has is allowed")
    return target


class Allowed:
    """The addresses that may be told: those below any of these."""

    def __init__(self, prefixes: Iterable[Target]) -> None:
        self._prefixes = tuple(prefixes)

    def __bool__(self) -> bool:
        return bool(self._prefixes)

    def have(self, target: Target) -> bool:
        """Whether this one may be told."""
        return any(_is_below(target, prefix) for prefix in self._prefixes)

    def read(self, text: str) -> Target:
        """An address that may be told.

        :raises ValueError: if it is none, or may not
        """
        target = target_of(text)
        if not self.have(target):
            raise ValueError("this server may not tell anybody there; its operator says with --notify where it may")
        return target


def _is_below(target: Target, prefix: Target) -> bool:
    if target[:3] != prefix[:3]:
        return False
    whole = prefix.path.removesuffix("/")
    return target.path in (prefix.path, whole) or target.path.startswith(whole + "/")
