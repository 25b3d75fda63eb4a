"""The best rung: one WebSocket for all scans."""

import asyncio
import logging
import math
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from scanstream.client.addresses import apart, shown
from scanstream.client.backoff import Pace
from scanstream.client.certificates import secure, untaken
from scanstream.client.failures import Lost, decoded, of_close
from scanstream.client.ladder import Why
from scanstream.client.run import QUIET_SECONDS, Run
from scanstream.client.token import Renewal, Token, subprotocols
from scanstream.errors import ScanstreamError
from scanstream.proxies import UnusableProxy, proxy_of

SUBPROTOCOL = Subprotocol("scanstream.v1.json")
LARGEST_FRAME = 64 * 1024 * 1024
"""Bytes: a frame of 500 opportunities with rich metadata is larger than a library's usual limit."""
SILENCE_SECONDS = 10.0
"""After so long without a word from the server the client pings."""
GRACE_SECONDS = 4.75
"""So long after the ping the socket is taken for dead: within 15 s of the last word, though timers are late."""
LOOK_SECONDS = 0.1
"""The last part of that: what came while the machine slept is read before overdue timers count."""
OPEN_SECONDS = 10.0
RACE_SECONDS = 0.25
"""After so long the next address of a host is tried beside the first."""
UNAUTHORIZED = "unauthorized"
RENEWAL = "renewal"
"""The id of what renews a token."""
CLOSE_SECONDS = 0.2
SOONEST_SECONDS = 1.0
"""Between two tokens, however soon they run out."""


logger = logging.getLogger("scanstream.client.websocket")
"""websockets tells there of each handshake with its headers, and what it says: tokens are in both. So nothing below a
warning is."""
logger.setLevel(logging.WARNING)


class WebSocketRung:
    """See above; its times may be shorter in tests."""

    def __init__(
        self,
        url: str,
        token: Token,
        measured: Callable[[float], None],
        *,
        silence: float = SILENCE_SECONDS,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._url = url
        self._token = token
        self._measured = measured
        self._silence = silence
        self._grace = grace
        self._pace = Pace()
        self._renewal = Renewal(token)

    async def carry(self, run: Run) -> None:
        """Bring frames for as long as the connection lasts.

        :raises Lost: when it is over
        :raises Unauthorized, Forbidden: if the server does not let this caller in, and another token cannot be had
        """
        token = await self._token.now()
        await self._pace.turn()
        async with _socket(self._url, token) as socket:
            try:
                await _Talk(socket, run, self._token, self._measured, self._silence, self._grace).listen()
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else None
                words = (closed.rcvd.reason or f"closed with {code}") if closed.rcvd else "cut off"
                raise self._renewal.judged(of_close(code, words), token, brought=run.brought) from closed
            except ScanstreamError as error:
                raise self._renewal.judged(error, token, brought=run.brought) from error


class _Talk:
    """What is said on one socket."""

    def __init__(
        self,
        socket: ClientConnection,
        run: Run,
        token: Token,
        measured: Callable[[float], None],
        silence: float,
        grace: float,
    ) -> None:
        self._socket = socket
        self._run = run
        self._token = token
        self._measured = measured
        self._silence = silence
        self._grace = grace
        self._asked: dict[str, str] = {}
        """By scan: the id of the subscription whose ack is still to come. Frames before it are of an older one."""
        self._asked_at: dict[str, float] = {}
        self._number = 0
        self._began = 0.0
        """When the last question was asked."""

    async def listen(self) -> None:
        """Until the connection ends.

        :raises Lost, ConnectionClosed, ScanstreamError: when it does
        """
        lost: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._ask)
            tasks.start_soon(self._renew)
            try:
                while True:
                    self._take(await self._next())
                    self._check_answered()
            except (Lost, ConnectionClosed, ScanstreamError) as error:
                lost = error
            tasks.cancel_scope.cancel()
        if lost is not None:
            raise lost

    async def _renew(self) -> None:
        """A token that is about to run out is replaced on the open socket (docs/protocol.md, section 8)."""
        while math.isfinite(self._token.renew_in):
            await anyio.sleep(max(SOONEST_SECONDS, self._token.renew_in))
            with suppress(Lost, ConnectionClosed):  # the server says when the old one has run out
                await self._say(type="authenticate", id=RENEWAL, token=await self._token.now())

    async def _ask(self) -> None:
        """Follow what is wanted, and no more what is not."""
        try:
            while True:
                for scan_id in self._run.gone():
                    self._asked.pop(scan_id, None)
                    await self._say(type="unsubscribe", scan_id=scan_id)
                for feed in self._run.wanted() or self._run.quiet():
                    self._number += 1
                    self._asked[feed.scan_id] = identity = f"s{self._number}"
                    self._asked_at[feed.scan_id] = anyio.current_time()
                    await self._say(type="subscribe", id=identity, **self._run.asked(feed))
                with anyio.move_on_after(QUIET_SECONDS / 3):
                    await self._run.feeds.bell.rung()
        except ConnectionClosed:
            return  # the listener meets it, too, after what came before it

    def _check_answered(self) -> None:
        """An ack may be lost on the way, and its scan's frames would be taken for older ones for ever.

        :raises Lost: if one is late
        """
        late = anyio.current_time() - self._silence
        if any(self._asked_at[scan_id] < late for scan_id in self._asked):
            raise Lost(f"the server has not answered for {self._silence:g} s", "silent")

    def _take(self, message: dict[str, Any]) -> None:
        scan_id = next((scan_id for scan_id, identity in self._asked.items() if identity == message.get("id")), None)
        match message.get("type"):
            case "ack" | "pong":
                self._asked.pop(scan_id or "", None)
                self._measured(anyio.current_time() - self._began)
                self._run.alive()
            case "error" if scan_id is not None:
                del self._asked[scan_id]
                self._run.take({**message, "scan_id": scan_id})
            case "error" if message.get("id") == RENEWAL and message.get("code") != UNAUTHORIZED:
                pass  # a server that does not know how; it says so when the old one has run out
            case "snapshot" | "update" | "end" if str(message.get("scan_id")) in self._asked:
                pass
            case _:
                self._run.take(message)

    async def _next(self) -> dict[str, Any]:
        """The next message. The server is pinged when it says nothing for long.

        :raises Lost: if it is taken for dead
        """
        with anyio.move_on_after(self._silence):
            return self._decoded(await self._socket.recv())
        with anyio.move_on_after(self._grace - LOOK_SECONDS):
            await self._say(type="ping")
            return self._decoded(await self._socket.recv())
        with anyio.move_on_after(LOOK_SECONDS):
            return self._decoded(await self._socket.recv())
        raise Lost(f"the server has said nothing for {self._silence + self._grace:.2g} s", "silent")

    def _decoded(self, received: str | bytes) -> dict[str, Any]:
        message = decoded(received)
        if not isinstance(message, dict):
            raise Lost("what answers is no scanstream server: it sends what is no message")
        return message

    async def _say(self, **message: Any) -> None:
        self._began = anyio.current_time()
        await self._socket.send(msgspec.json.encode(message).decode())


class Dialled(ClientConnection):
    """A connection whose other side may hang up before it was asked for anything, or while it is asked.

    websockets (17.4) calls that a connection that was closed, or takes it for a defect of its own (an AssertionError).
    """

    async def handshake(self, *arguments: Any, **more: Any) -> None:
        """See websockets.

        :raises OSError, InvalidHandshake: where there is none
        """
        if self.protocol.close_expected():
            raise self._refusal()
        try:
            await super().handshake(*arguments, **more)
        except ConnectionClosed as closed:
            raise self._refusal() from closed

    def _refusal(self) -> Exception:
        return self.protocol.handshake_exc or ConnectionResetError("it hangs up before it has answered")


class _Connect(connect):
    """One attempt: a redirect is an answer in HTTP like any other. Followed, it would be another attempt at once, and
    the token would go along to wherever it leads."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """It is not."""
        return exc


@asynccontextmanager
async def _socket(url: str, token: str | None) -> AsyncIterator[ClientConnection]:
    """A connection to the server at an `http://…` address.

    :raises Lost: if there is none
    """
    address, headers = _websocket_address(url, token)
    try:
        proxy = proxy_of(url)
        socket = await _Connect(
            address,
            proxy=proxy,
            create_connection=Dialled,
            additional_headers=headers,
            subprotocols=subprotocols(SUBPROTOCOL, token),
            max_size=LARGEST_FRAME,
            compression=None,
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
            ping_interval=None,
            logger=logger,
            **({} if proxy else _racing()),
            **secure(url),
        )
    except InvalidStatus as error:
        status = error.response.status_code
        raise Lost(f"what answers at {shown(url)} opens no WebSocket (HTTP {status})", "no_upgrade") from error
    except TimeoutError as error:
        raise Lost(f"the server at {shown(url)} has not answered within {OPEN_SECONDS:g} s") from error
    except UnusableProxy as error:
        raise Lost(str(error)) from error
    except ssl.SSLCertVerificationError as error:
        why = untaken(error)
        says = f"the server at {shown(url)} is not trusted: its certificate {why.says if why else 'is not taken'}"
        raise Lost(says, "refused") from error
    except OSError as error:
        raise Lost(f"there is no server at {shown(url)} ({error.strerror or error})", _why(error)) from error
    except (EOFError, InvalidHandshake, InvalidURI, ValueError) as error:
        raise Lost(f"what answers at {shown(url)} opens no WebSocket ({error})") from error
    try:
        if socket.subprotocol != SUBPROTOCOL:
            raise Lost(f"what answers at {shown(url)} does not speak {SUBPROTOCOL}", "no_upgrade")
        yield socket
    finally:
        with anyio.CancelScope(shield=True):
            await socket.close()


def _racing() -> dict[str, Any]:
    """A host with two addresses, one of which is dead, is there all the same (RFC 8305); uvloop has no such race."""
    loop = asyncio.get_running_loop()
    return {"happy_eyeballs_delay": RACE_SECONDS} if isinstance(loop, asyncio.BaseEventLoop) else {}


def _why(error: OSError) -> Why:
    """Nobody listens there, or somebody did and left."""
    return (
        "dropped" if isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError) else "refused"
    )


def _websocket_address(url: str, token: str | None) -> tuple[str, dict[str, str]]:
    """The address of the server's WebSocket, and the name and password in it as a header, unless a token says more."""
    plain, login = apart(url)
    headers: dict[str, str] = {}
    if login is not None and token is None:
        headers["authorization"] = "Basic " + b64encode(":".join(login).encode()).decode()
    return "ws" + str(plain).removeprefix("http").rstrip("/") + "/ws", headers
