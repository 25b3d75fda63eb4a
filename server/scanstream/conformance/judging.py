"""The checks, one after the other, each with a verdict."""

import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple

import anyio
from websockets.exceptions import WebSocketException

from scanstream.conformance import checks
from scanstream.conformance.asking import Server, ServerGone
from scanstream.conformance.promise import CHECKS, Broken, Check, NotTried
from scanstream.conformance.run import Options, Run, first
from scanstream.conformance.scans import Scans
from scanstream.conformance.trace import Trace

HOLDS, BROKEN, NOT_TRIED = "holds", "broken", "not tried"


class Verdict(NamedTuple):
    """What a check has found out."""

    check: Check
    outcome: str
    seconds: float
    expected: str = ""
    seen: str = ""
    """Where it is not tried: why."""
    trace: Sequence[str] = ()


def chosen(options: Options) -> list[Check]:
    """The checks of a run, in their order.

    :raises KeyError: if there is none of a name
    """
    assert checks.__all__
    for name in options.only:
        CHECKS[name]
    wanted = [check for check in CHECKS.values() if not options.only or check.name in options.only]
    return [check for check in wanted if options.slow or not check.slow or check.name in options.only]


async def judge(options: Options, tell: Callable[[Verdict], None], begins: Callable[[Scans], None]) -> int:
    """Make the checks, and clean up: how many scans were cancelled for that.

    :param tell: is told each verdict as soon as it is there
    :param begins: is told what will be started
    :raises ServerGone: if there is no server, or none any more
    """
    trace = Trace(options.token, options.other_token)
    async with AsyncExitStack() as stack:
        server, stranger, other = [
            await stack.enter_async_context(Server(options.urls, token, trace).open())
            for token in (options.token, None, options.other_token)
        ]
        run = Run(server, stranger, other if options.other_token else None, options)
        try:
            await _look(run)
            begins(run.scans)
            for check in chosen(options):
                trace.clear()
                run.random.seed(f"{options.seed} {check.name}")
                tell(await _made(run, check))
        finally:
            with anyio.move_on_after(options.seconds, shield=True):
                cancelled = await run.scans.clean_up()
    return cancelled


async def _look(run: Run) -> None:
    """What the server has.

    :raises ServerGone: if nobody is there, or it is no scanstream server
    """
    try:
        with anyio.fail_after(run.options.seconds):
            await run.scans.choose()
    except (Broken, KeyError, TypeError) as error:
        raise ServerGone(f"what answers at {run.server.urls[0]} is no scanstream server: {error}") from error
    except TimeoutError as error:
        raise ServerGone(f"{run.server.urls[0]} has not answered within {run.options.seconds:g} s") from error


async def _made(run: Run, check: Check) -> Verdict:
    began = time.monotonic()

    def verdict(outcome: str, expected: str = "", seen: object = "") -> Verdict:
        trace = run.trace.lines() if outcome == BROKEN else ()
        return Verdict(check, outcome, time.monotonic() - began, expected, str(seen), trace)

    try:
        with anyio.fail_after(run.options.seconds) as run.scans.patience:
            await check.body(run)
    except NotTried as reason:
        return verdict(NOT_TRIED, seen=reason)
    except TimeoutError:
        return verdict(BROKEN, f"this within {run.options.seconds:g} s", "it goes on, or nothing comes")
    except (Exception, BaseExceptionGroup) as error:
        return await _of_error(run, error, verdict)
    return verdict(HOLDS)


async def _of_error(run: Run, error: BaseException, verdict: Callable[..., Verdict]) -> Verdict:
    """What a check met; of several at once the promise that is broken counts first.

    :raises ServerGone: if the server is gone for good
    """
    error = first(error)
    if isinstance(error, ServerGone):
        await run.server.get("/healthz")
        return verdict(BROKEN, "an answer", error)
    if isinstance(error, Broken):
        return verdict(BROKEN, error.expected, error.seen)
    if isinstance(error, NotTried):
        return verdict(NOT_TRIED, seen=error)
    if isinstance(error, KeyError | TypeError | AttributeError | IndexError | ValueError | WebSocketException):
        return verdict(BROKEN, "answers in their documented shape", f"{type(error).__name__}: {error}")
    raise error
