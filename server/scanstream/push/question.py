"""Requests that are plain enough to be answered where their heads were read: what they ask for.

Whatever is written in another way than most clients write it is left to the chain of routes.py, which reads it all.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from scanstream.log.cursor import Cursor, parse
from scanstream.message import LONGEST_WAIT_SECONDS
from scanstream.model import EVENTS_PATH, STATUS_PATH
from scanstream.security.caller import EVERYBODY, Caller, Owner

Fields = list[tuple[bytes, bytes]]
"""Header lines, the names in lower case."""
Said = dict[bytes, bytes]
"""The same, or parameters of a query, where none is repeated."""

NOT_PLAIN = frozenset(b"origin expect upgrade content-length transfer-encoding access-control-request-method".split())
"""Headers by which the chain answers otherwise, or with which there may be a body."""
OF_CALLERS = frozenset([b"if-none-match", b"prefer", b"last-event-id"])
"""Headers that say more of what is asked for."""

DISCOVER = b"/opportunities/discover"
NOT_PLAIN_ORDER = frozenset(
    b"origin expect upgrade transfer-encoding content-encoding access-control-request-method traceparent".split()
)
"""Headers by which the chain answers a discover otherwise, or reads its body otherwise."""
OF_ORDERS = frozenset([b"idempotency-key", b"content-length"])
LONGEST_SIZE = 6
"""Digits."""

_EVENTS = EVENTS_PATH.encode()
_TARGET = re.compile(
    rb"(.*)(%s|%s)(scan_[0-9a-f]{42})(?:\?([a-z]+)=([0-9a-z.-]+)(?:&([a-z]+)=([0-9a-z.-]+))?)?"
    % (re.escape(STATUS_PATH.encode()), re.escape(_EVENTS)),
    re.DOTALL,
)
_ONE_TAG = re.compile(rb'(?:W/)?"([\x21\x23-\x7e]*)"')
_ONE_WAIT = re.compile(rb"wait=(\d{1,2})")


class Question(NamedTuple):
    """One of them."""

    scan_id: str
    prefix: bytes
    """What the target has before the path of a route."""
    events: bool = False
    """Whether a stream of events is wanted, and not the status."""
    tag: str | None = None
    """The one that the caller holds, without its quotes."""
    since: Cursor | None = None
    """Where the caller is."""
    wait: int = 0
    """Seconds."""
    preferred: bool = False
    """Whether the wait is a preference, which the answer repeats."""
    caller: Caller = EVERYBODY
    owner: Owner = EVERYBODY.owner
    """Under whom the scan is looked for."""
    strict: bool = False
    """Whether the answer says that its host is to be asked by TLS only."""

    @property
    def of_the_moment(self) -> bool:
        """Whether its caller will not ask the same again."""
        return self.events or self.since is not None


def question(target: bytes, fields: Fields) -> Question | None:
    """What is asked for; None where that is not plain.

    :param target: of a GET of HTTP/1.1 that keeps its connection
    """
    match = _TARGET.fullmatch(target)
    if match is None:
        return None
    said = dict(fields)
    if not NOT_PLAIN.isdisjoint(said):
        return None
    if len(said) < len(fields) and _repeats(fields):
        return None
    events = match[2] == _EVENTS
    asked = Question(match[3].decode("ascii"), match[1], events)
    if match[4] is None and OF_CALLERS.isdisjoint(said):
        return asked
    parameters = {match[4]: match[5], match[6]: match[7]}
    if match[4] is not None and match[4] == match[6]:
        return None
    parameters.pop(None, None)
    return _of_events(asked, parameters, said) if events else _of_status(asked, parameters, said)


class Order(NamedTuple):
    """A discover that is plain."""

    prefix: bytes
    """What the target has before the path of the route."""
    size: int
    """Bytes of the body."""
    key: bytes | None
    """The caller's own name for the scan."""
    caller: Caller = EVERYBODY
    strict: bool = False
    """As in a question."""


def order(target: bytes, fields: Fields) -> Order | None:
    """What is asked for; None where that is not plain.

    :param target: of a POST of HTTP/1.1 that keeps its connection
    """
    if not target.endswith(DISCOVER):
        return None
    said = dict(fields)
    size = said.get(b"content-length", b"")
    if not NOT_PLAIN_ORDER.isdisjoint(said) or not size.isdigit() or len(size) > LONGEST_SIZE:
        return None
    if len(said) < len(fields) and _repeats(fields, OF_ORDERS):
        return None
    return Order(target.removesuffix(DISCOVER), int(size), said.get(b"idempotency-key"))


def _repeats(fields: Fields, counted: Collection[bytes] = OF_CALLERS) -> bool:
    """Whether one of the headers that say what is asked for is there more than once."""
    names = [name for name, _ in fields if name in counted]
    return len(set(names)) < len(names)


def _of_events(asked: Question, parameters: Said, said: Said) -> Question | None:
    if parameters.keys() - {b"since"}:
        return None
    where = said.get(b"last-event-id") or parameters.get(b"since")
    since = None if where is None else parse(where.decode("latin-1"))
    return None if (since is None) != (where is None) else asked._replace(since=since)


def _of_status(asked: Question, parameters: Said, said: Said) -> Question | None:
    wait, since = parameters.pop(b"wait", None), parameters.pop(b"since", None)
    prefer, held = said.get(b"prefer"), said.get(b"if-none-match")
    if parameters or (wait is not None and prefer is not None):
        return None
    preference = _ONE_WAIT.fullmatch(prefer) if prefer is not None else None
    tag = _ONE_TAG.fullmatch(held) if held is not None else None
    cursor = parse(since.decode("ascii")) if since is not None else None
    if (preference is None, tag is None, cursor is None) != (prefer is None, held is None, since is None):
        return None
    text = preference[1] if preference else wait or b"0"
    seconds = int(text) if text.isdigit() and len(text) < 3 else LONGEST_WAIT_SECONDS + 1
    return (
        None
        if seconds > LONGEST_WAIT_SECONDS
        else asked._replace(
            tag=tag[1].decode("ascii") if tag else None, since=cursor, wait=seconds, preferred=preference is not None
        )
    )
