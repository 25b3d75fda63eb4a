"""The contracts for machines: valid, complete, and true of what a real server answers.

What a real server says in all other tests is held against them, too (tests/conftest.py, support/judge.py): here it is
asked for each thing that it may grant.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from starlette.applications import Starlette
from starlette.routing import Route

from conftest import Serve
from scanstream.core import open_core
from scanstream.errors import TABLE
from scanstream.message import ClientMessage, ServerMessage
from scanstream.push.contract.channels import CLOSES, REPLIES
from scanstream.push.contract.documents import asyncapi, openapi
from scanstream.routes import application
from scanstream.settings import Settings
from support.judge import judge
from support.receiver import NOWHERE
from support.script import RunningShard, Script, scripting
from support.traffic import TRAFFIC, Answered, Message, exchanges
from support.wire import ONE_QUICK_SCAN, Answer, discover, request, until_terminal, websocket

pytestmark = pytest.mark.anyio

METHODS = {"get", "post", "put", "patch", "delete", "head"}
REFUSALS = {str(row.status) for row in TABLE.values()}


def test_the_openapi_document_is_valid() -> None:
    validate(openapi())


async def test_it_has_every_route_and_method_and_no_other() -> None:
    """A new route is written down in push/contract/documents.py."""
    settings = Settings(port=0, data=":memory:", workers=0)
    async with open_core(settings) as core:
        app: Any = application(settings, core)
        while not isinstance(app, Starlette):
            app = app.inner
        served = {
            (route.path, method.lower())
            for route in app.routes
            if isinstance(route, Route)
            for method in route.methods or set()
        }
    paths = openapi()["paths"]
    assert {(path, method) for path, methods in paths.items() for method in methods.keys() & METHODS} == served
    assert all("options" in methods for methods in paths.values())


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
EXPLAIN = "/opportunities/explain/{scan_id}"
NOTIFY = "/opportunities/notify/{scan_id}"
DISCOVER, FOLLOW, SCANS = "/opportunities/discover", "/opportunities/follow", "/opportunities/scans"
CANDLES = "/opportunities/market/candles"
LINES = {"accept": "application/x-ndjson"}
FRIEND = "https://friend.example"
STREAM = {"accept": "text/event-stream"}
PREFLIGHT = {
    "origin": FRIEND,
    "access-control-request-method": "POST",
    "access-control-request-private-network": "true",
}
SOCKET = {"upgrade": "websocket", "connection": "Upgrade"}
WHOLE = {**SOCKET, "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}

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
    Asked(204, "OPTIONS", DISCOVER),
    Asked(200, "OPTIONS", DISCOVER, headers=PREFLIGHT),
    Asked(403, "OPTIONS", DISCOVER, headers={**PREFLIGHT, "origin": "https://evil.example"}),
    Asked(200, "GET", STATUS),
    Asked(200, "HEAD", STATUS),
    Asked(200, "GET", STATUS, headers={"prefer": "wait=1"}),
    Asked(200, "GET", STATUS, "?since=x"),
    Asked(304, "GET", STATUS, headers={"if-none-match": "*"}),
    Asked(304, "HEAD", STATUS, headers={"if-none-match": "*"}),
    Asked(200, "GET", STATUS, scan_id="latest"),
    Asked(404, "GET", STATUS, scan_id="scan_unknown"),
    Asked(404, "GET", STATUS, scan_id="a%2Fb"),
    Asked(422, "GET", STATUS, "?wait=61"),
    Asked(403, "GET", STATUS, headers={"host": "evil.example"}),
    Asked(400, "GET", STATUS, headers={"host": "no host"}),
    Asked(431, "GET", STATUS, headers={"x": "x" * 33_000}),
    Asked(204, "OPTIONS", STATUS),
    Asked(200, "GET", RESULTS),
    Asked(200, "HEAD", RESULTS),
    Asked(200, "GET", RESULTS, headers=LINES),
    Asked(202, "GET", RESULTS, scan_id="latest"),
    Asked(202, "HEAD", RESULTS, scan_id="latest"),
    Asked(404, "GET", RESULTS, scan_id="scan_unknown"),
    Asked(422, "GET", RESULTS, "?limit=0"),
    Asked(200, "GET", EVENTS),
    Asked(200, "HEAD", EVENTS),
    Asked(204, "GET", EVENTS, "?since=END"),
    Asked(204, "HEAD", EVENTS, "?since=END"),
    Asked(404, "GET", EVENTS, scan_id="scan_unknown"),
    *(Asked(200, method, EXPLAIN) for method in ("GET", "HEAD")),
    Asked(200, "GET", EXPLAIN, scan_id="latest"),
    Asked(404, "GET", EXPLAIN, scan_id="scan_unknown"),
    Asked(202, "POST", CANCEL),
    Asked(404, "POST", CANCEL, scan_id="scan_unknown"),
    Asked(405, "GET", CANCEL),
    Asked(404, "POST", "/opportunities/share/{scan_id}"),
    Asked(202, "POST", NOTIFY, body={"url": NOWHERE}),
    Asked(422, "POST", NOTIFY, body={"url": "https://evil.example/"}),
    Asked(404, "POST", NOTIFY, body={"url": NOWHERE}, scan_id="scan_unknown"),
    Asked(200, "POST", FOLLOW, body={"follow": [{"scan_id": "S"}, {"scan_id": "scan_unknown"}]}),
    Asked(200, "POST", FOLLOW, body={"follow": [{"scan_id": "S"}, {"scan_id": "scan_unknown"}]}, headers=STREAM),
    Asked(400, "POST", FOLLOW, body=b"{"),
    Asked(422, "POST", FOLLOW, body={"follow": []}),
    Asked(200, "GET", SCANS),
    Asked(404, "GET", SCANS, "?before=scan_unknown"),
    Asked(422, "GET", SCANS, "?limit=1&limit=2"),
    *(Asked(200, "GET", f"/opportunities/{name}") for name in ("market", "strategies", "scans")),
    *(Asked(200, "HEAD", f"/opportunities/{name}") for name in ("market", "strategies", "scans")),
    Asked(200, "GET", CANDLES, "?symbol=BTC/USDT&bars=1000"),
    Asked(304, "GET", CANDLES, "?symbol=BTC/USDT", headers={"if-none-match": "*"}),
    Asked(200, "HEAD", CANDLES, "?symbol=BTC/USDT"),
    Asked(304, "HEAD", CANDLES, "?symbol=BTC/USDT", headers={"if-none-match": "*"}),
    Asked(422, "GET", CANDLES, "?symbol=DOGE/BTC"),
    Asked(422, "GET", CANDLES, "?symbol="),
    Asked(422, "GET", CANDLES),
    *(
        Asked(200, "GET", f"/{name}")
        for name in ("healthz", "readyz", "metrics", "openapi.json", "asyncapi.json", "", "docs")
    ),
    *(
        Asked(200, "HEAD", f"/{name}")
        for name in ("healthz", "readyz", "metrics", "openapi.json", "asyncapi.json", "", "docs")
    ),
    Asked(200, "GET", "/", headers={"accept-encoding": "gzip"}),
    Asked(304, "GET", "/", headers={"if-none-match": "*"}),
    Asked(304, "HEAD", "/", headers={"if-none-match": "*"}),
    Asked(304, "GET", "/docs", headers={"if-none-match": "*"}),
    Asked(304, "HEAD", "/docs", headers={"if-none-match": "*"}),
    Asked(101, "GET", "/ws", headers=WHOLE),
    Asked(426, "GET", "/ws"),
    Asked(426, "HEAD", "/ws"),
    Asked(400, "GET", "/ws", headers=SOCKET),
    Asked(200, "GET", STATUS, headers={"origin": FRIEND}),
    Asked(403, "GET", EVENTS, headers={"origin": "https://evil.example"}),
    Asked(405, "POST", "/ws"),
    Asked(404, "GET", "/nowhere"),
]
SHARE = "/opportunities/share/{scan_id}"
HARD = {("/ws", "head", "101"), (SHARE, "post", "200")}
"""What is granted, and not asked for here: the second by a server that asks who is asking (tests/wire)."""


async def test_real_answers_are_as_the_contract_says(serve: Serve) -> None:
    """Of each route all that it grants, and what it refuses; the judge is the one of all tests."""
    settings = {"workers": 1, "max_scans": 3, "max_message": 4096, "allow_origin": (FRIEND,), "notify": (NOWHERE,)}
    async with serve(**settings) as url, scripting() as script:
        document = (await request(url, "GET", "/openapi.json")).json()
        assert document == openapi()
        scan_id = (await discover(url)).json()["scan_id"]
        await until_terminal(url, scan_id)
        end = (await request(url, "GET", f"/opportunities/status/{scan_id}?since=")).json()["cursor"]
        shard = await _occupied(url, script)
        for asked in ASKED:
            answer = await _ask(url, asked, scan_id, end)
            assert answer.status == asked.status, (asked, answer)
        await shard.tell("end")
    said = [exchange for line in TRAFFIC.take() for exchange in exchanges(line)]
    assert [fault for exchange in said for fault in judge().faults(exchange)] == []
    assert len([exchange for exchange in said if isinstance(exchange, Answered)]) > len(ASKED)
    granted = {
        (path, method, status)
        for path, methods in document["paths"].items()
        for method in methods.keys() - {"options"}
        for status in methods[method]["responses"].keys() - REFUSALS
    }
    assert granted - HARD == {(asked.route, asked.method.lower(), str(asked.status)) for asked in ASKED} & granted


async def test_a_body_is_called_required_where_none_at_all_is_refused(serve: Serve) -> None:
    said, does = {}, {}
    async with serve(workers=0, notify=(NOWHERE,)) as url:
        for path, methods in openapi()["paths"].items():
            if "requestBody" in methods.get("post", {}):
                said[path] = methods["post"]["requestBody"]["required"]
                answer = await request(url, "POST", path.replace("{scan_id}", "nobody"))
                does[path] = answer.status == 422 and "is required" in answer.json()["detail"]
    assert said == does
    assert set(said.values()) == {True, False}


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
    if asked.status == 101:
        async with websocket(url):
            return Answer(101, {}, b"")
    return await request(url, asked.method, path, body, asked.headers)


async def test_real_messages_are_as_the_contract_says(serve: Serve) -> None:
    """Whatever a socket says in the life of a scan, and the requests that it takes."""
    async with serve(workers=1) as url, websocket(url) as socket:
        assert (await request(url, "GET", "/asyncapi.json")).json() == asyncapi()
        asked: list[dict[str, Any]] = [
            {"type": "discover", "id": "1", "request": ONE_QUICK_SCAN},
            {"type": "ping"},
            {"type": "subscribe", "scan_id": "scan_unknown"},
            {"type": "unsubscribe", "scan_id": "latest"},
            {"type": "subscribe", "scan_id": "latest", "since": "x", "only": "state"},
            {"type": "cancel", "id": "2", "scan_id": "latest"},
            {"type": "discover", "request": {"symbols": []}},
            {"type": "discover", "idempotency_key": 5},
            {"type": "authenticate", "id": "3", "token": "x"},
        ]
        seen: set[str] = set()
        for message in asked:
            await socket.send(**message)
        while seen != {"ack", "snapshot", "update", "end", "error", "pong"}:
            seen.add((await socket.receive())["type"])
    said = [exchange for line in TRAFFIC.take() for exchange in exchanges(line)]
    assert {exchange.by_server for exchange in said if isinstance(exchange, Message)} == {True, False}
    assert [fault for exchange in said for fault in judge().faults(exchange)] == []


def test_the_asyncapi_document_has_every_message_and_what_answers_it() -> None:
    document = asyncapi()
    kinds = {kind.__name__: kind for kind in (*get_args(ClientMessage), *get_args(ServerMessage))}
    assert document["channels"]["scans"]["messages"].keys() == document["components"]["messages"].keys() == kinds.keys()
    schemas = document["components"]["schemas"]
    for name, kind in kinds.items():
        Draft202012Validator.check_schema(schemas[name])
        assert schemas[name]["properties"]["type"]["enum"] == [kind.__struct_config__.tag]
    assert REPLIES.keys() == set(get_args(ClientMessage))
    assert {reply for replies in REPLIES.values() for reply in replies} <= set(get_args(ServerMessage))
    assert {row.close for row in TABLE.values() if row.close} <= CLOSES.keys()


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
