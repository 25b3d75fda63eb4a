"""Who may start one more scan: no limit is overshot, those counted in that are being registered."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import anyio

from scanstream.errors import RateLimited, ScanstreamError, TooManyScans
from scanstream.model import Principal
from scanstream.security.allowance import Allowance, Rate

RETRY_SECONDS = 5
"""When somebody is to come again who found no place: when one is free nobody knows."""


class Bounds(NamedTuple):
    """How much new work there may be. None: as much as comes."""

    scans: int
    """Under way, over all principals."""
    own: int | None = None
    """Of these of one principal's."""
    a_minute: int | None = None
    """That one principal starts."""
    abreast: int | None = None
    """Registrations of one principal's under way at once: the next wait, and keep nobody else's waiting."""


class Admission:
    """Places for scans that have not ended."""

    def __init__(
        self, bounds: Bounds, unfinished: Callable[[], int], own: Callable[[Principal], int] = lambda _: 0
    ) -> None:
        """:param unfinished: how many scans have not ended
        :param own: how many of one principal's
        """
        self._bounds = bounds
        self._unfinished = unfinished
        self._own = own
        self._started = Allowance[Principal](Rate(bounds.a_minute, 60.0)) if bounds.a_minute else None
        self._turns: dict[Principal, anyio.Semaphore] = {}
        """Of those of whom registrations are under way."""
        self._asking: Counter[Principal] = Counter()
        """Who holds places for scans that may come to be, and may be counted as unfinished already."""
        self._decided: anyio.Event | None = None
        """Waited for by those who come while the last places are held."""

    async def enter(self, principal: Principal) -> ScanstreamError | None:
        """None: there is a place for one more scan, held until `leave`, while it is registered. Else why there is none.

        While the last places are held by others it waits until it is known which of them they need: that takes no
        longer than a registration. And it waits for its turn among its principal's own.
        """
        await self._take_turn(principal)
        try:
            refusal = await self._judged(principal)
        except BaseException:
            self._end_turn(principal)
            raise
        if refusal is not None:
            self._end_turn(principal)
        return refusal

    async def _take_turn(self, principal: Principal) -> None:
        """Wait behind one's own, where very many of them are under way, and behind nobody else's."""
        if self._bounds.abreast is None:
            return
        turns = self._turns.setdefault(principal, anyio.Semaphore(self._bounds.abreast, fast_acquire=True))
        try:
            await turns.acquire()
        except BaseException:
            self._forget(principal)
            raise

    def _end_turn(self, principal: Principal) -> None:
        if (turns := self._turns.get(principal)) is not None:
            turns.release()
            self._forget(principal)

    def _forget(self, principal: Principal) -> None:
        """Nobody of them is under way, and so nobody waits."""
        if (turns := self._turns.get(principal)) is not None and turns.value == self._bounds.abreast:
            del self._turns[principal]

    async def _judged(self, principal: Principal) -> ScanstreamError | None:
        while self._is_undecided(principal):
            if self._decided is None:
                self._decided = anyio.Event()
            await self._decided.wait()
        refusal = self._refusal(principal)
        if refusal is None:
            self._asking[principal] += 1
        return refusal

    def _is_undecided(self, principal: Principal) -> bool:
        """Whether there is no place, and may be one in a moment."""
        scans, own = self._bounds.scans, self._bounds.own
        there, theirs = self._unfinished(), self._own(principal)
        if there < scans <= there + self._asking.total():
            return own is None or theirs < own
        return there < scans and own is not None and theirs < own <= theirs + self._asking[principal]

    def _refusal(self, principal: Principal) -> ScanstreamError | None:
        scans, own, a_minute, _ = self._bounds
        if self._unfinished() >= scans:
            return TooManyScans(f"{scans} scans are under way; try again later", retry_after=RETRY_SECONDS)
        if own is not None and self._own(principal) >= own:
            detail = f"{own} scans of yours are under way, and no more may be; wait for one to end, or cancel one"
            return TooManyScans(detail, retry_after=RETRY_SECONDS)
        if self._started is not None and (seconds := self._started.take(principal)):
            return RateLimited(
                f"At most {a_minute} scans a minute may be started; try again later", retry_after=seconds
            )
        return None

    def leave(self, principal: Principal, *, new: bool) -> None:
        """It is known whether the scan has come to be: then it is counted as unfinished."""
        self._end_turn(principal)
        self._asking[principal] -= 1
        if not self._asking[principal]:
            del self._asking[principal]
        if not new and self._started is not None:
            self._started.give_back(principal)
        if self._decided is not None:
            self._decided.set()
            self._decided = None
