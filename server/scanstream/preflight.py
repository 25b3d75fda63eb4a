"""The commands that look before a server is started, or at one that runs. They change nothing."""

import sys
from typing import Any

import click

from scanstream.launch import log
from scanstream.options import credential, server
from scanstream.parts import needs_server


@click.command()
@click.option("--url", metavar="URL", default=None, show_default="none", help="A server that runs: it is asked.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output, for programs.")
@credential
@server
def doctor(url: str | None, as_json: bool, **flags: Any) -> None:
    """Say whether a server would work here: settings, data, engine, market, port, versions, limits; and what to do.

    With the flags of `scanstream serve` it looks at what a server with them needs; with --url at one that runs.
    Nothing is changed, and no secret is shown.

    \b
    Examples:
      scanstream doctor --data scans --market files:candles
      scanstream doctor --url http://127.0.0.1:8000
      scanstream doctor --json | jq -r '.checks[] | select(.holds | not).do'

    Exits with 0 when all holds, 1 when something does not.
    """
    from scanstream.doctor.examining import told  # noqa: PLC0415
    from scanstream.terminal.credential import token  # noqa: PLC0415

    sys.exit(told(flags, url, token(), as_json=as_json))


@click.group()
def market() -> None:
    """Look at a market before it is served."""


@market.command()
@click.argument("path", metavar="PATH")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output, for programs.")
def check(path: str, as_json: bool) -> None:
    """Say what of the files at PATH would be served, and what is wrong with them, file by file.

    PATH is a file or a directory, as behind `--market files:`. Everything is read; nothing is kept, and no server is
    needed.

    \b
    Examples:
      scanstream market check candles/
      scanstream market check candles/ --json | jq -r '.problems[]'

    Exits with 0 when it would be served, 1 when something is wrong.
    """
    needs_server("market check")
    from pathlib import Path  # noqa: PLC0415

    import msgspec  # noqa: PLC0415

    from scanstream.market import checking  # noqa: PLC0415

    log()
    report = checking.check(Path(path.removeprefix("files:")).expanduser())
    if as_json:
        click.echo(msgspec.json.encode(checking.plain(report)))  # bytes: UTF-8 whatever the terminal is
    else:
        for line in checking.lines(report):
            click.echo(line)
    sys.exit(0 if report.would_be_served else 1)
