"""The line to a server: one rung of the ladder works while scans are followed, and better ones are tried beside it."""

import math
from collections.abc import Mapping
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from scanstream.client.condition import Connection
from scanstream.client.failures import Lost
from scanstream.client.feeds import Feeds
from scanstream.client.ladder import Ladder, Transport
from scanstream.client.run import Run
from scanstream.errors import ScanstreamError

IDLE_SECONDS = 5.0
"""A connection is kept so long for the next scan, once the last one has ended."""


class Rung(Protocol):
    """One transport."""

    async def carry(self, run: Run) -> None:
        """Bring the run frames of all that is followed, whatever that is at the time; without end.

        :raises Lost: when the connection is over
        :raises ScanstreamError: if the server refuses, for good
        """


class Line:
    """See above. Its working run is the one whose loss is felt; a trial is a climb."""

    def __init__(self, feeds: Feeds, rungs: Mapping[Transport, Rung], ladder: Ladder, connection: Connection) -> None:
        self._feeds = feeds
        self._rungs = rungs
        self._ladder = ladder
        self._connection = connection
        self._working: Run | None = None
        self._trial: Run | None = None

    async def serve(self) -> None:
        """Until cancelled."""
        while True:
            while not self._feeds:
                await self._feeds.bell.rung()
            await self._keep()

    def reconnect(self) -> None:
        """Begin anew, now."""
        for run in (self._working, self._trial):
            if run is not None:
                run.scope.cancel()
        self._working = self._trial = None
        self._ladder.start(anyio.current_time())  # also where nothing is followed: the next scan needs an attempt
        self._feeds.bell.ring()

    async def _keep(self) -> None:
        """Until nothing has been followed for a while."""
        self._ladder.start(anyio.current_time())
        async with anyio.create_task_group() as tasks:
            until = math.inf
            while (now := anyio.current_time()) < until:
                if self._feeds:
                    until = math.inf
                    self._begin(now, tasks)
                elif until == math.inf:
                    until = now + IDLE_SECONDS
                due = [due.at for due in (self._ladder.next, self._ladder.climb) if due is not None and self._feeds]
                with anyio.CancelScope(deadline=min([until, *due])):
                    await self._feeds.bell.rung()
            tasks.cancel_scope.cancel()
        self._working = self._trial = None
        self._ladder.stop()

    def _begin(self, now: float, tasks: TaskGroup) -> None:
        """What is due."""
        if (due := self._ladder.next) is not None and due.at <= now:
            self._working = self._started(due.rung, now, tasks)
            self._connection.attempt(self._ladder.attempts)
        if (due := self._ladder.climb) is not None and due.at <= now:
            self._trial = self._started(due.rung, now, tasks)

    def _started(self, rung: Transport, now: float, tasks: TaskGroup) -> Run:
        run = Run(rung, self._feeds, self, probing=rung != self._ladder.rung or self._unproven(rung))
        self._ladder.began(rung, now)
        tasks.start_soon(self._carry, run)
        return run

    def _unproven(self, rung: Transport) -> bool:
        """Whether the last frame came over another rung, and none might come over this one while there is no news."""
        asked = rung == "poll" or any(feed.mirror.place is None for feed in self._feeds)
        return rung != self._connection.transport and not asked

    async def _carry(self, run: Run) -> None:
        try:
            with run.scope:
                await self._rungs[run.rung].carry(run)
        except Lost as lost:
            self._over(run, lost)
        except ScanstreamError as error:
            self._feeds.fail(error)
            self._over(run, Lost(error.detail))

    def _over(self, run: Run, lost: Lost) -> None:
        """Of a run that nobody has let go."""
        if run is self._trial:
            self._trial = None
            self._ladder.lost(run.rung, lost.why, anyio.current_time(), lost.retry_after or 0.0)
        elif run is self._working:
            self._lost(run, lost)
        self._feeds.bell.ring()

    def _lost(self, run: Run, lost: Lost) -> None:
        self._working = None
        self._ladder.lost(run.rung, lost.why, anyio.current_time(), lost.retry_after or 0.0)
        if self._trial is not None and self._ladder.trying is None:
            self._trial.scope.cancel()
            self._trial = None
        if self._ladder.next is not None:
            seconds = self._ladder.next.at - anyio.current_time()
            self._connection.wait(str(lost), seconds, left=self._ladder.rung != run.rung)

    def heard(self, run: Run) -> None:
        """A frame came over this run: if it is the trial, it is the working one from now on."""
        if run is self._trial:
            if self._working is not None:
                self._working.scope.cancel()
            self._working, self._trial = run, None
        if run is self._working:
            self._ladder.frame(run.rung, anyio.current_time())
            self._connection.live(run.rung, best=self._ladder.is_best)

    def alive(self, run: Run) -> None:
        """Something else came. Where nothing is new no frame comes; there is a connection all the same."""
        if run is self._working:
            self._connection.alive(run.rung, best=self._ladder.is_best)
