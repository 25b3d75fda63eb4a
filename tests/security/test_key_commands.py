"""`scanstream key …`: what is printed where, and how it ends."""

import json
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from client.programs import run
from docs.pages import code, table
from scanstream.cli import main
from scanstream.model import timestamp
from scanstream.security.apikey import digest_of
from scanstream.security.keychanges import keys_in


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def invoked(*words: str, keys: Path | None = None) -> Result:
    return CliRunner().invoke(main, ["key", *words, *(["--keys", str(keys)] if keys else [])])


def test_the_key_stands_alone_on_standard_output(keys: Path) -> None:
    """A real process: what a shell takes with $(…) is the key, and nothing else."""
    done = run(
        "key", "create", "ann-laptop", "--principal", "ann", "--right", "scan", "--expires", "90d", "--keys", str(keys)
    )

    assert done.returncode == 0
    assert re.fullmatch(r"ssk_[A-Za-z0-9_-]{43}\n", done.stdout)
    key = done.stdout.strip()
    [entry] = keys_in(keys)
    assert entry.digest == digest_of(key)
    assert entry.expires is not None
    assert entry.expires - entry.created == 90 * 86_400_000
    assert key not in done.stderr
    assert f"The key ann-laptop of ann has the right to scan, until {timestamp(entry.expires)}." in done.stderr
    listed = CliRunner(env={"SCANSTREAM_KEYS": str(keys)}).invoke(main, ["key", "list"])
    assert listed.exit_code == 0
    assert entry.digest.hex() not in listed.stdout
    assert "ann-laptop" in listed.stdout


def test_what_is_listed_is_never_a_digest(keys: Path) -> None:
    made = [
        invoked("create", "a", "--principal", "Ann Ä", "--right", "scan", "--right", "operate", keys=keys),
        invoked("create", "b", "--principal", "bob", "--expires", "never", keys=keys),
        invoked("create", "c", "--principal", "bob", "--expires", "1s", keys=keys),
    ]
    assert [done.exit_code for done in made] == [0, 0, 0]
    keys.write_text(re.sub(r'("c".*?expires = )\S+', r"\g<1>2020-01-01T00:00:00Z", keys.read_text(), flags=re.DOTALL))

    shown = json.loads(invoked("list", "--json", keys=keys).output)
    assert [sorted(row) for row in shown] == [["created", "expired", "expires", "name", "principal", "rights"]] * 3
    assert [(row["name"], row["principal"], row["rights"], row["expired"]) for row in shown] == [
        ("a", "Ann Ä", ["operate", "scan"], False),
        ("b", "bob", ["scan"], False),
        ("c", "bob", ["scan"], True),
    ]
    assert [row["expires"] for row in shown[1:]] == ["never", "2020-01-01T00:00:00.000Z"]
    told = invoked("list", keys=keys).output
    assert "2020-01-01T00:00:00.000Z (over)" in told
    for text in (told, json.dumps(shown)):
        for entry in keys_in(keys):
            assert entry.digest.hex()[:12] not in text


def test_what_is_revoked_is_gone(keys: Path) -> None:
    invoked("create", "a", "--principal", "ann", keys=keys)
    assert invoked("revoke", "a", keys=keys).exit_code == 0
    assert invoked("list", "--json", keys=keys).output == "[]\n"
    again = invoked("revoke", "a", keys=keys)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "has no key a" in again.stderr


REFUSED = {
    "no principal": (["create", "b"], 2, "--principal"),
    "an empty principal": (["create", "b", "--principal", ""], 2, "1 to 200 printable"),
    "a principal of two lines": (["create", "b", "--principal", "a\nb"], 2, "1 to 200 printable"),
    "a right that is none": (["create", "b", "--principal", "p", "--right", "root"], 2, "--right"),
    "a right of tokens": (["create", "b", "--principal", "p", "--right", "read"], 2, "--right"),
    "a bad name": (["create", "../b", "--principal", "p"], 2, "at most 64 letters"),
    "a bad name to revoke": (["revoke", "b b"], 2, "at most 64 letters"),
    "a name that is taken": (["create", "a", "--principal", "p"], 1, "has a key a already"),
    **{
        f"the span {span!r}": (["create", "b", "--principal", "p", "--expires", span], 2, "write 30m, 12h, 90d or 8w")
        for span in ("", "90", "d", "0d", "-1d", "1.5h", "1y", "9999w", "99999999999d", "90 d", "٣d", "∞")
    },
}


@pytest.mark.parametrize(("words", "exit_code", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_is_said_and_changes_nothing(keys: Path, words: list[str], exit_code: int, says: str) -> None:
    invoked("create", "a", "--principal", "ann", keys=keys)
    before = keys.read_bytes()
    done = invoked(*words, keys=keys)
    assert done.exit_code == exit_code
    assert done.stdout == ""
    assert says in " ".join(done.stderr.split()).replace("│ ", "")
    assert "Traceback" not in done.stderr
    assert keys.read_bytes() == before


@pytest.mark.parametrize("words", [["create", "a", "--principal", "p"], ["list"], ["revoke", "a"]])
def test_a_file_that_cannot_be_used_is_named(keys: Path, words: list[str]) -> None:
    assert invoked(*words).exit_code == 2
    keys.write_text("noise")
    done = invoked(*words, keys=keys)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"scanstream: --keys {keys}: this is no TOML: ")
    assert len(done.stderr.splitlines()) == 1
    assert "(SCANSTREAM_KEYS)" in done.stderr


@pytest.mark.parametrize("words", [["create", "a", "--principal", "p"], ["list"], ["revoke", "a"]])
def test_an_empty_name_is_no_file(words: list[str]) -> None:
    """As of a variable of a shell that is not set."""
    done = invoked(*words, "--keys", "")
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", "scanstream: --keys names no file\n")


def test_the_page_has_every_flag() -> None:
    group = main.commands["key"]
    assert isinstance(group, click.Group)
    expected: dict[str, list[str]] = {}
    for name, command in group.commands.items():
        for option in command.params:
            if isinstance(option, click.Option):
                expected.setdefault(option.opts[0], []).append(name)
    told = {code(row["Flag of `key`"])[0].split()[0]: row for row in table("cli.md", "Flag of `key`", "Commands")}
    assert {flag: row["Commands"].split(", ") for flag, row in told.items()} == expected
