"""The network of one attempt: what it connects to was judged, what it reads is bounded, and what it opens is closed."""

import ssl
from collections.abc import Iterable
from typing import Any

import anyio
import httpcore

from scanstream.notify.addresses import Network, Resolver, is_reachable

CONNECT_SECONDS = 3.0
"""For one address, while there are others."""
MOST_TRIED = 4
"""Addresses of one host that are tried in one attempt."""
MOST_READ_BYTES = 64 * 1024
"""Of an answer: its head, all that says that a head is yet to come (1xx), and what is behind it."""
READ_BYTES = 4 * 1024
"""At a time: what is parsed in one go, while nobody else can do anything."""


class ForbiddenError(Exception):
    """None of a host's addresses may be reached."""


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection of which so much is read and no more: httpcore bounds a head, and not how often one is announced."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = MOST_READ_BYTES

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # as the interface has it
        """See `httpcore.AsyncNetworkStream`.

        :raises RemoteProtocolError: if it goes on and on
        """
        if self._left <= 0:
            raise httpcore.RemoteProtocolError(f"more than {MOST_READ_BYTES} bytes")
        data = await self._stream.read(min(max_bytes, READ_BYTES, self._left), timeout)
        self._left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """See `httpcore.AsyncNetworkStream`."""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """See `httpcore.AsyncNetworkStream`."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> "BoundedStream":
        """See `httpcore.AsyncNetworkStream`."""
        return BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """See `httpcore.AsyncNetworkStream`."""
        return self._stream.get_extra_info(info)


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were judged, and to no name: it could point elsewhere a moment later.

    For one attempt: what it has opened is closed with it, also where that ends in the middle of a handshake, which
    httpcore leaves open then.
    """

    def __init__(self, resolver: Resolver, private: Iterable[Network]) -> None:
        self._resolver = resolver
        self._private = tuple(private)
        self._plain = httpcore.AnyIOBackend()
        self._opened: httpcore.AsyncNetworkStream | None = None

    async def __aenter__(self) -> "CheckedNetwork":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._opened is not None:
            with anyio.CancelScope(shield=True):  # no more than a turn of the loop: nobody is waited for
                await self._opened.aclose()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # as the interface has it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See `httpcore.AsyncNetworkBackend`.

        :raises ForbiddenError: if the host has no address that may be reached
        """
        self._opened = await self._connected(host, port, timeout, socket_options)
        return BoundedStream(self._opened)

    async def _connected(
        self, host: str, port: int, seconds: float | None, socket_options: Iterable[Any] | None
    ) -> httpcore.AsyncNetworkStream:
        addresses = [one for one in await self._resolver(host, port) if is_reachable(one, self._private)]
        if not addresses:
            raise ForbiddenError
        *others, last = addresses[:MOST_TRIED]
        for address in others:
            try:
                return await self._plain.connect_tcp(address, port, CONNECT_SECONDS, socket_options=socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._plain.connect_tcp(last, port, seconds, socket_options=socket_options)

    async def sleep(self, seconds: float) -> None:
        """See `httpcore.AsyncNetworkBackend`."""
        await anyio.sleep(seconds)
