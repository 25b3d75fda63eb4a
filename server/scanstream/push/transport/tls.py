"""Connections by TLS until their handshake is made: accepted within bounds, hung up on in time, and counted.

The loop's own server learns of nobody who makes no handshake, and each such connection holds a descriptor, a task and
what OpenSSL keeps. Here it takes a seat before any of that, and the address that it comes from has so many of them.
"""

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import anyio
from anyio.abc import TaskGroup

from scanstream.errors import Overloaded, RateLimited, RequestTimeout
from scanstream.push.refused import hung_up
from scanstream.push.transport.bounds import MOST_REFUSED_AT_ONCE, Patience
from scanstream.push.transport.crowd import Crowd, Use
from scanstream.security.seats import NO_SEAT, Seats, network, payer
from scanstream.shortage import shortage
from scanstream.telling import Telling

logger = logging.getLogger("scanstream")

OUTCOMES = ("done", "failed", "timed_out", "refused")
MOST_ACCEPTED_AT_ONCE = 64
"""In one turn of the loop."""
PAUSE_SECONDS = 0.5
"""Where no more can be accepted: who comes waits with the kernel meanwhile."""


class TlsHandshake:
    """One of them: a `Guest` among the others, which makes nothing of its place yet."""

    def __init__(self, address: str) -> None:
        self.network = network((address, 0))
        self.who = payer(None, (address, 0))
        self.seat = NO_SEAT
        self.scope = anyio.CancelScope()
        """All of it."""

    def make_room(self, _: Use) -> bool:
        """See `Guest`."""
        self.cut()
        return True

    def cut(self) -> None:
        """See `Leaver.cut`."""
        self.scope.cancel()
        self.seat.leave()


class Handshakes:
    """Those under way, and how the others came out."""

    def __init__(self, bounds: Callable[[], tuple[int, int]]) -> None:
        """:param bounds: how many there may be, and how many from one address; asked each time"""
        self.seats = Seats(bounds)
        self.outcomes: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self._crowd = Crowd()

    def begin(self, address: str, connected: int) -> TlsHandshake | None:
        """One for somebody from there; None where there is no seat, and they are to be hung up on.

        Where there is none in all, the address with most of them makes room: nobody is kept out by those of others that
        come to nothing.

        :param connected: how many have made theirs: these have places, too; a few more are told that none is left
        """
        one = TlsHandshake(address)
        self._crowd.join(one)
        if self._seated(one, connected) or (self._crowd.makes_room(one) and self._seated(one, connected)):
            return one
        self._crowd.leave(one)
        self.outcomes["refused"] += 1
        hung_up((RateLimited if self.seats.lacks_own(one.who) else Overloaded).code)
        return None

    def _seated(self, one: TlsHandshake, connected: int) -> bool:
        seat = self.seats.find(one.who)
        if seat is None:
            return False
        if connected + len(self.seats) > self.seats.most + MOST_REFUSED_AT_ONCE:
            seat.leave()
            return False
        one.seat = seat
        return True

    def end(self, one: TlsHandshake, outcome: str) -> None:
        """It is over."""
        self._crowd.leave(one)
        one.seat.leave()
        self.outcomes[outcome] += 1
        if outcome == "timed_out":
            hung_up(RequestTimeout.code)


class Accepting:
    """A listener; to uvicorn it is what the loop's own servers are."""

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        make: Callable[[], Any],
        handshakes: Handshakes,
        connections: set[Any],
        patience: Patience,
    ) -> None:
        """:param make: the protocol of one connection; `connections` are those that have made their handshake"""
        listener.setblocking(False)
        self._listener = listener
        self._make = make
        self._handshakes = handshakes
        self._connections = connections
        self._tls: dict[str, Any] = {
            "ssl": context,
            "ssl_handshake_timeout": patience.silence,
            "ssl_shutdown_timeout": patience.linger,
        }
        self._scope = anyio.CancelScope()
        self._trouble = Telling()

    async def run(self) -> None:
        """Let in who comes, until it is closed."""
        with self._scope:
            async with anyio.create_task_group() as tasks:
                while True:
                    await anyio.wait_readable(self._listener)
                    try:
                        self._take(tasks)
                    except OSError as error:  # of a network that fails, too: accept(2) says to try again
                        if self._trouble.due():
                            lacking = shortage(error)
                            why = f"out of {lacking}" if lacking else error.strerror or error
                            logger.warning("no connection can be accepted for the moment: %s", why)
                        await anyio.sleep(PAUSE_SECONDS)

    def close(self) -> None:
        """Accept nobody more, and hang up on those who have not made their handshake."""
        self._scope.cancel()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for: whoever runs it does."""

    def _take(self, tasks: TaskGroup) -> None:
        """Give those who have come a seat, or hang up on them.

        :raises OSError: if no more can be accepted just now
        """
        for one, address in self._accepted():
            begun = self._handshakes.begin(address, len(self._connections))
            if begun is None:
                one.close()
            else:
                tasks.start_soon(self._begin, one, begun)

    def _accepted(self) -> Iterator[tuple[socket.socket, str]]:
        for _ in range(MOST_ACCEPTED_AT_ONCE):
            try:
                one, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            one.setblocking(False)
            yield one, address[0]

    async def _begin(self, one: socket.socket, begun: TlsHandshake) -> None:
        """Make a handshake; from its end on the connection is a protocol's."""
        outcome = "failed"
        try:
            with begun.scope:
                outcome = await self._outcome(one)
            if begun.scope.cancelled_caught:
                outcome = "refused"
        finally:
            self._handshakes.end(begun, outcome)

    async def _outcome(self, one: socket.socket) -> str:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._make, one, **self._tls)
        except ConnectionAbortedError:  # what both loops say where the time is over
            return "timed_out"
        except OSError:
            return "failed"  # it has left, or speaks no TLS, or none of ours: its own log says more than ours could
        except Exception:
            logger.exception("a defect in a handshake of TLS")
            return "failed"
        return "done"
