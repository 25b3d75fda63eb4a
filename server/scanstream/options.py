"""The flags that several commands have. Imports what a flag needs when it is read, so that help is quick."""

from collections.abc import Callable, Sequence
from typing import Any

import click
from click.core import ParameterSource

from scanstream.flag import Command, say_once, setting

WORK: tuple[Callable[[Any], Any], ...] = (
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
    setting("--max-running", type=int, default=4, help="Scans that run at once; others wait in the queue."),
    setting("--max-in-loop", type=int, default=256, help="Shards that wait for input at once, over all scans."),
    setting("--max-in-loop-per-scan", type=int, default=32, help="The same of one scan."),
    setting(
        "--log-format", default="auto", metavar="auto|text|json", help="How its log is written: auto is JSON in pipes."
    ),
)
"""What is scanned, and how much of that at once."""

LIMITS: tuple[Callable[[Any], Any], ...] = (
    setting("--max-scans", type=int, default=10_000, help="Scans under way, waiting ones included."),
    setting(
        "--max-own-scans",
        type=int,
        default=None,
        show_default="a fourth of these where callers are told apart, else none",
        help="Of these of one principal's.",
    ),
    setting(
        "--max-discovers",
        type=int,
        default=None,
        show_default="30 where callers are told apart, else none",
        help="Scans that a principal starts in a minute.",
    ),
    setting(
        "--max-sockets",
        type=int,
        default=None,
        show_default="as many as the open files allow",
        help="WebSockets and event streams at once.",
    ),
    setting(
        "--max-own-sockets",
        type=int,
        default=None,
        show_default="a fourth of these where callers are told apart, else none",
        help="Of these of one principal, or address.",
    ),
    setting(
        "--max-own-handshakes", type=int, default=512, help="TLS handshakes under way from one address; 0: no limit."
    ),
    setting("--max-subscriptions", type=int, default=256, help="Scans that one WebSocket follows."),
    setting("--max-messages", type=int, default=500, help="Messages a second that one WebSocket may send."),
    setting("--max-message", type=int, default=1024 * 1024, help="Bytes of the largest message accepted."),
    setting("--max-head", type=int, default=32 * 1024, help="Bytes of the largest head of a request accepted."),
    setting("--silence", type=float, default=10.0, help="Seconds in which a new connection must say something."),
)
"""What one caller, one connection and all together may have."""

SETTINGS: tuple[Callable[[Any], Any], ...] = (
    *WORK,
    *LIMITS,
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
    setting("--tick", type=float, default=0.025, help="Seconds between two flushes of one scan to its readers."),
    setting(
        "--compression",
        default="none",
        help="none, or deflate: compresses the messages of WebSockets whose clients offer that.",
    ),
    setting(
        "--tls-cert",
        default="",
        show_default="none: plain HTTP",
        metavar="FILE",
        help="Our certificate, with those that lead to its authority.",
    ),
    setting("--tls-key", default="", show_default="in that file", metavar="FILE", help="… and its key."),
    setting(
        "--tls-key-password-file",
        default="",
        show_default="none",
        metavar="FILE",
        help="Where that is encrypted, a file with its password.",
    ),
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
    setting("--notify", multiple=True, metavar="URL", help="Whoever is below this address may be told of scans' ends."),
    setting("--notify-private", multiple=True, metavar="NETWORK", help="Of these a network that is not the internet."),
)


ENGINE: tuple[Callable[[Any], Any], ...] = (
    setting(
        "--engine",
        default="sqlite",
        metavar="sqlite|nats://HOST:PORT,…",
        help="Where logs live: in a file of this node's, or in NATS JetStream, for several nodes.",
    ),
    setting("--engine-creds", default="", show_default="none", metavar="FILE", help="A file of credentials for NATS."),
    setting(
        "--engine-ca",
        default="",
        show_default="the system's",
        metavar="FILE",
        help="The certificates that those of NATS must come from.",
    ),
    setting("--engine-cert", default="", show_default="none", metavar="FILE", help="Our certificate for NATS …"),
    setting("--engine-key", default="", show_default="in that file", metavar="FILE", help="… and its key."),
    setting("--lease", type=float, default=10.0, help="Seconds after which what a dead node held is another's."),
    setting(
        "--replicas",
        type=int,
        default=None,
        show_default="3 where several servers are named, else 1",
        help="Servers of NATS that hold each message.",
    ),
    setting("--namespace", default="", show_default="none", help="What the names in NATS begin with."),
)
"""Where logs live. A demonstration has its own engine, in memory."""


AUTH: tuple[Callable[[Any], Any], ...] = (
    setting("--auth", default="none", metavar="none|required", help="Whether a credential is asked for."),
    setting("--keys", default="", show_default="none", metavar="FILE", help="API keys (`scanstream key create`)."),
    setting(
        "--jwt-secret",
        default="",
        show_default="none",
        metavar="TEXT",
        help="The secret that JWTs are signed with; rather as SCANSTREAM_JWT_SECRET, or in a file.",
    ),
    setting("--jwt-secret-file", default="", show_default="none", metavar="FILE", help="Such secrets, one a line."),
    setting(
        "--jwt-keys",
        default="",
        show_default="none",
        metavar="FILE|URL",
        help="The public keys of whoever signs JWTs (JWKS).",
    ),
    setting("--jwt-issuer", default="", show_default="any", help="What `iss` of a JWT must be."),
    setting("--jwt-audience", default="", show_default="none", help="What must be in `aud` of a JWT."),
    setting(
        "--jwt-algorithms",
        default="",
        show_default="HS256 for secrets, RS256, ES256, EdDSA for public keys",
        metavar="A,…",
        help="By which algorithms JWTs may be signed.",
    ),
    setting("--insecure", is_flag=True, help="Ask nobody who they are, though others than this machine reach --host."),
)
"""Who may come in."""


PLACE: tuple[Callable[[Any], Any], ...] = (
    setting("--host", default="127.0.0.1", help="Where to listen; loopback only unless you say otherwise."),
    setting("--port", "PORT", type=int, default=8000, help="0 picks a free one."),
    setting("--data", default="scanstream-data", metavar="DIR", help="The data directory; `:memory:` keeps nothing."),
)
"""Where a server is, and what it keeps."""


HEALTH: tuple[Callable[[Any], Any], ...] = (
    setting(
        "--health-port",
        type=int,
        default=None,
        show_default="none",
        metavar="PORT",
        help="Where it tells how it is, at /healthz, /readyz and /metrics; 0 picks a free one.",
    ),
    setting("--host", default="127.0.0.1", help="Where --health-port listens; loopback only unless you say otherwise."),
    setting("--allow-host", multiple=True, help="A name beside loopback's that questions for /metrics may be for."),
)
"""Where a node without doors tells how it is."""


def settings(command: Command) -> Command:
    """All the flags of a server but where it listens and where its logs live."""
    return decorated(command, SETTINGS)


def work(command: Command) -> Command:
    """The flags of who runs shards."""
    return decorated(command, WORK)


def health(command: Command) -> Command:
    """The flags of where a worker tells how it is, and whom."""
    return decorated(command, (*HEALTH, *AUTH))


def server(command: Command) -> Command:
    """All the flags of a server."""
    return decorated(command, (*PLACE, *AUTH, *ENGINE, *SETTINGS))


def engine(command: Command) -> Command:
    """The flags of where logs live."""
    return decorated(command, ENGINE)


def decorated(command: Command, flags: Sequence[Callable[[Any], Any]]) -> Command:
    """The command with these flags, in this order."""
    for decorate in reversed(flags):
        command = decorate(command)
    return command


def read_by(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback: the flag's value as this function of terminal/flags.py reads it."""

    def read(_: click.Context, __: click.Parameter, value: Any) -> Any:
        from scanstream.terminal import flags  # noqa: PLC0415

        try:
            return getattr(flags, name)(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return read


def completed_by(name: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """What the shell offers, by this function of terminal/completion.py."""

    def complete(context: click.Context, _: click.Parameter, begun: str) -> list[Any]:
        from click.shell_completion import CompletionItem  # noqa: PLC0415

        from scanstream.terminal import completion  # noqa: PLC0415
        from scanstream.terminal.credential import token  # noqa: PLC0415

        found = getattr(completion, name)(context.params.get("url"), token(context))
        return [CompletionItem(word, help=meaning) for word, meaning in found if word.startswith(begun)]

    return complete


def _credential(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """A callback: what is given is shown to the server, and stands among no values."""
    from scanstream.terminal import credential  # noqa: PLC0415

    try:
        credential.take(context, value or "")
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if value and context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE:
        say_once(context, credential.IN_SIGHT)


credential = setting(
    "--token",
    metavar="TOKEN",
    show_default="none",
    callback=_credential,
    expose_value=False,
    help="A key or token for it; better in the environment, where the list of processes does not show it.",
)


def of_client(command: Command) -> Command:
    """The flags of every command that talks to a server."""
    for decorate in (
        click.option("--json", "as_json", is_flag=True, help="JSON on standard output, for programs."),
        setting(
            "--url", metavar="URL", default="http://127.0.0.1:8000", callback=read_by("address"), help="The server."
        ),
        credential,
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
