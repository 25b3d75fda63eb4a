"""The commands, as click has them. Imports what a command needs when it runs, as cli.py does."""

import sys
from typing import Any

import click


class Judges(click.Group):
    """`conformance URL` is short for `conformance server URL`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command.parse_args`."""
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["server", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Judges, subcommand_metavar="URL… | server URL… | client -- COMMAND…")
def conformance() -> None:
    """Find out whether a server, or a client, keeps the protocol's promises.

    \b
    Examples:
      scanstream conformance http://127.0.0.1:8000
      scanstream conformance client -- python tests/conformance/adapter.py
    """


@conformance.command()
@click.argument("urls", nargs=-1, metavar="URL…")
@click.option("--list", "listing", is_flag=True, help="Say what would be checked, and check nothing.")
@click.option("--only", multiple=True, metavar="CHECK", help="Make this check only (repeatable).")
@click.option("--seed", type=int, default=None, metavar="N", show_default="by chance", help="What chance decides.")
@click.option("--timeout", type=click.FloatRange(min=1), default=60.0, show_default=True, help="Seconds for a check.")
@click.option("--quick", is_flag=True, help="Leave out checks that wait for time to pass.")
@click.option(
    "--request",
    "requests",
    multiple=True,
    metavar="KIND=JSON",
    help="What to scan for where a check needs a scan that is quick, long, many or failing (repeatable).",
)
@click.option("--token", envvar="SCANSTREAM_TOKEN", default=None, help="Who asks.  [env: SCANSTREAM_TOKEN]")
@click.option(
    "--other-token",
    envvar="SCANSTREAM_OTHER_TOKEN",
    default=None,
    help="Of another principal: what is one's own, the other may not see.  [env: SCANSTREAM_OTHER_TOKEN]",
)
@click.option(
    "--stall",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="What the server was told with --stall.",
)
@click.option(
    "--restart", default="", metavar="COMMAND", help="What restarts it: whether that costs anything is tried."
)
@click.option("--crash", default="", metavar="COMMAND", help="What kills it (kill -9) and starts it anew, likewise.")
@click.option("--json", "as_json", is_flag=True, help="A verdict a line, as JSON, for programs.")
def server(urls: tuple[str, ...], listing: bool, requests: tuple[str, ...], **flags: Any) -> None:
    """Judge the server at URL; where there are several, they are nodes of one server.

    It starts scans, reads them over every transport, cuts connections, asks what may not be asked, and cancels what
    still runs at the end. What does not hold is told with the promise, what was expected, what was seen, and how to
    see it again.

    \b
    Examples:
      scanstream conformance http://127.0.0.1:8000
      scanstream conformance http://10.0.0.1:8000 http://10.0.0.2:8000 --only resume --seed 7
      scanstream conformance http://127.0.0.1:8000 --only restart --restart 'systemctl restart scanstream'
      scanstream conformance --list

    Exits with 0 when every promise that could be tried holds, 1 when one is broken, 2 when a flag is not valid or the
    server lets us not in, 3 when there is no server, or none any more, or it takes no new scans.
    """
    from scanstream.conformance import telling  # noqa: PLC0415

    if listing:
        telling.list_checks()
        return
    if not urls:
        raise click.UsageError("Name the server: scanstream conformance http://127.0.0.1:8000")
    try:
        options = telling.options(urls, requests, **flags)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    sys.exit(telling.server(options, flags["as_json"]))


@conformance.command()
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND…")
@click.option("--list", "listing", is_flag=True, help="Say which scripts there are, and play none.")
@click.option("--only", multiple=True, metavar="SCRIPT", help="Play this script only (repeatable).")
@click.option("--seed", type=int, default=None, metavar="N", show_default="by chance", help="What chance decides.")
@click.option("--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Scripts at once.")
@click.option("--quick", is_flag=True, help="Leave out scripts in which a client waits for time to pass.")
@click.option("--json", "as_json", is_flag=True, help="A verdict a line, as JSON, for programs.")
def client(command: tuple[str, ...], listing: bool, **flags: Any) -> None:
    """Judge the client behind COMMAND: an adapter, which prints what its user would be told.

    A scripted server tells it a scan, script by script, and does on purpose what networks do. COMMAND is started for
    each; it reads one line of JSON on standard input, and writes one for each thing told: docs/conformance.md.

    \b
    Examples:
      scanstream conformance client -- python tests/conformance/adapter.py
      scanstream conformance client --only cut --seed 7 -- node tests/conformance/adapter.mjs
      scanstream conformance client --list

    Exits with 0 when every script ends as promised, 1 when one does not, 2 when a flag is not valid, 3 when COMMAND
    cannot be started.
    """
    from scanstream.conformance import telling  # noqa: PLC0415

    if listing:
        telling.list_scripts()
        return
    if not command:
        raise click.UsageError("Name the adapter: scanstream conformance client -- COMMAND")
    try:
        sys.exit(telling.client(command, **flags))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
