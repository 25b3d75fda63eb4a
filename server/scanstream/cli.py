"""The command line. Imports what a command needs when it runs: worker processes import this module, too."""

import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import click

from scanstream import __version__
from scanstream.errors import SetupError

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

Command = TypeVar("Command", bound=Callable[..., Any])


def setting(flag: str, *environment: str, **options: Any) -> Callable[[Command], Command]:
    """A flag that is also `SCANSTREAM_…` in the environment."""
    name = "SCANSTREAM_" + flag.removeprefix("--").replace("-", "_").upper()
    return click.option(flag, envvar=[name, *environment], show_envvar=True, **{"show_default": True, **options})


SETTINGS: tuple[Callable[[Any], Any], ...] = (
    setting("--market", default="synthetic", metavar="synthetic|files:PATH|ccxt:EXCHANGE", help="What is scanned."),
    setting("--refresh", type=float, default=60.0, help="Seconds from one reading of a live market to the next."),
    setting(
        "--live-symbols",
        default="",
        show_default="the 32 of the largest turnover",
        metavar="A/B,…",
        help="What of a live market is scanned.",
    ),
    setting("--live-timeframe", default="1h", help="The length of a live market's bars."),
    setting("--live-bars", type=int, default=1000, help="How many bars of a live market are read."),
    setting("--workers", type=int, default=2, help="Processes that run shards; 0: none here."),
    setting("--worker-priority", default="idle", metavar="idle|low", help="What of the processors they get."),
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


class Interruptible(click.Group):
    """Ctrl-C ends every command with 130, wherever it comes; click says "Aborted!" and 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """See `click.Group.invoke`."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(EXIT_INTERRUPTED)


@click.group(cls=Interruptible, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="scanstream")
def main() -> None:
    """Scans that take seconds to minutes, pushed live.

    See one scan from its start to its end with `scanstream demo`. Or start a server with `scanstream serve`, and open
    its page, or ask it for a scan with `scanstream discover`.
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

    from scanstream.server import serving  # noqa: PLC0415

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with serving(make()) as url:
            announce(url)
            await anext(signals)
    return 0


@main.command()
@click.option("--symbol", "symbols", multiple=True, help="Scan this symbol only (repeatable).")
@click.option("--strategy", "strategies", multiple=True, help="Run this strategy only (repeatable).")
@click.option(
    "--walk-forward",
    type=click.IntRange(0, 5000),
    default=2000,
    show_default=True,
    help="Past bars on which each rule is scored: more is more work, and a truer hit rate.",
)
@settings
def demo(symbols: tuple[str, ...], strategies: tuple[str, ...], walk_forward: int, **flags: Any) -> None:
    """See one real scan: a server on a free port, a `discover` over a WebSocket, live progress, the best finds.

    Exits with 0 when the scan is complete. Nothing is kept.
    """
    from scanstream.demo import demonstrate  # noqa: PLC0415
    from scanstream.settings import Settings  # noqa: PLC0415

    request = {"symbols": list(symbols) or None, "strategy_ids": list(strategies) or None}
    _run(demonstrate, lambda: Settings(**flags, port=0, data=":memory:"), request, walk_forward)


def read_by(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback: the flag's value as this function of client/flags.py reads it."""

    def read(_: click.Context, __: click.Parameter, value: Any) -> Any:
        from scanstream.client import flags  # noqa: PLC0415

        try:
            return getattr(flags, name)(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return read


def completed_by(name: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """What the shell offers, by this function of client/completion.py."""

    def complete(context: click.Context, _: click.Parameter, begun: str) -> list[Any]:
        from click.shell_completion import CompletionItem  # noqa: PLC0415

        from scanstream.client import completion  # noqa: PLC0415

        found = getattr(completion, name)(context.params.get("url"))
        return [CompletionItem(word, help=meaning) for word, meaning in found if word.startswith(begun)]

    return complete


def of_client(command: Command) -> Command:
    """The flags of every command that talks to a server."""
    for decorate in (
        click.option("--json", "as_json", is_flag=True, help="JSON on standard output, for programs."),
        setting(
            "--url", metavar="URL", default="http://127.0.0.1:8000", callback=read_by("address"), help="The server."
        ),
    ):
        command = decorate(command)
    return command


patience = click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Seconds that a server which went away is waited for.",
)
scan = click.argument("scan_id", metavar="SCAN_ID", shell_complete=completed_by("scans"))


@main.command()
@click.option(
    "--strategy",
    "strategy_ids",
    multiple=True,
    metavar="ID",
    shell_complete=completed_by("strategies"),
    help="Run this strategy only (repeatable).",
)
@click.option("--symbol", "symbols", multiple=True, metavar="S", help="Scan this symbol only (repeatable).")
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    metavar="STRATEGY.NAME=VALUE",
    callback=read_by("parameters"),
    help="Set a strategy's parameter (repeatable). The value is JSON, else text.",
)
@click.option("--force-refresh", is_flag=True, help="Start a new scan, also where an identical one has an answer.")
@click.option("--detach", is_flag=True, help="Print the scan_id and leave; the scan goes on.")
@patience
@of_client
def discover(url: str, as_json: bool, patience: float, detach: bool, **request: Any) -> None:
    """Start a scan and follow it to its end.

    A lost connection, also a restart of the server, is resumed. Ctrl-C asks whether to cancel the scan; what is left
    running can be watched again at any time.

    \b
    Examples:
      scanstream discover
      scanstream discover --strategy tsmom --symbol BTC/USDT --symbol ETH/USDT
      scanstream discover --parameter tsmom.walk_forward=0 --force-refresh
      scanstream discover --json | jq -r 'select(.type == "end").status'
      id=$(scanstream discover --detach) && scanstream watch "$id"

    Exits with 0 when the scan is complete, 1 when it failed or was cancelled, 2 when the request is not valid, 3 when
    there is no server.
    """
    _leave(lambda commands: commands.discover(url, request, patience=patience, as_json=as_json, detach=detach))


@main.command()
@scan
@patience
@of_client
def watch(url: str, as_json: bool, patience: float, scan_id: str) -> None:
    """Follow a scan to its end, from wherever it is.

    SCAN_ID may be `latest`, the newest scan. With --json one message of the protocol a line.

    \b
    Examples:
      scanstream watch latest
      scanstream watch latest --json | jq -c '.patch.progress // empty'
    """
    _leave(lambda commands: commands.watch(url, scan_id, patience=patience, as_json=as_json))


@main.command()
@scan
@of_client
def status(url: str, as_json: bool, scan_id: str) -> None:
    """Say how a scan is doing, now.

    SCAN_ID may be `latest`. Exits with 0 while the scan runs or when it is complete, 1 when it failed or was cancelled.

    \b
    Examples:
      scanstream status latest
      scanstream status latest --json | jq .progress.percentage
    """
    _leave(lambda commands: commands.status(url, scan_id, as_json=as_json))


@main.command()
@scan
@click.option("--csv", "form", flag_value="csv", help="CSV with a header, every field a column.")
@click.option("--ndjson", "form", flag_value="ndjson", help="One opportunity a line, as JSON.")
@click.option("--limit", type=click.IntRange(min=1), help="The best N only.  [default: all]", metavar="N")
@of_client
def results(url: str, as_json: bool, limit: int | None, form: str | None, scan_id: str) -> None:
    """Print what a scan has found, the most confident first.

    SCAN_ID may be `latest`. Exits with 1 while the scan runs (nothing is printed then), and when it failed or was
    cancelled (what it had found is printed).

    \b
    Examples:
      scanstream results latest --limit 20
      scanstream results latest --csv > found.csv
      scanstream results latest --ndjson | jq -r 'select(.hit_rate > 0.6).symbol'
    """
    if as_json and form:
        raise click.UsageError(f"--json and --{form} exclude each other.")
    chosen: Any = "json" if as_json else form or "table"
    _leave(lambda commands: commands.results(url, scan_id, form=chosen, limit=limit))


@main.command()
@scan
@of_client
def cancel(url: str, as_json: bool, scan_id: str) -> None:
    """End a scan, for all who follow it; what it has found is kept.

    SCAN_ID may be `latest`. Exits with 0 also when there was nothing left to cancel.

    \b
    Example:  scanstream cancel latest
    """
    _leave(lambda commands: commands.cancel(url, scan_id, as_json=as_json))


@main.command()
@of_client
def strategies(url: str, as_json: bool) -> None:
    """List the strategies of the server, and their parameters.

    \b
    Example:  scanstream strategies --json | jq -r '.[].id'
    """
    _leave(lambda commands: commands.strategies(url, as_json=as_json))


def _leave(command: Callable[[Any], int]) -> NoReturn:
    """Run a command of a client, and exit with its code."""
    from scanstream.client import commands  # noqa: PLC0415

    sys.exit(command(commands))


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
        status = EXIT_INTERRUPTED
    sys.exit(status)


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


if __name__ == "__main__":
    main()
