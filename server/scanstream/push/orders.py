"""Orders: discovers that are plain and have come whole are registered where they were read, with one write for all.

Who asks waits until the scan is durable, and for whatever else stands on the way. The rules and routes of the chain, a
request and a response as Starlette has them and a write for the head and another for the body take longer than all that
the desk does, the more so as everything there is cold when one comes now and then.

What is not plain (an origin, a body in pieces or in a coding, a host that is refused, …) is left to the chain, which
says the same of what is: tests/wire/test_orders.py compares the two.
"""

import logging
from functools import partial
from typing import ClassVar

import msgspec
from starlette.responses import Response

from scanstream.errors import ScanstreamError
from scanstream.message import POLLING_INTERVAL_SECONDS, AckBody
from scanstream.push.answers import refusal
from scanstream.push.codec import JSON
from scanstream.push.desk import Desk, released
from scanstream.push.forwarded import below
from scanstream.push.line import Line
from scanstream.push.outlet import Start
from scanstream.push.problem import problem
from scanstream.push.query import idempotency_key, text_of
from scanstream.push.question import Order
from scanstream.push.refusals import defect
from scanstream.push.share import with_token
from scanstream.security.guard import Guard
from scanstream.shortage import shortage

logger = logging.getLogger("scanstream")


class Orders:
    """Takes them."""

    def __init__(self, desk: Desk, guard: Guard, start: Start) -> None:
        self._desk = desk
        self._guard = guard
        self._start = start

    def take(self, asked: Order, body: bytes, line: Line) -> "Taken":
        """See `Taker.place`."""
        taken = Taken(line)
        self._start(partial(self._answer, asked, body, taken))
        return taken

    async def _answer(self, asked: Order, body: bytes, taken: "Taken") -> None:
        prefix = asked.prefix.decode("ascii")
        try:
            principal = asked.caller.starts()
            key = idempotency_key("Idempotency-Key", None if asked.key is None else text_of(asked.key))
            ack = await self._desk.register(principal, JSON.decode_body(body), key, prefix=prefix)
        except ScanstreamError as error:
            taken.refused(problem(error))
        except Exception as error:
            if lacking := shortage(error):  # as ShortageRule has it
                logger.warning("out of %s: a request was refused", lacking)
            else:
                logger.exception("a defect in answering a discover")
            taken.refused(defect(error))
        else:
            with released(self._desk, ack.scan_id):
                taken.acknowledged(with_token(below(prefix, ack), asked.caller, self._guard))


class Taken:
    """One that is being registered: a `Waiting`."""

    __slots__ = ("_line",)
    patient: ClassVar[bool] = False

    def __init__(self, line: Line) -> None:
        self._line: Line | None = line

    def leave(self) -> None:
        """See `Waiting.leave`. The scan is registered all the same, and starts."""
        self._line = None

    def resume(self) -> None:
        """See `Waiting.resume`."""

    def acknowledged(self, ack: AckBody) -> None:
        """The scan is there."""
        body = msgspec.json.encode(ack)
        self._say(
            202,
            b"location: %s\r\nretry-after: %d\r\ncontent-length: %d\r\ncontent-type: application/json\r\n"
            b"vary: Origin\r\ncache-control: no-cache\r\n\r\n%s"
            % (ack.poll_url.encode(), POLLING_INTERVAL_SECONDS, len(body), body),
        )

    def refused(self, response: Response) -> None:
        """It is not."""
        self._say(response.status_code, refusal(response))

    def _say(self, status: int, rest: bytes) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.say(line.start(status) + rest)
            line.end()
