"""How readers come: over which transport, and what became of the cursor that they had."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from scanstream.errors import Expired, NotFound
from scanstream.log.cursor import START, Cursor, Position
from scanstream.log.scanlog import ScanLog
from scanstream.measure import Counts

Transport: TypeAlias = Literal["websocket", "stream", "longpoll", "poll"]
"""The rungs of the clients' ladder (client/ladder.py), the best first."""
TRANSPORTS: tuple[Transport, ...] = ("websocket", "stream", "longpoll", "poll")
OUTCOMES = ("new", "resumed", "foreign", "ahead", "not_found", "expired")
"""`new`: nothing was held; `resumed`: the reader goes on from its cursor; `foreign`: the cursor was of another scan or
store, or none at all, `ahead`: of a later entry than there is; both get a snapshot."""


class Resumes:
    """Counted at each subscription, stream and poll that says where it is."""

    def __init__(self) -> None:
        self.counts = Counts((transport, outcome) for transport in TRANSPORTS for outcome in OUTCOMES)

    def took(
        self, transport: Transport, log: ScanLog, cursor: Cursor | None, position: Position, *, given: bool = True
    ) -> None:
        """A reader came with this cursor, and goes on from that position.

        :param given: whether it said where it is: then None is a cursor that cannot be read
        """
        if cursor is None:
            outcome = "foreign" if given else "new"
        elif cursor.position == START:
            outcome = "new"
        elif cursor.epoch != log.epoch:
            outcome = "foreign"
        else:
            outcome = "ahead" if position == START else "resumed"
        self.counts.add(transport, outcome)

    @contextmanager
    def sought(self, transport: Transport) -> Iterator[None]:
        """In here the scan is looked for: where there is none, that is an outcome, too."""
        try:
            yield
        except (NotFound, Expired) as error:
            self.counts.add(transport, error.code)
            raise
