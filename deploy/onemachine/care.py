"""What ends by itself, or is killed, is told, and started again, as `restart` in compose.yaml does it."""

import signal
from collections.abc import Awaitable, Callable
from typing import NoReturn

import anyio

from onemachine.program import Program

LOOK_SECONDS = 0.2
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
WELL_SECONDS = 30.0
"""A program that ran for so long is started again soon."""


async def kept_up(program: Program, until_back: Callable[[], Awaitable[None]], say: Callable[[str], None]) -> NoReturn:
    """Start the program again whenever it has ended, for ever.

    :param until_back: waits until it is at work; a RuntimeError if it has ended instead
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        began = anyio.current_time()
        while program.runs:  # noqa: ASYNC110  # the process of somebody else has no event
            await anyio.sleep(LOOK_SECONDS)
        if anyio.current_time() - began >= WELL_SECONDS:
            pause = FIRST_PAUSE_SECONDS
        say(f"{program.name} has ended, {_how(program.process.returncode)}; it is started again in {pause:g} s")
        await anyio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        program.start()
        try:
            await until_back()
        except RuntimeError as error:
            say(str(error))
        else:
            say(f"{program.name} is back, as process {program.pid}")


def _how(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
