"""The flags that several commands have. Imports what a flag needs when read: worker processes import this, too."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

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
    setting("--keep-alive", type=float, default=75.0, help="Seconds that an idle connection is kept for a request."),
    setting("--max-message", type=int, default=1024 * 1024, help="Bytes of the largest message accepted."),
    setting("--allow-origin", multiple=True, help="A web origin beside our own whose pages may use the server."),
    setting("--allow-host", multiple=True, help="A name beside loopback's that requests may be for."),
    setting(
        "--root-path",
        default="",
        show_default="none",
        metavar="PATH",
        help="The path that proxies have the server below.",
    ),
    setting("--trusted-proxy", multiple=True, metavar="ADDRESS", help="A proxy whose X-Forwarded-… headers count."),
)


def settings(command: Command) -> Command:
    """All the flags of a server but where it listens."""
    for decorate in reversed(SETTINGS):
        command = decorate(command)
    return command


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
