"""`scanstream conformance` as a person runs it: what it prints, and what it exits with."""

import json
import re
import shlex
from collections.abc import AsyncIterator
from functools import partial

import click
import pytest
from anyio import to_thread
from click.testing import CliRunner, Result

from conformance.judged import REQUESTS
from conformance.mutants import all_mutants
from conformance.mutating import Mutated, Mutation, mutated_server
from docs.pages import code, table
from scanstream.cli import main
from scanstream.conformance.commands import conformance
from scanstream.conformance.promise import CHECKS

pytestmark = pytest.mark.anyio

QUICK = ("--request", f"quick={json.dumps(REQUESTS['quick'])}")


def run(*words: str) -> Result:
    """The command, in this thread."""
    return CliRunner().invoke(main, ["conformance", *words])


async def beside(*words: str) -> Result:
    """The command, in a thread beside the server's."""
    return await to_thread.run_sync(partial(run, *words))


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[tuple[str, Mutated]]:
    """One for all."""
    with pytest.MonkeyPatch.context() as patches:
        async with mutated_server(patches) as server:
            yield server


async def test_promises_that_hold_are_0(server: tuple[str, Mutated]) -> None:
    done = await beside(server[0], *QUICK, "--only", "ack", "--only", "not-found", "--only", "chunks")

    assert done.exit_code == 0, done.output
    assert re.search(r"^ok +3 +ack: .*\(\d+\.\d s\)$", done.output, re.M)
    assert "2 promises hold, none is broken, 1 not tried" in done.output
    assert "--request many=JSON" in done.output
    assert "quick    strategy_ids: ['scripted']" in done.output


async def test_a_broken_one_is_1_and_says_all_that_helps(server: tuple[str, Mutated]) -> None:
    url, mutated = server
    mutated.mutation = all_mutants()["a 410 for what never existed"].make()
    words = [url, *QUICK, "--only", "not-found", "--seed", "7"]
    try:
        done, plain = await beside(*words), await beside(*words, "--json")
    finally:
        mutated.mutation = Mutation()

    assert (done.exit_code, plain.exit_code) == (1, 1)
    assert re.search(r"^BROKEN +1\.6 +not-found: An id that never existed", done.output, re.M)
    assert "expected: 404 to GET /opportunities/status/" in done.output
    assert re.search(r"seen: +410 .*expired", done.output)
    assert re.search(r"^ +→ GET /opportunities/status/", done.output, re.M)
    [again] = re.findall(r"again: +(.+)$", done.output, re.M)
    told = json.loads(plain.stdout)
    assert (told["check"], told["outcome"], told["section"]) == ("not-found", "broken", "1.6")
    assert told["trace"]
    for line in (again, told["again"]):
        *_, wanted = shlex.split(line)
        assert shlex.split(line)[:7] == ["scanstream", "conformance", url, "--only", "not-found", "--seed", "7"]
        assert wanted == QUICK[1]


def test_nobody_there_is_3() -> None:
    done = run("http://127.0.0.1:9", "--only", "ack")

    assert done.exit_code == 3
    assert done.output.startswith("scanstream: GET http://127.0.0.1:9/opportunities/strategies: ")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["no address"],
        ["http://127.0.0.1:9", "--only", "nothing"],
        ["http://127.0.0.1:9", "--request", "quick"],
        ["http://127.0.0.1:9", "--request", "slow={}"],
        ["http://127.0.0.1:9", "--request", "quick=[]"],
        ["http://127.0.0.1:9", "--timeout", "0"],
    ],
)
def test_what_is_not_valid_is_2(words: list[str]) -> None:
    assert run(*words).exit_code == 2


def test_all_checks_are_listed() -> None:
    listed = run("--list").output.splitlines()

    assert [line.split()[0] for line in listed] == [*CHECKS]


def test_the_page_tells_every_flag() -> None:
    told = {code(row["Flag"])[0].split()[0] for row in table("conformance.md", "Flag")}
    options = [one for command in conformance.commands.values() for one in command.params]

    assert told == {one.opts[0] for one in options if isinstance(one, click.Option)} | {"URL…"}
