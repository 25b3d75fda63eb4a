"""Errors over HTTP: RFC 9457 problem documents, except the absent scan, whose answer polling clients know by heart."""

import math
from typing import Any

import msgspec
from starlette.responses import Response

from scanstream.errors import Expired, NotFound, ScanstreamError

PROBLEM_TYPE = "urn:scanstream:error:"
"""What the `type` of a problem begins with; docs/errors.md says what each is."""


def problem(error: ScanstreamError) -> Response:
    """The answer that says what went wrong, and when to come back."""
    row = error.row
    headers = {}
    if row.retry:
        headers["retry-after"] = str(math.ceil(error.retry_after or 1))
    if isinstance(error, NotFound | Expired):
        return json_response(_absent(error), status=row.status, headers=headers)
    body: dict[str, Any] = {
        "type": PROBLEM_TYPE + error.code,
        "title": row.title,
        "status": row.status,
        "detail": error.detail,
        "code": error.code,
    }
    if error.errors:
        body["errors"] = [{"field": field, "reason": reason} for field, reason in error.errors]
    return json_response(body, status=row.status, headers=headers, media_type="application/problem+json")


def _absent(error: ScanstreamError) -> dict[str, Any]:
    return {"success": False, "status": error.code, "scan_id": error.scan_id, "message": error.detail}


def json_response(
    body: Any, *, status: int = 200, headers: dict[str, str] | None = None, media_type: str = "application/json"
) -> Response:
    """Plain data or Structs as a JSON response."""
    return Response(msgspec.json.encode(body), status, headers, media_type)
