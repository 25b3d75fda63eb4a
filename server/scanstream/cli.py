"""The command line. Imports what a command needs when it runs: worker processes import this module, too."""

import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import click

from scanstream import __version__
from scanstream.errors import SetupError

EXIT_USAGE = 2

Command = TypeVar("Command", bound=Callable[..., Any])


def setting(flag: str, *environment: str, **options: Any) -> Callable[[Command], Command]:
    """A flag that is also `SCANSTREAM_…` in the environment."""
    name = "SCANSTREAM_" + flag.removeprefix("--").replace("-", "_").upper()
    return click.option(flag, envvar=[name, *environment], show_envvar=True, **{"show_default": True, **options})


SETTINGS: tuple[Callable[[Any], Any], ...] = (
    setting("--market", default="synthetic", metavar="synthetic|files:PATH", help="What is scanned."),
    setting("--workers", type=int, default=2, help="Processes that run shards; 0: none here."),
    setting("--engine", default="sqlite", help="Where logs live."),
    setting("--max-running", type=int, default=4, help="Scans that run at once; others wait in the queue."),
    setting("--max-scans", type=int, default=10_000, help="Scans under way, waiting ones included."),
    setting("--budget", type=float, default=900.0, help="Seconds that a scan may run; what is missing then times out."),
    setting("--retention", type=float, default=3600.0, help="Seconds that a finished scan answers."),
    setting(
        "--fresh",
        type=float,
        default=None,
        show_default="300, at most the retention",
        help="Seconds that a finished scan answers an identical request.",
    ),
    setting("--stall", type=float, default=60.0, help="Seconds after which a reader that takes no byte is closed."),
    setting("--max-message", type=int, default=1024 * 1024, help="Bytes of the largest message accepted."),
    setting("--allow-origin", multiple=True, help="A web origin beside our own whose pages may use the server."),
)


def settings(command: Command) -> Command:
    """All the flags of a server but where it listens."""
    for decorate in reversed(SETTINGS):
        command = decorate(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="scanstream")
def main() -> None:
    """Scans that take seconds to minutes, pushed live.

    Start a server with `scanstream serve` and open its page, or see one scan from its start to its end with
    `scanstream demo`.
    """


@main.command()
@setting("--host", default="127.0.0.1", help="Where to listen; loopback only unless you say otherwise.")
@setting("--port", "PORT", type=int, default=8000, help="0 picks a free one.")
@setting("--data", default="scanstream-data", metavar="DIR", help="The data directory; `:memory:` keeps nothing.")
@settings
def serve(**flags: Any) -> None:
    """Start the server, until Ctrl-C or SIGTERM."""
    from scanstream.settings import Settings  # noqa: PLC0415

    def announce(url: str) -> None:
        click.echo(f"scanstream {__version__} serves {flags['market']} on {url}")

    _run(_serve, lambda: Settings(**flags), announce)


async def _serve(make: Callable[[], Any], announce: Callable[[str], None]) -> int:
    import signal  # noqa: PLC0415

    import anyio  # noqa: PLC0415

    from scanstream.app import serving  # noqa: PLC0415

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with serving(make()) as url:
            announce(url)
            await anext(signals)
    return 0


@main.command()
@click.option("--symbol", "symbols", multiple=True, help="Scan this symbol only (repeatable).")
@click.option("--strategy", "strategies", multiple=True, help="Run this strategy only (repeatable).")
@settings
def demo(symbols: tuple[str, ...], strategies: tuple[str, ...], **flags: Any) -> None:
    """See one real scan: a server on a free port, a `discover` over a WebSocket, live progress, the best finds.

    Exits with 0 when the scan is complete. Nothing is kept.
    """
    from scanstream.demo import demonstrate  # noqa: PLC0415
    from scanstream.settings import Settings  # noqa: PLC0415

    request = {"symbols": list(symbols) or None, "strategy_ids": list(strategies) or None}
    _run(demonstrate, lambda: Settings(**flags, port=0, data=":memory:"), request)


def _run(command: Callable[..., Any], *arguments: Any) -> NoReturn:
    """Run an asynchronous command; a server that cannot start says why in one line and exits with 2."""
    import logging  # noqa: PLC0415

    import anyio  # noqa: PLC0415

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        status = anyio.run(command, *arguments, backend_options={"use_uvloop": sys.platform != "win32"})
    except* SetupError as group:
        for error in _leaves(group):
            click.echo(f"scanstream: {error}", err=True)
        status = EXIT_USAGE
    except* KeyboardInterrupt:
        status = 130
    sys.exit(status)


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


if __name__ == "__main__":
    main()
