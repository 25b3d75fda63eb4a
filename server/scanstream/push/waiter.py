"""Somebody who waits at a line for news of a scan: among its readers, and on the list of those whom a restart ends."""

import logging
from abc import ABC, abstractmethod
from typing import NamedTuple

from scanstream.log.scanlog import ScanLog
from scanstream.push.deadlines import Deadlines
from scanstream.push.drain import Drain
from scanstream.push.fanout import Channel, Fanout
from scanstream.push.line import Line

logger = logging.getLogger("scanstream")


class Room(NamedTuple):
    """Where they wait."""

    fanout: Fanout
    drain: Drain
    deadlines: Deadlines


class Waiter(ABC):
    """One of them. A defect that one brings to light is its end, and not that of the others."""

    __slots__ = ("_channel", "_grain", "_line", "_log", "_room")

    def __init__(self, room: Room, log: ScanLog, line: Line) -> None:
        self._room = room
        self._log = log
        self._line = line
        self._channel: Channel | None = None
        self._grain = 0

    def _join(self, seconds: float) -> Channel:
        """From now on `_news` is called when there may be news, and `_time` when so many seconds are over."""
        channel = self._channel = self._room.fanout.channel(self._log.scan_id)
        channel.wakes.add(self.resume)
        self._room.drain.attend(self.resume)
        self._again(seconds)
        return channel

    def _again(self, seconds: float) -> None:
        """Wait for some time more."""
        self._grain = self._room.deadlines.add(self._due, seconds)

    @abstractmethod
    def _news(self) -> None:
        """There may be news, or the caller takes bytes again."""

    @abstractmethod
    def _time(self) -> None:
        """The time is over."""

    def resume(self) -> None:
        """See `push.line.Waiting`; it is called for news, too."""
        if self._channel is not None:
            try:
                self._news()
            except Exception:
                self._give_up()

    def _due(self) -> None:
        try:
            self._time()
        except Exception:
            self._give_up()

    def _give_up(self) -> None:
        logger.exception("a defect in telling somebody who waits; the connection is closed")
        self.leave()
        self._line.break_off()

    def leave(self) -> None:
        """See `push.line.Waiting`."""
        if self._channel is not None:
            self._channel.wakes.discard(self.resume)
            self._channel = None
            self._room.fanout.left(self._log.scan_id)
            self._room.drain.depart(self.resume)
            self._room.deadlines.discard(self._due, self._grain)
