"""The bodies of `scanstream key …`: keys made, listed and taken away. None is shown twice, nor its digest ever."""

from collections.abc import Iterable
from pathlib import Path

import click
import msgspec

from scanstream.model import Principal, now, timestamp
from scanstream.security.caller import Right
from scanstream.security.keychanges import NameTaken, create_key, keys_in, revoke_key
from scanstream.security.keyfile import Entry
from scanstream.terminal.output import Output
from scanstream.terminal.tables import key_table

DONE, FAILED = 0, 1


def create(path: Path, name: str, principal: Principal, rights: Iterable[str], seconds: int | None) -> int:
    """Make a key, and print it: alone on standard output, where a program takes it; all else on standard error.

    :raises SettingError: if the file cannot be changed
    """
    at = now()
    expires = None if seconds is None else at + seconds * 1000
    given = frozenset(Right(right) for right in rights)
    try:
        key = create_key(path, name=name, principal=principal, rights=given, created=at, expires=expires)
    except NameTaken:
        _say(f"scanstream: {path} has a key {name} already; revoke it first, or take another name")
        return FAILED
    click.echo(key)
    until = "until it is revoked" if expires is None else f"until {timestamp(expires // 1000 * 1000)}"
    _say(f"The key {name} of {principal} has the right to {' and '.join(sorted(given))}, {until}.")
    _say(f"It is shown this once: {path} holds its digest only. Servers with --keys {path} know it within seconds.")
    return DONE


def revoke(path: Path, name: str) -> int:
    """Take a key away.

    :raises SettingError: if the file cannot be changed
    """
    try:
        revoke_key(path, name)
    except KeyError:
        _say(f"scanstream: {path} has no key {name}; `scanstream key list` shows those that it has")
        return FAILED
    _say(f"The key {name} is revoked. Servers with --keys {path} refuse it within seconds.")
    return DONE


def list_keys(path: Path, *, as_json: bool) -> int:
    """Print what keys there are.

    :raises SettingError: if the file cannot be read
    """
    at = now()
    rows = [_shown(entry, at) for entry in keys_in(path)]
    if as_json:
        click.echo(msgspec.json.encode(rows))
        return DONE
    console = Output()
    console.print(key_table(rows, plain=not console.is_terminal), highlight=False)
    return DONE


def _shown(entry: Entry, at: int) -> dict[str, object]:
    return {
        "name": entry.name,
        "principal": entry.principal,
        "rights": sorted(entry.rights),
        "created": timestamp(entry.created),
        "expires": "never" if entry.expires is None else timestamp(entry.expires),
        "expired": entry.expires is not None and entry.expires <= at,
    }


def _say(words: str) -> None:
    click.echo(words, err=True)
