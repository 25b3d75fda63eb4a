"""The words of OpenAPI: parameters, headers, answers and refusals, each said once."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from scanstream.errors import TABLE
from scanstream.message import KEY_BOUNDS, LONGEST_WAIT_SECONDS
from scanstream.push.bodies import AbsentScan, ProblemDetails
from scanstream.push.candles import MOST_BARS, SOME_BARS
from scanstream.push.contract.schemas import ref
from scanstream.push.credentials import PARAMETER
from scanstream.push.problem import PROBLEM_MEDIA_TYPE
from scanstream.push.query import JSON_TYPE

Plain: TypeAlias = dict[str, Any]

TEXT: Plain = {"type": "string"}
_SECONDS: Plain = {"type": "integer", "minimum": 0}

HEADERS: dict[str, tuple[str, Plain]] = {
    "Access-Control-Allow-Origin": ("To a page of an allowed origin: that origin", TEXT),
    "Access-Control-Expose-Headers": ("To a page of an allowed origin: the headers that it may read", TEXT),
    "Accept-Encoding": ("The content codings that a body may be in", TEXT),
    "Allow": ("The methods that the path takes", TEXT),
    "Cache-Control": ("`no-cache` what changes, `no-store` what is absent or refused", TEXT),
    "ETag": ("Stands for all that the answer says", TEXT),
    "Location": ("Where the scan's status is", TEXT),
    "Preference-Applied": ("The preference that was followed: `wait=N`", TEXT),
    "Referrer-Policy": ("`no-referrer` where the address has a token in it", TEXT),
    "Retry-After": ("Seconds after which to ask again", _SECONDS),
    "Sec-WebSocket-Version": ("The version that is spoken, where a handshake is refused", TEXT),
    "Upgrade": ("What the path speaks", TEXT),
    "Vary": ("The request's headers that the answer depends on", TEXT),
    "WWW-Authenticate": ("`Bearer`; with `error` where something was shown", TEXT),
    "X-Accel-Buffering": ("`no`: proxies are to pass the stream on as it comes", TEXT),
}
EVERY = ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Cache-Control", "Referrer-Policy", "Vary")
"""Any answer may have these."""
ALWAYS = {"Cache-Control", "Location", "Upgrade", "WWW-Authenticate"}
"""These are there whenever an answer may have them."""

_BARS: Plain = {"type": "integer", "minimum": 1, "maximum": MOST_BARS, "default": SOME_BARS}
_WAIT: Plain = {**_SECONDS, "maximum": LONGEST_WAIT_SECONDS, "default": 0}
PARAMETERS: dict[str, tuple[str, str, Plain]] = {
    "scan_id": ("path", "An id that `discover` gave, or `latest`", TEXT),
    "since": ("query", "A cursor: only what is newer", TEXT),
    "wait": ("query", "Seconds to wait for news", _WAIT),
    "limit": ("query", "The most that is given", {"type": "integer", "minimum": 1}),
    "offset": ("query", "How many to pass over", {"type": "integer", "minimum": 0, "default": 0}),
    "symbol": ("query", "One of those that the market has", TEXT),
    "bars": ("query", "How many of its newest bars", _BARS),
    "before": ("query", "A scan's id: only older ones", TEXT),
    "Prefer": ("header", "`wait=N` (RFC 7240): as the parameter `wait`", TEXT),
    "If-None-Match": ("header", "Tags of answers that the caller has", TEXT),
    "Idempotency-Key": (
        "header",
        "The same key is the same scan",
        {**TEXT, **KEY_BOUNDS},
    ),
    "Last-Event-ID": ("header", "The id of the last event: wins over `since`", TEXT),
}
REQUIRED = {"scan_id", "symbol"}

ANY = (400, 403, 408, 431, 500, 503)
"""What every path may refuse with, its own reasons apart: no host, a foreign page, a head that is too long or does not
go on, a defect, more clients than there is room for."""


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


class Answer(NamedTuple):
    """One answer of an operation."""

    description: str
    bodies: Mapping[str, Plain] | None = None
    """Media type → schema."""
    headers: tuple[str, ...] = ()


def in_json(description: str, schema: Plain, *headers: str) -> Answer:
    """An answer in JSON."""
    return Answer(description, {JSON_TYPE: schema}, headers)


def absent() -> dict[int, Answer]:
    """The answers for a scan that is not there."""
    return {status: in_json(_codes(status), ref(AbsentScan)) for status in (404, 410)}


def refused(*statuses: int, headers: tuple[str, ...] = ()) -> dict[int, Answer]:
    """Problems with these statuses."""
    return {status: _problem(_codes(status), status, headers) for status in statuses}


def _problem(description: str, status: int, headers: tuple[str, ...]) -> Answer:
    later = ("Retry-After",) if any(row.retry for row in _rows(status).values()) else ()
    own = {401: ("WWW-Authenticate",), 415: ("Accept-Encoding",)}.get(status, ())
    return Answer(description, {PROBLEM_MEDIA_TYPE: ref(ProblemDetails)}, (*later, *own, *headers))


def _rows(status: int) -> dict[str, Any]:
    return {code: row for code, row in TABLE.items() if row.status == status and row.fault != "operator"}


def _codes(status: int) -> str:
    return "; ".join(f"`{code}`: {row.title}" for code, row in _rows(status).items())


def operation(
    summary: str,
    answers: dict[int, Answer],
    *parameters: str,
    body: type | None = None,
    required: bool = False,
    access: Access = KEYS,
) -> Plain:
    """One method of one path. Whatever else it may answer is a problem."""
    others = refused(*ANY, *((401,) if access else ()))
    every = {**answers, **{status: told for status, told in others.items() if status not in answers}}
    made: Plain = {
        "summary": summary,
        "security": [*({name: []} for name in access), {}] if access else [],
        "responses": {
            **{str(status): _answer(every[status]) for status in sorted(every)},
            "default": _answer(Answer("Refused", {PROBLEM_MEDIA_TYPE: ref(ProblemDetails)}, ("Allow", "Retry-After"))),
        },
    }
    if parameters:
        made["parameters"] = [{"$ref": f"#/components/parameters/{name}"} for name in parameters]
    if body is not None:
        made["requestBody"] = {"required": required, "content": {JSON_TYPE: {"schema": ref(body)}}}
    return made


def _answer(answer: Answer) -> Plain:
    names = sorted({*EVERY, *answer.headers})
    made: Plain = {
        "description": answer.description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
    }
    if answer.bodies:
        made["content"] = {media_type: {"schema": schema} for media_type, schema in answer.bodies.items()}
    return made


def header_components() -> Plain:
    """Every header of an answer."""
    return {
        name: {"description": description, "required": name in ALWAYS, "schema": schema}
        for name, (description, schema) in HEADERS.items()
    }


def parameter_components(names: Iterable[str] = PARAMETERS) -> Plain:
    """Every parameter of a request."""
    return {
        name: {
            "name": name,
            "in": PARAMETERS[name][0],
            "description": PARAMETERS[name][1],
            "schema": PARAMETERS[name][2],
            **({"required": True} if name in REQUIRED else {}),
        }
        for name in names
    }
