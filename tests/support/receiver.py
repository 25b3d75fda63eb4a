"""Somebody who wants to be told: a small HTTP server on the loopback, as well-behaved or as bad as it is told to be."""

import base64
import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import anyio
import msgspec
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener

from support.certificates import Certificate
from support.wire import request

DYING = """
import os, signal
from scanstream.scans.sweeper import Sweeper
async def settle(self):
    if any(ended.targets for ended in self._unsettled.values()):
        os.kill(os.getpid(), signal.SIGKILL)
Sweeper._settle = settle
"""
"""What a server runs that dies when somebody is to be told."""
NOWHERE = "https://127.0.0.1:1/"
"""Where nobody is, and which may not be reached either."""


class Received(NamedTuple):
    """One request, as it came."""

    line: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as plain data."""
        return msgspec.json.decode(self.body)

    @property
    def id(self) -> str:
        """By which it is told from others."""
        return self.headers["webhook-id"]


def verified(secret: str, received: Received) -> bool:
    """Whether its signature is right, by the text of the Standard Webhooks specification and no code of ours."""
    assert secret.startswith("whsec_")
    key = base64.b64decode(secret[6:], validate=True)
    assert 24 <= len(key) <= 64
    sent = f"{received.headers['webhook-id']}.{received.headers['webhook-timestamp']}.".encode() + received.body
    expected = base64.b64encode(hmac.new(key, sent, hashlib.sha256).digest()).decode()
    signatures = [text.split(",", 1) for text in received.headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(made, expected) for version, made in signatures)


Behaviour = Callable[[ByteStream], Awaitable[None]]


def answers(status: int, *headers: str, body: bytes = b"") -> Behaviour:
    """Answers, and closes."""
    head = "\r\n".join([f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]).encode()

    async def behave(stream: ByteStream) -> None:
        await stream.send(head + body)

    return behave


async def hangs(stream: ByteStream) -> None:
    """Takes all, and says nothing."""
    await anyio.sleep_forever()


async def closes(stream: ByteStream) -> None:
    """Takes all, and is gone."""


async def drips(stream: ByteStream) -> None:
    """Begins to answer, and never comes to an end of it."""
    await stream.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await stream.send(b"X-Drip: x\r\n")
        await anyio.sleep(0.05)


@dataclass
class Receiver:
    """What it was sent, and what it does with the next ones; after those it says 204."""

    port: int
    scheme: str
    got: list[Received] = field(default_factory=list)
    next: list[Behaviour] = field(default_factory=list)
    always: Behaviour | None = None
    connections: int = 0
    sent: int = 0
    """Bytes that were taken of a long answer."""

    def url(self, path: str = "/hooks", host: str = "127.0.0.1") -> str:
        """Where it is."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    async def until(self, number: int, seconds: float = 30.0) -> list[Received]:
        """Wait for so many requests."""
        with anyio.fail_after(seconds):
            while len(self.got) < number:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        return self.got

    async def floods(self, stream: ByteStream) -> None:
        """Answers with a gigabyte, or as much of it as is taken."""
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        for _ in range(16_384):
            await stream.send(bytes(65_536))
            self.sent += 65_536

    async def serve(self, stream: ByteStream) -> None:
        """One connection, one request."""
        self.connections += 1
        async with stream:
            try:
                self.got.append(await _request(stream))
                behave = self.next.pop(0) if self.next else self.always or answers(204)
                await behave(stream)
            except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead, ssl.SSLError):
                return


async def _request(stream: ByteStream) -> Received:
    reader = BufferedByteReceiveStream(stream)
    head = (await reader.receive_until(b"\r\n\r\n", 65_536)).decode()
    line, *fields = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
    length = int(headers.get("content-length", 0))
    return Received(line, headers, await reader.receive_exactly(length) if length else b"")


@asynccontextmanager
async def receiving(certificate: Certificate | None = None, host: str = "127.0.0.1") -> AsyncIterator[Receiver]:
    """Such a server, on a port of its own; with a certificate over TLS."""
    listener: Any = await anyio.create_tcp_listener(local_host=host, local_port=0)
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610  # no Django
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.cert, certificate.key)
        listener = TLSListener(listener, context, standard_compatible=False)
    receiver = Receiver(port, "http" if certificate is None else "https")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, receiver.serve)
        try:
            yield receiver
        finally:
            tasks.cancel_scope.cancel()


async def notify(url: str, scan_id: str, target: str, wanted: int = 202) -> dict[str, Any]:
    """Have this address told of the scan's end; what the server answers."""
    body = msgspec.json.encode({"url": target})
    answer = await request(url, "POST", f"/opportunities/notify/{scan_id}", body)
    assert answer.status == wanted, answer
    told: dict[str, Any] = answer.json()
    return told
