"""Somebody who waits at a line for news of scans: on the list of those whom a restart ends, and of what is due."""

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from starlette.types import Scope

from scanstream.log.scanlog import ScanLog
from scanstream.push.deadlines import Deadlines
from scanstream.push.drain import Drain
from scanstream.push.fanout import Channel, Fanout
from scanstream.push.flushes import READERS_A_WAKE
from scanstream.push.line import WayBack
from scanstream.push.outlet import Outlet
from scanstream.push.vigil import Vigil
from scanstream.security.caller import Caller
from scanstream.security.seats import Seat, Seats, payer

logger = logging.getLogger("scanstream")

RANK_TICK_SECONDS = 1.0
"""How often a long poll looks at its scan's place in the queue: that goes on without a change of the scan."""


class Room(NamedTuple):
    """Where they wait."""

    fanout: Fanout
    drain: Drain
    deadlines: Deadlines
    vigil: Vigil | None = None
    """None where nobody is asked who they are."""
    seats: Seats | None = None
    """None where streams are not counted."""

    def seat(self, caller: Caller, scope: Scope) -> Seat | None:
        """One for the stream that this request asks for.

        :raises Overloaded, RateLimited: if there are as many as may be
        """
        return None if self.seats is None else self.seats.take(payer(caller.principal, scope.get("client")))


class Waiter(ABC):
    """One of them. A defect that one brings to light is its end, and not that of the others."""

    __slots__ = ("_grain", "_line", "_room", "_there", "pending")
    patient: ClassVar[bool] = False
    """See `push.line.Waiting`."""

    def __init__(self, room: Room, line: WayBack) -> None:
        self._room = room
        self._line = line
        self._there = False
        self._grain = 0
        self.pending = False
        """See `Flushable.pending`."""

    def _join(self, seconds: float) -> None:
        """From now on `_news` is called when there may be news, and `_time` when so many seconds are over."""
        self._there = True
        self._enter()
        self._room.drain.attend(self.resume)
        self._again(seconds)

    def _again(self, seconds: float) -> None:
        """Wait for some time more."""
        self._grain = self._room.deadlines.add(self._due, seconds)

    @abstractmethod
    def _enter(self) -> None:
        """Be told when there may be news: `resume`."""

    @abstractmethod
    def _part(self) -> None:
        """Be told of nothing any more."""

    @abstractmethod
    def _news(self) -> None:
        """There may be news, or the caller takes bytes again."""

    @abstractmethod
    def _time(self) -> None:
        """The time is over."""

    def resume(self) -> None:
        """See `push.line.Waiting`; it is called for news, too."""
        if self._there:
            try:
                self._news()
            except Exception as error:
                self.fail(error)

    def _due(self) -> None:
        try:
            self._time()
        except Exception as error:
            self.fail(error)

    def _soon(self) -> None:
        """Have `flush` called: in its turn among all who are told something."""
        if not self.pending:
            self._room.fanout.flushes.soon(self)

    def flush(self, most: int, _: list[Outlet]) -> tuple[int, bool]:
        """See `Flushable.flush`: the door is to answer, which takes a task."""
        self.pending = False
        if self._there:
            self.leave()
            self._line.again(self)
        return min(most, READERS_A_WAKE), True

    def fail(self, error: Exception) -> None:
        """See `Flushable.fail`."""
        logger.error("a defect in telling somebody who waits; the connection is closed", exc_info=error)
        self.leave()
        self._line.break_off()

    def leave(self) -> None:
        """See `push.line.Waiting`."""
        if self._there:
            self._there = False
            self._part()
            self._room.drain.depart(self.resume)
            self._room.deadlines.discard(self._due, self._grain)


class ScanWaiter(Waiter):
    """Who waits for news of one scan: among its readers."""

    __slots__ = ("_channel", "_log")

    def __init__(self, room: Room, log: ScanLog, line: WayBack) -> None:
        super().__init__(room, line)
        self._log = log
        self._channel: Channel | None = None

    def _enter(self) -> None:
        self._channel = self._room.fanout.channel(self._log.scan_id)
        self._channel.wakes.add(self.resume)

    def fail(self, error: Exception) -> None:
        """See `Waiter.fail`."""
        error.add_note(f"It was to be told of {self._log.scan_id}")
        super().fail(error)

    def _part(self) -> None:
        if self._channel is not None:
            self._channel.wakes.discard(self.resume)
            self._channel = None
            self._room.fanout.left(self._log.scan_id)


class Patient(ScanWaiter):
    """Who is answered once: when there is news, or the scan has ended, or so many seconds are over."""

    __slots__ = ("_ticks", "_until")
    patient = True

    def __init__(self, room: Room, log: ScanLog, line: WayBack, seconds: float, *, ranked: bool) -> None:
        super().__init__(room, log, line)
        self._until = asyncio.get_running_loop().time() + seconds
        self._ticks = ranked
        """Whether its place in the queue is of interest."""
        self._join(self._look_after(seconds))

    def _look_after(self, left: float) -> float:
        return min(left, RANK_TICK_SECONDS) if self._ticks else left

    @abstractmethod
    def _over(self) -> bool:
        """Whether there is nothing to wait for any more."""

    @abstractmethod
    def _answer(self) -> None:
        """Say what is to be said now."""

    def _news(self) -> None:
        if self._over():
            self._answer()

    def _time(self) -> None:
        left = self._until - asyncio.get_running_loop().time()
        if left > 0 and not self._over():
            self._again(self._look_after(left))
        else:
            self._answer()
