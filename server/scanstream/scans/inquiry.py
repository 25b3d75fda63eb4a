"""How a scan's strategies are asked how much there is to do: in worker processes, so that none holds up the others."""

import logging
from typing import Any

import anyio
import msgspec
from msgspec import UNSET

from scanstream.about import about
from scanstream.errors import FieldError
from scanstream.log.entry import Registered
from scanstream.model import Problem
from scanstream.scans.budget import Clock, Countdown
from scanstream.scans.returns import NotHere
from scanstream.scans.tries import Tries
from scanstream.scans.work import planning
from scanstream.scans.work.planning import JudgeJob, Judgement, Part, Parts, PlanJob
from scanstream.scans.work.processes import Processes, WorkerDied, pause_after
from scanstream.strategies.installed import Answered, Installed, answered

SECONDS_TOGETHER = 3.0
"""In which all strategies of a scan say how much there is to do; else each is asked alone, to find who hangs …"""
SECONDS_ALONE = 10.0
"""… in this time, or in its own budget where that is less."""
MOST_ATTEMPTS = 3
"""How often a strategy is asked before its worker's death counts as its answer."""
MOST_SHORT_ATTEMPTS = 6
"""How often a strategy is asked again that itself finds that the machine lacks something; then that is its answer …"""
LONGEST_PAUSE_SECONDS = 5.0
"""… and the longest time between two of them."""

logger = logging.getLogger("scanstream")


JUDGING_SECONDS = 5.0
"""In which a plug-in's own code says whether a request's parameters are valid."""


class Inquiry:
    """Asks strategies; whatever they do, there is an answer in time, or the machine lacks what it needs to ask them."""

    def __init__(self, processes: Processes, clock: Clock, tries: Tries) -> None:
        self._processes = processes
        self._clock = clock
        self._tries = tries

    async def ask(self, scan: Registered) -> Parts:
        """What the strategies say: together; where that fails each on its own, so that one costs the others nothing.

        :raises NotHere: if this machine lacks what it takes to ask them, and another may not
        """
        names = list(scan.budgets)
        if len(names) > 1:
            try:
                return await self._asked(scan, names, SECONDS_TOGETHER)
            except (TimeoutError, WorkerDied):
                logger.warning("%s: its strategies cannot be planned together; each is asked alone", scan.scan_id)
        answers: dict[str, Parts] = {}
        async with anyio.create_task_group() as asking:
            for name in names:
                asking.start_soon(self._alone, scan, name, answers)
        if len(answers) < len(names):
            raise NotHere
        problem = next((answer.problem for answer in answers.values() if answer.problem is not UNSET), None)
        if problem is not None:
            return Parts(problem=problem)
        return Parts(of={name: answers[name].of[name] for name in names})

    async def _alone(self, scan: Registered, name: str, answers: dict[str, Parts]) -> None:
        seconds = min(SECONDS_ALONE, scan.budgets[name])
        problem = Problem("worker_died", f"its worker process died {MOST_ATTEMPTS} times as it was planned")
        for attempt in range(1, MOST_ATTEMPTS + 1):
            try:
                answers[name] = await self._asked(scan, [name], seconds)
            except TimeoutError:
                problem = Problem("timed_out", f"units() took longer than {seconds:g} s")
                break
            except WorkerDied as death:
                if attempt < MOST_ATTEMPTS:
                    await anyio.sleep(pause_after(death, attempt))
            except NotHere:  # there is no answer then
                return
            else:
                return
        with about(strategy=name):
            logger.warning("%s: %s cannot be planned: %s", scan.scan_id, name, problem.detail)
        answers[name] = Parts(of={name: Part(problem=problem)})

    async def _asked(self, scan: Registered, names: list[str], seconds: float) -> Parts:
        job = PlanJob(scan_id=scan.scan_id, digest=scan.digest, request=scan.request, strategy_ids=names)
        encoded = msgspec.msgpack.encode(job)

        async def ask() -> Parts:
            time = Countdown(self._clock, seconds)
            answer = await self._processes.run(planning.plan, encoded, left=time.left, at_work=time)
            parts = msgspec.msgpack.decode(answer, type=Parts)
            if parts.lacking:
                self._processes.renew()
            return parts

        parts = await self._tries.until_possible(ask, scan.digest)
        for attempt in range(MOST_SHORT_ATTEMPTS):
            if not parts.lacking:
                break
            await anyio.sleep(min(0.5 * 2**attempt, LONGEST_PAUSE_SECONDS))
            parts = await self._tries.until_possible(ask, scan.digest)
        return parts

    async def judged(self, strategy: Installed, given: dict[str, Any]) -> Answered:
        """The strategy, and what its own code says of a request's parameters, or that it does not say so in time.

        :raises Shortage: if the machine lacks what it takes to ask it
        """
        job = msgspec.msgpack.encode(JudgeJob(strategy_id=strategy.id, given=given))
        time = Countdown(self._clock, JUDGING_SECONDS)
        reason = "the strategy ended its process when it was asked whether they are valid"
        for _ in range(MOST_ATTEMPTS):
            try:
                answer = await self._processes.run(planning.judge, job, left=time.left, at_work=time)
            except TimeoutError:
                reason = f"the strategy did not say within {JUDGING_SECONDS:g} s whether they are valid"
                break
            except WorkerDied as death:
                if not death.killed:
                    break
            else:
                judgement = msgspec.msgpack.decode(answer, type=Judgement)
                return answered(strategy, judgement.errors, judgement.values)
        with about(strategy=strategy.id):
            logger.warning("%s: parameters: %s", strategy.id, reason)
        return answered(strategy, [FieldError(f"parameters.{strategy.id}", reason)], {})
