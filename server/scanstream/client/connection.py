"""One WebSocket to a server."""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from scanstream.client.addresses import shown
from scanstream.client.proxies import UnusableProxy, proxy_of
from scanstream.errors import PROBLEM_TYPE, TABLE

SUBPROTOCOL = Subprotocol("scanstream.v1.json")
LARGEST_FRAME = 64 * 1024 * 1024
"""Bytes: a frame of 500 opportunities with rich metadata is larger than a library's usual limit."""
SILENCE_SECONDS = 10.0
"""After so long without a word from the server the client pings."""
GRACE_SECONDS = 5.0
"""So long after the ping the socket is taken for dead."""
OPEN_SECONDS = 5.0
CLOSE_SECONDS = 1.0
GATEWAY = (502, 503, 504, 520, 521, 522, 523, 524, 530)
"""What proxies say while the server behind them is away; from 520 on Cloudflare's."""


class Unreachable(Exception):
    """There is no scanstream server at this address."""


class Lost(Exception):
    """The connection has ended, and what was asked for has not: come back with the cursor."""

    def __init__(self, why: str, retry_after: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after = retry_after
        """Seconds that the server asked to be left alone."""


class Refused(Exception):
    """The server answered with an error: `code`, `detail`, and `errors` where fields are not valid."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["detail"])
        self.error = error

    @property
    def code(self) -> str:
        """Which error, as in docs/errors.md."""
        return str(self.error["code"])


class Connection:
    """Messages as plain data, in both directions."""

    def __init__(
        self, socket: ClientConnection, *, silence: float = SILENCE_SECONDS, grace: float = GRACE_SECONDS
    ) -> None:
        self._socket = socket
        self._silence = silence
        self._grace = grace

    async def discover(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask for a scan; its ack. The scan is followed from then on.

        :raises Refused: if the server does not take it
        :raises Lost: if the connection ends before it is known
        """
        return await self._ask({"type": "discover", "id": "discover", "request": request})

    async def subscribe(self, scan_id: str, since: str | None) -> dict[str, Any]:
        """Follow a scan (or the `latest`), from a cursor on where there is one; the ack.

        :raises Refused: if there is no such scan
        :raises Lost: if the connection ends before it is known
        """
        cursor = {} if since is None else {"since": since}
        return await self._ask({"type": "subscribe", "id": "subscribe", "scan_id": scan_id, **cursor})

    async def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        await self._send(message)
        answer = await self.receive()
        if answer["type"] == "error":
            raise _trouble(answer)
        return answer

    async def receive(self) -> dict[str, Any]:
        """The next message that is not a pong. The server is pinged when it says nothing for long.

        :raises Lost: if the connection is closed, or taken for dead
        """
        pinged = False
        while True:
            with anyio.move_on_after(self._grace if pinged else self._silence):
                message = await self._next()
                if message["type"] != "pong":
                    return message
                pinged = False
                continue
            if pinged:
                silent = self._silence + self._grace
                raise Lost(f"the server has said nothing for {silent:g} s")
            pinged = True
            with anyio.move_on_after(self._grace):
                await self._send({"type": "ping"})

    async def frames(self) -> AsyncIterator[dict[str, Any]]:
        """Messages, until the connection is lost.

        :raises Lost: if it is, or the server says that it restarts
        :raises Refused: if the server says that there is nothing to follow any more
        """
        while True:
            message = await self.receive()
            if message["type"] == "error":
                raise _trouble(message)
            yield message

    async def _next(self) -> dict[str, Any]:
        try:
            message = msgspec.json.decode(await self._socket.recv())
        except ConnectionClosed as closed:
            raise Lost(_how(closed)) from closed
        except msgspec.DecodeError as error:
            raise Unreachable(f"What answers is no scanstream server: it sends what is no JSON ({error})") from error
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise Unreachable("What answers is no scanstream server: its messages have no type")
        return message

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            await self._socket.send(msgspec.json.encode(message).decode())
        except ConnectionClosed as closed:
            raise Lost(_how(closed)) from closed


def _how(closed: ConnectionClosed) -> str:
    return closed.rcvd.reason or f"closed with {closed.rcvd.code}" if closed.rcvd else "cut off"


def _trouble(error: dict[str, Any]) -> Lost | Refused:
    """What is the server's own trouble passes: the same question may have an answer a moment later."""
    error = {"code": "internal", "detail": "The server failed, and does not say how", **error}
    row = TABLE.get(error["code"])
    if row is not None and row.fault == "server" and row.retry:
        return Lost(error["detail"], error.get("retry_after", 0.0))
    return Refused(error)


@asynccontextmanager
async def connected(
    url: str, *, silence: float = SILENCE_SECONDS, grace: float = GRACE_SECONDS
) -> AsyncIterator[Connection]:
    """A connection to the server at an `http://…` address.

    :raises Unreachable: if there is none
    """
    told = shown(url)
    address, credentials = _websocket_address(url)
    try:
        socket = await connect(
            address,
            proxy=proxy_of(url),
            additional_headers=credentials,
            subprotocols=[SUBPROTOCOL],
            max_size=LARGEST_FRAME,
            compression=None,
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
            ping_interval=None,
        )
    except InvalidStatus as error:
        raise _no_socket(error, told) from error
    except TimeoutError as error:
        raise Unreachable(f"The server at {told} has not answered within {OPEN_SECONDS:g} s") from error
    except UnusableProxy as error:
        raise Unreachable(str(error)) from error
    except (OSError, EOFError, InvalidHandshake, InvalidURI, ValueError) as error:
        raise Unreachable(f"There is no scanstream server at {told} ({error})") from error
    async with socket:
        if socket.subprotocol != SUBPROTOCOL:
            raise Unreachable(f"What answers at {told} is no scanstream server: it does not speak {SUBPROTOCOL}")
        yield Connection(socket, silence=silence, grace=grace)


def _websocket_address(url: str) -> tuple[str, dict[str, str]]:
    """The address of the server's WebSocket, and the name and password in it as a header."""
    parsed = httpx.URL(url)
    plain = str(parsed.copy_with(userinfo=b""))
    headers: dict[str, str] = {}
    if parsed.userinfo:
        pair = f"{parsed.username}:{parsed.password}".encode()
        headers["authorization"] = "Basic " + b64encode(pair).decode()
    return "ws" + plain.removeprefix("http").rstrip("/") + "/ws", headers


def _no_socket(error: InvalidStatus, told: str) -> Lost | Unreachable:
    """What refused the handshake: a proxy whose server is away comes to itself, another server does not."""
    status = error.response.status_code
    if status in GATEWAY:
        return Lost(f"the proxy at {told} has no server behind it now (HTTP {status})")
    with suppress(msgspec.DecodeError):
        problem = msgspec.json.decode(error.response.body or b"")
        if is_problem(problem):
            return Unreachable(f"The server at {told} opens no WebSocket: {problem.get('detail', problem['code'])}")
    return Unreachable(f"What answers at {told} opens no WebSocket (HTTP {status})")


def is_problem(body: Any) -> bool:
    """Whether it is a problem document of a scanstream server."""
    return (
        isinstance(body, dict)
        and str(body.get("type", "")).startswith(PROBLEM_TYPE)
        and isinstance(body.get("code"), str)
    )
