"""Who is who: principals with keys in a file that changes while all goes on, and what each of them shows."""

from pathlib import Path

from scanstream.security.caller import Right
from scanstream.security.keychanges import revoke_key
from support.guards import bearer, key_in

PRINCIPALS = ("ann", "ben")
OPERATOR = "olga"
PLENTY = 100_000
"""Of scans in a minute: how many one may start is another matter."""


class Keys:
    """A key file, and one key of each principal that stays."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "keys.toml"
        self._stays = {name: key_in(self.file, name) for name in PRINCIPALS}
        self._stays[OPERATOR] = key_in(self.file, OPERATOR, Right.OPERATE)
        self._made = 0

    @property
    def flags(self) -> list[str]:
        """Of a server that asks who is there."""
        return ["--auth", "required", "--keys", str(self.file), "--max-discovers", str(PLENTY)]

    def of(self, principal: str) -> str:
        """The key that stays."""
        return self._stays[principal]

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
