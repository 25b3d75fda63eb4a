"""Takes what is due to those who are to be told, again and again until they have it or the scan has expired."""

import logging
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import NoReturn, cast

import anyio
from anyio import CancelScope
from anyio.abc import TaskGroup

from scanstream.about import about
from scanstream.deliveries import Attempt, Deliveries
from scanstream.errors import Damaged, Expired, NotFound, ServerError, StoreUnavailable
from scanstream.log.scanlog import ScanLog
from scanstream.measure import QUICK_SECONDS, Counts, Histogram
from scanstream.model import Milliseconds, ScanId
from scanstream.notify.backoff import pause_after
from scanstream.notify.hosts import AT_ONCE_IN_ALL, Hosts
from scanstream.notify.sending import OUTCOMES_OF_ATTEMPTS, Answer, Sender
from scanstream.notify.signing import Signing, signed
from scanstream.notify.targets import Allowed, Target, target_of
from scanstream.notify.telling import told
from scanstream.security.caller import Owner, Ticket

LEAVE_SECONDS = 1.0
"""What those under way have to end when the node leaves."""
LEAVE_LOOK_SECONDS = 0.25
HAND_BACK_SECONDS = 1.0
"""And then to be handed back; else another node has them when this one is known to be gone."""
LATER_SECONDS = 5.0
"""Until one is tried again that could not be begun, as the store does not answer."""
LOOK_SECONDS = 5.0
"""From one look at how many wait to the next."""
ENDS = ("expired", "lost")
"""What becomes of a delivery without an attempt: nobody may be told any more, or nobody knows what."""
OUTCOMES = (*OUTCOMES_OF_ATTEMPTS, *ENDS)

logger = logging.getLogger("scanstream.notify")

Find = Callable[[Owner, str], Awaitable[ScanLog]]


class Courier:
    """One node's share of all that is to be told."""

    def __init__(
        self,
        deliveries: Deliveries,
        find: Find,
        signing: Signing,
        allowed: Allowed,
        sender: Sender | None,
        now: Callable[[], Milliseconds],
        leaving: Callable[[], bool],
        *,
        alone: bool,
    ) -> None:
        """
        :param sender: None where nobody is told by this node, as nobody is allowed
        :param now: the store's time, by which scans expire
        :param leaving: whether this node takes nothing more
        :param alone: whether there is no other node: then what is left is given up in time, also where nobody is told
        """
        self._deliveries = deliveries
        self._find = find
        self._signing = signing
        self._allowed = allowed
        self._sender = sender
        self._now = now
        self._leaving = leaving
        self._alone = alone
        self._hosts = Hosts()
        self._places = anyio.Semaphore(AT_ONCE_IN_ALL)
        self._under_way: set[CancelScope] = set()
        self._until = float("inf")
        self.counts = Counts((one,) for one in OUTCOMES)
        """What came of the attempts made here."""
        self.seconds = Histogram(QUICK_SECONDS)
        """How long each took."""
        self.waiting = 0
        """How many deliveries there are, over all nodes, as of the last look."""

    async def run(self) -> None:
        """Deliver, for ever. Cancelled, what is under way has a moment to end, and is handed back after that."""
        if self._sender is None and not self._alone:
            await anyio.sleep_forever()
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look)
            tasks.start_soon(self._until_leaving)
            try:
                await self._take(tasks)
            finally:
                self._leave()

    async def _until_leaving(self) -> None:
        """While clients are given the time to leave attempts have theirs: a stop takes no longer for them."""
        while not self._leaving():  # noqa: ASYNC110  # nobody tells us
            await anyio.sleep(LEAVE_LOOK_SECONDS)
        self._leave()

    def _leave(self) -> None:
        """From now on what is under way has so long to end, and what is begun."""
        self._until = min(self._until, anyio.current_time() + LEAVE_SECONDS)
        for scope in self._under_way:
            scope.deadline = self._until

    async def _look(self) -> NoReturn:
        while True:
            try:
                self.waiting = await self._deliveries.waiting()
            except StoreUnavailable:
                logger.debug("nobody can say now how many deliveries wait")
            await anyio.sleep(LOOK_SECONDS)

    async def _take(self, tasks: TaskGroup) -> None:
        """No more than can be tried here at once: others may have the rest."""
        due = cast(AsyncGenerator[Attempt, None], self._deliveries.due())
        async with aclosing(due):
            while True:
                await self._places.acquire()
                attempt = await anext(due)
                if self._leaving():
                    await _hand_back(attempt)  # it may be one that was handed back a moment ago
                    await anyio.sleep_forever()
                tasks.start_soon(self._carry, attempt)

    async def _carry(self, attempt: Attempt) -> None:
        """One attempt, whole: also when the node leaves, as long as that lasts."""
        scope = CancelScope(deadline=self._until, shield=True)
        self._under_way.add(scope)
        try:
            with about(scan_id=attempt.delivery.scan_id), scope:
                await self._try(attempt)
            if scope.cancelled_caught:
                await _hand_back(attempt)
        finally:
            self._under_way.discard(scope)
            self._places.release()

    async def _try(self, attempt: Attempt) -> None:
        delivery = attempt.delivery
        try:
            target = target_of(delivery.url)
        except ValueError:  # of another version, which took what this one does not
            await self._end(attempt, "lost", "an address that cannot be read", "nobody can send there")
            return
        if delivery.expires_at <= self._now():
            await self._end(attempt, "expired", target.host, "the scan has expired")
        elif wait := self._hosts.wait(target.host, delivery.principal):
            await attempt.again(wait, tried=False)
        else:
            await self._told(attempt, target)

    async def _told(self, attempt: Attempt, target: Target) -> None:
        try:
            with self._hosts.busy(target.host, attempt.delivery.principal):
                answer = await self._answer(attempt, target)
        except (NotFound, Expired):
            await self._end(attempt, "expired", target.host, "the scan has expired")
        except Damaged:
            await self._end(attempt, "lost", target.host, "the scan's record is damaged")
        except ServerError:
            await attempt.again(LATER_SECONDS, tried=False)
        else:
            await self._conclude(attempt, target, answer)

    async def _answer(self, attempt: Attempt, target: Target) -> Answer:
        """What came of it. What a receiver makes go wrong here is its own matter, and ends nobody else's."""
        if self._sender is None or not self._allowed.have(target):
            return Answer("forbidden", "it is not allowed any more (--notify)")
        delivery, began = attempt.delivery, anyio.current_time()
        log = await self._find(Ticket(delivery.scan_id), delivery.scan_id)
        if not log.ended:
            raise StoreUnavailable("The scan has ended, and this node does not know that yet")
        secret = self._signing.secret_of(log.folded.registered.principal, target.origin)
        body = await told(log)
        try:
            answer = await self._sender.send(target, signed(secret, delivery.id, int(time.time()), body), body)
        except Exception as error:
            answer = _defect(delivery.scan_id, error)
        self.seconds.add(anyio.current_time() - began)
        return answer

    async def _conclude(self, attempt: Attempt, target: Target, answer: Answer) -> None:
        self.counts.add(answer.outcome)
        host = self._hosts.of(target.host)
        if answer.outcome == "delivered":
            host.telling.anew()
            await attempt.done()
        elif answer.outcome == "gone":
            _log(attempt, target.host, "it answers 410, and wants to hear no more")
            await attempt.done()
        elif answer.outcome == "shortage":
            await attempt.again(LATER_SECONDS, tried=False)
        else:
            await self._later(attempt, target.host, answer)

    async def _later(self, attempt: Attempt, host: str, answer: Answer) -> None:
        """Try again, unless the scan will have expired by then."""
        pause = pause_after(attempt.number, answer.asked)
        if attempt.delivery.expires_at <= self._now() + 1000 * pause:
            why = f"{answer.why}; given up, as the scan expires (attempt {attempt.number})"
            await self._end(attempt, "expired", host, why)
            return
        if self._hosts.of(host).telling.due():
            _log(attempt, host, f"{answer.why}; it is tried again")
        await attempt.again(pause)

    async def _end(self, attempt: Attempt, outcome: str, host: str, why: str) -> None:
        """Nobody tries any more."""
        self.counts.add(outcome)
        _log(attempt, host, why)
        await attempt.done()


async def _hand_back(attempt: Attempt) -> None:
    """Also when the node is about to end: else nobody has it until this one's lease has run out."""
    with anyio.move_on_after(HAND_BACK_SECONDS, shield=True):
        await attempt.again(tried=False)


def _log(attempt: Attempt, host: str, why: str) -> None:
    """Of an address its host: the path may be a secret."""
    logger.warning("%s: %s is not told of the end: %s", attempt.delivery.scan_id, host, why)


def _defect(scan_id: ScanId, error: Exception) -> Answer:
    """What nobody has thought of: where it was, and no word of the error, which may hold what nobody is to read."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    told = "%s: an attempt to tell of its end failed: %s in %s, line %s"
    logger.error(told, scan_id, type(error).__name__, where.filename, where.lineno)
    return Answer("failed", "this server has failed at it; its log says where")
