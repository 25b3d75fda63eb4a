"""The checks, one after the other, each with a verdict."""

import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple

import anyio
import httpx
from websockets.exceptions import WebSocketException

from scanstream.client.addresses import shown
from scanstream.conformance import checks
from scanstream.conformance.asking import Server, ServerGone, Unwelcome
from scanstream.conformance.promise import CHECKS, Broken, Check, NotTried
from scanstream.conformance.run import Options, Run, first
from scanstream.conformance.scans import Scans
from scanstream.conformance.trace import Trace

HOLDS, BROKEN, NOT_TRIED = "holds", "broken", "not tried"
ALIVE_SECONDS = 10.0
"""For an answer to the simplest question there is, from a server that has not answered another one in time."""
OUT_OF_SHAPE = (KeyError, TypeError, AttributeError, IndexError, ValueError, WebSocketException)
BROKEN_OFF = (httpx.HTTPError, OSError, EOFError)


class Closing(NamedTuple):
    """What is left to be said when all checks were made."""

    cancelled: int
    """Scans that still ran."""
    refused: str
    """What the server said when it took no new scans, however long it was waited for; empty where it did."""


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


async def judge(options: Options, tell: Callable[[Verdict], None], begins: Callable[[Scans], None]) -> Closing:
    """Make the checks, and clean up.

    :param tell: is told each verdict as soon as it is there
    :param begins: is told what will be started
    :raises ServerGone: if there is no server, or none any more
    :raises Unwelcome: if it lets nobody in who shows what we show
    """
    trace = Trace(options.token, options.other_token)
    cancelled = 0
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
    return Closing(cancelled, run.patience.refused)


async def _look(run: Run) -> None:
    """What the server has.

    :raises ServerGone: if nobody is there, or it is no scanstream server
    :raises Unwelcome: if it lets us in nowhere
    """
    where = shown(run.server.urls[0])
    try:
        with anyio.fail_after(run.options.seconds):
            await _welcome(run, where)
            await run.scans.choose()
    except Broken as broken:
        raise ServerGone(f"what answers at {where} is no scanstream server: {broken}") from broken
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        told = f"its catalogue or its market is not as the protocol has them ({error!r})"
        raise ServerGone(f"what answers at {where} is no scanstream server: {told}") from error
    except TimeoutError as error:
        raise ServerGone(f"{where} has not answered within {run.options.seconds:g} s") from error


async def _welcome(run: Run, where: str) -> None:
    """:raises Unwelcome: if our first question is refused in the words of a scanstream server"""
    answer = await run.server.get("/opportunities/strategies")
    if answer.status not in (401, 403, 503):
        return
    code, detail = (answer.object().get(name) for name in ("code", "detail"))
    if code == "unauthorized" and run.options.token is None:
        raise Unwelcome(f"{where} asks who is there: name a credential with --token, or in SCANSTREAM_TOKEN")
    if isinstance(code, str) and isinstance(detail, str):
        raise Unwelcome(f"{where} refuses what is asked first ({answer.status}, {code}): {detail}")


async def _made(run: Run, check: Check) -> Verdict:
    began = time.monotonic()

    def verdict(outcome: str, expected: str = "", seen: object = "") -> Verdict:
        trace = run.trace.lines() if outcome == BROKEN else ()
        return Verdict(check, outcome, time.monotonic() - began, expected, str(seen), trace)

    try:
        with anyio.fail_after(run.options.seconds) as scope:
            run.patience.begins(scope)
            await check.body(run)
    except NotTried as reason:
        return verdict(NOT_TRIED, seen=reason)
    except TimeoutError:
        await _alive(run, check)
        return verdict(BROKEN, f"this within {run.options.seconds:g} s", "it goes on, or nothing comes")
    except (Exception, BaseExceptionGroup) as error:
        return await _of_error(run, check, first(error), verdict)
    return verdict(HOLDS)


async def _of_error(run: Run, check: Check, error: BaseException, verdict: Callable[..., Verdict]) -> Verdict:
    """What a check met; of several at once the promise that is broken counts first.

    :raises ServerGone: if the server is gone for good
    """
    if isinstance(error, Broken):
        return verdict(BROKEN, error.expected, error.seen)
    if isinstance(error, NotTried):
        return verdict(NOT_TRIED, seen=error)
    if isinstance(error, ServerGone):
        await _alive(run, check)
        return verdict(BROKEN, "an answer", error)
    if isinstance(error, OUT_OF_SHAPE):
        return verdict(BROKEN, "answers in their documented shape", f"{type(error).__name__}: {error}")
    if isinstance(error, BROKEN_OFF):
        await _alive(run, check)
        return verdict(BROKEN, "an answer that comes to its end", f"{type(error).__name__}: {error}")
    raise error


async def _alive(run: Run, check: Check) -> None:
    """:raises ServerGone: if nobody answers any more, so that no further check can say anything"""
    try:
        with anyio.fail_after(ALIVE_SECONDS):
            await run.server.get("/healthz")
    except TimeoutError:
        told = f"{shown(run.server.urls[0])} has stopped answering: nothing came for {ALIVE_SECONDS:g} s"
        raise ServerGone(f"{told}, since {check.name} was tried") from None
    except ServerGone as gone:
        raise ServerGone(f"{gone}, since {check.name} was tried") from gone
