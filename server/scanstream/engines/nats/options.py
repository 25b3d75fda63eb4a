"""What a node must know to use NATS: plain data, made of the settings. Nothing of nats-py is imported here."""

import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from scanstream.engines.nats.address import Login


@dataclass(frozen=True, kw_only=True)
class NatsOptions:
    """Where the servers are, who we are for them, and what of the streams is the operator's to say."""

    servers: tuple[str, ...]
    """`nats://host:port` or `tls://host:port`, each without credentials."""
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    creds: Path | None = None
    """A file of credentials (a JWT and its seed), as `nsc` writes it."""
    ca: Path | None = None
    """The authorities that the servers' certificates must come from; unless given those of the system."""
    cert: Path | None = None
    """Our own certificate, where the servers ask for one …"""
    key: Path | None = None
    """… and its key; None where both are in one file."""
    replicas: int | None = None
    """Servers that hold each message. None: what the streams have; of new ones 3 where several servers are named."""
    namespace: str = ""
    """What streams, subjects, buckets and consumers begin with: several clusters on one NATS."""
    lease: float = 10.0
    """Seconds that a node holds a shard, or a scan that it conducts, without a sign of life."""
    max_running: int = 4
    """Scans that are conducted at once, over all nodes."""

    @property
    def replicas_of_new(self) -> int:
        """On how many servers a stream is made that is not there yet."""
        return self.replicas or (3 if len(self.servers) > 1 else 1)

    @property
    def login(self) -> Login:
        """User and password, or a token."""
        return Login(self.user, self.password, self.token)

    @property
    def secure(self) -> bool:
        """Whether nothing, and least of all the login, may be said to a server that does not speak TLS."""
        return any(file is not None for file in (self.ca, self.cert)) or self.servers[0].startswith("tls://")

    def files(self) -> Iterable[tuple[str, Path]]:
        """The files that it names, by the names of their fields."""
        named = (("creds", self.creds), ("ca", self.ca), ("cert", self.cert), ("key", self.key))
        return [(name, path) for name, path in named if path is not None]

    def tls(self) -> ssl.SSLContext:
        """What a connection with TLS is checked by; a server may ask for TLS also at `nats://`.

        :raises OSError: if a file cannot be read, or is none of its kind
        """
        context = ssl.create_default_context(cafile=self.ca)
        if self.cert is not None:
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        return context


def _no_password() -> str:
    """Instead of a question at the terminal, which would be a server that hangs.

    :raises OSError: always
    """
    raise OSError("the key is protected by a password; write it to a file without one")
