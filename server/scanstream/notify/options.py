"""The settings of who may be told that a scan has ended."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from scanstream.notify.addresses import Network, network_of
from scanstream.notify.targets import Allowed, Target, prefix_of

Naming = Callable[[str, str], AbstractContextManager[None]]
"""(setting, value): a ValueError in its block is that setting's."""


@dataclass(frozen=True, kw_only=True)
class NotifySettings:
    """What an operator decides; unless they do nobody is told anything."""

    notify: tuple[str, ...] = field(default=(), repr=False)
    """Addresses below which those may be that are told: `https://hooks.example.com/scans`."""
    notify_private: tuple[str, ...] = ()
    """Networks that are none of the internet, and may be reached all the same."""

    def targets(self, naming: Naming) -> Allowed:
        """The addresses of `--notify`; each without its path where it is shown, which may be a secret."""
        prefixes: list[Target] = []
        for text in several(self.notify):
            with naming("notify", shown(text)):
                prefixes.append(prefix_of(text))
        return Allowed(prefixes)

    def private_networks(self, naming: Naming) -> list[Network]:
        """The networks of `--notify-private`."""
        networks: list[Network] = []
        for text in several(self.notify_private):
            with naming("notify_private", text):
                networks.append(network_of(text))
                if not several(self.notify):
                    raise ValueError("nobody is told anything: give --notify, too")
        return networks


def several(given: Iterable[str]) -> list[str]:
    """Of a setting that takes several: each given for itself, or with commas between."""
    return [item for text in given for item in text.replace(",", " ").split()]


def shown(text: str) -> str:
    """An address as operators may be shown it."""
    scheme, _, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    login, at, host = host.rpartition("@")
    return f"{scheme}://{'…' * bool(login)}{at}{host}{slash}{'…' * bool(path)}" if rest else text
