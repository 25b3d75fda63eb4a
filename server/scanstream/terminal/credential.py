"""The credential that a command shows: from its flag or the environment, and never in what it prints."""

import re

import click

VARIABLE = "SCANSTREAM_TOKEN"
IN_SIGHT = (
    "--token on the command line is shown by the list of processes to all users of this machine: give it as "
    f"{VARIABLE} in the environment"
)

_PLACE = "scanstream.token"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def take(context: click.Context, text: str) -> None:
    """The credential of this command from now on; an empty one, as of a variable that is not set, is none.

    :raises ValueError: if it cannot be any; without a word of it
    """
    text = text.strip()
    if text and not _TOKEN.fullmatch(text):
        raise ValueError("this has signs that no key and no token has")
    context.meta[_PLACE] = text or None


def token(context: click.Context | None = None) -> str | None:
    """The credential of the command that runs; None without one."""
    there = context or click.get_current_context(silent=True)
    shown: str | None = there.meta.get(_PLACE) if there else None
    return shown
