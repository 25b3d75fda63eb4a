"""How long strategies in the loop hold it up: each stretch that they compute without awaiting is measured.

A coroutine that the loop runs is a chain of steps: from one `await` that really waits to the next. `Steps.take` drives
a strategy's coroutine by hand and measures each. What the kernel gave to others meanwhile is taken off, where it says
so. Tasks that a strategy starts itself are steps of their own, which only `watch.py` sees.
"""

import logging
import os
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Generator
from typing import Any, Generic, TypeVar

import anyio

from scanstream.model import ScanId

LONGEST_STEP_SECONDS = 0.1
"""A step that takes longer is told."""
OVERDUE_SECONDS = 1.0
"""A strategy that goes on for so long after it was cancelled, whatever it is told, is left where it is."""
LOG_SECONDS = 60.0
"""From one warning about a strategy to the next."""

logger = logging.getLogger("scanstream")

T = TypeVar("T")


class Blocks:
    """How often the strategies have held up the loop, and for how long at most."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.longest: dict[str, float] = {}
        self.seconds: dict[str, float] = defaultdict(float)
        """For how long in all."""
        self._left: list[object] = []
        """Coroutines that do not stop; held, as the interpreter would try to close them, and wait for that for ever."""
        self._logged: dict[str, float] = {}

    def leave(self, strategy_id: str, scan_id: ScanId | str, coroutine: object) -> None:
        """Go on without a strategy that does not stop."""
        self._left.append(coroutine)
        logger.warning(
            "%s: the strategy %s goes on though it was cancelled; it is left where it is",
            scan_id,
            strategy_id,
            extra={"strategy": strategy_id},
        )

    def note(self, strategy_id: str, scan_id: ScanId | str, seconds: float) -> None:
        """One more."""
        at = time.perf_counter()
        self.times[strategy_id] += 1
        self.seconds[strategy_id] += seconds
        self.longest[strategy_id] = max(seconds, self.longest.get(strategy_id, 0.0))
        if at - self._logged.get(strategy_id, -LOG_SECONDS) >= LOG_SECONDS:
            self._logged[strategy_id] = at
            logger.warning(
                "%s: the strategy %s held up the server's loop for %.0f ms (%d times until now): what computes for long"
                " belongs into a thread, or into a Strategy without async",
                scan_id,
                strategy_id,
                1000 * seconds,
                self.times[strategy_id],
                extra={"strategy": strategy_id},
            )


class Steps:
    """The steps of one shard."""

    def __init__(self, blocks: Blocks, strategy_id: str, scan_id: ScanId) -> None:
        self._blocks = blocks
        self._strategy_id = strategy_id
        self._scan_id = scan_id
        self.held_up = False
        """Whether any of them took too long."""
        self._stopped: float | None = None
        """When the shard was cancelled: by the server, and not by a scope of the strategy's own."""
        self._left = False

    async def attend(self) -> None:
        """Notice when the shard is cancelled."""
        try:
            await anyio.sleep_forever()
        finally:
            self._stopped = time.perf_counter()

    def overdue(self, coroutine: object) -> bool:
        """Whether the strategy was to have stopped long ago; then it is left."""
        if self._stopped is None or time.perf_counter() - self._stopped < OVERDUE_SECONDS:
            return False
        self._left = True
        self._blocks.leave(self._strategy_id, self._scan_id, coroutine)
        return True

    def take(self, awaitable: Awaitable[T]) -> Awaitable[T]:
        """The same, measured."""
        return _Driven(awaitable, self)

    def measure(self, began: "Moment") -> None:
        """A step has ended."""
        seconds = began.until_now()
        if seconds > LONGEST_STEP_SECONDS:
            self.held_up = True
            self._blocks.note(self._strategy_id, self._scan_id, seconds)

    @property
    def note(self) -> str:
        """What the scan is told of it."""
        held_up = f"it held up the server's loop for more than {1000 * LONGEST_STEP_SECONDS:.0f} ms at a time"
        return "; ".join([held_up] * self.held_up + ["it did not stop when it was cancelled"] * self._left)


class Moment:
    """When a step began; and how long this thread has waited for a processor until then."""

    def __init__(self) -> None:
        self._at = time.perf_counter()
        self._waited = _waited()

    def until_now(self) -> float:
        """Seconds since then in which this thread could go on."""
        return time.perf_counter() - self._at - (_waited() - self._waited)


def _waited() -> float:
    """Seconds that this thread was ready and others had the processor (the kernel's sched-stats.rst); 0: not told."""
    try:
        descriptor = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        try:
            return int(os.read(descriptor, 100).split()[1]) / 1e9
        finally:
            os.close(descriptor)
    except (OSError, IndexError, ValueError):
        return 0.0


class _Driven(Generic[T]):
    """An awaitable that is sent on by hand."""

    def __init__(self, awaitable: Awaitable[T], steps: Steps) -> None:
        self._awaitable = awaitable
        self._steps = steps

    def __await__(self) -> Generator[Any, Any, T]:
        waiting: Any = self._awaitable.__await__()
        value: Any = None
        thrown: BaseException | None = None
        while True:
            began = Moment()
            try:
                if thrown is not None:
                    awaited = waiting.throw(thrown)
                else:
                    awaited = waiting.send(value) if value is not None else next(waiting)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                thrown = None
                self._steps.measure(began)
            try:
                value = yield awaited
            except GeneratorExit:
                waiting.close()
                raise
            except BaseException as error:
                if isinstance(error, anyio.get_cancelled_exc_class()) and self._steps.overdue(waiting):
                    raise
                thrown = error
