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
from scanstream.security.seats import Seat, Seats, payer
from scanstream.shortage import shortage
from scanstream.telling import Telling

logger = logging.getLogger("scanstream")

OUTCOMES = ("done", "failed", "timed_out", "refused")
MOST_ACCEPTED_AT_ONCE = 64
"""In one turn of the loop."""
PAUSE_SECONDS = 0.5
"""Where no more can be accepted: who comes waits with the kernel meanwhile."""


class Handshakes:
    """Those under way, and how the others came out."""

    def __init__(self, bounds: Callable[[], tuple[int, int]]) -> None:
        """:param bounds: how many there may be, and how many from one address; asked each time"""
        self.seats = Seats(bounds)
        self.outcomes: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))

    def begin(self, address: str, connected: int) -> Seat | None:
        """A seat for somebody from there; None where there is none, and they are to be hung up on.

        :param connected: how many have made theirs: these have places, too; a few more are told that none is left
        """
        seat = self.seats.find(payer(None, (address, 0)))
        most = self.seats.most + MOST_REFUSED_AT_ONCE
        if seat is not None and connected + len(self.seats) <= most:
            return seat
        if seat is not None:
            seat.leave()
        self.outcomes["refused"] += 1
        hung_up((Overloaded if self.seats.crowded or seat is not None else RateLimited).code)
        return None

    def came_out(self, outcome: str) -> None:
        """One is over."""
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
            seat = self._handshakes.begin(address, len(self._connections))
            if seat is None:
                one.close()
            else:
                tasks.start_soon(self._begin, one, seat)

    def _accepted(self) -> Iterator[tuple[socket.socket, str]]:
        for _ in range(MOST_ACCEPTED_AT_ONCE):
            try:
                one, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            one.setblocking(False)
            yield one, address[0]

    async def _begin(self, one: socket.socket, seat: Seat) -> None:
        """Make a handshake; from its end on the connection is a protocol's."""
        outcome = "failed"
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._make, one, **self._tls)
            outcome = "done"
        except ConnectionAbortedError:  # what both loops say where the time is over
            outcome = "timed_out"
        except OSError:
            pass  # it has left, or speaks no TLS, or none of ours: its own log says more than ours could
        except Exception:
            logger.exception("a defect in a handshake of TLS")
        finally:
            seat.leave()
            self._handshakes.came_out(outcome)
