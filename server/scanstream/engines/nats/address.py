"""Where the servers of NATS are, as operators write it, and what of that may be shown."""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

SCHEMES = ("nats", "tls")
PORT = 4222
HOW = (
    "write nats://HOST:PORT or tls://HOST:PORT; of several servers each, with commas between; in a login "
    "@ : / ? # , and % are percent-encoded"
)

_PARTS = re.compile(r"(\s*\w+://)?(.*@)?(.*)", re.DOTALL)
_PLAIN = re.compile(r"\s*(?:[\w.-]*|\[?[0-9A-Fa-f:.]*\]?)(?::\d{0,5})?/?\s*", re.ASCII)
_NAME = re.compile(r"[\w.-]*")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")


@dataclass(frozen=True)
class Login:
    """Who we are for NATS: a user and a password, or a token, or nobody. Never shown."""

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


def names_nats(engine: str) -> bool:
    """Whether a value of `--engine` means NATS."""
    return engine.strip().lower().startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def without_login(engine: str) -> str:
    """The value as it may be shown: whatever could be a password is `…`.

    Up to the last `@` of each address, and where there is none what follows a name and is no port; so that it holds for
    what cannot be read, too.
    """
    return ",".join(_shown(part) for part in re.split(r",(?=\s*(?:nats|tls)://)", engine, flags=re.IGNORECASE))


def _shown(address: str) -> str:
    found = _PARTS.fullmatch(address)
    assert found is not None, "it matches anything"
    scheme, login, servers = found.groups(default="")
    plain = [one if _PLAIN.fullmatch(one) else f"{_NAME.findall(one)[0]}…" for one in servers.split(",")]
    return f"{scheme}{'…@' if login else ''}{','.join(plain)}"


def read_addresses(engine: str) -> tuple[tuple[str, ...], Login]:
    """The servers, without credentials, and the login that all of them are given.

    User, password and token are percent-encoded where they hold `@`, `:`, `/`, `,` or `%`.

    :raises ValueError: saying what is wrong, without a word of the credentials
    """
    read = [_address(part.strip()) for part in engine.split(",")]
    logins = {login for _, login in read if login != Login()}
    if len(logins) > 1:
        raise ValueError("all servers of one cluster take the same user and password: write them once")
    servers = tuple(dict.fromkeys(server for server, _ in read))
    if len({server.partition(":")[0] for server in servers}) > 1:
        raise ValueError("write nats:// for all servers or tls:// for all")
    return servers, logins.pop() if logins else Login()


def _address(text: str) -> tuple[str, Login]:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(HOW) from None  # its own words may hold the password
    if parts.scheme not in SCHEMES or not host or not _HOST.fullmatch(host) or port == 0:
        raise ValueError(HOW)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(HOW)
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{PORT if port is None else port}", _login(parts.username, parts.password)


def _login(user: str | None, password: str | None) -> Login:
    if not user:
        if password:
            raise ValueError("there is a password without a user: write nats://USER:PASSWORD@HOST:PORT")
        return Login()
    return Login(token=unquote(user)) if password is None else Login(user=unquote(user), password=unquote(password))
