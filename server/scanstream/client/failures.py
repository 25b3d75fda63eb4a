"""How a client fails: by what the server answers, or by what lies between. Beside the tree of scanstream.errors.

    ScanstreamError
    ├── …                       what the server answers, as in scanstream.errors
    └── ClientError             what no server says
        ├── Unreachable         no answer in time; a TimeoutError, too
        ├── Closed              asked after the client, or the scan, was closed
        ├── BlockedLoop         the client without `await` inside a running loop; a RuntimeError, too
        └── LibraryMissing      a frame whose library is not installed; an ImportError, too

`Lost` never reaches a caller: it is a connection that has ended, and the reason to try again.
"""

import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from scanstream import errors
from scanstream.client.ladder import Why
from scanstream.errors import PROBLEM_TYPE, TABLE, FieldError, RequestError, Row, ScanstreamError, ServerError
from scanstream.undecodable import UNDECODABLE

SERVER_ERROR = 500
_DATE = re.compile(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT", re.ASCII)
LONGEST_RETRY_AFTER = 55.0
"""Seconds. Who asks to be left alone for longer is obeyed so far: within a minute of the end of any trouble a client is
back."""


class ClientError(ScanstreamError):
    """What a client meets on its own: no server has said it."""

    code = "client"

    @property
    def row(self) -> Row:
        """It is on no page of the server's."""
        return Row(0, None, False, "client", type(self).__name__)


class Unreachable(ClientError, TimeoutError):
    """There is no scanstream server, or none that answers in time. Nothing is tried any more."""

    code = "unreachable"


class Closed(ClientError):
    """The client, or the scan's following, has been closed; the scan itself goes on at the server."""

    code = "closed"


class BlockedLoop(ClientError, RuntimeError):
    """A call that blocks, inside an event loop that would stand still meanwhile."""

    code = "blocked_loop"


class LibraryMissing(ClientError, ImportError):
    """A frame was asked for whose library is not installed; says what to install."""

    code = "library_missing"


class Lost(Exception):
    """A connection has ended, and what was asked for has not: come back with the cursor."""

    def __init__(
        self, words: str, why: Why = "dropped", retry_after: float | None = None, *, status: int | None = None
    ) -> None:
        super().__init__(words)
        self.why: Why = why
        self.retry_after = retry_after
        """Seconds that the server asked to be left alone."""
        self.status = status
        """Of the HTTP answer that is none of a scanstream server, where there was one."""


def decoded(content: str | bytes) -> Any:
    """JSON as it came.

    :raises Lost: if it is none, or nested deeper than any answer
    """
    try:
        return msgspec.json.decode(content)
    except UNDECODABLE as error:
        raise Lost(f"what answers is no scanstream server: it sends what is no JSON ({error})") from error


def _kinds(of: type[ScanstreamError]) -> Iterator[type[ScanstreamError]]:
    for kind in of.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from _kinds(kind)


_CLASSES = {kind.code: kind for kind in reversed([*_kinds(ScanstreamError)]) if "code" in vars(kind)}
_CLASSES["internal"] = errors.Internal


def failure(problem: dict[str, Any], status: int = 0, retry_after: float | None = None) -> ScanstreamError:
    """What the server said as the error of the tree that has its code; of an unknown code, that of its status.

    :param problem: a problem document, or an `error` message
    """
    code = str(problem.get("code", "internal"))
    kind = _CLASSES.get(code)
    if kind is None:
        branch = RequestError if 400 <= status < 500 else ServerError
        kind = type(branch.__name__, (branch,), {"code": code, "__doc__": branch.__doc__, "__module__": __name__})
    said = seconds(problem.get("retry_after"))
    return kind(
        str(problem.get("detail") or problem.get("title") or "The server failed, and does not say how"),
        errors=[*_fields(problem.get("errors"))],
        retry_after=retry_after if said is None else said,
        scan_id=str(problem.get("scan_id") or ""),
    )


def _fields(listed: Any) -> Iterator[FieldError]:
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            yield FieldError(str(one.get("field", "")), str(one.get("reason", "")))


def seconds(said: Any) -> float | None:
    """What a server said of when to come back, in seconds; nonsense is nothing."""
    if isinstance(said, int | float) and not isinstance(said, bool) and said >= 0:
        return float(min(said, LONGEST_RETRY_AFTER))
    return None


def seconds_in(headers: Mapping[str, str]) -> float | None:
    """The same as a header has it (RFC 9110, section 10.2.3): seconds, or a date, by the sender's clock where it tells
    that."""
    said = headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        return seconds(float(said))
    at, sent = _moment(said), _moment(headers.get("date", "").strip())
    return None if at is None else seconds(max(0.0, at - (time.time() if sent is None else sent)))


def _moment(text: str) -> float | None:
    """As RFC 9110, section 5.6.7, has servers write it; in seconds since 1970."""
    try:
        return parsedate_to_datetime(text).timestamp() if _DATE.fullmatch(text) else None
    except ValueError:
        return None


def problem_of(body: Any) -> dict[str, Any] | None:
    """A problem document, or the answer for an absent scan; None where no scanstream server speaks."""
    if not isinstance(body, dict):
        return None
    if str(body.get("type", "")).startswith(PROBLEM_TYPE) and isinstance(body.get("code"), str):
        return body
    if body.get("status") in ("not_found", "expired") and "scan_id" in body:
        return {"code": body["status"], "detail": str(body.get("message", "")), "scan_id": body["scan_id"]}
    return None


AGAIN = (408, 425, 429)
"""Of all 4xx those that say: later."""
RESTART = 1012
CREDENTIALS = {4401: "unauthorized", 4403: "forbidden"}
"""Close codes of a WebSocket, beside those that only end a connection."""


def of_http(status: int, body: Any, retry_after: float | None, words: str) -> Lost | ScanstreamError:
    """What an answer means that is no success, or no answer of a scanstream server: a reason to try again, or the end.

    :param body: as JSON; None where it is none
    :param words: what it is if no scanstream server has said it
    """
    problem = problem_of(body)
    if problem is None:
        return Lost(words, retry_after=retry_after, status=status)
    error = failure(problem, status, retry_after)
    row = TABLE.get(error.code)
    if status in AGAIN or (status >= SERVER_ERROR and (row is None or row.retry)):
        return _again(error)
    return error


def of_close(code: int | None, words: str) -> Lost | ScanstreamError:
    """What it means that a WebSocket was closed by the other side.

    :param code: None where it was cut off
    """
    if code in CREDENTIALS:
        return failure({"code": CREDENTIALS[code], "detail": words})
    return Lost(words, "restarting" if code == RESTART else "dropped")


def of_message(message: dict[str, Any]) -> Lost | ScanstreamError:
    """What a message of type `error` means: for its scan, for all where it names none."""
    error = failure(message)
    row = TABLE.get(error.code)
    passes = error.retry_after is not None if row is None else row.retry
    return _again(error) if passes else error


def _again(error: ScanstreamError) -> Lost:
    lost = Lost(error.detail, "restarting" if error.code == "restarting" else "dropped", error.retry_after)
    lost.__cause__ = error
    return lost
