"""What JetStream answers: which error means what, and what is told of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from scanstream.errors import StoreUnavailable
from scanstream.model import Milliseconds
from scanstream.undecodable import UNDECODABLE

RETRY_AFTER = 2.0
"""When a caller may ask again, in seconds."""
UNAVAILABLE, FORBIDDEN = 503, 403
CONFLICTS = frozenset({10071, 10164})
"""JetStream's errors where somebody else has written to the subject."""
TOO_LARGE = 10054
FULL = {
    10002: "the account has reached its limit of JetStream",
    10023: "a server has reached its limit (max_file_store, or its disk)",
    10028: "a server has reached its limit of memory (max_memory_store)",
    10047: "a server has reached its limit (max_file_store, or its disk)",
    TOO_LARGE: "it is larger than a message may be (max_payload, or max_msg_size of the stream)",
    10077: "the stream {stream} has reached its limit (max_bytes)",
    10122: "the stream {stream} would be larger than the account may hold",
}
"""… where there is no room, or less than was asked for: what is full."""
NO_MESSAGE = 10037
"""… where there is no message of the subject."""
IN_PROCESS = 10158
"""… where the same message is just being written: an earlier try of ours."""
NO_ANSWER = "no answer (a server that cannot write its files gives none, and says in its log why)"
NOBODY = b"NATS/1.0 503"
"""How the headers begin where a server says that nobody is there to answer."""


class ConflictError(Exception):
    """The subject is not as it was expected: somebody else has written to it."""


class RefusedError(StoreUnavailable):
    """JetStream has answered, and does not take it now: there is no room. The detail has its own words."""


class FullError(RefusedError):
    """There is no room, for anybody: the stream, the account or a server is full."""


class ApiError(Exception):
    """JetStream says no, and would say so again."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(str(error.get("description", error)))
        self.status = int(error.get("code", 0))
        self.code = int(error.get("err_code", 0))


class Stored(NamedTuple):
    """A message, as a stream keeps it."""

    seq: int
    data: bytes
    at: Milliseconds
    """When it was stored, by the clock of whoever led the stream."""
    headers: bytes


class Answer(NamedTuple):
    """What came to a request."""

    data: bytes
    headers: bytes


def read(answer: Answer) -> dict[str, Any]:
    """What it says; an `error` where nobody was there to say anything."""
    if answer.headers.startswith(NOBODY):
        return unavailable(
            "nobody answers: the stream has no leader now, or is not there, or JetStream is not on "
            "(it stops where a disk is full)"
        )
    try:
        return msgspec.json.decode(answer.data, type=dict[str, Any])
    except UNDECODABLE as error:
        return unavailable(f"the answer is none: {error}")


def milliseconds(time: str) -> int:
    """Of an instant as JetStream writes it, `2026-11-26T14:03:00.123456789Z`, with as many digits as it takes."""
    seconds, _, rest = time.removesuffix("Z").partition(".")
    return round(datetime.fromisoformat(f"{seconds}+00:00").timestamp()) * 1000 + int(f"{rest:0<3}"[:3])


def no_room(answer: Mapping[str, Any]) -> RefusedError:
    """What to tell of an answer whose error is one of `FULL`: what has no room, and the server's own words."""
    error = answer["error"]
    what = FULL[error["err_code"]].format(stream=answer.get("stream") or "of it")
    told = f"NATS has no room: {what}: {error.get('description', error)}"
    return (RefusedError if error["err_code"] == TOO_LARGE else FullError)(told, retry_after=RETRY_AFTER)


def unavailable(why: str, *, late: bool = False) -> dict[str, Any]:
    """An error as JetStream writes it. `late`: nobody has answered, so enough time has passed already."""
    return {"error": {"code": UNAVAILABLE, "description": why, "late": late}}


def forbidden(what: str) -> dict[str, Any]:
    """An error as JetStream would write it, which is final."""
    return {"error": {"code": FORBIDDEN, "description": f"this login may not {what}"}}
