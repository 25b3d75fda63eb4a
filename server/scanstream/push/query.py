"""What HTTP requests say in queries and headers. Headers are read by werkzeug's parsers, numbers of a query here."""

import re
from typing import NamedTuple

from starlette.requests import Request
from werkzeug.datastructures import Accept, ETags, MIMEAccept
from werkzeug.http import (
    parse_accept_header,
    parse_etags,
    parse_list_header,
    parse_options_header,
    unquote_header_value,
)

from scanstream.errors import InvalidRequest, TooLarge, UnsupportedMedia
from scanstream.legible import legible
from scanstream.message import LONGEST_KEY, LONGEST_WAIT_SECONDS
from scanstream.model import IdempotencyKey

MOST_TIMES_DISCARDED = 2
"""Times the limit: a larger body is not read to its end, nor does the transport take it (push/transport/http.py)."""
MOST_ORDER_BYTES = 16 * 1024
"""Of the body of a request about one scan: what it can say is much less."""
LONGEST_TOLD = 20
"""Characters of what should be a number that its refusal repeats."""
LONGEST_NUMBER = 18
"""Digits of a number in a query; what has more is out of every bound."""

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")

JSON_TYPE = "application/json"
LINES_TYPE = "application/x-ndjson"
EVENTS_TYPE = "text/event-stream"


class Wait(NamedTuple):
    """How long the caller is ready to wait for news, and what the answer's headers say about that."""

    seconds: int
    headers: dict[str, str]


def accepted(request: Request, *offered: str) -> str:
    """Which of the media types offered the caller prefers (RFC 9110, section 12.5.1); the first one in doubt.

    Without `Accept`, and where nothing offered is acceptable, that is the first one, too: an answer that the caller may
    not like helps more than none (section 12.4.1). Parameters of a media type other than `q` are passed over.
    """
    parsed = parse_accept_header(_joined(request, "accept"))
    wanted = MIMEAccept([(item.partition(";")[0].strip(), quality) for item, quality in parsed])
    return wanted.best_match(offered, default=offered[0])


def takes_gzip(request: Request) -> bool:
    """Whether the caller would rather have an answer compressed (RFC 9110, section 12.5.3).

    Who excludes what is not compressed (`identity;q=0`) is taken to mean that, unless they exclude this coding, too.
    """
    wanted = parse_accept_header(_joined(request, "accept-encoding"), Accept)
    if wanted.find("gzip") < 0:
        return wanted.find("identity") >= 0 and not wanted.quality("identity")
    return wanted.quality("gzip") > 0 and wanted.quality("gzip") >= wanted.quality("identity")


def wait_of(request: Request) -> Wait:
    """How long the caller waits: `?wait=N`, else `Prefer: wait=N` (RFC 7240, section 4.3), else 0.

    Both have the same bounds. A preference that is no number at all (`wait`, `wait=soon`) is passed over, as RFC 7240
    demands in section 2, and then `Preference-Applied` is absent.

    :raises InvalidRequest: if it is not within 0 to 60
    """
    headers = {"vary": "Prefer"}
    text = single(request, "wait")
    if text is not None:
        return Wait(_within("wait", text, 0, LONGEST_WAIT_SECONDS), headers)
    preferred = _preferred_wait(request)
    if preferred is None or not _NUMBER.fullmatch(preferred):
        return Wait(0, headers)
    seconds = _within("wait", preferred, 0, LONGEST_WAIT_SECONDS)
    return Wait(seconds, {**headers, "preference-applied": f"wait={seconds}"})


def _preferred_wait(request: Request) -> str | None:
    """The value of the preference `wait`: where it is repeated that of the first (RFC 7240, section 2)."""
    for preference in parse_list_header(_joined(request, "prefer") or ""):
        key, _, value = parse_options_header(preference)[0].partition("=")
        if key.strip().lower() == "wait":
            return unquote_header_value(value.strip())
    return None


def entity_tags(request: Request) -> ETags | None:
    """The tags of `If-None-Match` (RFC 9110, section 13.1.2); None without the header."""
    header = _joined(request, "if-none-match")
    return None if header is None else parse_etags(header.strip())


def _joined(request: Request, name: str) -> str | None:
    """A header that is a list: several lines of it are one (RFC 9110, section 5.3)."""
    lines = request.headers.getlist(name)
    return ", ".join(lines) if lines else None


def single(request: Request, name: str) -> str | None:
    """A parameter of the query; None without it.

    :raises InvalidRequest: if it is given more than once
    """
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise InvalidRequest.of(name, f"is given {len(values)} times; give it once")
    return values[0] if values else None


def whole_number(request: Request, name: str, *, least: int, most: int, default: int) -> int:
    """A number of the query.

    :raises InvalidRequest: naming it, if it is none, out of its bounds, or given more than once
    """
    text = single(request, name)
    return default if text is None else _within(name, text, least, most)


def _within(name: str, text: str, least: int, most: int) -> int:
    number = _whole(text, least, most)
    if number is None:
        raise InvalidRequest.of(name, f"{legible(text, LONGEST_TOLD)!r} is not a whole number from {least} to {most}")
    return number


def _whole(text: str, least: int, most: int) -> int | None:
    if not text.isascii() or not text.isdigit() or len(text) > LONGEST_NUMBER:
        return None
    return int(text) if least <= int(text) <= most else None


def idempotency_key(field: str, key: str | None) -> IdempotencyKey | None:
    """The key of a discover, where there is one.

    :raises InvalidRequest: naming the field that it came in, if it is empty or too long
    """
    if key is None:
        return None
    if not 0 < len(key) <= LONGEST_KEY:
        raise InvalidRequest.of(field, f"must have 1 to {LONGEST_KEY} characters")
    return IdempotencyKey(key, field)


def text_of(value: bytes) -> str:
    """A header's value: text in UTF-8, as a WebSocket's messages have it, so that a key is the same over both; else in
    Latin-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


async def read_body(request: Request, most_bytes: int, *, needed: int | None = None) -> bytes:
    """The request's body.

    :param most_bytes: what the operator lets any request have
    :param needed: what this one can need at most, where that is less

    One over the limit is read to its end, unless its caller asks first (`Expect`), or it is far over: a connection that
    is closed while the other side still writes takes the answer with it (RFC 9112, section 9.6).

    :raises TooLarge: if it is over the limit
    :raises UnsupportedMedia: if it is compressed
    """
    coding = _joined(request, "content-encoding") or "identity"
    if coding.strip().lower() != "identity":
        raise UnsupportedMedia(f"The body is in the content coding {coding}; send it as it is")
    most, why = most_bytes, "the server's limit is --max-message"
    if needed is not None and needed < most:
        most, why = needed, "no request here needs more"
    too_large = TooLarge(f"The body is over {most} bytes; {why}")
    announced = request.headers.get("content-length", "")
    most_announced = most if "expect" in request.headers else most_bytes * MOST_TIMES_DISCARDED
    if announced.isdigit() and (len(announced) > LONGEST_NUMBER or int(announced) > most_announced):
        raise too_large
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= most:
            body += chunk
        else:
            body.clear()
    if size > most:
        raise too_large
    return bytes(body)
