"""The settings of who may come in: whether a credential is asked for, and what credentials are known by."""

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from scanstream.errors import SettingError
from scanstream.proxies import proxy_of
from scanstream.security import keyfile
from scanstream.security.algorithms import OF_PUBLIC_KEYS, SHORTEST_SECRETS, allowed
from scanstream.security.claims import Expected
from scanstream.security.keyfile import Entry, parsed
from scanstream.security.watched import Watched

if TYPE_CHECKING:
    from scanstream.security.signers import Signers

KINDS = ("none", "required")
MOST_BYTES = 256 * 1024
"""Of a file of secrets, or of public keys."""
HIDDEN = "…"
"""In place of a secret."""


@dataclass(frozen=True, kw_only=True)
class AuthSettings:
    """What an operator decides about credentials."""

    auth: str = "none"
    """`none`: nobody is asked who they are; `required`: a credential is needed."""
    insecure: bool = False
    """Listen where others can reach us, and ask nobody who they are."""
    keys: str = ""
    """The file of API keys."""
    jwt_secret: str = field(default="", repr=False)
    """The secret that JWTs are signed with …"""
    jwt_secret_file: str = ""
    """… or a file of such secrets, one a line."""
    jwt_keys: str = field(default="", repr=False)
    """The public keys of whoever signs JWTs: a file, or an address (JWKS)."""
    jwt_issuer: str = ""
    """What `iss` must be."""
    jwt_audience: str = ""
    """What must be in `aud`."""
    jwt_algorithms: str = ""
    """By which algorithms they may be signed, with commas between; unless given by the usual ones of each kind."""

    @property
    def asks(self) -> bool:
        """Whether a credential is asked for."""
        return self.auth == "required"

    @property
    def takes_jwts(self) -> bool:
        """Whether there is anything to know a JWT by."""
        return bool(self.jwt_secret or self.jwt_secret_file or self.jwt_keys)

    @property
    def expected(self) -> Expected:
        """What JWTs must say."""
        return Expected(issuer=self.jwt_issuer, audience=self.jwt_audience)

    @property
    def algorithms(self) -> frozenset[str]:
        """By which JWTs may be signed: of those that are allowed the ones of the kinds of keys that there are."""
        with naming("jwt_algorithms", self.jwt_algorithms):
            names = allowed(self.jwt_algorithms)
        secrets = SHORTEST_SECRETS.keys() if self.jwt_secret or self.jwt_secret_file else frozenset()
        return names & (secrets | (OF_PUBLIC_KEYS if self.jwt_keys else frozenset()))

    @property
    def jwks_url(self) -> str | None:
        """Where public keys are published; None if they are in a file, or there are none."""
        return self.jwt_keys if "://" in self.jwt_keys else None

    def key_file(self) -> Watched[tuple[Entry, ...]] | None:
        """The key file; None if there is none."""
        return Watched(Path(self.keys).expanduser(), keyfile.MOST_BYTES, parsed) if self.keys else None

    def own_secret(self) -> "Signers | None":
        """What `--jwt-secret` gives; None if it is not given.

        :raises ValueError: if it is none
        """
        if not self.jwt_secret:
            return None
        from scanstream.security.signers import Signers, of_secret  # noqa: PLC0415  # PyJWT is an extra

        return Signers([of_secret(self.jwt_secret.encode("utf-8", "surrogateescape"), self.algorithms)])

    def signer_files(self) -> "dict[str, Watched[Signers]]":
        """The files that JWTs are verified by, by the names of their settings."""
        from scanstream.security.signers import of_jwks, of_secrets  # noqa: PLC0415  # PyJWT is an extra

        algorithms = self.algorithms
        files: dict[str, tuple[str, Callable[[bytes], Signers]]] = {
            "jwt_secret_file": (self.jwt_secret_file, lambda content: of_secrets(content, algorithms)),
            "jwt_keys": ("" if self.jwks_url else self.jwt_keys, lambda content: of_jwks(content, algorithms)),
        }
        return {
            name: Watched(Path(path).expanduser(), MOST_BYTES, read) for name, (path, read) in files.items() if path
        }

    def check_auth(self) -> None:
        """Refuse what cannot work, naming the setting, the file and the line.

        :raises SettingError: for the first of these
        """
        if self.auth not in KINDS:
            refuse("auth", self.auth, "write none or required")
        if self.asks and not (self.keys or self.takes_jwts):
            refuse(
                "auth",
                self.auth,
                "there are no credentials to know anybody by: give --keys FILE, as written by "
                "`scanstream key create`, or --jwt-keys or --jwt-secret-file",
            )
        if not self.asks:
            for name, shown in self._given():
                refuse(name, shown, "nobody is asked for a credential: give --auth required, too")
            return
        file = self.key_file()
        if file is not None:
            with naming("keys", self.keys):
                file.first()
        self._check_jwts()

    def _given(self) -> Iterator[tuple[str, str]]:
        """Those that are given of the settings that say who is known, and what of each may be shown."""
        for name in (
            "keys",
            "jwt_secret",
            "jwt_secret_file",
            "jwt_keys",
            "jwt_issuer",
            "jwt_audience",
            "jwt_algorithms",
        ):
            value = getattr(self, name)
            if value:
                yield name, self._shown(name)

    def _shown(self, name: str) -> str:
        return HIDDEN if name == "jwt_secret" or (name == "jwt_keys" and self.jwks_url) else getattr(self, name)

    def _check_jwts(self) -> None:
        if not self.takes_jwts:
            for name, shown in self._given():
                if name != "keys":
                    refuse(name, shown, "there is nothing to know a JWT by: give --jwt-keys or --jwt-secret-file, too")
            return
        needed = ["jwt", *(["cryptography"] if self.jwt_keys else [])]
        source = next(name for name, _ in self._given() if name.startswith("jwt_"))
        if any(find_spec(name) is None for name in needed):
            refuse(
                source,
                self._shown(source),
                "it needs PyJWT, which is not installed here; install it with: pip install 'scanstream[jwt]'",
            )
        self._check_algorithms()
        self._check_url()
        with naming("jwt_secret", HIDDEN):
            self.own_secret()
        for name, file in self.signer_files().items():
            with naming(name, getattr(self, name)):
                file.first()

    def _check_algorithms(self) -> None:
        """Those that are allowed must be of use with what is given."""
        secret = bool(self.jwt_secret or self.jwt_secret_file)
        for is_given, what, kind in (
            (secret, "--jwt-secret", SHORTEST_SECRETS.keys()),
            (self.jwt_keys, "--jwt-keys", OF_PUBLIC_KEYS),
        ):
            if is_given and not self.algorithms & kind:
                refuse("jwt_algorithms", self.jwt_algorithms, f"none of them is for {what}")

    def _check_url(self) -> None:
        url = self.jwks_url
        if url is None:
            return
        told = "write the address of a JWKS, as in https://id.example.org/.well-known/jwks.json, without a login"
        with naming("jwt_keys", HIDDEN):
            try:
                parts = urlsplit(url)
                host, _ = parts.hostname, parts.port
            except ValueError:
                raise ValueError(told) from None
            if parts.scheme not in ("http", "https") or not host or parts.username is not None or not url.isprintable():
                raise ValueError(told)
            if parts.scheme == "http" and not _is_near(host):
                raise ValueError("who stands between could put keys of their own there: write https://")
            proxy_of(url)


def _is_near(host: str) -> bool:
    """Whether it is a machine of one's own, or one in a closed network: no name and no address of the internet."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host.rstrip(".") or host.rstrip(".").endswith((".localhost", ".local", ".internal", ".svc"))


@contextmanager
def naming(name: str, shown: str) -> Iterator[None]:
    """A ValueError in here is one of this setting."""
    try:
        yield
    except ValueError as error:
        refuse(name, shown, str(error))


def refuse(name: str, value: str, why: str) -> NoReturn:
    """Say what is wrong with a setting.

    :raises SettingError: always
    """
    raise SettingError(f"--{name.replace('_', '-')} {value}: {why} (SCANSTREAM_{name.upper()})")
