"""The bodies of the commands that talk to a server: each prints, and gives the exit code."""

import math
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeAlias

import anyio
import click
import msgspec

from scanstream.client.condition import Connection
from scanstream.client.failures import Lost, Unreachable
from scanstream.client.mirror import Mirror
from scanstream.errors import TABLE, ScanstreamError
from scanstream.log.cursor import Cursor, Position, parse
from scanstream.message import POLLING_INTERVAL_SECONDS
from scanstream.model import EVENTS_PATH, STATUS_PATH, Document
from scanstream.terminal import questions
from scanstream.terminal.credential import VARIABLE
from scanstream.terminal.flags import command
from scanstream.terminal.following import Following
from scanstream.terminal.output import Output, draws, legible, print_line
from scanstream.terminal.patience import Gone, Patience
from scanstream.terminal.prompt import confirmed
from scanstream.terminal.tables import csv_text, opportunity_table, strategy_table
from scanstream.terminal.view import ScanView, market_line, print_hint, print_state, progress_line_of, show

EXIT_COMPLETE, EXIT_FAILED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_INTERRUPTED = 0, 1, 2, 3, 130

FLAGS = {"symbols": "--symbol", "strategy_ids": "--strategy", "parameters": "--parameter", "url": "--notify"}
"""Field of a request → the flag that gives it."""

ACKS = {
    None: "a new scan",
    "running": "an identical scan is under way; following that one",
    "fresh": "an identical scan has just ended; --force-refresh starts a new one",
}

Form: TypeAlias = Literal["table", "json", "ndjson", "csv"]
P = ParamSpec("P")


def answering(command: Callable[P, int]) -> Callable[P, int]:
    """What goes wrong as words on standard error, and as an exit code."""

    @wraps(command)
    def answered(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return command(*args, **kwargs)
        except UnicodeEncodeError as error:
            _say(f"{error.object!r} is no text in UTF-8")
            return EXIT_USAGE
        except Lost as lost:
            _say(f"The server went away before it had answered ({lost})")
        except Unreachable as unreachable:
            _say(str(unreachable))
        except ScanstreamError as refused:
            return tell_refused(refused)
        return EXIT_UNREACHABLE

    return answered


def tell_refused(refused: ScanstreamError) -> int:
    """What the server does not take, on standard error, each field with its flag; the exit code."""
    if refused.errors:
        _say("The server does not take this:")
        for field, reason in refused.errors:
            flag = FLAGS.get(field.partition(".")[0])
            click.echo(legible(f"  {field}{f' ({flag})' if flag else ''}: {reason}"), err=True)
    else:
        _say(f"{refused.scan_id}: {refused}" if refused.scan_id else str(refused))
    if refused.code == "unauthorized":
        _say(f"Give a key or token of this server as {VARIABLE} in the environment, or with --token")
        return EXIT_USAGE
    if refused.retry_after:
        _say(f"The server says when to ask again: in {math.ceil(refused.retry_after)} s")
    row = TABLE.get(refused.code)
    if row is not None and row.fault == "server":
        return EXIT_UNREACHABLE
    return EXIT_USAGE if refused.code in ("invalid_request", "invalid_json", "too_large") else EXIT_FAILED


@answering
def discover(
    url: str, request: dict[str, Any], *, patience: float, as_json: bool, detach: bool, notify: Sequence[str] = ()
) -> int:
    """Ask for a scan, and follow it unless detached; a field that is empty or off is not sent."""
    request = {name: value for name, value in request.items() if value}
    try:
        ack = anyio.run(questions.discover, url, request, Patience(url, patience, tell=_tell))
    except questions.Silent as silent:
        _say(f"{silent}. {_perhaps(url)}")
        return EXIT_UNREACHABLE
    except KeyboardInterrupt:
        _say(f"No ack yet. {_perhaps(url)}")
        return EXIT_INTERRUPTED
    if as_json:
        _json({"type": "ack", **ack})
    elif detach:
        click.echo(ack["scan_id"])
    else:
        click.echo(legible(f"{ack['scan_id']}: {ACKS.get(ack.get('reused'), ack['message'])}"))
    for target in notify:
        if refused := _notify(url, ack["scan_id"], target, patience):
            return refused
    return EXIT_COMPLETE if detach else _follow(url, ack["scan_id"], patience=patience, as_json=as_json)


def _notify(url: str, scan_id: str, target: str, patience: float) -> int:
    """Have an address told of the end; the exit code where that is refused, in which case the scan goes on.

    What it is verified with is said on standard error: the other has the scan's id, and the protocol's messages.
    """
    try:
        accepted = anyio.run(questions.notify, url, scan_id, target, Patience(url, patience, tell=_tell))
    except ScanstreamError as refused:
        _say(f"Nobody is told of the end; the scan goes on: {command(f'watch {scan_id}', url)}")
        return tell_refused(refused)
    _say(f"{accepted['url']} is told of the end, and verifies that with {accepted['signing_secret']}")
    return EXIT_COMPLETE


def _perhaps(url: str) -> str:
    """What to do where it is not known whether there is a scan."""
    return "A scan may have been registered: " + command("status latest", url)


@answering
def watch(url: str, scan_id: str, *, patience: float, as_json: bool) -> int:
    """Follow a scan to its end."""
    scan_id.encode()  # what is no text is no id, and not the server's to look for
    try:
        state = anyio.run(questions.found, url, scan_id, Patience(url, patience, tell=_tell))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if as_json:
        _json(_ack_of(state))
    else:
        click.echo(state["scan_id"])
    return _follow(url, state["scan_id"], patience=patience, as_json=as_json)


def _ack_of(state: Document) -> Document:
    """What a subscription is acknowledged with, whichever transport it is that will bring the scan."""
    names = ("success", "scan_id", "status", "message", "poll_url", "results_url", "progress", "filters")
    cursor = parse(state["cursor"])
    return {
        "type": "ack",
        **{name: state[name] for name in names if name in state},
        "cursor": str(Cursor(cursor.epoch, Position(0, 0))) if cursor else state["cursor"],
        "events_url": str(state.get("poll_url")).replace(STATUS_PATH, EVENTS_PATH),
        "polling_interval_seconds": POLLING_INTERVAL_SECONDS,
    }


def _follow(url: str, scan_id: str, *, patience: float, as_json: bool) -> int:
    """Follow, through Ctrl-C where the scan is to be cancelled and its end is still to come."""
    console, mirror = Output(), Mirror()
    view = ScanView(mirror)

    def tell(words: str, lost: bool) -> None:
        view.lost = words if lost else ""
        if as_json or not draws(console) or mirror.cursor is None:
            _say(words)

    async def look(news: AsyncIterator[object], connection: Connection) -> None:
        if as_json:
            async for _ in news:  # each message is printed as it comes
                pass
            return
        view.connection = connection
        await show(news, mirror, console, view)
        print_hint(mirror.state, url, console)

    heard = _json if as_json else None
    following = Following(url, scan_id, mirror, Patience(url, patience, reached=True, tell=tell), heard)
    while True:
        try:
            anyio.run(following.run, look)
        except KeyboardInterrupt:
            if not _wants_cancel(following):
                return EXIT_INTERRUPTED
            following.cancel()
        except Gone as gone:
            return _given_up(following, gone)
        else:
            return _exit_code(mirror.state["status"])


def _given_up(following: Following, error: Unreachable) -> int:
    cancelled = "The scan is not cancelled as far as is known, and" if following.cancelling else "The scan"
    _say(f"{error}. {cancelled} may well go on. {_way_back(following)}")
    return EXIT_UNREACHABLE


def _wants_cancel(following: Following) -> bool:
    """After Ctrl-C: whether the scan is to be cancelled; if not, how to come back has been said."""
    wants = False
    try:
        if sys.stdin.isatty() and sys.stdout.isatty() and not following.mirror.ended:
            wants = confirmed(f"\n{_going_on(following)}. Cancel it?")
    except KeyboardInterrupt:
        click.echo()
    if not wants:
        left = "Left running" if following.connected else _going_on(following)
        _say(f"{left}. {_way_back(following)}")
    return wants


def _going_on(following: Following) -> str:
    """What is known of it."""
    if following.connected:
        return "The scan goes on at the server"
    return "The connection is lost; the scan may well go on"


def _way_back(following: Following) -> str:
    return "Come back with: " + command(f"watch {following.scan_id}", following.url)


@answering
def status(url: str, scan_id: str, *, as_json: bool) -> int:
    """How a scan is doing."""
    state = anyio.run(questions.status, url, scan_id)
    if as_json:
        _json(state)
    else:
        print_state(state, Output())
    return EXIT_FAILED if state["status"] in ("failed", "cancelled") else EXIT_COMPLETE


@answering
def results(url: str, scan_id: str, *, form: Form, limit: int | None) -> int:
    """What a scan has found; nothing while it runs."""
    body = anyio.run(questions.results, url, scan_id, limit)
    if "opportunities" not in body:
        _say(f"The scan is not done: {progress_line_of(body).strip()}")
        _say("Watch it with: " + command(f"watch {body['scan_id']}", url))
        return EXIT_FAILED
    opportunities = body["opportunities"]
    match form:
        case "json":
            _json(body)
        case "ndjson":
            click.echo(msgspec.json.Encoder().encode_lines(opportunities), nl=False)
        case "csv":
            click.echo(csv_text(opportunities).encode(), nl=False)
        case "table":
            _print_results(body, anyio.run(questions.status, url, body["scan_id"])["market"])
    return _exit_code(body["status"])


def _print_results(body: dict[str, Any], market: str) -> None:
    console, opportunities = Output(), body["opportunities"]
    plain = not console.is_terminal
    title = f"{body['status']}: {len(opportunities)} of {body['total_opportunities']} opportunities"
    print_line(market_line(market), console)
    columns = None if plain else console.width
    console.print(opportunity_table(opportunities, None if plain else title, plain=plain, columns=columns))


@answering
def cancel(url: str, scan_id: str, *, as_json: bool) -> int:
    """Ask for a scan's end."""
    state = anyio.run(questions.cancel, url, scan_id)
    if as_json:
        _json(state)
    elif state["status"] == "scanning":
        click.echo(f"{state['scan_id']}: is being cancelled; what it has found is kept")
    else:
        click.echo(f"{state['scan_id']}: {state['status']}")
    return EXIT_COMPLETE


@answering
def strategies(url: str, *, as_json: bool) -> int:
    """What the server can run."""
    catalogue = anyio.run(questions.strategies, url)
    if as_json:
        _json(catalogue)
    else:
        console = Output()
        console.print(strategy_table(catalogue, plain=not console.is_terminal), highlight=False)
    return EXIT_COMPLETE


def _exit_code(status: str) -> int:
    return EXIT_COMPLETE if status == "complete" else EXIT_FAILED


def _tell(words: str, lost: bool) -> None:
    _say(words)


def _say(words: str) -> None:
    click.echo(f"scanstream: {legible(words)}", err=True)


def _json(document: Any) -> None:
    """One document, one line, at once."""
    click.echo(msgspec.json.encode(document))
