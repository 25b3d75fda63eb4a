"""Whether what was said on the wire is what the contracts say: each answer and message by the document that it is in.

Stricter than a client has to be: a field, a header, a status or an event that the documents do not tell is a fault, and
so is a request that they do not allow and the server has granted.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import jsonschema_rs
import msgspec

from scanstream.errors import InvalidJson, InvalidMessage, InvalidRequest
from scanstream.message import Discover
from scanstream.push.codec import JSON, MESSAGEPACK, Codec
from scanstream.push.contract.channels import SOCKET
from scanstream.push.problem import PROBLEM_MEDIA_TYPE
from scanstream.push.query import EVENTS_TYPE, LINES_TYPE, idempotency_key
from support.traffic import Answered, Asked, Closed, Exchange, Message

Plain = dict[str, Any]

OF_HTTP = {"connection", "content-length", "content-type", "date", "server", "transfer-encoding"}
"""Headers that a contract need not say."""
OF_SOCKETS = {"sec-websocket-accept", "sec-websocket-extensions", "sec-websocket-protocol"}
BEYOND = re.compile(r"(/.*)?/static(/.*)?")
"""Files: whoever asks for one knows its kind."""
ONE_OF_FILES = "files"
PROBLEM = {"$ref": "#/components/schemas/ProblemDetails"}
NUMBER = re.compile(r"[0-9]+")


class Judge:
    """Holds what was said against the two documents."""

    def __init__(self, openapi: Plain, asyncapi: Plain) -> None:
        self._openapi = openapi
        self._asyncapi = asyncapi
        self._routes = [
            (path, re.compile("(/.*)?" + re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)))) for path in openapi["paths"]
        ]
        self._validators: dict[tuple[int, bool], Any] = {}
        self._by_type: dict[bool, dict[str, list[Plain]]] = {True: {}, False: {}}
        schemas = asyncapi["components"]["schemas"]
        for by_server in (True, False):
            for name in self._messages("send" if by_server else "receive"):
                (tag,) = schemas[name]["properties"]["type"]["enum"]
                self._by_type[by_server].setdefault(tag, []).append({"$ref": f"#/components/schemas/{name}"})
        self._codes = {int(code) for code in asyncapi["channels"][SOCKET]["x-close-codes"]}

    def _messages(self, action: str) -> set[str]:
        """What is said on a socket."""
        operations = self._asyncapi["operations"].values()
        told = [one for one in operations if one["action"] == action]
        if action == "send":
            told += [one["reply"] for one in operations if "reply" in one]
        pointers = [one["$ref"].split("/") for part in told for one in part["messages"]]
        return {name for *_, channel, _, name in pointers if channel == SOCKET}

    def faults(self, exchange: Exchange) -> list[str]:
        """What is wrong with it; nothing, if it is as the documents say."""
        match exchange:
            case Closed():
                known = exchange.repeated or exchange.code in self._codes
                return [] if known else [f"close {exchange.code} {exchange.reason!r}: no such code is documented"]
            case Message():
                return [f"{self._side(exchange)}: {fault}" for fault in self._of_message(exchange)]
            case Answered():
                asked = exchange.asked
                said = f"{asked.method} {asked.target[:200]}" if asked else "a request that was not read"
                return [f"{said} -> {exchange.status}: {fault}" for fault in self._of_answer(exchange)]

    # Messages

    def _side(self, message: Message) -> str:
        return f"{'server' if message.by_server else 'client'} said {message.data[:300]!r}"

    def _of_message(self, message: Message) -> Iterator[str]:
        """A client may say what it likes; what the server takes is what the document allows, and nothing else is."""
        binary = message.subprotocol == MESSAGEPACK.subprotocol
        if isinstance(message.data, bytes) != binary:
            if message.by_server:
                yield "this kind of frame is not that of the subprotocol"
            return
        if message.by_server:
            yield from self._no_message(_decoded(message.data), by_server=True)
            return
        with suppress(InvalidJson, msgspec.DecodeError, RecursionError):
            taken = _taken(MESSAGEPACK if binary else JSON, message.data)
            faults = self._no_message(_decoded(message.data), by_server=False)
            if taken and faults:
                yield f"taken, and the document says: {faults}"
            elif not (taken or faults):
                yield "refused, and the document allows it"

    def _no_message(self, said: Any, *, by_server: bool) -> list[str]:
        """Why it is none of the messages that this side may send."""
        if isinstance(said, dict) and not by_server:
            said.pop("request", None)  # what is in it the server judges apart, by what names there are
        kinds = self._by_type[by_server].get(str(said.get("type")), []) if isinstance(said, dict) else []
        found = ["there is no such message"]
        for kind in kinds:
            found = list(self._invalid(kind, said, self._asyncapi, strict=by_server))
            if not found:
                break
        return found

    # Answers

    def route(self, target: str) -> str | None:
        """The path of the document that a request is for, below whatever prefix."""
        path = unquote(urlsplit(target).path) or "/"
        if BEYOND.fullmatch(path):
            return ONE_OF_FILES
        found = [route for route, pattern in self._routes if pattern.fullmatch(path)]
        return max(found, key=len, default=None)

    def _of_answer(self, answer: Answered) -> Iterator[str]:
        asked = answer.asked
        if asked is None:
            yield from self._of_refusal(answer)
            return
        route = self.route(asked.target)
        if route == ONE_OF_FILES:
            return
        if answer.status == 404 and _media_type(answer) == PROBLEM_MEDIA_TYPE and not _is_head(answer):
            route = None  # below a path that is not the server's, or with a slash too many
        if route is None:
            if answer.status < 400 and not (answer.status == 200 and asked.method == "OPTIONS"):
                yield from [] if answer.status == 307 else ["the path is not documented"]
            else:
                yield from self._of_refusal(answer)
            return
        operation = self._openapi["paths"][route].get(asked.method.lower())
        if operation is None:
            if answer.status == 405 and "allow" not in {name.lower() for name, _ in answer.headers}:
                yield "a 405 without Allow"
            yield from self._of_refusal(answer)
            return
        told = operation["responses"].get(str(answer.status))
        if told is None:
            yield f"this status is not documented; these are: {', '.join(operation['responses'])}"
            return
        yield from self._of_response(answer, self._resolved(told))
        if answer.status < 400:
            yield from self._granted(asked, operation)

    def _of_refusal(self, answer: Answered) -> Iterator[str]:
        """A refusal of no operation, or one that came before the request was read."""
        media_type = _media_type(answer)
        if answer.status < 400:
            if not (answer.asked is not None and answer.asked.method == "OPTIONS"):
                yield "granted, and not documented"
        elif answer.whole and not (media_type == PROBLEM_MEDIA_TYPE or _is_head(answer)):
            yield f"a refusal in {media_type or 'nothing'}"
        elif answer.whole and answer.body:
            yield from self.problem(msgspec.json.decode(answer.body))

    def problem(self, said: Any) -> list[str]:
        """What is wrong with a problem document, whatever it is about."""
        return list(self._invalid(PROBLEM, said, self._openapi))

    def _of_response(self, answer: Answered, told: Plain) -> Iterator[str]:
        may = {name.lower(): self._resolved(header) for name, header in told.get("headers", {}).items()}
        for name in {name.lower() for name, _ in answer.headers} - OF_HTTP - OF_SOCKETS - may.keys():
            yield f"the header {name} is not documented"
        values = {name.lower(): value for name, value in answer.headers}
        for name, header in may.items():
            if name not in values and header.get("required"):
                yield f"the header {name} is missing"
            elif name in values:
                said = _typed(values[name], header["schema"])
                yield from (f"{name}: {fault}" for fault in self._invalid(header["schema"], said, self._openapi))
        content = told.get("content", {})
        media_type = _media_type(answer)
        if _is_head(answer) or (not content and not answer.body):
            return
        if media_type not in content:
            yield f"the media type {media_type or '(none)'} is not documented"
            return
        yield from self._of_body(answer, media_type, content[media_type]["schema"])

    def _of_body(self, answer: Answered, media_type: str, schema: Plain) -> Iterator[str]:
        if media_type == LINES_TYPE:
            for line in _whole_parts(answer.body, b"\n"):
                yield from self._invalid(schema["x-lines"], msgspec.json.decode(line), self._openapi)
        elif media_type.endswith("json") and answer.whole and _plain_body(answer):
            yield from self._invalid(schema, msgspec.json.decode(answer.body), self._openapi)
        elif media_type == EVENTS_TYPE:
            for name, data in events(answer.body):
                if name not in schema["x-events"]:
                    yield f"the event {name} is not documented"
                else:
                    yield from self._invalid(schema["x-events"][name], msgspec.json.decode(data), self._openapi)

    # Requests

    def _granted(self, asked: Asked, operation: Plain) -> Iterator[str]:
        """A request that was granted is one that the document allows."""
        given = parse_qsl(urlsplit(asked.target).query, keep_blank_values=True)
        headers = {name.lower(): value for name, value in asked.headers}
        for parameter in map(self._resolved, operation.get("parameters", ())):
            name, schema = parameter["name"], parameter["schema"]
            values = [value for key, value in given if key == name] if parameter["in"] == "query" else []
            if parameter["in"] == "header" and name.lower() in headers:
                values = [headers[name.lower()]]
            if parameter["in"] == "query" and parameter.get("required") and not values:
                yield f"granted without {name}"
            for value in values:
                for fault in self._invalid(schema, _typed(value, schema), self._openapi, strict=False):
                    yield f"granted with {name}={value!r}, and the document says: {fault}"
        body = operation.get("requestBody")
        if body is not None and asked.body is not None:
            yield from self._granted_body(body, asked.body)

    def _granted_body(self, told: Plain, body: bytes) -> Iterator[str]:
        plain = body.removeprefix(b"\xef\xbb\xbf").strip()
        if not plain:
            if told["required"]:
                yield "granted without a body"
            return
        (schema,) = (content["schema"] for content in told["content"].values())
        for fault in self._invalid(schema, msgspec.json.decode(plain), self._openapi, strict=False):
            yield f"granted with the body {plain[:200]!r}, and the document says: {fault}"

    # Schemas

    def _resolved(self, value: Plain) -> Plain:
        while "$ref" in value:
            found: Any = self._openapi
            for part in value["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            value = found
        return value

    def _invalid(self, schema: Plain, value: Any, document: Plain, *, strict: bool = True) -> Iterator[str]:
        key = (id(schema), strict)
        if key not in self._validators:
            whole = closed(schema, document) if strict else {**schema, "components": document["components"]}
            # the schema is kept, so that its id stays its own
            self._validators[key] = schema, jsonschema_rs.Draft202012Validator(whole)
        for error in self._validators[key][1].iter_errors(value):
            where = "/".join(str(part) for part in error.instance_path)
            yield f"{where or 'the whole'}: {error.message[:300]}"


def closed(schema: Plain, document: Plain) -> Plain:
    """The schema, in which whatever is not told is not allowed."""
    schemas = document["components"]["schemas"]
    return {**_closed(schema, schemas), "components": {"schemas": {n: _closed(s, schemas) for n, s in schemas.items()}}}


def _closed(schema: Any, schemas: Mapping[str, Plain]) -> Any:
    if isinstance(schema, list):
        return [_closed(one, schemas) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "allOf" in schema:
        return _closed(_merged(schema["allOf"], schemas), schemas)
    made = {
        key: {name: _closed(one, schemas) for name, one in value.items()}
        if key == "properties"
        else _closed(value, schemas)
        for key, value in schema.items()
    }
    if "properties" in schema:
        made.setdefault("additionalProperties", False)
    return made


def _merged(parts: list[Plain], schemas: Mapping[str, Plain]) -> Plain:
    """Several objects as one, with all that each of them says of a property."""
    required: set[str] = set()
    properties: dict[str, Any] = {}
    for part in parts:
        told = schemas[part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        required.update(told.get("required", ()))
        for name, one in told.get("properties", {}).items():
            properties[name] = {**properties.get(name, {}), **one}
    return {"type": "object", "properties": properties, "required": sorted(required)}


def _taken(codec: Codec, data: str | bytes) -> bool:
    """Whether the server takes it for a message.

    :raises InvalidJson: if it is not of the format at all
    """
    try:
        message = codec.decode_message(data)
        if isinstance(message, Discover):
            idempotency_key("idempotency_key", message.idempotency_key)
    except (InvalidMessage, InvalidRequest):
        return False
    return True


def _decoded(data: str | bytes) -> Any:
    return msgspec.msgpack.decode(data) if isinstance(data, bytes) else msgspec.json.decode(data.removeprefix("\ufeff"))


def events(body: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, data) of the events that are there whole."""
    for block in _whole_parts(body, b"\n\n"):
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line and line[:1] != b":")
        if b"data" in fields:
            yield fields.get(b"event", b"message").decode(), fields[b"data"]


def _whole_parts(body: bytes, ending: bytes) -> list[bytes]:
    return [part for part in body.split(ending)[:-1] if part]


def _typed(value: str, schema: Plain) -> Any:
    return int(value) if schema.get("type") == "integer" and NUMBER.fullmatch(value) else value


def _media_type(answer: Answered) -> str:
    return next((value for name, value in answer.headers if name.lower() == "content-type"), "").partition(";")[0]


def _is_head(answer: Answered) -> bool:
    return answer.asked is not None and answer.asked.method == "HEAD"


def _plain_body(answer: Answered) -> bool:
    return not any(name.lower() == "content-encoding" for name, _ in answer.headers)


@cache
def judge() -> Judge:
    """By the documents that the code makes."""
    from scanstream.push.contract.documents import asyncapi, openapi

    return Judge(openapi(), asyncapi())
