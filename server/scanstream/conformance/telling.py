"""The bodies of the commands: what is printed, and the exit code."""

import json
import shlex
from collections.abc import Iterable, Sequence
from random import randrange
from typing import Any

import anyio
import click

from scanstream.client.addresses import address, shown
from scanstream.conformance import report
from scanstream.conformance.asking import ServerGone, Unwelcome
from scanstream.conformance.judging import BROKEN, Verdict, judge
from scanstream.conformance.promise import CHECKS
from scanstream.conformance.run import Options
from scanstream.conformance.scans import KINDS, Scans
from scanstream.conformance.stage.adapter import Unusable
from scanstream.conformance.stage.playing import Played, play_all
from scanstream.conformance.stage.scripts import SCRIPTS
from scanstream.legible import legible
from scanstream.proxies import UnusableProxy

EXIT_HOLDS = 0
EXIT_BROKEN = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
MOST_LETTERS = 4000
"""Of one line."""
MOST_SEED = 10_000
"""Short, as people write it down."""


def list_checks() -> None:
    """All that there are."""
    _say(report.listed())


def list_scripts() -> None:
    """All that there are."""
    _say(report.scripts())


def client(
    command: Sequence[str], *, only: Sequence[str], seed: int | None, jobs: int, quick: bool, as_json: bool
) -> int:
    """Judge a client; the exit code.

    :raises ValueError: if there is no such script
    """
    unknown = [name for name in only if name not in SCRIPTS]
    if unknown:
        raise ValueError(f"There is no script {unknown[0]}; --list says which there are")
    by_chance = randrange(MOST_SEED) if seed is None else seed  # noqa: S311  # nothing secret
    chosen = [
        script for script in SCRIPTS.values() if script.name in only or (not only and not (quick and script.slow))
    ]
    all_played: list[Played] = []

    def tell(played: Played) -> None:
        all_played.append(played)
        words = ["client", "--only", played.script.name, "--seed", str(by_chance), "--", *command]
        again = shlex.join(["scanstream", "conformance", *words])
        if as_json:
            click.echo(json.dumps(report.plainly_played(played, again)))
        else:
            _say(report.played(played, again))

    try:
        anyio.run(play_all, chosen, command, by_chance, jobs, tell)
    except Unusable as unusable:
        click.echo(f"scanstream: {unusable}", err=True)
        return EXIT_UNREACHABLE
    click.echo(report.of_scripts(all_played), err=as_json)
    return EXIT_BROKEN if any(one.broken for one in all_played) else EXIT_HOLDS


def options(
    urls: Sequence[str],
    requests: Sequence[str],
    *,
    only: Sequence[str],
    seed: int | None,
    timeout: float,
    quick: bool,
    token: str | None,
    other_token: str | None,
    stall: float,
    restart: str,
    crash: str,
    as_json: bool,
) -> Options:
    """The flags, read.

    :raises ValueError: naming the first that cannot be
    """
    unknown = [name for name in only if name not in CHECKS]
    if unknown:
        raise ValueError(f"There is no check {unknown[0]}; --list says which there are")
    by_chance = randrange(MOST_SEED) if seed is None else seed  # noqa: S311  # nothing secret
    kinds = requests_of(requests)
    several = [address(url) for url in urls]
    return Options(several, token, by_chance, only, kinds, timeout, not quick, other_token, stall, restart, crash)


def server(options: Options, as_json: bool) -> int:
    """Judge a server; the exit code."""
    verdicts: list[Verdict] = []

    def tell(verdict: Verdict) -> None:
        verdicts.append(verdict)
        again = _again(options, verdict.check.name)
        if as_json:
            click.echo(json.dumps(report.plain(verdict, again)))
        else:
            _say(report.told(verdict, again))

    def begins(scans: Scans) -> None:
        _say(report.beginning(options.urls, scans), err=as_json)

    try:
        cancelled, refused = anyio.run(judge, options, tell, begins)
    except (UnusableProxy, Unwelcome) as error:
        _say([f"scanstream: {error}"], err=True)
        return EXIT_USAGE
    except ServerGone as gone:
        _say([f"scanstream: {gone}"], err=True)
        if verdicts:
            click.echo(f"Until then: {report.summary(verdicts, 0)}", err=as_json)
        return EXIT_UNREACHABLE
    click.echo(report.summary(verdicts, cancelled), err=as_json)
    if any(one.outcome == BROKEN for one in verdicts):
        return EXIT_BROKEN
    if refused:
        _say([f"scanstream: much could not be tried, as the server takes no new scan ({refused})"], err=True)
    return EXIT_UNREACHABLE if refused else EXIT_HOLDS


def _say(lines: Iterable[str], err: bool = False) -> None:
    """Much of it comes from strangers: no terminal is to obey it."""
    for line in lines:
        click.echo(legible(line, MOST_LETTERS), err=err)


def _again(options: Options, name: str) -> str:
    """The command that makes one check alone; the token is left to the environment."""
    requests = [
        word for kind, wanted in options.requests.items() for word in ("--request", f"{kind}={json.dumps(wanted)}")
    ]
    given = {"--restart": options.restart, "--crash": options.crash}
    more = [word for flag, command in given.items() if command and name == flag[2:] for word in (flag, command)]
    stall = ["--stall", f"{options.stall:g}"] if name == "stalled" else []
    words = ["scanstream", "conformance", *map(shown, options.urls), "--only", name, "--seed", str(options.seed)]
    return shlex.join([*words, *requests, *more, *stall])


def requests_of(values: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`KIND=JSON` → kind → request.

    :raises ValueError: naming the first that is not of this form
    """
    found: dict[str, dict[str, Any]] = {}
    for given in values:
        kind, _, text = given.partition("=")
        try:
            wanted = json.loads(text)
        except ValueError:
            wanted = None
        if kind not in KINDS or not isinstance(wanted, dict):
            raise ValueError(
                f"{given!r} is not of the form KIND=JSON, with a KIND of {', '.join(KINDS)}, and an object"
            )
        found[kind] = wanted
    return found
