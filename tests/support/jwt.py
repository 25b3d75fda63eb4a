"""Servers of NATS that go by JWTs: an operator, an account, and users, who have files of credentials."""

import base64
import json
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nkeys  # type: ignore[import-untyped]

OPERATOR, ACCOUNT, USER = nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_USER
UNLIMITED = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
JETSTREAM = ("mem_storage", "disk_storage", "streams", "consumer")


@dataclass(frozen=True)
class Party:
    """Somebody who signs."""

    kind: int
    seed: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", bytes(nkeys.encode_seed(secrets.token_bytes(32), self.kind)))

    @property
    def name(self) -> str:
        """Its public key."""
        return bytes(nkeys.from_seed(bytearray(self.seed)).public_key).decode()

    def signs(self, subject: str, claims: dict[str, Any], seconds: float | None = None) -> str:
        """A JWT about somebody, for so long."""
        until = {} if seconds is None else {"exp": int(time.time() + seconds)}
        words = {"jti": secrets.token_hex(8), "iat": int(time.time()), "iss": self.name, "name": "test", **until}
        head = _coded({"typ": "JWT", "alg": "ed25519-nkey"})
        signed = f"{head}.{_coded({**words, 'sub': subject, 'nats': {**claims, 'version': 2}})}"
        signature = nkeys.from_seed(bytearray(self.seed)).sign(signed.encode())
        return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def _coded(words: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(words).encode()).decode().rstrip("=")


class Operator:
    """One operator with one account, as the configuration of a server has them."""

    def __init__(self) -> None:
        self._operator, self._account, self._system = Party(OPERATOR), Party(ACCOUNT), Party(ACCOUNT)

    def configuration(self) -> str:
        """Lines for the server's file."""
        limits = {**dict.fromkeys((*UNLIMITED, *JETSTREAM), -1), "wildcards": True}
        account = self._operator.signs(self._account.name, {"type": "account", "limits": limits})
        own = {name: limit for name, limit in limits.items() if name not in JETSTREAM}  # JetStream has none of its own
        system = self._operator.signs(self._system.name, {"type": "account", "limits": own})
        operator = self._operator.signs(self._operator.name, {"type": "operator", "system_account": self._system.name})
        known = f"{self._account.name}: {account}, {self._system.name}: {system}"
        return f"operator: {operator}\nresolver: MEMORY\nresolver_preload: {{ {known} }}\n"

    def credentials(self, file: Path, *, seconds: float | None = None, account: Party | None = None) -> None:
        """Write a file for a new user, which holds for so long; `account`: another one than the server knows."""
        user = Party(USER)
        jwt = (account or self._account).signs(
            user.name, {"type": "user", "subs": -1, "data": -1, "payload": -1}, seconds
        )
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\nNKEY Seed printed below.\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
        )
