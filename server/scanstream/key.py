"""The commands that look after API keys. They change a file, and need no server."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from scanstream.errors import SettingError
from scanstream.flag import Unusable, in_words_given, setting
from scanstream.options import read_by

of_keys = setting(
    "--keys", required=True, metavar="FILE", show_default=False, help="The key file, as in `serve --keys FILE`."
)
of_name = click.argument("name", metavar="NAME", callback=read_by("key_name"))


@click.group()
def key() -> None:
    """Make, list and revoke API keys.

    Servers that were started with `--auth required --keys FILE` know the keys of FILE, and read it again when it
    changes. It holds digests only, so a key that is lost cannot be found again: make another.
    """


@key.command()
@of_name
@click.option(
    "--principal", required=True, metavar="P", callback=read_by("principal"), help="On whose behalf it is used."
)
@click.option(
    "--right",
    "rights",
    multiple=True,
    type=click.Choice(["scan", "operate"]),
    default=("scan",),
    show_default="scan",
    help="scan: start scans, and all of one's own; operate: look after the server (repeatable).",
)
@click.option(
    "--expires",
    "seconds",
    default="90d",
    show_default=True,
    metavar="SPAN",
    callback=read_by("span"),
    help="How long it is good: 30m, 12h, 90d, 8w, or never.",
)
@of_keys
def create(keys: str, name: str, principal: Any, rights: tuple[str, ...], seconds: int | None) -> None:
    """Make a key and print it, once: alone on standard output; what there is to say of it on standard error.

    NAME is by what it is listed and revoked. A principal may have several keys: all of them see the same scans.

    \b
    Examples:
      scanstream key create ann-laptop --principal ann --keys keys.toml
      scanstream key create prometheus --principal ops --right operate --expires never --keys keys.toml
      SCANSTREAM_TOKEN=$(scanstream key create ci --principal ci --expires 30d --keys keys.toml)

    Exits with 0 when it is made, 1 when the name is taken, 2 when a flag or the file cannot be used.
    """
    _leave(lambda commands: commands.create(_path(keys), name, principal, rights, seconds))


@key.command("list")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output, for programs.")
@of_keys
def list_keys(keys: str, as_json: bool) -> None:
    """List the keys of a file: of whom, for what, until when. Never a key, nor a digest.

    \b
    Example:  scanstream key list --keys keys.toml --json | jq -r '.[] | select(.expired).name'

    Exits with 0, or 2 when the file cannot be used.
    """
    _leave(lambda commands: commands.list_keys(_path(keys), as_json=as_json))


@key.command()
@of_name
@of_keys
def revoke(keys: str, name: str) -> None:
    """Take a key away: servers refuse it within seconds, on open connections, too.

    Scan tokens that were given out to its bearer go on until they end (docs/security.md).

    \b
    Example:  scanstream key revoke ann-laptop --keys keys.toml

    Exits with 0 when it is revoked, 1 when there is no such key, 2 when the file cannot be used.
    """
    _leave(lambda commands: commands.revoke(_path(keys), name))


def _path(text: str) -> Path:
    if not text.strip():  # a variable of a shell that is not set
        raise Unusable("--keys names no file")
    return Path(text).expanduser()


def _leave(command: Callable[[Any], int]) -> NoReturn:
    from scanstream.terminal import keys  # noqa: PLC0415

    try:
        code = command(keys)
    except SettingError as error:
        raise Unusable(in_words_given(error.detail)) from None
    sys.exit(code)
