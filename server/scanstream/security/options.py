"""The settings of who may come in: whether a credential is asked for, and what credentials are known by."""

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from scanstream.errors import SettingError
from scanstream.security.keyfile import MOST_BYTES, Entry, parsed
from scanstream.security.watched import Watched

KINDS = ("none", "required")


@dataclass(frozen=True, kw_only=True)
class AuthSettings:
    """What an operator decides about credentials."""

    auth: str = "none"
    """`none`: nobody is asked who they are; `required`: a credential is needed."""
    insecure: bool = False
    """Listen where others can reach us, and ask nobody who they are."""
    keys: str = ""
    """The file of API keys."""

    @property
    def asks(self) -> bool:
        """Whether a credential is asked for."""
        return self.auth == "required"

    def key_file(self) -> Watched[tuple[Entry, ...]] | None:
        """The key file; None if there is none."""
        return Watched(Path(self.keys).expanduser(), MOST_BYTES, parsed) if self.keys else None

    def check_auth(self) -> None:
        """Refuse what cannot work, naming the setting, the file and the line.

        :raises SettingError: for the first of these
        """
        if self.auth not in KINDS:
            refuse("auth", self.auth, "write none or required")
        if self.asks and not self.keys:
            refuse(
                "auth",
                self.auth,
                "there are no credentials to know anybody by: give --keys FILE, as written by `scanstream key create`",
            )
        if self.keys and not self.asks:
            refuse("keys", self.keys, "nobody is asked for a key: give --auth required, too")
        file = self.key_file()
        if file is not None:
            try:
                file.first()
            except ValueError as error:
                refuse("keys", self.keys, str(error))


def refuse(name: str, value: str, why: str) -> NoReturn:
    """Say what is wrong with a setting.

    :raises SettingError: always
    """
    raise SettingError(f"--{name.replace('_', '-')} {value}: {why} (SCANSTREAM_{name.upper()})")
