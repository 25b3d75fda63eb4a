"""Who is who: principals with keys in a file that changes while all goes on, or JWTs, and what each of them shows."""

import secrets
import time
from itertools import cycle
from pathlib import Path

import jwt

from scanstream.security.caller import Right
from scanstream.security.keychanges import revoke_key
from support.guards import bearer, key_in

PRINCIPALS = ("ann", "ben")
OPERATOR = "olga"
PLENTY = 100_000
"""Of scans in a minute: how many one may start is another matter."""
LASTS_SECONDS = 86_400
"""How long a JWT is good: more than clocks here are ever wrong by."""


class Keys:
    """A key file, and one key of each principal that stays."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "keys.toml"
        self._stays = {name: key_in(self.file, name) for name in PRINCIPALS}
        self._stays[OPERATOR] = key_in(self.file, OPERATOR, Right.OPERATE)
        self._made = 0
        self._secret = secrets.token_urlsafe(48)
        self._secret_file = directory / "jwt-secret"
        self._secret_file.touch(0o600)
        self._secret_file.write_text(f"{self._secret}\n")
        self._turns = cycle([self.of, self.jwt_of])

    @property
    def flags(self) -> list[str]:
        """Of a server that asks who is there."""
        asks = ["--auth", "required", "--keys", str(self.file), "--jwt-secret-file", str(self._secret_file)]
        return [*asks, "--max-discovers", str(PLENTY)]

    def of(self, principal: str) -> str:
        """The key that stays."""
        return self._stays[principal]

    def jwt_of(self, principal: str, *, secret: str = "") -> str:
        """A new JWT. `secret`: another one than the servers'."""
        rights = [Right.SCAN, *([Right.OPERATE] if principal == OPERATOR else [])]
        claims = {"sub": principal, "scope": " ".join(rights), "exp": int(time.time()) + LASTS_SECONDS}
        return jwt.encode(claims, secret or self._secret, algorithm="HS256")

    def either_of(self, principal: str) -> str:
        """The key that stays and a JWT, in turn."""
        return next(self._turns)(principal)

    def make(self, principal: str) -> tuple[str, str]:
        """One more, which is in the file from now on: its name, and the key."""
        self._made += 1
        name = f"passing-{self._made}"
        return name, key_in(self.file, principal, name=name)

    def take_back(self, name: str) -> None:
        """It is in the file no more."""
        revoke_key(self.file, name)


def shown(credential: str) -> dict[str, str]:
    """As HTTP has it; nothing where there is none."""
    return bearer(credential) if credential else {}
