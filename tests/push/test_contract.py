"""The contracts for machines: valid, complete, and true of what a real server answers."""

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from conftest import Serve
from scanstream.core import open_core
from scanstream.message import ClientMessage, Done, Renewed, ServerMessage
from scanstream.push.contract.documents import asyncapi, openapi
from scanstream.routes import application
from scanstream.settings import Settings
from support.script import RunningShard, Script, scripting
from support.wire import ONE_QUICK_SCAN, Answer, discover, request, until_terminal, websocket

pytestmark = pytest.mark.anyio

OF_HTTP = {"date", "content-type", "content-length", "connection", "transfer-encoding", "server"}
"""Headers that a contract need not say."""
NO_CONTRACT = {"/"}
"""The page is for people."""


def test_the_openapi_document_is_valid() -> None:
    from openapi_spec_validator import validate

    validate(openapi())


async def test_it_has_every_route_and_method_and_no_other() -> None:
    settings = Settings(port=0, data=":memory:", workers=0)
    async with open_core(settings) as core:
        app: Any = application(settings, core)
        while not isinstance(app, Starlette):
            app = app.inner
        served = {
            (route.path, method.lower())
            for route in app.routes
            if isinstance(route, Route) and route.path not in NO_CONTRACT
            for method in (route.methods or set()) - {"HEAD"}
        }
    assert {(path, method) for path, methods in openapi()["paths"].items() for method in methods} == served


class Asked(NamedTuple):
    """A request, and the status of its answer."""

    status: int
    method: str
    route: str
    """As the contract has it; `S` in place of an id stands for a scan that is complete, `END` for its last cursor."""
    query: str = ""
    body: Any = None
    headers: dict[str, str] = {}  # noqa: RUF012  # read only
    scan_id: str = "S"


STATUS, RESULTS = "/opportunities/status/{scan_id}", "/opportunities/results/{scan_id}"
EVENTS, CANCEL = "/opportunities/events/{scan_id}", "/opportunities/cancel/{scan_id}"
DISCOVER, FOLLOW, SCANS = "/opportunities/discover", "/opportunities/follow", "/opportunities/scans"
CANDLES = "/opportunities/market/candles"
LINES = {"accept": "application/x-ndjson"}
FRIEND = "https://friend.example"
STREAM = {"accept": "text/event-stream"}

ASKED = [
    Asked(202, "POST", DISCOVER, body=ONE_QUICK_SCAN),
    Asked(202, "POST", DISCOVER, body=ONE_QUICK_SCAN, headers={"idempotency-key": "mine"}),
    Asked(400, "POST", DISCOVER, body=b"{"),
    Asked(403, "POST", DISCOVER, body={}, headers={"origin": "https://evil.example"}),
    Asked(413, "POST", DISCOVER, body=b" " * 5000),
    Asked(415, "POST", DISCOVER, body=b"{}", headers={"content-encoding": "gzip"}),
    Asked(422, "POST", DISCOVER, body={"colour": "red"}),
    Asked(429, "POST", DISCOVER, body={"force_refresh": True}),
    Asked(405, "GET", DISCOVER),
    Asked(200, "GET", STATUS),
    Asked(200, "GET", STATUS, headers={"prefer": "wait=1"}),
    Asked(200, "GET", STATUS, "?since=x"),
    Asked(304, "GET", STATUS, headers={"if-none-match": "*"}),
    Asked(200, "GET", STATUS, scan_id="latest"),
    Asked(404, "GET", STATUS, scan_id="scan_unknown"),
    Asked(422, "GET", STATUS, "?wait=61"),
    Asked(403, "GET", STATUS, headers={"host": "evil.example"}),
    Asked(200, "GET", RESULTS),
    Asked(200, "GET", RESULTS, headers=LINES),
    Asked(202, "GET", RESULTS, scan_id="latest"),
    Asked(404, "GET", RESULTS, scan_id="scan_unknown"),
    Asked(422, "GET", RESULTS, "?limit=0"),
    Asked(200, "GET", EVENTS),
    Asked(204, "GET", EVENTS, "?since=END"),
    Asked(404, "GET", EVENTS, scan_id="scan_unknown"),
    Asked(202, "POST", CANCEL),
    Asked(404, "POST", CANCEL, scan_id="scan_unknown"),
    Asked(405, "GET", CANCEL),
    Asked(200, "POST", FOLLOW, body={"follow": [{"scan_id": "S"}, {"scan_id": "scan_unknown"}]}),
    Asked(200, "POST", FOLLOW, body={"follow": [{"scan_id": "S"}]}, headers=STREAM),
    Asked(400, "POST", FOLLOW, body=b"{"),
    Asked(422, "POST", FOLLOW, body={"follow": []}),
    Asked(200, "GET", SCANS),
    Asked(404, "GET", SCANS, "?before=scan_unknown"),
    Asked(422, "GET", SCANS, "?limit=1&limit=2"),
    *(Asked(200, "GET", f"/opportunities/{name}") for name in ("market", "strategies")),
    Asked(200, "GET", CANDLES, "?symbol=BTC/USDT&bars=1000"),
    Asked(304, "GET", CANDLES, "?symbol=BTC/USDT", headers={"if-none-match": "*"}),
    Asked(422, "GET", CANDLES, "?symbol=DOGE/BTC"),
    Asked(422, "GET", CANDLES),
    *(Asked(200, "GET", f"/{name}") for name in ("healthz", "readyz", "metrics", "openapi.json", "asyncapi.json")),
    Asked(426, "GET", "/ws"),
    Asked(400, "GET", "/ws", headers={"upgrade": "websocket", "connection": "Upgrade"}),
    Asked(200, "GET", STATUS, headers={"origin": FRIEND}),
    Asked(403, "GET", EVENTS, headers={"origin": "https://evil.example"}),
    Asked(405, "POST", "/ws"),
]


async def test_real_answers_are_as_the_contract_says(serve: Serve) -> None:
    """Of each route, what it grants and what it refuses: status, media type, schema and headers."""
    async with serve(workers=1, max_scans=3, max_message=4096, allow_origin=(FRIEND,)) as url, scripting() as script:
        document = (await request(url, "GET", "/openapi.json")).json()
        assert document == openapi()
        scan_id = (await discover(url)).json()["scan_id"]
        await until_terminal(url, scan_id)
        end = (await request(url, "GET", f"/opportunities/status/{scan_id}?since=")).json()["cursor"]
        shard = await _occupied(url, script)
        for asked in ASKED:
            answer = await _ask(url, asked, scan_id, end)
            assert answer.status == asked.status, (asked, answer)
            _check(document, asked, answer)
        await shard.tell("end")


async def _occupied(url: str, script: Script) -> RunningShard:
    """A scan that goes on until it is told to end."""
    await discover(url, script.request(shards=1))
    return await script.started()


async def _ask(url: str, asked: Asked, scan_id: str, end: str) -> Answer:
    path = asked.route.replace("{scan_id}", asked.scan_id) + asked.query
    path = path.replace("/S", f"/{scan_id}").replace("=END", f"={end}")
    body = asked.body if isinstance(asked.body, bytes | None) else msgspec.json.encode(asked.body)
    if body is not None:
        body = body.replace(b'"S"', msgspec.json.encode(scan_id))
    return await request(url, asked.method, path, body, asked.headers)


def _check(document: dict[str, Any], asked: Asked, answer: Answer) -> None:
    operations = document["paths"][asked.route]
    responses = operations.get(asked.method.lower(), next(iter(operations.values())))["responses"]
    told = responses.get(str(answer.status)) if asked.method.lower() in operations else responses["default"]
    components = document["components"]
    may = {name.lower(): components["headers"][name] for name in told["headers"]}
    known = answer.headers.keys() - OF_HTTP
    assert known - may.keys() == set(), asked
    assert {name for name, header in may.items() if header["required"]} <= answer.headers.keys(), asked
    for name in answer.headers.keys() & may.keys() - {"retry-after"}:
        assert isinstance(answer.headers[name], str)
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    assert media_type in told.get("content", {"": None}), asked
    if media_type.endswith("json"):
        _require_valid(told["content"][media_type]["schema"], components, answer.json())
    elif media_type.endswith("ndjson"):
        for line in answer.body.splitlines():
            _require_valid(told["content"][media_type]["schema"], components, msgspec.json.decode(line))


def _require_valid(schema: dict[str, Any], components: dict[str, Any], value: Any) -> None:
    """Valid, and with no field that the schema does not tell."""
    from jsonschema import Draft202012Validator

    whole = {"allOf": [schema], "unevaluatedProperties": False, "components": components}
    assert [error.message for error in Draft202012Validator(whole).iter_errors(value)] == []


async def test_the_asyncapi_document_has_every_message(serve: Serve) -> None:
    from jsonschema import Draft202012Validator

    async with serve(workers=0) as url:
        document = (await request(url, "GET", "/asyncapi.json")).json()
    assert document == asyncapi()
    kinds = {kind.__name__: kind for kind in (*get_args(ClientMessage), *get_args(ServerMessage))}
    assert document["channels"]["scans"]["messages"].keys() == kinds.keys()
    schemas = document["components"]["schemas"]
    for name, kind in kinds.items():
        Draft202012Validator.check_schema(schemas[name])
        assert schemas[name]["properties"]["type"]["enum"] == [kind.__struct_config__.tag]
    for operation in document["operations"].values():
        for message in operation["messages"]:
            assert message["$ref"].rpartition("/")[2] in kinds


async def test_real_messages_are_as_the_contract_says(serve: Serve) -> None:
    """Whatever a socket says in the life of a scan, and the requests that it takes."""
    schemas = {"schemas": asyncapi()["components"]["schemas"]}
    by_type = {
        kind.__struct_config__.tag: kind.__name__ for kind in get_args(ServerMessage) if kind not in (Done, Renewed)
    }
    asked: list[dict[str, Any]] = [
        {"type": "discover", "id": "1", "request": ONE_QUICK_SCAN},
        {"type": "ping"},
        {"type": "subscribe", "scan_id": "scan_unknown"},
        {"type": "discover", "request": {"symbols": []}},
    ]
    seen: set[str] = set()
    async with serve(workers=1) as url, websocket(url) as socket:
        for message in asked:
            name = {kind.__struct_config__.tag: kind.__name__ for kind in get_args(ClientMessage)}[message["type"]]
            _require_valid(schemas["schemas"][name], schemas, message)
            await socket.send(**message)
        while seen != {"ack", "snapshot", "update", "end", "error", "pong"}:
            message = await socket.receive()
            seen.add(message["type"])
            _require_valid(schemas["schemas"][by_type[message["type"]]], schemas, message)


def test_every_pointer_of_the_contracts_leads_somewhere() -> None:
    for document in (openapi(), asyncapi()):
        for pointer in _pointers(document):
            found: Any = document
            for part in pointer.removeprefix("#/").split("/"):
                found = found[part]


def _pointers(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _pointers(item)


def test_what_is_bytes_or_plain_data_in_the_code_is_said_in_full() -> None:
    schemas = asyncapi()["components"]["schemas"]
    assert schemas["Snapshot"]["properties"]["state"] == {"$ref": "#/components/schemas/ScanState"}
    assert schemas["Discover"]["properties"]["request"] == {"$ref": "#/components/schemas/DiscoverRequest"}
    patch = schemas[schemas["Update"]["properties"]["patch"]["$ref"].rpartition("/")[2]]
    assert patch["properties"].keys() == schemas["ScanState"]["properties"].keys()
    assert "required" not in patch
    assert "required" not in schemas["ProgressPatch"]
    assert openapi()["components"]["schemas"]["Snapshot"] == schemas["Snapshot"]
