"""Where a server is, as people write it."""

import re

import httpx

from scanstream.legible import CREDENTIAL_BEGINS

DEFAULT_URL = "http://127.0.0.1:8000"
URL_VARIABLE = "SCANSTREAM_URL"
MOST_PORT = 65_535

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/|https?:|wss?:", re.IGNORECASE)
"""`localhost:8000` has none."""
_LOGIN = re.compile(r"(?<=://)([^/?#@:]*)(:[^/?#]*)?@(?=[^/?#@]*(?:[/?#]|$))")
"""A name, and maybe a password, in an address."""
_BEFORE_HOST = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:/*)?.*@", re.DOTALL)
"""The same, and more, in a text that is no address."""
_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


def address(text: str) -> str:
    """Where a server is: `http://127.0.0.1:8000`. A missing `http://`, `ws://` in its place and a slash at the end do
    no harm; a host in other letters is written as the DNS has it.

    :raises ValueError: if no client can go there
    """
    given = text.strip()
    if not _SCHEME.match(given):
        given = f"http://{given.removeprefix('//')}"
    try:
        url = httpx.URL(given)
        host = url.host and url.raw_host.decode("ascii")  # the first fails for xn-- and no letters
    except (httpx.InvalidURL, ValueError):
        raise _no_address(text) from None
    scheme = {"ws": "http", "wss": "https"}.get(url.scheme, url.scheme)
    named = ":" in host or _NAME.fullmatch(host)
    port = 1 if url.port is None else url.port
    if scheme not in ("http", "https") or not named or url.query or url.fragment or not 0 < port <= MOST_PORT:
        raise _no_address(text)
    return str(url.copy_with(scheme=scheme, query=None)).rstrip("/")


def _no_address(text: str) -> ValueError:
    told = _BEFORE_HOST.sub(r"\1***@", text, count=1)  # whatever it is, there may be a password in it
    return ValueError(f"{told!r} is no address like http://127.0.0.1:8000")


def apart(url: str) -> tuple[httpx.URL, tuple[str, str] | None]:
    """An address without the name and the password in it, and these: httpx has the addresses that it asks logged."""
    parsed = httpx.URL(url)
    return parsed.copy_with(userinfo=b""), (parsed.username, parsed.password) if parsed.userinfo else None


def shown(url: str) -> str:
    """An address as it may be told: without the password in it, nor a key that was put in the place of a name."""
    return _LOGIN.sub(_hidden, url)


def _hidden(login: re.Match[str]) -> str:
    name = "***" if CREDENTIAL_BEGINS.match(login[1]) else login[1]
    return name + (":***@" if login[2] else "@")
