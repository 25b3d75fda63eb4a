"""The pages tell all that the code offers, and nothing that it does not: names, tables and links.

What is listed here is collected from the code. A part of the contract that the code does not serve bears `MARK`; one
that it serves must not. The protocol is held by tests/docs/test_protocol.py, examples by tests/test_examples.py.
"""

import ast
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
import pytest

from conftest import ROOT, Serve
from docs.pages import DOCS, MARK, PAGES, Row, agree, blocks, claimed, code, prose, rows, section, table
from scanstream import demo, errors, launch
from scanstream.cli import main
from scanstream.errors import TABLE, ScanstreamError
from scanstream.model import Opportunity
from scanstream.settings import Settings
from scanstream.strategies.installed import ENTRY_POINTS
from scanstream.strategies.strategy import Strategy
from scanstream.terminal import commands
from support.wire import discover, results, until_terminal

pytestmark = pytest.mark.anyio

SOURCES = ROOT / "server" / "scanstream"


def test_the_table_of_errors_is_the_one_of_the_code() -> None:
    answers = {False: "no", True: "yes"}
    expected = {
        name: {
            "HTTP": str(row.status),
            "Close": str(row.close or "–"),
            "Retry": answers[row.retry],
            "Fault": row.fault,
        }
        for name, row in TABLE.items()
    }
    told = {code(row["Code"])[0]: row for row in table("errors.md", "Code", "HTTP")}

    assert list(told) == list(expected)
    for name, row in told.items():
        assert {column: row[column] for column in expected[name]} == expected[name], name
        assert row["What to do"], name


def test_errors_that_nothing_raises_are_marked() -> None:
    used = {node.id for tree in sources(but="errors.py") for node in ast.walk(tree) if isinstance(node, ast.Name)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ScanstreamError)]
    raised = {kind.code for kind in kinds if kind.__name__ in used}

    agree(raised, *claimed(table("errors.md", "Code", "HTTP"), "Code"))


OF_THE_LIBRARY = {"1000", "1007"}
"""Close codes that no line of ours names."""


def test_the_close_codes_are_those_of_the_code() -> None:
    """1009 is sent by the library, too; it is in `TABLE`."""
    _, unserved = claimed(table("errors.md", "Code", "HTTP"), "Code")
    closes = {str(row.close) for name, row in TABLE.items() if row.close is not None and name not in unserved}
    for node in (node for tree in sources(below="push") for node in ast.walk(tree)):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            closes |= {str(node.value)} & {str(number) for number in (*range(1000, 1016), *range(4400, 4500))}
    told = {row["Code"].partition(" ")[0]: row for row in table("errors.md", "Code", "When")}
    absent = {number for number, row in told.items() if MARK in row["Code"]}

    agree(closes | OF_THE_LIBRARY, told.keys() - absent, absent)
    assert all(row["When"] and row["What to do"] for row in told.values())


def test_no_code_is_written_down_beside_the_table() -> None:
    """A problem that is written down in one piece: `{"code": "…"}`."""
    written = {
        value.value
        for tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "code" and isinstance(value, ast.Constant)
    }
    assert written <= TABLE.keys()


def test_every_code_inside_a_scan_is_explained() -> None:
    """Collected from calls that write such a code down: `Problem(code, …)`, `_failed(shard, code, …)`, `code="…"`."""
    written: set[object] = set()
    for tree in (*sources(below="scans"), *sources(below="log")):
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = call.func.id if isinstance(call.func, ast.Name) else ""
            candidates = [argument.value for argument in call.keywords if argument.arg == "code"]
            if name in ("Problem", "_failed"):
                candidates += call.args[:2]
            written |= {node.value for node in candidates if isinstance(node, ast.Constant)}
    written = {name for name in written if isinstance(name, str) and re.fullmatch(r"[a-z_]+", name)}
    told = {code(row["Code"])[0] for row in table("errors.md", "Code", "Where")}

    assert written, "the calls have other names now"
    assert written <= told
    assert told - TABLE.keys() == written - TABLE.keys()


def sources(below: str = ".", but: str = "") -> list[ast.Module]:
    """The server's source files, parsed."""
    return [ast.parse(path.read_text()) for path in (SOURCES / below).rglob("*.py") if path.name != but]


def test_the_table_of_settings_is_the_one_of_the_commands() -> None:
    expected: dict[str, Row] = {}
    for name in ("serve", "worker", "demo"):  # those of a client are in cli.md, held by tests/test_cli_commands.py
        for option in main.commands[name].params:
            assert isinstance(option, click.Option)
            row = expected.setdefault(option.opts[0], _row_of(option))
            row["Commands"] = f"{row['Commands']}, {name}".removeprefix(", ")
    told = {code(row["Flag"])[0]: row for row in table("settings.md", "Flag", "Commands", "Environment")}

    assert told.keys() == expected.keys()
    for flag, row in told.items():
        assert {column: row[column] for column in expected[flag]} == expected[flag], flag
        assert row["Meaning"], flag
        assert row["Unit"], flag


def _row_of(option: click.Option) -> Row:
    variables = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())
    default = option.to_info_dict()["default"]
    words = option.show_default
    number = isinstance(default, int | float) and not option.is_flag
    plain = default if isinstance(default, str) else f"{default:.15g}" if number else None
    return {
        "Commands": "",
        "Environment": ", ".join(f"`{name}`" for name in variables) or "–",
        "Default": words if isinstance(words, str) else "–" if plain is None else f"`{plain}`",
    }


OF_A_SERVER = ("serve", "worker", "demo", "market", "conformance", "key", "doctor")
CLIENT = [name for name in main.commands if name not in OF_A_SERVER]


def test_the_table_of_flags_tells_defaults_and_variables() -> None:
    """Which command has which flag is held by tests/test_cli_commands.py."""
    told = {code(row["Flag"])[0].split()[0]: row for row in table("cli.md", "Flag", "Commands", "Default")}
    options = {
        option.opts[0]: option
        for name in CLIENT
        for option in main.commands[name].params
        if isinstance(option, click.Option)
    }

    assert told.keys() == options.keys()
    for flag, option in options.items():
        expected = _row_of(option)
        everything = "all" if " only" in (option.help or "") else "–"
        assert told[flag]["Default"] == (everything if expected["Default"] == "–" else expected["Default"]), flag
        variables = [name for name in code(told[flag]["Meaning"]) if name.isupper() and "." not in name]
        assert variables == [name for name in code(expected["Environment"]) if name != "–"], flag
        assert told[flag]["Meaning"], flag


def test_every_exit_code_is_explained() -> None:
    codes = {
        value for part in (launch, commands, demo) for name, value in vars(part).items() if name.startswith("EXIT_")
    }
    told = {int(row["Code"]): row["When"] for row in table("cli.md", "Code", "When")}

    assert told.keys() == codes
    assert all(told.values())


def test_every_setting_of_the_server_is_a_flag() -> None:
    flags = {code(row["Flag"])[0] for row in table("settings.md", "Flag")}

    assert {"--" + name.replace("_", "-") for name in Settings.__dataclass_fields__} <= flags


STRATEGIES: list[Strategy] = [
    point.load()()
    for point in entry_points(group=ENTRY_POINTS)
    if point.dist is not None and point.dist.name == "scanstream"
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.id)
def test_every_strategy_has_a_section_with_its_parameters(strategy: Strategy) -> None:
    text = section("strategies.md", f"`{strategy.id}`")
    told = {code(row["Parameter"])[0]: row for row in rows(text, "Parameter", "Default")}
    schema = strategy.schema()["properties"]

    assert told.keys() == schema.keys()
    for name, row in told.items():
        least, most = schema[name].get("minimum"), schema[name].get("maximum")
        assert row["Default"] == str(schema[name]["default"]), name
        assert row["Range"] == (f"from {least}" if most is None else f"{least} to {most}"), name
        assert row["Meaning"], name


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.id)
def test_every_strategy_has_a_section_with_its_source_and_its_kind(strategy: Strategy) -> None:
    words = " ".join(section("strategies.md", f"`{strategy.id}`").split())
    first_author, year = strategy.source.split()[0].strip(",;"), re.search(r"\b\d{4}\b", strategy.source)

    assert f"`opportunity_type`: `{strategy.opportunity_type}`." in words
    assert year is not None
    assert re.search(rf"\bSources?: [^`]*\b{first_author}\b", words)
    assert year[0] in words
    assert f"Code: `server/{type(strategy).__module__.replace('.', '/')}.py`." in words


async def test_what_a_strategy_tells_beside_its_numbers_is_explained(serve: Serve) -> None:
    """Of one scan of the generated market, where every strategy finds something."""
    async with serve() as url:
        wanted = {"parameters": {strategy.id: {"walk_forward": 0} for strategy in STRATEGIES}}
        scan_id = (await discover(url, wanted)).json()["scan_id"]
        await until_terminal(url, scan_id)
        found = (await results(url, scan_id)).json()["opportunities"]
    keys = {strategy.id: set[str]() for strategy in STRATEGIES}
    for opportunity in found:
        keys[opportunity["strategy_id"]].update(_keys(opportunity["metadata"]))
    for strategy_id, told in keys.items():
        assert told, f"{strategy_id} found nothing"
        assert told - _named(strategy_id) == set(), strategy_id


def _keys(metadata: dict[str, Any]) -> Iterator[str]:
    """Its keys, and those of the legs in it."""
    yield from metadata
    for leg in metadata.get("legs", ()):
        yield from leg


def _named(strategy_id: str) -> set[str]:
    """What a section names in its sentence on `metadata`, and in that of the section before where it refers to that."""
    text = section("strategies.md", f"`{strategy_id}`")
    [sentence] = re.findall(r"^`metadata` has .*?\.$|^`metadata` has .*?\. ", text, re.M | re.S)
    above = _named("cross_exchange") if "as above" in sentence else set()
    return {*code(sentence.replace("\n", " ")), *above}


def test_every_field_of_an_opportunity_is_explained() -> None:
    told = [name for row in table("strategies.md", "Field", "Meaning") for name in code(row["Field"])]

    assert sorted(told) == sorted(Opportunity.__struct_encode_fields__)


def test_the_house_in_the_page_is_the_house() -> None:
    [house] = [block.text for block in blocks(DOCS / "architecture.md") if "server/scanstream/" in block.text]
    drawn: set[str] = set()
    rooms: list[str] = []
    for line in house.splitlines():
        depth, name = len(line) - len(line.lstrip()), line.split()[0]
        rooms = rooms[: depth // 2 - 1]
        drawn |= {"".join(rooms) + name} if name.endswith(".py") else set()
        rooms += [name] if depth and name.endswith("/") else []
    built = {path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*.py") if not path.name.startswith("__")}

    assert drawn == built


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = prose(page)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?://", target):
            assert (page.parent / target).exists(), target
    paragraphs = [paragraph for paragraph in text.split("\n\n") if not paragraph.startswith(MARK)]
    for path in (path for paragraph in paragraphs for path in code(paragraph)):
        if re.fullmatch(r"[\w/]+/([\w.]+\.py)?|\w+\.py", path) and not path.startswith("/"):
            places = (ROOT, SOURCES, ROOT / "tests" / "support", SOURCES / "strategies")
            assert page.name == "operations.md" or any((place / path).exists() for place in places), path


def test_sections_of_other_pages_are_named_as_they_are_called() -> None:
    """`[operations.md](operations.md), What is installed`: the section's whole name, without or in quotation marks."""
    seen = 0
    for page in (*PAGES, ROOT / "SECURITY.md"):
        for target, rest in re.findall(r"\]\(([\w/.]+\.md)\), \"?([A-Z].{0,80})", " ".join(prose(page).split())):
            headings = re.findall(r"^#+ (.+)$", prose(page.parent / target), re.M)
            assert any(rest.startswith(heading.replace("`", "")) for heading in headings), (page.name, target, rest)
            seen += 1
    assert seen >= 6


def test_the_readme_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text()

    assert [page.name for page in PAGES[1:] if f"]({page.relative_to(ROOT)})" not in text] == []


def test_make_has_the_targets_that_the_pages_name() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        pieces = [*code(prose(page)), *(block.text for block in blocks(page))]
        for target in (target for piece in pieces for target in re.findall(r"^make ([a-z]+)", piece, re.M)):
            assert target in targets, f"{page.name}: make {target}"
