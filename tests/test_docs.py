"""The pages tell all that the code offers, and nothing that it does not: names, tables, links and examples.

What is listed here is collected from the code. A part of the contract that the code does not serve bears `MARK`; one
that it serves must not. An example is marked in the line before it: `<!-- runs -->` for one against a server.
"""

import ast
import re
import shutil
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, get_args

import anyio
import click
import msgspec
import pytest
from anyio import to_thread
from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute

from conftest import ROOT, Serve
from scanstream import errors
from scanstream.app import application, open_core
from scanstream.cli import main
from scanstream.errors import TABLE, ScanstreamError
from scanstream.message import ClientMessage, ServerMessage
from scanstream.model import DiscoverRequest, Opportunity, Progress, ScanState, StrategyState
from scanstream.settings import Settings
from scanstream.strategies.strategy import ENTRY_POINTS, Strategy
from support.feed import feeding
from support.installing import install, serving_with
from support.wire import discover, results, status, until_terminal

pytestmark = pytest.mark.anyio

MARK = "*(not yet served)*"
SOURCES = ROOT / "server" / "scanstream"
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
ADDRESS = "127.0.0.1:8000"
"""Where the examples look for the server."""

_BLOCK = re.compile(r"^(?:<!-- (?P<runs>runs[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
_CODE = re.compile(r"`([^`\n]+)`")

Row = dict[str, str]


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    runs: str | None
    """How it is run, if it is."""
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    text = page.read_text()
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        yield Block(page, line, match["language"], match["runs"], match["text"])


ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]


def only_block(page: str, runs: str, language: str = "python") -> Block:
    """The one block of a page that is run like this."""
    [block] = [block for block in blocks(DOCS / page) if (block.runs, block.language) == (runs, language)]
    return block


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _BLOCK.sub("", page.read_text())


def rows(text: str, *columns: str) -> list[Row]:
    """The rows of all tables that begin with these columns."""
    found: list[Row] = []
    header: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            header = []
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not header:
            header = cells
        elif not set(line) <= set("|-: ") and header[: len(columns)] == list(columns):
            found.append(dict(zip(header, cells, strict=True)))
    return found


def table(page: str, *columns: str) -> list[Row]:
    """The rows of a page's tables that begin with these columns; there must be some."""
    found = rows(prose(DOCS / page), *columns)
    assert found, f"{page} has no table {' | '.join(columns)}"
    return found


def code(cell: str) -> list[str]:
    """What stands in backticks."""
    return [text.replace("\\|", "|") for text in _CODE.findall(cell)]


def claimed(table: Iterable[Row], column: str) -> tuple[set[str], set[str]]:
    """(what a table says is served, what it says is not)."""
    served: set[str] = set()
    absent: set[str] = set()
    for row in table:
        (absent if MARK in row[column] else served).update(code(row[column]))
    return served, absent


def agree(offered: set[str], served: set[str], absent: set[str]) -> None:
    """What the code offers is what the page says, no more and no less."""
    assert offered - served - absent == set(), "not in the page"
    assert served - offered == set(), f"in the page, not in the code, and without {MARK}"
    assert absent & offered == set(), f"in the code, and yet with {MARK}"


async def test_every_route_is_in_the_protocol() -> None:
    settings = Settings(port=0, data=":memory:", workers=0)
    async with open_core(settings) as core:
        app: Any = application(settings, core)
    while not isinstance(app, Starlette):
        app = app.inner
    offered: set[str] = set()
    for route in app.routes:
        if isinstance(route, Route):
            offered |= {f"{method} {route.path}" for method in (route.methods or set()) - {"HEAD"}}
        else:
            assert isinstance(route, Mount | WebSocketRoute)
            offered.add(f"GET {route.path}" + ("/{path}" if isinstance(route, Mount) else ""))

    agree(offered, *claimed(table("protocol.md", "method and path", "answers"), "method and path"))


@pytest.mark.parametrize(
    ("union", "columns"),
    [(ClientMessage, ("type", "fields", "reply")), (ClientMessage | ServerMessage, ("type", "fields"))],
    ids=["from clients", "all"],
)
def test_every_message_is_in_the_protocol_with_its_fields(union: Any, columns: tuple[str, ...]) -> None:
    messages: list[type[msgspec.Struct]] = list(get_args(union))
    agree(
        {str(message.__struct_config__.tag) for message in messages}, *claimed(table("protocol.md", *columns), "type")
    )
    page = (DOCS / "protocol.md").read_text()
    for message in messages:
        for field in message.__struct_encode_fields__:
            assert re.search(rf"[`\"]{field}[`\"]", page), f"{message.__name__}.{field}"


@pytest.mark.parametrize("kind", [DiscoverRequest, Opportunity, ScanState, Progress, StrategyState])
def test_every_field_of_the_model_is_in_the_protocol(kind: type[msgspec.Struct]) -> None:
    page = (DOCS / "protocol.md").read_text()
    for field in kind.__struct_encode_fields__:
        assert re.search(rf"[`\"]{field}[`\"]", page), field


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


def test_every_close_code_is_explained() -> None:
    named = {row["Code"].removesuffix(MARK).strip() for row in table("errors.md", "Code", "When")}
    closes = {str(row.close) for row in TABLE.values() if row.close is not None}
    for tree in sources(below="push"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and type(node.value) is int:
                closes |= {str(node.value)} if node.value in {*range(1000, 1016), *range(4400, 4500)} else set()

    assert closes - named == set()


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
    for name in ("serve", "demo"):  # those of a client are in cli.md, held by tests/test_cli_commands.py
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
    plain = default if isinstance(default, str) else f"{default:.15g}" if isinstance(default, int | float) else None
    return {
        "Commands": "",
        "Environment": ", ".join(f"`{name}`" for name in variables) or "–",
        "Default": words if isinstance(words, str) else "–" if plain is None else f"`{plain}`",
    }


def test_every_setting_of_the_server_is_a_flag() -> None:
    flags = {code(row["Flag"])[0] for row in table("settings.md", "Flag")}

    assert {"--" + name.replace("_", "-") for name in Settings.__dataclass_fields__} <= flags


def test_every_command_is_in_the_protocol() -> None:
    served, absent = claimed(table("protocol.md", "command", "contract"), "command")
    first_words = [{" ".join(command.split()[:2]) for command in commands} for commands in (served, absent)]

    agree({f"scanstream {name}" for name in main.commands}, *first_words)


STRATEGIES: list[Strategy] = [
    point.load()()
    for point in entry_points(group=ENTRY_POINTS)
    if point.dist is not None and point.dist.name == "scanstream"
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.id)
def test_every_strategy_has_a_section_with_its_parameters(strategy: Strategy) -> None:
    _, heading, section = prose(DOCS / "strategies.md").partition(f"\n## `{strategy.id}`")
    assert heading, f"no section ## `{strategy.id}`"
    told = {code(row["Parameter"])[0]: row for row in rows(section.partition("\n## ")[0], "Parameter", "Default")}
    schema = strategy.schema()["properties"]

    assert told.keys() == schema.keys()
    for name, row in told.items():
        least, most = schema[name].get("minimum"), schema[name].get("maximum")
        assert row["Default"] == str(schema[name]["default"]), name
        assert row["Range"] == (f"from {least}" if most is None else f"{least} to {most}"), name
    assert strategy.opportunity_type in code(section)


def test_every_field_of_an_opportunity_is_explained() -> None:
    told = [name for row in table("strategies.md", "Field", "Meaning") for name in code(row["Field"])]

    assert sorted(told) == sorted(Opportunity.__struct_encode_fields__)


def test_the_house_in_the_page_is_the_house() -> None:
    [house] = [block.text for block in blocks(DOCS / "architecture.md") if "server/scanstream/" in block.text]
    drawn: set[str] = set()
    room = ""
    for line in house.splitlines():
        depth, name = len(line) - len(line.lstrip()), line.split()[0]
        room = name if depth == 2 and name.endswith("/") else room if depth == 4 else ""
        drawn |= {room + name} if name.endswith(".py") else set()
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


def test_the_readme_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text()

    assert [page.name for page in PAGES[1:] if f"]({page.relative_to(ROOT)})" not in text] == []


def test_make_has_the_targets_that_the_pages_name() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        pieces = [*code(prose(page)), *(block.text for block in blocks(page))]
        for target in (target for piece in pieces for target in re.findall(r"^make ([a-z]+)", piece, re.M)):
            assert target in targets, f"{page.name}: make {target}"


@pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.language == "python"], ids=str)
def test_python_in_the_pages_compiles(block: Block) -> None:
    compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")


@pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.runs == "runs"], ids=str)
async def test_examples_run(block: Block, serve: Serve, tmp_path: Path) -> None:
    if block.language == "sh" and shutil.which("curl") is None:
        pytest.skip("curl is not on this machine")
    assert ADDRESS in block.text
    async with serve() as url:
        said = await run(block, tmp_path, url)
        for scan_id in re.findall(r"\bscan_[0-9a-f]{42}\b", said):
            await until_terminal(url, scan_id)
    assert said
    assert "error" not in said


async def run(block: Block, directory: Path, url: str = "") -> str:
    """What an example prints, as a program of its own."""
    program = [sys.executable, "-c"] if block.language == "python" else ["sh", "-e", "-c"]
    text = block.text.replace(ADDRESS, url.removeprefix("http://"))
    with anyio.fail_after(60):
        done = await anyio.run_process([*program, text], cwd=directory, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def _plug_in(directory: Path, module: str) -> Block:
    """Write the plug-in of the page into a directory, and install it below; the commands of the page."""
    package = directory / "new_high"
    package.mkdir()
    declared = only_block("strategies.md", "runs as a plug-in", "toml").text
    (package / "pyproject.toml").write_text(declared)
    (package / "new_high.py").write_text(module)
    assert tomllib.loads(declared)["project"]["entry-points"].keys() == {ENTRY_POINTS}
    install(package, directory / "installed")
    return only_block("strategies.md", "runs as a plug-in", "sh")


async def test_the_strategy_of_ones_own_finds_something_after_ten_lines(tmp_path: Path) -> None:
    module = only_block("strategies.md", "runs as a plug-in").text
    commands = await to_thread.run_sync(_plug_in, tmp_path, module)
    typed = [commands.text, module, (tmp_path / "new_high" / "pyproject.toml").read_text()]
    assert sum(bool(line.strip()) for text in typed for line in text.splitlines()) <= 10
    first, second = commands.text.splitlines()
    assert first == "pip install -e new_high && scanstream serve"  # that pip can is shown above, and not to be kept
    async with serving_with(tmp_path / "installed") as server:
        here = f"export SCANSTREAM_URL={server.url} PATH={Path(sys.executable).parent}:$PATH"
        said = await run(commands._replace(text=f"{here}\n{second}"), tmp_path)
        [scan_id] = set(re.findall(r"\bscan_[0-9a-f]{42}\b", said))
        found = (await results(server.url, scan_id)).json()
    assert found["status"] == "complete"
    assert {opportunity["strategy_id"] for opportunity in found["opportunities"]} == {"new_high"}


async def test_the_strategy_of_ones_own_that_waits_finds_something(tmp_path: Path) -> None:
    module = only_block("strategies.md", "runs as a plug-in that waits").text.replace("FeedGap", "NewHigh")
    await to_thread.run_sync(_plug_in, tmp_path, module)
    async with feeding() as feed, serving_with(tmp_path / "installed") as server:
        feed.prices["BTC/USDT"] = 1e9
        wanted = {"strategy_ids": ["feed_gap"], "symbols": ["BTC/USDT"], "parameters": {"feed_gap": {"feed": feed.url}}}
        scan_id = (await discover(server.url, wanted)).json()["scan_id"]
        assert (await until_terminal(server.url, scan_id))["status"] == "complete"
        [found] = (await results(server.url, scan_id)).json()["opportunities"]
    assert (found["symbol"], found["side"]) == ("BTC/USDT", "long")


async def test_the_test_in_the_page_on_testing_passes(serve: Serve) -> None:
    block = only_block("testing.md", "runs as a test")
    names: dict[str, Any] = {}
    exec(compile(block.text, str(block), "exec"), names)  # noqa: S102  # our own page
    [test] = [value for name, value in names.items() if name.startswith("test_")]
    await test(serve)


async def test_a_backup_as_described_can_be_restored(serve: Serve, tmp_path: Path) -> None:
    async with serve(data=str(tmp_path / "scanstream-data")) as url:
        scan_id = (await discover(url)).json()["scan_id"]
        before = await until_terminal(url, scan_id)
        await run(only_block("operations.md", "runs on the data directory"), tmp_path)
    restored = tmp_path / "restored"
    restored.mkdir()
    (tmp_path / "scanstream-backup.db").rename(restored / "scanstream.db")
    async with serve(data=str(restored)) as url:
        assert (await status(url, scan_id)).json() == before


async def test_the_demo_prints_what_the_readme_shows() -> None:
    [excerpt] = [block.text for block in blocks(ROOT / "README.md") if block.text.startswith("Market:")]
    demo = [sys.executable, "-m", "scanstream", "demo"]
    with anyio.fail_after(60):
        done = await anyio.run_process(demo)
    printed = [line.rstrip() for line in done.stdout.decode().splitlines()]
    shown = [
        line
        for line in excerpt.splitlines()
        if not re.match(r"Server|Acknowledged|Complete| [ 1-9]\d %| {2}[1-9] %", line)
    ]

    assert [line for line in shown if line not in printed] == []
    [end] = [line for line in printed if line.startswith("Complete: ")]
    assert end.partition(" in ")[0] in excerpt


def table_of(printed: str) -> list[str]:
    """The rows of the first table of opportunities."""
    lines = [line.strip() for line in printed.splitlines()]
    first = next(number for number, line in enumerate(lines) if line.startswith("──")) + 1
    return lines[first : lines.index("", first)]


async def test_the_transcript_is_of_all_commands_and_of_this_version(serve: Serve) -> None:
    transcript = (ROOT / "docs" / "transcript.md").read_text()
    for name in main.commands:
        assert name == "demo" or f"$ scanstream {name}" in transcript, f"{name} is missing; run: make transcript"
    async with serve() as url:
        with anyio.fail_after(60):
            done = await anyio.run_process([sys.executable, "-m", "scanstream", "discover", "--url", url])
    assert table_of(done.stdout.decode()) == table_of(transcript), "it is of another version; run: make transcript"
