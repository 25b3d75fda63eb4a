"""The command line. Imports what a command needs when it runs, so that help and the shell's completion are quick."""

import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from scanstream import __version__, streams
from scanstream.conformance.commands import conformance
from scanstream.flag import on_command_line, setting
from scanstream.key import key
from scanstream.launch import EXIT_FAILED, EXIT_INTERRUPTED, importing, run, told
from scanstream.launch import serve as launch_serve
from scanstream.launch import work as launch_work
from scanstream.options import (
    completed_by,
    engine,
    health,
    of_client,
    patience,
    read_by,
    scan,
    server,
    settings,
    work,
)
from scanstream.parts import needs_server
from scanstream.preflight import doctor, market


class Interruptible(click.Group):
    """Ctrl-C ends every command with 130, wherever it comes; click says "Aborted!" and 1."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """See `click.Group.main`."""
        streams.attach()
        try:
            return super().main(*args, **extra)
        except OSError as error:  # of a reader that has left click knows
            streams.drop_output()
            click.echo(f"scanstream: standard output or a file failed: {error}", err=True)
            sys.exit(EXIT_FAILED)

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
@server
def serve(**flags: Any) -> None:
    """Start the server, until Ctrl-C or SIGTERM.

    \b
    Examples:
      scanstream serve
      scanstream serve --engine nats://10.0.0.1:4222,nats://10.0.0.2:4222 --workers 0

    Exits with 0 when told to end, 2 when a setting cannot work, 3 when NATS cannot be used, 1 when it has failed.
    """
    needs_server("serve")
    _launch(launch_serve, flags, f"serves {flags['market']} on")


@main.command()
@setting("--data", default="scanstream-data", metavar="DIR", help="Where market data is kept at hand.")
@health
@engine
@work
def worker(**flags: Any) -> None:
    """Run shards for the servers on the same NATS (--engine), until Ctrl-C or SIGTERM.

    It has no doors, but for --health-port: there /healthz, /readyz and /metrics are answered, for those who look after
    it; where others than its own machine reach --host, /metrics is for those with the right operate (--auth required).
    Start as many as you like, wherever NATS can be reached. --engine, --namespace, --lease and --max-running must be
    those of the servers. One line is printed once it takes shards. What it has when it ends goes to another node: at
    once where it was told to end, after --lease where it died.

    \b
    Examples:
      scanstream worker --engine nats://10.0.0.1:4222,nats://10.0.0.2:4222
      SCANSTREAM_ENGINE=nats://10.0.0.1:4222 scanstream worker --workers 8

    Exits with 0 when told to end, 2 when a setting cannot work, 3 when NATS cannot be used, 1 when it has failed.
    """
    needs_server("worker")
    _launch(launch_work, flags, "takes shards from")


def _launch(command: Callable[..., Any], flags: dict[str, Any], does: str) -> NoReturn:
    from scanstream.leaving import Leaving  # noqa: PLC0415

    leaving = Leaving()
    with importing():
        from scanstream.settings import Settings  # noqa: PLC0415

    shown = [name for name in ("engine", "jwt_secret") if on_command_line(name)]

    def made() -> Settings:
        settings = Settings(**flags)
        told(settings, shown)
        return settings

    def announce(where: str) -> None:
        try:
            click.echo(f"scanstream {__version__} {does} {where}")
        except OSError:  # nobody reads it: no reason not to go on
            streams.drop_output()

    run(command, made, announce, leaving, leave=leaving.leave, log_format=flags["log_format"])


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
    needs_server("demo")
    with importing():
        from scanstream.demo import demonstrate  # noqa: PLC0415
        from scanstream.settings import Settings  # noqa: PLC0415

    request = {"symbols": list(symbols) or None, "strategy_ids": list(strategies) or None}
    log_format = flags["log_format"]
    run(demonstrate, lambda: Settings(**flags, port=0, data=":memory:"), request, walk_forward, log_format=log_format)


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
@click.option("--notify", multiple=True, metavar="URL", help="Have this address told of its end (repeatable).")
@patience
@of_client
def discover(url: str, as_json: bool, patience: float, detach: bool, notify: tuple[str, ...], **request: Any) -> None:
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
    how: dict[str, Any] = {"patience": patience, "as_json": as_json, "detach": detach, "notify": notify}
    _leave(lambda commands: commands.discover(url, request, **how))


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
@scan
@of_client
def explain(url: str, as_json: bool, scan_id: str) -> None:
    """Tell a scan's life: what happened when, how long it took, and what it waits for now.

    SCAN_ID may be `latest`. Of a scan of many shards the slowest are told, and those that failed.

    \b
    Examples:
      scanstream explain latest
      scanstream explain latest --json | jq -r '.waits_for[].why'
    """
    from scanstream.terminal import life  # noqa: PLC0415

    sys.exit(life.explain(url, scan_id, as_json=as_json))


@main.command()
@of_client
def strategies(url: str, as_json: bool) -> None:
    """List the strategies of the server, and their parameters.

    \b
    Example:  scanstream strategies --json | jq -r '.[].id'
    """
    _leave(lambda commands: commands.strategies(url, as_json=as_json))


main.add_command(conformance)
main.add_command(doctor)
main.add_command(key)
main.add_command(market)


def _leave(command: Callable[[Any], int]) -> NoReturn:
    """Run a command of a client, and exit with its code."""
    from scanstream.terminal import commands  # noqa: PLC0415

    sys.exit(command(commands))


if __name__ == "__main__":
    main()
