"""Who may start next, where several nodes let scans in: all of them know it from the logs, and principals take turns.

A scan whose ack is out has its permission at once while there is a free place and nobody waits; else it is queued
without one (`Queued.waits`). When one that was let in ends, whoever conducted it writes down the permission of the next
(rota.py). All nodes read the same entries in the same order, so nearly always they agree on who that is. Where two do
not yet, or one was started later and knows nothing of the turns before, both are let in, and then one less.

Nothing but the order rests on it. How many are conducted at once is for the queue of the permissions to say, and of two
permissions of one scan the second changes nothing. What a node has not written that dies, another writes after
`FORGOTTEN_SECONDS`. Beside a node of a version before, which gives no permissions to scans that wait, all have theirs
at once: it may be the only one that is left.
"""

import time
from collections.abc import Awaitable, Callable

import anyio

from scanstream.log.entry import AnyEntry, Queued
from scanstream.log.scanlog import ScanLog
from scanstream.model import Principal, ScanId, now
from scanstream.scans.queue import Queue
from scanstream.scans.rota import Rota

FORGOTTEN_SECONDS = 2.0
"""A place is free for so long and somebody waits: whoever should have let them in is gone."""
LOOK_SECONDS = 1.0
MOST_AT_ONCE = 256
"""Permissions that one node writes together."""

Append = Callable[[ScanId, AnyEntry], Awaitable[None]]


class Permissions:
    """The scans that wait to be let in, and those that were, as one node has read it."""

    def __init__(self, places: int, conducts: Callable[[ScanId], bool], alike: Callable[[], bool]) -> None:
        """:param places: how many scans run at once, over all nodes
        :param conducts: whether this node conducts a scan
        :param alike: whether all nodes give permissions to those that wait
        """
        self._places = places
        self._conducts = conducts
        self._is_alike = alike
        self._alike = True
        self._waiting = Rota()
        """Those without a permission."""
        self._let_in = Queue()
        """Those with one and without a plan, in the order in which they got it."""
        self._running: set[ScanId] = set()
        """Those with a plan."""
        self._asked: set[ScanId] = set()
        """Scans that this node is to look after: it is writing down that they wait."""
        self._writing: set[ScanId] = set()
        """Those whose permission this node is writing down."""
        self._ours = False
        """Whether it is for this node to let in whom there is a place for."""
        self._since: float | None = None
        """Since when (on a clock that nobody sets) there is a free place, and somebody who waits for one."""
        self._news = anyio.Event()

    def notice(self, log: ScanLog) -> None:
        """A watcher of all scans, from the first entry on."""
        scan_id, folded = log.scan_id, log.folded
        if log.over:
            self._forget(scan_id)
        elif folded.tallies is not None:
            self._waiting.leave(scan_id)
            self._let_in.leave(scan_id)
            self._running.add(scan_id)
        elif folded.let_in:
            self._take(scan_id, folded.registered.principal)
        elif folded.state.phase != "init" and scan_id not in self._let_in and scan_id not in self._waiting:
            self._waiting.join(scan_id, folded.registered.principal)
            self._ours |= scan_id in self._asked
            self._asked.discard(scan_id)
        self._look()

    def _forget(self, scan_id: ScanId) -> None:
        self._ours |= self._conducts(scan_id)
        self._asked.discard(scan_id)
        self._waiting.leave(scan_id)
        self._let_in.leave(scan_id)
        self._running.discard(scan_id)

    def _take(self, scan_id: ScanId, principal: Principal) -> None:
        """It is let in: a turn of its principal's."""
        if scan_id in self._let_in:
            return
        if scan_id not in self._waiting:
            self._waiting.join(scan_id, principal)
        self._waiting.take(scan_id)
        self._let_in.join(scan_id)

    def _look(self) -> None:
        """Find out whether somebody has to be let in, and whether that is for us."""
        if not self._has_room() or not len(self._waiting):
            self._since, self._ours = None, False
            return
        if self._since is None:
            self._since = time.monotonic()
        if self._ours:
            self._news.set()

    def _has_room(self) -> bool:
        return not self._alike or len(self._let_in) + len(self._running) < self._places

    def asked(self, log: ScanLog) -> Queued:
        """The entry of a scan that is released here: it is let in, or waits."""
        if not self._alike or (self._has_room() and not len(self._waiting)):
            self._take(log.scan_id, log.folded.registered.principal)
            return Queued(at=now())
        self._asked.add(log.scan_id)
        return Queued(at=now(), waits=True)

    async def run(self, append: Append) -> None:
        """For ever: let in whom it is for this node to let in, and whom another has forgotten."""
        async with anyio.create_task_group() as writing:
            while True:
                self._alike = self._is_alike()
                self._look()
                for scan_id in self._due():
                    writing.start_soon(self._write, append, scan_id)
                self._news = anyio.Event()
                with anyio.move_on_after(LOOK_SECONDS):
                    await self._news.wait()

    def _due(self) -> list[ScanId]:
        """Who is let in now."""
        late = self._since is not None and time.monotonic() - self._since >= FORGOTTEN_SECONDS
        some: list[ScanId] = []
        if not (self._ours or late):
            return some
        while len(self._writing) < MOST_AT_ONCE and self._has_room() and (scan_id := self._waiting.let_in()):
            self._let_in.join(scan_id)
            self._writing.add(scan_id)
            some.append(scan_id)
        self._ours = False
        self._look()
        return some

    async def _write(self, append: Append, scan_id: ScanId) -> None:
        await append(scan_id, Queued(at=now()))
        self._writing.discard(scan_id)
        self._ours = True  # if there is room for more, as there is where all are let in
        self._look()

    def rank(self, scan_id: ScanId) -> int | None:
        """See `Line.rank`: the first of them, as many as there are free places, are just being planned."""
        place, let_in = self._let_in.rank(scan_id), 0
        if place is None:
            place, let_in = self._waiting.rank(scan_id), len(self._let_in)
        if place is None or place + let_in <= self._free():
            return None
        return place + let_in - self._free()

    def waiting(self) -> int:
        """See `Line.waiting`."""
        return max(0, len(self._let_in) + len(self._waiting) - self._free())

    def behind(self, principal: Principal) -> int:
        """See `Line.behind`."""
        return self._waiting.behind(principal)

    def _free(self) -> int:
        return max(0, self._places - len(self._running))
