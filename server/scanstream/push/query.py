"""What HTTP requests say in queries and headers."""

import re

from starlette.requests import Request

from scanstream.errors import InvalidRequest, TooLarge
from scanstream.model import IdempotencyKey

LONGEST_WAIT_SECONDS = 60
LONGEST_KEY = 255
"""Characters of an idempotency key."""

_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?([^\s,;\"]+)", re.IGNORECASE)
_ETAG = re.compile(r'(?:W/)?"([^"]*)"')


def whole_number(request: Request, name: str, *, least: int, most: int, default: int) -> int:
    """A number of the query.

    :raises InvalidRequest: naming it, if it is none or out of its bounds
    """
    text = request.query_params.get(name)
    return default if text is None else _within(name, text, least, most)


def wait_seconds(request: Request) -> int:
    """How long the caller is ready to wait for news: `?wait=N`, else `Prefer: wait=N` (RFC 7240, section 4.3), else 0.

    :raises InvalidRequest: outside 0 to 60
    """
    text = request.query_params.get("wait")
    if text is None:
        preferred = _PREFER_WAIT.search(",".join(request.headers.getlist("prefer")))
        text = preferred[1] if preferred else None
    return 0 if text is None else _within("wait", text, 0, LONGEST_WAIT_SECONDS)


def _within(name: str, text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not least <= int(text) <= most:
        raise InvalidRequest.of(name, f"{text!r} is not a whole number from {least} to {most}")
    return int(text)


def entity_tags(request: Request) -> list[str] | None:
    """The tags of `If-None-Match` without quotes, `*` as itself (RFC 9110, section 13.1.2); None without the header."""
    header = request.headers.get("if-none-match")
    if header is None:
        return None
    return ["*"] if header.strip() == "*" else _ETAG.findall(header)


def idempotency_key(field: str, key: str | None) -> IdempotencyKey | None:
    """The key of a discover, where there is one.

    :raises InvalidRequest: naming the field that it came in, if it is empty or too long
    """
    if key is None:
        return None
    if not 0 < len(key) <= LONGEST_KEY:
        raise InvalidRequest.of(field, f"must have 1 to {LONGEST_KEY} characters")
    return IdempotencyKey(key, field)


async def read_body(request: Request, most_bytes: int) -> bytes:
    """The request's body.

    :raises TooLarge: as soon as it is over the limit
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise TooLarge(f"The body is over {most_bytes} bytes; the server's limit is --max-message")
    return bytes(body)
