"""docs/security.md: its commands are ones that can be given, and its JWT is one that is taken."""

import re
import runpy
import shlex
from pathlib import Path

import click
import pytest

from docs.pages import DOCS, blocks, only_block
from scanstream.cli import main
from scanstream.security.claims import LEEWAY_SECONDS
from scanstream.security.fetched import LEAST_SECONDS, REFRESH_SECONDS
from scanstream.security.names import LONGEST_PRINCIPAL
from scanstream.security.opening import open_guard
from scanstream.settings import Settings

pytestmark = pytest.mark.anyio

PAGE = DOCS / "security.md"


def commands() -> list[list[str]]:
    """Every command of ours in a block of the page."""
    lines = [
        line
        for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [shlex.split(line)[1:] for line in lines if line.startswith("scanstream ")]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_can_be_given(words: list[str]) -> None:
    command: click.Command = main
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    command.make_context("scanstream", words)


async def test_the_jwt_of_the_page_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    secret = "-".join(["of the page"] * 5)
    Path("jwt-secret").write_text(f"{secret}\n")  # noqa: ASYNC240  # a test
    Path("made.py").write_text(only_block("security.md", "runs with a secret").text)  # noqa: ASYNC240
    token = runpy.run_path("made.py")["token"]
    async with open_guard(Settings(auth="required", jwt_secret_file="jwt-secret"), b"x" * 32) as guard:  # noqa: S106  # a name
        caller = await guard.caller(token)
    assert (caller.principal, sorted(caller.rights)) == ("ann", ["scan"])


def test_the_figures_of_the_page_are_those_of_the_code() -> None:
    text = " ".join(PAGE.read_text().split())
    assert f"must not lie more than {LEEWAY_SECONDS} s ahead" in text
    assert f"at most every {LEAST_SECONDS:g} s" in text
    assert REFRESH_SECONDS == 5 * 60
    assert "asked for every five minutes" in text
    assert f"1 to {LONGEST_PRINCIPAL} printable characters" in text


def test_the_page_s_blocks_are_known() -> None:
    assert [block.runs for block in blocks(PAGE) if block.runs] == ["runs with a secret"]
