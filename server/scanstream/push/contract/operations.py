"""The words of OpenAPI: parameters, headers, answers and refusals, each said once."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from msgspec.structs import fields

from scanstream.errors import TABLE, Row
from scanstream.message import KEY_BOUNDS, LONGEST_WAIT_SECONDS
from scanstream.push.bodies import AbsentScan, ProblemDetails
from scanstream.push.candles import MOST_BARS, SOME_BARS
from scanstream.push.contract.schemas import TEXT, Plain, ref
from scanstream.push.credentials import PARAMETER
from scanstream.push.problem import PROBLEM_MEDIA_TYPE
from scanstream.push.query import JSON_TYPE

_SECONDS: Plain = {"type": "integer", "minimum": 0}

HEADERS: dict[str, tuple[str, Plain]] = {
    "Accept-Encoding": ("The content codings that a body may be in", TEXT),
    "Access-Control-Allow-Headers": ("To a preflight: the headers that may be sent", TEXT),
    "Access-Control-Allow-Methods": ("To a preflight: the methods that may be used", TEXT),
    "Access-Control-Allow-Origin": ("To a page of an allowed origin: that origin", TEXT),
    "Access-Control-Allow-Private-Network": ("To a preflight that asks for it", {"const": "true"}),
    "Access-Control-Expose-Headers": ("To a page of an allowed origin: the headers that it may read", TEXT),
    "Access-Control-Max-Age": ("To a preflight: seconds for which its answer holds", _SECONDS),
    "Allow": ("The methods that the path takes", TEXT),
    "Cache-Control": ("`no-cache` what changes, `no-store` what is absent or refused", TEXT),
    "Content-Encoding": ("`gzip` for who takes that", {"const": "gzip"}),
    "Content-Security-Policy": ("What of the answer may be loaded, and framed by others: of no page anything", TEXT),
    "Cross-Origin-Opener-Policy": ("No other page has a hand on this one", TEXT),
    "ETag": ("Stands for all that the answer says", TEXT),
    "Location": ("Where the scan's status is", TEXT),
    "Permissions-Policy": ("What of the device the page may use: nothing", TEXT),
    "Preference-Applied": ("The preference that was followed", {**TEXT, "pattern": "^wait=[0-9]+$"}),
    "Referrer-Policy": ("No other site is told of an address that names a scan, or has a token", TEXT),
    "Retry-After": ("Seconds after which to ask again", _SECONDS),
    "Sec-WebSocket-Version": ("The version that is spoken, where a handshake is refused", TEXT),
    "Strict-Transport-Security": ("Where TLS ends at this server, and it was asked by its name", TEXT),
    "Upgrade": ("What the path speaks", TEXT),
    "Vary": ("The request's headers that the answer depends on", TEXT),
    "WWW-Authenticate": ("`Bearer`; with `error` where something was shown", TEXT),
    "X-Accel-Buffering": ("Proxies are to pass the stream on as it comes", {"const": "no"}),
    "X-Content-Type-Options": ("The media type is meant", {"const": "nosniff"}),
    "X-Frame-Options": ("No page may have the answer in a frame", {"const": "DENY"}),
}
CONFINING = ("Content-Security-Policy", "Referrer-Policy", "X-Content-Type-Options", "X-Frame-Options")
"""See push/confined.py."""
EVERY = (
    *("Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Cache-Control", "Vary"),
    *("Strict-Transport-Security", *CONFINING),
)
"""Any answer may have these, but for that to a handshake, which is none of the application's."""
ALWAYS = {"Allow", "Cache-Control", "Location", "Upgrade", "WWW-Authenticate", *CONFINING}
"""These are there whenever an answer may have them."""

_BARS: Plain = {"type": "integer", "minimum": 1, "maximum": MOST_BARS, "default": SOME_BARS}
_WAIT: Plain = {**_SECONDS, "maximum": LONGEST_WAIT_SECONDS, "default": 0}


class Parameter(NamedTuple):
    """One parameter of a request."""

    place: str
    description: str
    schema: Plain
    required: bool = False


PARAMETERS: dict[str, Parameter] = {
    "scan_id": Parameter("path", "An id that `discover` gave, or `latest`", TEXT, True),
    "since": Parameter("query", "A cursor: only what is newer", TEXT),
    "wait": Parameter("query", "Seconds to wait for news", _WAIT),
    "symbol": Parameter("query", "One of those that the market has", {**TEXT, "minLength": 1}, True),
    "bars": Parameter("query", "How many of its newest bars", _BARS),
    "before": Parameter("query", "A scan's id: only older ones", TEXT),
    "Prefer": Parameter("header", "`wait=N` (RFC 7240): as the parameter `wait`, which wins over it", TEXT),
    "If-None-Match": Parameter("header", "Tags of answers that the caller has", TEXT),
    "Idempotency-Key": Parameter("header", "The same key is the same scan", {**TEXT, **KEY_BOUNDS}),
    "Last-Event-ID": Parameter("header", "The id of the last event: wins over `since`", TEXT),
}
"""Those that mean the same wherever they are."""

ANY = (400, 403, 408, 413, 431, 500, 503)
"""What every path may refuse with, its own reasons apart: no host, a foreign page, a head that is too long or does not
go on, a body that nothing here takes, a defect, more clients than there is room for."""
Access: TypeAlias = tuple[str, ...]
KEYS: Access = ("credential",)
TOKENS: Access = ("credential", "scanToken")
PUBLIC: Access = ()
SCHEMES: Plain = {
    "credential": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, a JWT or a scan token. With --auth none nobody looks at it",
    },
    "scanToken": {
        "type": "apiKey",
        "in": "query",
        "name": PARAMETER,
        "description": "A scan token alone: keys and JWTs never stand in an address",
    },
}
"""Ways to say who asks (docs/protocol.md, section 8)."""
_REFUSED = "Refused{status}"
_RESPONSE = "#/components/responses/{name}"


class Answer(NamedTuple):
    """One answer of an operation."""

    description: str
    bodies: Mapping[str, Plain] | None = None
    """Media type → schema."""
    headers: tuple[str, ...] = ()


Answers: TypeAlias = Mapping[int, Answer]


def in_json(description: str, schema: Plain, *headers: str) -> Answer:
    """An answer in JSON."""
    return Answer(description, {JSON_TYPE: schema}, headers)


def absent(*, in_path: bool = True) -> dict[int, Answer]:
    """The answers for a scan that is not there.

    :param in_path: whether its id is a part of the path: one with a slash in it leads to no path at all
    """
    nowhere = {PROBLEM_MEDIA_TYPE: _problem_schema(404, {"no_such_route"})} if in_path else {}
    return {
        404: Answer("`not_found`: there is no such scan", {JSON_TYPE: _absent_schema("not_found"), **nowhere}),
        410: Answer("`expired`: the scan is over, and forgotten", {JSON_TYPE: _absent_schema("expired")}),
    }


def _absent_schema(status: str) -> Plain:
    return {"allOf": [ref(AbsentScan), {"properties": {"status": {"const": status}}}]}


def refusal(status: int, headers: tuple[str, ...] = ()) -> Answer:
    """Problems with this status."""
    rows = _rows(status)
    told = "; ".join(f"`{code}`: {row.title}" for code, row in rows.items())
    later = ("Retry-After",) if any(row.retry for row in rows.values()) else ()
    own = {401: ("WWW-Authenticate",), 415: ("Accept-Encoding",)}.get(status, ())
    schema = _problem_schema(status, rows)
    return Answer(told, {PROBLEM_MEDIA_TYPE: schema}, (*later, *own, *headers))


def _problem_schema(status: int, codes: Any) -> Plain:
    said = {"status": {"const": status}, "code": {"enum": sorted(codes)}}
    return {"allOf": [ref(ProblemDetails), {"properties": said}]}


def _rows(status: int) -> dict[str, Row]:
    return {code: row for code, row in TABLE.items() if row.status == status and row.fault != "operator"}


def operation(
    name: str,
    summary: str,
    answers: Answers,
    *parameters: str,
    own: Mapping[str, Parameter] | None = None,
    refuses: tuple[int, ...] = (),
    body: type | None = None,
    access: Access = KEYS,
) -> Plain:
    """One method of one path.

    :param parameters: names in `PARAMETERS`
    :param own: parameters that mean something else elsewhere
    :param refuses: statuses of refusals beside `ANY`
    :param access: the ways to say who asks
    """
    told = {str(status): response(answer, every=() if status == 101 else EVERY) for status, answer in answers.items()}
    for status in {*ANY, *refuses, *((401,) if access else ())} - answers.keys():
        told[str(status)] = {"$ref": _RESPONSE.format(name=_REFUSED.format(status=status))}
    security: list[Plain] = [*({way: []} for way in access), {}] if access else []
    made: Plain = {"operationId": name, "summary": summary, "security": security}
    made["responses"] = dict(sorted(told.items()))
    shared = [{"$ref": f"#/components/parameters/{parameter}"} for parameter in parameters]
    if given := [*shared, *(_parameter(key, one) for key, one in (own or {}).items())]:
        made["parameters"] = given
    if body is not None:
        required = any(field.required for field in fields(body))  # of all others none at all is as good as an empty one
        made["requestBody"] = {"required": required, "content": {JSON_TYPE: {"schema": ref(body)}}}
    return made


def response(answer: Answer, every: tuple[str, ...] = EVERY) -> Plain:
    """An answer as OpenAPI has it."""
    names = sorted({*every, *answer.headers})
    made: Plain = {
        "description": answer.description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
    }
    if answer.bodies:
        made["content"] = {media_type: {"schema": schema} for media_type, schema in answer.bodies.items()}
    return made


def without_body(get: Plain) -> Plain:
    """The HEAD beside a GET: its head only, at once (RFC 9110, section 9.3.2)."""
    told = {
        status: {key: value for key, value in one.items() if key != "content"}
        for status, one in get["responses"].items()
    }
    summary = "As GET, without the body, and without waiting"
    return {**get, "operationId": f"{get['operationId']}_head", "summary": summary, "responses": told}


def options(name: str, *in_path: str) -> Plain:
    """What a path takes (RFC 9110, section 9.3.7), and the preflight of a page from elsewhere (WHATWG Fetch)."""
    preflight = (f"Access-Control-{name}" for name in ("Allow-Headers", "Allow-Methods", "Max-Age"))
    may = Answer(
        "To the preflight of an allowed origin: it may",
        {"text/plain": TEXT},
        (*preflight, "Access-Control-Allow-Private-Network"),
    )
    takes = Answer("What the path takes", None, ("Allow",))
    return operation(f"{name}_options", "What the path takes", {200: may, 204: takes}, *in_path)


def header_components() -> Plain:
    """Every header of an answer."""
    return {
        name: {"description": description, "required": name in ALWAYS, "schema": schema}
        for name, (description, schema) in HEADERS.items()
    }


def parameter_components() -> Plain:
    """Every parameter that several requests have."""
    return {name: _parameter(name, parameter) for name, parameter in PARAMETERS.items()}


def _parameter(name: str, parameter: Parameter) -> Plain:
    return {
        "name": name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": parameter.schema,
        **({"required": True} if parameter.required else {}),
    }


def response_components() -> Plain:
    """The refusals, by their status."""
    statuses = sorted({row.status for row in TABLE.values() if row.fault != "operator"} - {404, 405, 410})
    return {_REFUSED.format(status=status): response(refusal(status)) for status in statuses}
