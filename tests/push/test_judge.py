"""The judge of all tests' traffic can find fault: in documents that are changed, and in servers that are."""

import copy
import json
from collections.abc import Callable
from typing import Any

import anyio
import msgspec
import pytest

from scanstream.push.contract.documents import asyncapi, openapi
from scanstream.server import serving
from scanstream.settings import Settings
from support.judge import Judge, judge
from support.traffic import TRAFFIC, Answered, Closed, Exchange, Message, exchanges
from support.wire import ONE_QUICK_SCAN, discover, request, until_terminal, websocket

Plain = dict[str, Any]
KEYED = {"idempotency-key": "k" * 200}


@pytest.fixture(scope="module")
def said(_recorded: None) -> list[Exchange]:
    """What a real server and its clients say, of each kind something."""
    TRAFFIC.take()
    anyio.run(_live)
    return [exchange for line in TRAFFIC.take(ended=False) for exchange in exchanges(line)]


async def _live() -> None:
    async with serving(Settings(port=0, data=":memory:", workers=1)) as url:
        scan_id = (await discover(url)).json()["scan_id"]
        state = await until_terminal(url, scan_id)
        status = f"/opportunities/status/{scan_id}"
        body = msgspec.json.encode({**ONE_QUICK_SCAN, "symbols": "ETH/USDT"})
        assert (await request(url, "POST", "/opportunities/discover", body, KEYED)).status == 202
        for path in (status, f"{status}?wait=60", "/opportunities/scans", "/opportunities/market", "/nowhere"):
            await request(url, "GET", path)
        for path in (f"/opportunities/events/{scan_id}", f"/opportunities/results/{scan_id}"):
            await request(url, "GET", path, headers={"accept": "application/x-ndjson"})
        await request(url, "GET", status, headers={"if-none-match": "*"})
        await request(url, "GET", f"{status}?wait=61")
        await request(url, "GET", "/opportunities/status/scan_1")
        async with websocket(url) as socket:
            await socket.send(type="subscribe", scan_id=scan_id, since=state["cursor"], id="x" * 64)
            await socket.send(type="ping", id="y" * 65)
            while (await socket.receive())["type"] != "error":
                pass
        async with websocket(url) as socket:
            await socket.connection.send(b"binary")
            await socket.connection.wait_closed()


def test_what_a_real_server_says_is_without_fault(said: list[Exchange]) -> None:
    assert [fault for exchange in said for fault in judge().faults(exchange)] == []
    kinds = {type(exchange) for exchange in said}
    assert kinds == {Answered, Message, Closed}


def _at(document: Plain, path: str) -> tuple[Any, str]:
    *way, last = path.split("/")
    found: Any = document
    for part in way:
        found = found[part.replace("~", "/")]
    return found, last.replace("~", "/")


def without(path: str) -> Callable[[Plain], None]:
    """A document that lacks this."""

    def change(document: Plain) -> None:
        inside, last = _at(document, path)
        if isinstance(inside, list):
            inside.remove(last)
        else:
            del inside[last]

    return change


def having(path: str, value: Any) -> Callable[[Plain], None]:
    """A document that says this there."""

    def change(document: Plain) -> None:
        inside, last = _at(document, path)
        inside[last] = value

    return change


STATUS = "paths/~opportunities~status~{scan_id}/get/responses"
DISCOVER = "paths/~opportunities~discover/post"
SCHEMAS = "components/schemas"

CHANGED_OPENAPI = {
    "a status that is not told": without(f"{STATUS}/304"),
    "a refusal that is not told": without(f"{STATUS}/422"),
    "a header that is not told": without(f"{STATUS}/200/headers/ETag"),
    "a header that must be there": having("components/headers/Preference-Applied/required", True),
    "a header of another kind": having("components/headers/Retry-After/schema/minimum", 2),
    "a media type that is not told": having(f"{STATUS}/200/content", {"text/plain": {"schema": {}}}),
    "a method that is not told": without("paths/~opportunities~market/get"),
    "a path that is not told": without("paths/~opportunities~scans"),
    "a field that is not told": without(f"{SCHEMAS}/ScanState/properties/phase"),
    "a field within, not told": without(f"{SCHEMAS}/Progress/properties/percentage"),
    "a field of another type": having(f"{SCHEMAS}/ScanState/properties/total_opportunities/type", "string"),
    "a value that is not told": having(f"{SCHEMAS}/ScanState/properties/status/enum", ["scanning"]),
    "a field that must be there": having(f"{SCHEMAS}/AckBody/required", ["never"]),
    "a code that is not told": having("components/responses/Refused422/content", {"application/json": {"schema": {}}}),
    "a line of another kind": having(f"{SCHEMAS}/Opportunity/properties/side/enum", ["up"]),
    "an event that is not told": without(
        "paths/~opportunities~events~{scan_id}/get/responses/200/content/text~event-stream/schema/x-events/snapshot"
    ),
    "a parameter that may not be so large": having("components/parameters/wait/schema/maximum", 59),
    "a header of a request that may not be so long": having(
        "components/parameters/Idempotency-Key/schema/maxLength", 199
    ),
    "a body that may not be so": having(f"{SCHEMAS}/DiscoverRequest/properties/symbols", {"type": "array"}),
}
CHANGED_ASYNCAPI = {
    "a message that is not told": having("operations/tell/messages", []),
    "a field that is not told": without(f"{SCHEMAS}/End/properties/cursor"),
    "a code that is not told": having(f"{SCHEMAS}/Error/properties/code/enum", ["internal"]),
    "a close that is not told": without("channels/scans/x-close-codes/1003"),
    "what a client may not say, and did": having(f"{SCHEMAS}/Subscribe/properties/since", {"type": "null"}),
    "what a client may say, and was refused": having(f"{SCHEMAS}/Ping/properties/id/maxLength", 65),
}


@pytest.mark.parametrize("name", CHANGED_OPENAPI)
def test_a_changed_openapi_document_is_found_out(name: str, said: list[Exchange]) -> None:
    changed = copy.deepcopy(openapi())
    CHANGED_OPENAPI[name](changed)
    judge = Judge(changed, asyncapi())
    assert [fault for exchange in said for fault in judge.faults(exchange)]


@pytest.mark.parametrize("name", CHANGED_ASYNCAPI)
def test_a_changed_asyncapi_document_is_found_out(name: str, said: list[Exchange]) -> None:
    changed = copy.deepcopy(asyncapi())
    CHANGED_ASYNCAPI[name](changed)
    judge = Judge(openapi(), changed)
    assert [fault for exchange in said for fault in judge.faults(exchange)]


def _changed(exchange: Exchange, change: Callable[[Plain], None]) -> Exchange | None:
    """The same, said by a server that has something wrong; None where that changes nothing."""
    body = exchange.body if isinstance(exchange, Answered) else exchange.data if isinstance(exchange, Message) else b""
    try:
        value = json.loads(body)
        before = copy.deepcopy(value)
        change(value)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if value == before:
        return None
    if isinstance(exchange, Answered):
        return exchange._replace(body=json.dumps(value).encode())
    assert isinstance(exchange, Message)
    return exchange._replace(data=json.dumps(value)) if exchange.by_server else None


CHANGES: dict[str, Callable[[Plain], Any]] = {
    "a field more": lambda said: said.update(colour="red") if "status" in said else None,
    "a field less": lambda said: said.pop("cursor"),
    "null": lambda said: said["progress"].update(percentage=None),
    "a null in a patch": lambda said: said["patch"].update(message=None),
    "a code of its own": lambda said: said.update(code="oops") if "code" in said else None,
    "a float": lambda said: said["progress"].update(total_shards=1.5),
    "another type": lambda said: said.update(type="news") if "type" in said and "title" not in said else None,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_server_that_says_something_else_is_found_out(name: str, said: list[Exchange]) -> None:
    changed = [other for exchange in said if (other := _changed(exchange, CHANGES[name]))]
    assert changed
    assert all(judge().faults(exchange) for exchange in changed)
