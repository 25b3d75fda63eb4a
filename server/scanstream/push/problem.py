"""Errors over HTTP: RFC 9457 problem documents, except the absent scan, whose answer polling clients know by heart."""

import math
from typing import Any

import msgspec
from msgspec import UNSET
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from scanstream.errors import PROBLEM_TYPE, Expired, NotFound, ScanstreamError, Unauthorized, UnsupportedMedia
from scanstream.message import FieldProblem
from scanstream.push.bodies import AbsentScan, ProblemDetails
from scanstream.push.confined import CONFINED
from scanstream.push.query import JSON_TYPE
from scanstream.push.refused import counted

PROBLEM_MEDIA_TYPE = "application/problem+json"
DENIAL_EXTENSION = "websocket.http.response"
"""ASGI extension: answer a WebSocket's handshake with a response of one's own."""


def problem(error: ScanstreamError, headers: dict[str, str] | None = None) -> Response:
    """The answer that says what went wrong, and when to come back. It is never to be kept by a cache."""
    counted(error)
    row = error.row
    headers = {"cache-control": "no-store", **(headers or {})}
    if row.retry:
        headers["retry-after"] = str(math.ceil(error.retry_after or 1))
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = error.challenge
    if isinstance(error, UnsupportedMedia):
        headers["accept-encoding"] = "identity"  # what would be taken (RFC 9110, section 15.5.16)
    if isinstance(error, NotFound | Expired):
        absent = AbsentScan(status=error.code, scan_id=error.scan_id, message=error.detail)
        return json_response(absent, status=row.status, headers=headers)
    body = ProblemDetails(
        type=PROBLEM_TYPE + error.code,
        title=row.title,
        status=row.status,
        detail=error.detail,
        message=error.detail,
        code=error.code,
        errors=[FieldProblem(*item) for item in error.errors] or UNSET,
    )
    return json_response(body, status=row.status, headers=headers, media_type=PROBLEM_MEDIA_TYPE)


def json_response(
    body: Any, *, status: int = 200, headers: dict[str, str] | None = None, media_type: str = JSON_TYPE
) -> Response:
    """Plain data or Structs as a JSON response."""
    return Response(msgspec.json.encode(body), status, headers, media_type)


async def refuse(error: ScanstreamError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or the handshake of a WebSocket, with a problem."""
    if scope["type"] == "websocket" and DENIAL_EXTENSION not in scope.get("extensions", {}):
        counted(error)
        await send({"type": "websocket.close", "code": error.row.close or 1008, "reason": error.row.title})
        return
    answer = problem(error)
    if scope["type"] == "websocket":  # no rule completes its head
        answer.headers.update(CONFINED)
    await answer(scope, receive, send)
