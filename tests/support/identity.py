"""Whoever signs JWTs: a secret, keys of each kind, and a server that publishes them."""

import base64
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import anyio
import jwt
from anyio.abc import SocketAttribute, SocketStream
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

SECRET = secrets.token_urlsafe(48)
SECONDS = 1_800_000_000
"""Now, in tests that set the clock."""


@cache
def private_key(kind: str) -> Any:
    """A key of this kind: `RSA`, `RSA-other`, `RSA-1024`, `P-256`, `P-384`, `Ed25519`, …; each time the same."""
    if kind.startswith("RSA"):
        return rsa.generate_private_key(public_exponent=65537, key_size=1024 if kind.endswith("1024") else 2048)
    if kind.startswith("P-"):
        curves: dict[str, ec.EllipticCurve] = {
            "P-256": ec.SECP256R1(),
            "P-384": ec.SECP384R1(),
            "P-521": ec.SECP521R1(),
        }
        return ec.generate_private_key(curves[kind[:5]])
    return ed25519.Ed25519PrivateKey.generate()


def jwk(kind: str, **more: Any) -> dict[str, Any]:
    """Its public part, as it is published."""
    reader: Any = RSAAlgorithm if kind.startswith("RSA") else ECAlgorithm if kind.startswith("P-") else OKPAlgorithm
    found: dict[str, Any] = reader.to_jwk(private_key(kind).public_key(), as_dict=True)
    return {name: value for name, value in found.items() if name != "key_ops"} | more


def jwks(*keys: dict[str, Any]) -> bytes:
    """Several of them."""
    return json.dumps({"keys": keys}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    """What a good JWT says; a change to None takes it out."""
    said = {"sub": "ann", "scope": "openid scan", "exp": SECONDS + 600, "iat": SECONDS} | changes
    return {name: value for name, value in said.items() if value is not None}


def by_secret(said: dict[str, Any] | None = None, secret: str = SECRET, **head: Any) -> str:
    """A JWT signed with a secret."""
    return jwt.encode(said or claims(), secret, algorithm=head.pop("alg", "HS256"), headers=head or None)


def by_key(kind: str, algorithm: str, said: dict[str, Any] | None = None, **head: Any) -> str:
    """A JWT signed with a private key."""
    return jwt.encode(said or claims(), private_key(kind), algorithm=algorithm, headers=head or None)


def coded(content: bytes | dict[str, Any] | str) -> str:
    """A part of a JWT."""
    raw = json.dumps(content).encode() if isinstance(content, dict) else content
    return base64.urlsafe_b64encode(raw.encode() if isinstance(raw, str) else raw).decode().rstrip("=")


def signed_raw(head: dict[str, Any] | str, payload: dict[str, Any] | str | bytes, secret: str = SECRET) -> str:
    """A JWT signed with a secret, whatever it is that it says."""
    text = f"{coded(head)}.{coded(payload)}"
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    return f"{text}.{coded(algorithm.sign(text.encode(), secret.encode()))}"


class Publisher:
    """A server of keys: what it answers, and how often it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.asked = 0
        self.answer = b""
        self.head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.gate = anyio.Event()
        self.gate.set()

    def publishes(self, *keys: dict[str, Any]) -> None:
        """From now on it publishes these."""
        self.answer = jwks(*keys)

    async def serve(self, stream: SocketStream) -> None:
        """Answer one question."""
        async with stream:
            try:
                await stream.receive()
                self.asked += 1
                await self.gate.wait()
                await stream.send(self.head + b"\r\n" + self.answer)
            except (anyio.BrokenResourceError, anyio.EndOfStream):
                pass


@asynccontextmanager
async def publisher() -> AsyncIterator[Publisher]:
    """Such a server on a free port."""
    found = Publisher()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610  # of a socket
        found.url = f"http://127.0.0.1:{port}/.well-known/jwks.json"
        tasks.start_soon(listener.serve, found.serve)
        try:
            yield found
        finally:
            tasks.cancel_scope.cancel()
