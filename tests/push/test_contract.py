"""The contracts for machines: valid, complete, and true of what a real server answers."""

from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from starlette.applications import Starlette
from starlette.routing import Route

from conftest import Serve
from scanstream.app import open_core
from scanstream.message import ClientMessage, ServerMessage
from scanstream.push.contract import asyncapi, openapi
from scanstream.routes import application
from scanstream.settings import Settings
from support.wire import Answer, discover, request, until_terminal

pytestmark = pytest.mark.anyio

NO_CONTRACT = {"/"}
"""The page is for people."""


def test_the_openapi_document_is_valid() -> None:
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


async def test_real_answers_are_as_the_contract_says(serve: Serve) -> None:
    async with serve() as url:
        document = (await request(url, "GET", "/openapi.json")).json()
        assert document == openapi()
        ack = await discover(url)
        scan_id = ack.json()["scan_id"]
        _check(document, "/opportunities/discover", "post", ack)
        await until_terminal(url, scan_id)
        for path in ("status", "results", "cancel"):
            method = "POST" if path == "cancel" else "GET"
            for of, expected in ((scan_id, {200, 202}), ("scan_unknown", {404})):
                answer = await request(url, method, f"/opportunities/{path}/{of}")
                assert answer.status in expected
                _check(document, f"/opportunities/{path}/{{scan_id}}", method.lower(), answer)
        for path in ("/opportunities/scans", "/opportunities/market", "/opportunities/strategies", "/healthz"):
            _check(document, path, "get", await request(url, "GET", path))
        _check(document, "/opportunities/discover", "post", await discover(url, {"colour": "red"}))


def _check(document: dict[str, Any], path: str, method: str, answer: Answer) -> None:
    told = document["paths"][path][method]["responses"][str(answer.status)]["content"]
    ((media, content),) = told.items()
    assert answer.headers["content-type"] == media
    schema = {**content["schema"], "components": document["components"]}
    assert [error.message for error in Draft202012Validator(schema).iter_errors(answer.json())] == []


async def test_the_asyncapi_document_has_every_message(serve: Serve) -> None:
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
