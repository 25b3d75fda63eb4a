"""Which proxy leads to a server, or to published keys, as the environment (or the system) has it.

HTTP and WebSocket take the same one.
"""

import importlib.util
import os
import urllib.request
from ipaddress import ip_address
from urllib.parse import SplitResult, quote, unquote, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
SOCKS = ("socks4", "socks4a", "socks5", "socks5h")
SOCKS_LIBRARIES = ("socksio", "python_socks")
"""httpx's and websockets': neither comes with scanstream."""


class UnusableProxy(ValueError):
    """A proxy is set that no connection can be made through; says which setting, and why."""


def proxy_of(url: str) -> str | None:
    """The proxy to a server at an `http://…` or `https://…` address; None where there is none on the way.

    A server on this machine is never behind one, as with browsers and Go: no proxy could reach it.

    :raises UnusableProxy: naming the setting
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_this_machine(host) or _is_left_out(host, parts.port or DEFAULT_PORTS[parts.scheme]):
        return None
    proxies = urllib.request.getproxies()
    kind = next((kind for kind in (parts.scheme, "all") if proxies.get(kind)), None)
    if kind is None:
        return None
    try:
        return _read(proxies[kind])
    except ValueError as error:
        name = next((name for name in (f"{kind}_proxy", f"{kind.upper()}_PROXY") if os.environ.get(name)), "the system")
        raise UnusableProxy(
            f"The proxy that {name} sets cannot be used: {error}."
            f" Mend the setting, unset it, or name {host} in NO_PROXY"
        ) from error


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_left_out(host: str, port: int) -> bool:
    """Whether NO_PROXY has it."""
    return bool(urllib.request.proxy_bypass(host) or urllib.request.proxy_bypass(f"{host}:{port}"))


def _read(text: str) -> str:
    """A proxy's address, written in one way.

    :raises ValueError: saying what is wrong with it
    """
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme in SOCKS:
        missing = [name for name in SOCKS_LIBRARIES if importlib.util.find_spec(name) is None]
        if missing:
            raise ValueError(f"SOCKS needs the packages socksio and python-socks (missing: {', '.join(missing)})")
    elif parts.scheme not in DEFAULT_PORTS:
        raise ValueError(f"{parts.scheme}:// is no kind of proxy; http:// is")
    if not parts.hostname or not parts.hostname.isascii() or set(parts.hostname) & set(" %\\"):
        raise ValueError("it names no host")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = f":{parts.port}" if parts.port else ""  # raises where it is no number
    return f"{parts.scheme}://{_credentials(parts)}{host}{port}"


def _credentials(parts: SplitResult) -> str:
    """Name and password, both, as websockets demands."""
    if parts.username is None:
        return ""
    name, password = (quote(unquote(part or ""), safe="") for part in (parts.username, parts.password))
    return f"{name}:{password}@"
