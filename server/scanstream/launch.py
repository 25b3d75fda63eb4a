"""Runs a server for a command, and says in one line why it could not start, or has failed. Imports it when it runs."""

import gc
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from scanstream.errors import EngineUnusable, Restarting, SetupError
from scanstream.flag import in_words_given

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_INTERRUPTED = 130


@contextmanager
def importing() -> Iterator[None]:
    """Import without the collector: it would walk over all that came, again and again, a sixth of the time of a start.

    What is imported is there to stay.
    """
    at_work = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if at_work:
            gc.enable()


def log(form: str = "text") -> bool:
    """What a server says beside its answers, on standard error; whether that is for programs. See `logs.install`."""
    from scanstream.logs import install  # noqa: PLC0415

    return install(form)


def told(settings: Any, shown: Collection[str]) -> None:
    """Tell the log what works with these settings, and is hardly meant.

    :param shown: which of those that may hold a secret were given as flags
    """
    import logging  # noqa: PLC0415

    for doubt in settings.doubts(shown):
        logging.getLogger("scanstream").warning(doubt)


def run(
    command: Callable[..., Any],
    *arguments: Any,
    leave: Callable[[int], NoReturn] = sys.exit,
    log_format: str = "text",
) -> NoReturn:
    """Run an asynchronous command; a server that cannot start says why in one line and exits with 2.

    With 3 where that is because of the engine outside of it (`EngineUnusable`).
    One that fails later says so in one line, too, and exits with 1.
    """
    import anyio  # noqa: PLC0415

    for_programs = log(log_format)
    status = EXIT_FAILED
    try:
        status = anyio.run(command, *arguments, backend_options={"use_uvloop": sys.platform != "win32"})
    except* SetupError as group:
        for error in _leaves(group):
            click.echo(f"scanstream: {in_words_given(str(error))}", err=True)
        status = EXIT_UNREACHABLE if group.subgroup(EngineUnusable) else EXIT_USAGE
    except* KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    except* Exception as group:
        for error in _first_causes(_leaves(group)):
            _say_failed(_described(error), for_programs)
    leave(status)


def _say_failed(why: str, for_programs: bool) -> None:
    """The last words of a server: in the log's form, as whoever reads that wants them most."""
    words = f"the server has failed, and ends: {why}"
    if for_programs:
        import logging  # noqa: PLC0415

        logging.getLogger("scanstream").critical("%s", words)
    else:
        click.echo(f"scanstream: {words}", err=True)


def _first_causes(errors: list[BaseException]) -> list[BaseException]:
    """Without those that only say that the server ends."""
    return [error for error in errors if not isinstance(error, Restarting)] or errors


def _described(error: BaseException) -> str:
    """A defect in one line: its kind, its words, and where it came from."""
    import traceback  # noqa: PLC0415

    words = " ".join(str(error).split())
    where = "".join(
        f" ({frame.filename}, line {frame.lineno})" for frame in traceback.extract_tb(error.__traceback__)[-1:]
    )
    return f"{type(error).__name__}: {words}{where}"


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


async def serve(make: Callable[[], Any], announce: Callable[[str], None], leaving: Any) -> int:
    """A server with the settings that `make` gives, until `leaving` is told; then it is drained."""
    with importing():
        from scanstream.server import serving  # noqa: PLC0415

    return await _until_told(serving, make, announce, leaving)


async def work(make: Callable[[], Any], announce: Callable[[str], None], leaving: Any) -> int:
    """A worker with these settings, until `leaving` is told; then it gives back what it has."""
    with importing():
        from scanstream.worker import working  # noqa: PLC0415

    return await _until_told(working, make, announce, leaving)


async def _until_told(
    opened: Callable[..., Any], make: Callable[[], Any], announce: Callable[[str], None], leaving: Any
) -> int:
    import anyio  # noqa: PLC0415

    from scanstream.collector import kept_apart  # noqa: PLC0415

    told, starts = anyio.Event(), True

    async def listen() -> None:
        await leaving.until_told()
        told.set()
        if starts:
            tasks.cancel_scope.cancel()

    async with kept_apart() as collector, anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        async with opened(make(), collector) as where:
            starts = False  # from here on a cancel would end what is under way and still needs it
            announce(where)
            try:
                await told.wait()
            finally:
                leaving.begin(EXIT_FAILED)
        tasks.cancel_scope.cancel()
    return 0
