"""A glance: polls, long polls, event streams and discovers that are answered where they were read.

Most requests are `GET /opportunities/status/{scan_id}` of somebody who polls. The answer is ready for all who ask
(push/answers.py), so a task, an ASGI scope and the rules in the chain of routes.py would cost many times what it does.
Who waits (push/held.py, push/stream.py) has no task either. A transport that knows this place (push/transport/http.py)
asks here first; nothing is waited for here.

What is not plain (an origin, `latest`, a scan that is not in memory, a host that is refused, a credential that nobody
has shown before, …) is left to the chain, which says the same of what is: tests/wire/test_glance.py compares the two.
"""

import logging

from scanstream.about import about
from scanstream.errors import Forbidden, Unauthorized
from scanstream.push.answers import StatusAnswers
from scanstream.push.credentials import in_fields
from scanstream.push.desk import Desk
from scanstream.push.entrance import Entrance
from scanstream.push.held import Polls
from scanstream.push.line import Client, Line, Waiting
from scanstream.push.orders import Orders
from scanstream.push.question import Fields, Order, Question, order, question
from scanstream.push.stream import Streams
from scanstream.push.vigil import Vigil
from scanstream.push.waiter import Room
from scanstream.security.caller import Caller

logger = logging.getLogger("scanstream")


class Glance:
    """Reads plain requests, and answers them: a `Taker`."""

    def __init__(
        self,
        desk: Desk,
        room: Room,
        answers: StatusAnswers,
        streams: Streams,
        orders: Orders,
        entrance: Entrance,
    ) -> None:
        self._desk = desk
        self._entrance = entrance
        self._orders = orders
        self._polls = Polls(desk, room, answers)
        self._streams = streams
        self._vigil = room.vigil

    def question(self, target: bytes, fields: Fields, client: Client) -> Question | None:
        """See `Taker`."""
        asked = question(target, fields)
        if asked is None:
            return None
        place = self._entrance.verdict(fields, client)
        if place is None or asked.prefix not in (b"", place.prefix):
            return None
        if place.strict:
            asked = asked._replace(strict=True)
        return asked if self._vigil is None else self._theirs(self._vigil, asked, fields)

    def _theirs(self, vigil: Vigil, asked: Question, fields: Fields) -> Question | None:
        """The question, and whose it is; None where that is not known, or they may not ask it."""
        caller = known(vigil, fields)
        try:
            return None if caller is None else asked._replace(caller=caller, owner=caller.reads(asked.scan_id))
        except Forbidden:
            return None

    def order(self, target: bytes, fields: Fields, client: Client) -> Order | None:
        """See `Taker`."""
        asked = order(target, fields)
        if asked is None:
            return None
        place = self._entrance.verdict(fields, client)
        if place is None or asked.prefix not in (b"", place.prefix):
            return None
        asked = asked._replace(prefix=place.prefix, strict=place.strict)
        if self._vigil is None:
            return asked
        caller = known(self._vigil, fields)
        return None if caller is None else asked._replace(caller=caller)

    def place(self, asked: Order, body: bytes, line: Line) -> Waiting:
        """See `Taker`."""
        return self._orders.take(asked, body, line)

    def take(self, asked: Question, line: Line) -> bytes | Waiting | None:
        """See `Taker`."""
        try:
            if self._vigil is not None and not self._vigil.good(asked.caller):
                return None
            log = self._desk.held(asked.owner, asked.scan_id)
            if log is None:
                return None
            return (self._streams if asked.events else self._polls).take(log, asked, line)
        except Exception:  # the chain meets it, too, and knows what to say of it
            with about(scan_id=asked.scan_id):
                logger.exception("a request cannot be answered at a glance")
            return None


def known(vigil: Vigil, fields: Fields) -> Caller | None:
    """Whose request this is, if that can be said at once."""
    try:
        credential = in_fields(fields)
    except Unauthorized:
        return None
    return None if credential is None else vigil.guard.known(credential)
