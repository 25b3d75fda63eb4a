"""docs/protocol.md holds what the server serves: routes, messages, fields, parameters and headers, flags."""

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Any, get_args

import click
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute

from conftest import ROOT, Serve
from docs.pages import DOCS, MARK, Row, agree, blocks, claimed, code, section, served, table
from scanstream.cli import main
from scanstream.core import open_core
from scanstream.errors import TABLE
from scanstream.message import Ack, AckBody, ClientMessage, DiscoverRequest, ServerMessage
from scanstream.model import Opportunity, Progress, ScanState, StrategyState
from scanstream.push.credentials import PARAMETER
from scanstream.push.refusals import ANY_PATH
from scanstream.routes import application
from scanstream.settings import Settings
from support.wire import discover

pytestmark = pytest.mark.anyio

PAGE = DOCS / "protocol.md"
SHOWN: tuple[type[msgspec.Struct], ...] = (ScanState, Opportunity, DiscoverRequest, AckBody)
EXAMPLES: dict[type[msgspec.Struct], dict[str, Any]] = {
    kind: msgspec.json.decode(block.text)
    for kind, block in zip(
        SHOWN,
        [block for block in blocks(PAGE) if block.language == "json"],
        strict=True,
    )
}
"""The documents that the page shows, in its order."""


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
            if route.path == ANY_PATH:  # where no WebSocket is
                continue
            offered.add(f"GET {route.path}" + ("/{path}" if isinstance(route, Mount) else ""))

    agree(offered, *claimed(table("protocol.md", "method and path", "answers"), "method and path"))


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_an_example_is_what_it_is_an_example_of(kind: type[msgspec.Struct]) -> None:
    """With nothing unknown in it either: that would not come back."""
    example = EXAMPLES[kind]

    assert msgspec.to_builtins(msgspec.convert(example, kind)) == example


async def test_the_example_of_a_request_is_taken(serve: Serve) -> None:
    """But for the tier: on the generated market the symbol of the example is not in it."""
    example = {name: value for name, value in EXAMPLES[DiscoverRequest].items() if name != "asset_tiers"}
    async with serve(workers=0) as url:
        answer = await discover(url, example)

    assert answer.status == 202, answer.body


LATER: list[tuple[type[msgspec.Struct], dict[str, Any], str]] = [
    (ScanState, EXAMPLES[ScanState], r"^Later also (.*?); a strategy"),
    (StrategyState, EXAMPLES[ScanState]["strategies"]["tsmom"], r"^Later also .*?; a strategy also (.*?);"),
    (Progress, EXAMPLES[ScanState]["progress"], "()"),
    (Opportunity, EXAMPLES[Opportunity], "()"),
    (DiscoverRequest, EXAMPLES[DiscoverRequest], "()"),
    (AckBody, EXAMPLES[AckBody], r"^- (`reused` and `scan_token`) may be absent"),
]
"""(what, the example of it, where the page names the fields that are not in the example)"""


@pytest.mark.parametrize(("kind", "example", "later"), LATER, ids=lambda value: getattr(value, "__name__", ""))
def test_every_field_is_in_the_example_or_named_below_it(
    kind: type[msgspec.Struct], example: dict[str, Any], later: str
) -> None:
    found = re.search(later, PAGE.read_text(), re.M)
    assert found is not None, later
    named = {name for name in code(found[1]) if name.isidentifier()}

    assert example.keys() | named == set(kind.__struct_encode_fields__)


CLIENT, SERVER = ("type", "fields", "reply"), ("type", "fields")


def by_type(union: Any) -> dict[str, list[type[msgspec.Struct]]]:
    """Type of a message → the structs that have it."""
    found: dict[str, list[type[msgspec.Struct]]] = {}
    for message in get_args(union):
        found.setdefault(str(message.__struct_config__.tag), []).append(message)
    return found


def messages_of(*columns: str) -> list[Row]:
    """The rows of the one table that has these columns and no more."""
    return [row for row in table("protocol.md", *columns) if row.keys() == set(columns)]


@pytest.mark.parametrize(("union", "columns"), [(ClientMessage, CLIENT), (ServerMessage, SERVER)], ids=["to", "from"])
def test_every_message_is_in_the_protocol_with_its_fields(union: Any, columns: tuple[str, ...]) -> None:
    offered, told = by_type(union), messages_of(*columns)
    agree(offered.keys() | set(), *claimed(told, "type"))
    for row in told:
        fields = {field for struct in offered[code(row["type"])[0]] for field in struct.__struct_encode_fields__}
        if Ack in offered[code(row["type"])[0]]:
            assert "the fields of the HTTP ack" in row["fields"]
            fields -= set(AckBody.__struct_encode_fields__) - {"scan_id"}
        if union is ClientMessage:  # each may carry an `id`: that is said above the table
            fields -= {"id"}
        assert set(code(row["fields"])) - {"latest", '"state"', "n"} == fields, row["type"]


def test_every_client_message_may_carry_an_id() -> None:
    assert "Every client message may carry `id`" in section("protocol.md", "4.")
    for message in get_args(ClientMessage):
        assert "id" in message.__struct_encode_fields__


def read_in_push() -> Iterator[tuple[str, str]]:
    """(`query_params` or `headers`, the name that the server asks for there)."""
    for path in (ROOT / "server" / "scanstream" / "push").rglob("*.py"):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            match call:
                case ast.Call(func=ast.Name("whole_number" | "single"), args=[_, ast.Constant(str(name)), *_]):
                    yield "query_params", name
                case ast.Call(func=ast.Name("_joined"), args=[_, ast.Constant(str(name)), *_]):
                    yield "headers", name
                case ast.Call(
                    func=ast.Attribute(ast.Attribute(attr="query_params" | "headers" as where), "get" | "getlist"),
                    args=[ast.Constant(str(name)), *_],
                ):
                    yield where, name
                case ast.Call(func=ast.Attribute(ast.Name("headers"), "get"), args=[ast.Constant(str(name)), *_]):
                    yield "headers", name


def test_every_query_parameter_is_in_the_protocol() -> None:
    read = {PARAMETER} | {name for where, name in read_in_push() if where == "query_params"}
    told = {name for piece in code(served(PAGE.read_text())) for name in re.findall(r"[?&](\w+)=", piece)}

    assert read, "they are read in another way now"
    assert told == read


def test_every_header_that_is_read_is_in_the_protocol() -> None:
    read = {name for where, name in read_in_push() if where == "headers"}
    told = {re.split(r"[ :]", piece)[0].lower() for piece in code(PAGE.read_text())}

    assert {"idempotency-key", "last-event-id"} <= read, "they are read in another way now"
    assert read - told == set()


def test_the_codes_of_errors_and_closes_are_those_of_the_page_on_errors() -> None:
    text = section("protocol.md", "4.")
    [codes] = re.findall(r"^- Error codes: (.*?)\. ", text, re.M)
    [closes] = re.findall(r"^- Close codes: (.*)$", text, re.M)
    told = {row["Code"].partition(" ")[0]: MARK in row["Code"] for row in table("errors.md", "Code", "When")}

    assert set(code(codes)) - TABLE.keys() == set()
    assert set(re.findall(r"\b(?:1|4)\d{3}\b", closes)) == told.keys()
    unserved = re.findall(rf"\b(4\d{{3}})\b[^,]*?{re.escape(MARK)}", closes)
    assert set(unserved) == {number for number, absent in told.items() if absent}


def commands() -> list[tuple[str, str]]:
    """(command, its contract) of all that are served."""
    return [
        (name.split()[1], row["contract"])
        for row in table("protocol.md", "command", "contract")
        if MARK not in row["command"]
        for name in code(row["command"])
    ]


def test_every_command_is_in_the_protocol() -> None:
    served, absent = claimed(table("protocol.md", "command", "contract"), "command")
    first_words = [{" ".join(command.split()[:2]) for command in commands} for commands in (served, absent)]

    agree({f"scanstream {name}" for name in main.commands}, *first_words)


PROMISED = {
    "serve": "host port data market engine workers max-running retention fresh stall",
    "worker": "engine market workers",
    "demo": "",
    "market": "json",
    "conformance": "only seed timeout request token json",
    "key": "keys principal right expires json",
    "discover": "url strategy symbol parameter force-refresh json detach",
    **dict.fromkeys(("watch", "status", "results", "cancel", "explain", "strategies"), "url json"),
    "doctor": "url json",
}
"""Flags that may not vanish, neither from the page nor from the commands: it is a contract."""


@pytest.mark.parametrize(("name", "contract"), commands())
def test_every_flag_in_the_protocol_is_one_of_its_command(name: str, contract: str) -> None:
    command = main.commands[name]
    below = command.commands.values() if isinstance(command, click.Group) else ()
    options = [option for part in (command, *below) for option in part.params if isinstance(option, click.Option)]
    flags = {flag for option in options for flag in option.opts}
    variables = {variable for option in options for variable in _variables(option)}

    pieces = code(contract)
    told = {flag for piece in pieces for flag in re.findall(r"--[\w-]+", piece)}
    assert told - flags == set()
    assert {f"--{flag}" for flag in PROMISED[name].split()} - told == set()
    assert {piece for piece in pieces if re.fullmatch(r"[A-Z]+(_[A-Z]+)*", piece)} - variables == set()


def _variables(option: click.Option) -> Iterable[str]:
    return [option.envvar] if isinstance(option.envvar, str) else option.envvar or ()
