"""A scan's shards on their way into the queue: where nodes share it a window of them, so that all take turns.

The strategies take turns, too: the next shard is of the one that has the fewest in the queue or at work. So each shows
life early, and one whose shards hang fills up what the others leave.
"""

from collections import deque
from collections.abc import Callable, Container
from typing import TypeAlias

from anyio.lowlevel import checkpoint

from scanstream.jobs import Jobs, ShardName
from scanstream.log.fold import Folded
from scanstream.log.tally import Tally
from scanstream.model import Principal
from scanstream.scans.work.waiting import waits

MOST_PUT_AT_ONCE = 256
"""Shards that are put together: the loop has others to serve between two such lots."""

Window: TypeAlias = Callable[[bool], int | None]
"""How many shards of one scan are in the queue or at work, of those that wait for input or of the others; None: all."""
Windows: TypeAlias = Callable[[Principal, bool], int | None]
"""The same for a scan of this principal's: who has several shares with others what is one's own among them."""


class _Lane:
    """The shards of one strategy."""

    def __init__(self, strategy_id: str, tally: Tally) -> None:
        self.strategy_id = strategy_id
        self.waits = waits(strategy_id)
        self.left = deque(tally.missing())
        """Those that were not put yet."""
        self.put = 0
        """A bit for each that was put."""

    def out(self, tally: Tally) -> int:
        """How many are in the queue or at work."""
        return (self.put & ~tally.outcomes).bit_count()


class Supply:
    """What is missing of a scan that has a plan, put into the queue bit by bit."""

    def __init__(
        self, folded: Folded, jobs: Jobs, window: Window, lacking: Callable[[], Container[str]] = tuple
    ) -> None:
        """`lacking`: the strategies that nobody can run just now: their shards wait here."""
        self._scan_id = folded.registered.scan_id
        self._jobs = jobs
        self._window = window
        self._lacking = lacking
        self._lanes = [_Lane(name, tally) for name, tally in (folded.tallies or {}).items()]

    async def refill(self, folded: Folded) -> None:
        """Put as many as there is room for: the outcomes in the log have made some."""
        while not folded.ended and (some := self._next(folded)):
            await self._jobs.put(some)
            await checkpoint()

    async def again(self, folded: Folded) -> None:
        """Put once more what was put and has no outcome: if it got lost, it is in again."""
        for lane in self._lanes:
            out = lane.put & ~folded.tallies[lane.strategy_id].outcomes if folded.tallies else 0
            numbers = (number for number in range(out.bit_length()) if out >> number & 1)
            await self._jobs.put([self._name(lane, number) for number in numbers])

    def _next(self, folded: Folded) -> list[ShardName]:
        """The next lot; empty if there is no room, or nothing left."""
        tallies = folded.tallies or {}
        lacking = self._lacking()
        lanes = [lane for lane in self._lanes if lane.left and lane.strategy_id not in lacking]
        some: list[ShardName] = []
        if not lanes:
            return some
        for waiting in (False, True):
            room = self._room(folded, waiting)
            out = {lane.strategy_id: lane.out(tallies[lane.strategy_id]) for lane in lanes if lane.waits == waiting}
            while room > 0 and len(some) < MOST_PUT_AT_ONCE and out:
                lane = min((lane for lane in lanes if lane.strategy_id in out), key=lambda one: out[one.strategy_id])
                number = lane.left.popleft()
                if tallies[lane.strategy_id].lacks(number):
                    lane.put |= 1 << number
                    out[lane.strategy_id] += 1
                    room -= 1
                    some.append(self._name(lane, number))
                if not lane.left:
                    del out[lane.strategy_id]
        return some

    def _room(self, folded: Folded, waiting: bool) -> int:
        most = self._window(waiting)
        if most is None:
            return MOST_PUT_AT_ONCE
        tallies = folded.tallies or {}
        return most - sum(lane.out(tallies[lane.strategy_id]) for lane in self._lanes if lane.waits == waiting)

    def _name(self, lane: _Lane, number: int) -> ShardName:
        return ShardName(scan_id=self._scan_id, strategy_id=lane.strategy_id, number=number)
