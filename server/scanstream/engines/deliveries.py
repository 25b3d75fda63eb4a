"""The deliveries port in the same SQLite file: a row each, which goes when it is done.

An attempt is counted before it is handed out, so one whose server dies counts; what was handed out is known in memory
only, so after a restart all wait again. One that cannot be read is left out and no other with it.

Times are those of a clock that nobody sets: it begins with the machine's at the start, and then goes by itself. Only a
restart brings another. What it makes wait longer than it was to wait when it was put off, begins to wait anew.

Principals take turns, in the order of their names: the next is the first one behind the last who has one that is due,
and theirs come in the order of their times. So whoever comes waits for one of each other's, however many they have.
"""

import json
import logging
import math
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from functools import partial
from typing import NamedTuple, TypeVar

import anyio
import msgspec

from scanstream.deliveries import Delivery
from scanstream.engines.group_commit import GroupCommit, Malformed
from scanstream.errors import StoreUnavailable
from scanstream.model import Milliseconds, now, uptime
from scanstream.telling import Telling
from scanstream.undecodable import UNDECODABLE

T = TypeVar("T")

PAUSE_SECONDS = 1.0
"""Between two tries to write while the store cannot."""
LOOK_SECONDS = 60.0
"""So often it is looked for what is due at least: a timer stands still in a machine that sleeps."""
LOOKED_AT = 256
"""Principals in one go: others read and write between two of these."""

logger = logging.getLogger("scanstream")

_PUT = (
    "INSERT INTO deliveries (id, principal, due, pause, tries, body) VALUES (?, ?, ?, 0, 0, ?) "
    "ON CONFLICT (id) DO NOTHING"
)
_FIRST_OF_EACH = """
WITH RECURSIVE
taken (number) AS (SELECT value FROM json_each(?3)),
turn (principal) AS (
    SELECT min(principal) FROM deliveries WHERE principal >= ?1
    UNION ALL
    SELECT (SELECT min(principal) FROM deliveries WHERE principal > turn.principal) FROM turn
    WHERE turn.principal IS NOT NULL LIMIT ?2
)
SELECT
    principal,
    (SELECT number FROM deliveries AS own WHERE own.principal = turn.principal AND number NOT IN taken
     ORDER BY due, number LIMIT 1),
    (SELECT due FROM deliveries AS own WHERE own.principal = turn.principal AND number NOT IN taken
     ORDER BY due, number LIMIT 1)
FROM turn WHERE principal IS NOT NULL
"""
"""Two looks into the index for each principal, however many theirs are, and none into the table: it may be damaged."""
_BEGIN = "UPDATE deliveries SET tries = tries + 1 WHERE number = ? RETURNING tries, body"
_AGAIN = "UPDATE deliveries SET due = ?, pause = ?, tries = tries - ? WHERE number = ?"
_ANEW = "UPDATE deliveries SET due = ?1 + pause WHERE due > ?1 AND due > ?1 + pause"


class SqliteAttempt:
    """See `Attempt`."""

    def __init__(self, deliveries: "SqliteDeliveries", row: int, number: int, delivery: Delivery) -> None:
        self._deliveries = deliveries
        self._row = row
        self.number = number
        self.delivery = delivery

    async def done(self) -> None:
        """See `Attempt.done`."""
        await self._deliveries.change(self._row, partial(_gone, self._row))

    async def again(self, after: float = 0.0, *, tried: bool = True) -> None:
        """See `Attempt.again`."""
        deliveries, row = self._deliveries, self._row
        await deliveries.change(row, deliveries.put_off(row, round(after * 1000), tried=tried))


class SqliteDeliveries:
    """The deliveries port."""

    def __init__(
        self,
        commits: GroupCommit,
        elapsed: Callable[[], float] = uptime,
        wall: Callable[[], Milliseconds] = now,
    ) -> None:
        """:param elapsed: seconds, on a clock that nobody sets
        :param wall: the machine's time, asked once
        """
        self._commits = commits
        self._elapsed = elapsed
        self._began = wall() - elapsed() * 1000
        self._out: set[int] = set()
        """Rows that somebody has, and those that cannot be read."""
        self._consumed = False
        self._turn = ""
        """The least name that may come next."""
        self._news = anyio.Event()
        self._telling = Telling()

    def _now(self) -> Milliseconds:
        return int(self._began + self._elapsed() * 1000)

    async def put(self, *deliveries: Delivery) -> None:
        """See `Deliveries.put`."""
        at = self._now()
        rows = [(one.id, one.principal, at, msgspec.json.encode(one)) for one in deliveries]

        def put(connection: sqlite3.Connection) -> None:
            connection.executemany(_PUT, rows)

        await self._commits.run(put)
        self._news.set()

    async def due(self) -> AsyncIterator[SqliteAttempt]:
        """See `Deliveries.due`."""
        if self._consumed:
            raise RuntimeError("what is due has a consumer already")
        self._consumed = True
        try:
            with suppress(Malformed):  # then it is said below
                await self._written(partial(_wait_anew, at=self._now()))
            while True:
                self._news = anyio.Event()
                row, seconds = await self._first()
                if row is None:
                    with anyio.move_on_after(min(seconds, LOOK_SECONDS)):
                        await self._news.wait()
                elif (attempt := await self._begin(row)) is not None:
                    yield attempt
        finally:
            self._consumed = False

    async def _first(self) -> tuple[int | None, float]:
        """The row that is due, or None, and in how many seconds there may be one."""
        at, out, soonest = self._now(), json.dumps([*self._out]), math.inf
        try:
            for begin in dict.fromkeys((self._turn, "")):  # from whoever is next, then from the first name on
                start: str | None = begin
                while start is not None:
                    look = await self._written(partial(_look, start, at, out), reads=True)
                    if look.row is not None:
                        self._turn = look.behind or ""
                        return look.row, 0.0
                    start, soonest = look.behind, min(soonest, look.soonest)
        except Malformed as error:
            logger.error("what is due cannot be read: %s", error)  # noqa: TRY400  # the error says it all
            return None, LOOK_SECONDS
        return None, (soonest - at) / 1000

    async def _begin(self, row: int) -> SqliteAttempt | None:
        """Count the attempt; None if nobody can read what it is about."""
        try:
            tries, body = await self._written(partial(_begun, row))
            attempt = SqliteAttempt(self, row, tries, msgspec.json.decode(body, type=Delivery))
        except (Malformed, *UNDECODABLE) as error:
            self._leave_out(row, error)
            return None
        self._out.add(row)
        return attempt

    def _leave_out(self, row: int, error: Exception) -> None:
        self._out.add(row)
        logger.error("a delivery (number %d) is damaged, and left out: %s", row, error)

    async def change(self, row: int, change: Callable[[sqlite3.Connection], None]) -> None:
        """Do this with a row that somebody has, who has it no longer."""
        try:
            await self._written(change)
        except Malformed as error:
            self._leave_out(row, error)
        except BaseException:
            self._let_go(row)
            raise
        else:
            self._let_go(row)

    def _let_go(self, row: int) -> None:
        self._out.discard(row)
        self._news.set()

    def put_off(self, row: int, pause: Milliseconds, *, tried: bool) -> Callable[[sqlite3.Connection], None]:
        """See `Attempt.again`."""
        return partial(_put_off, row, due=self._now() + pause, pause=pause, untried=not tried)

    async def waiting(self) -> int:
        """See `Deliveries.waiting`."""
        return await self._commits.run(_count, reads=True)

    async def _written(self, run: Callable[[sqlite3.Connection], T], *, reads: bool = False) -> T:
        """Do this, as soon as the store can.

        :raises Malformed: if it needs what is damaged
        """
        while True:
            try:
                return await self._commits.run(run, reads=reads)
            except Malformed:
                raise
            except StoreUnavailable as error:
                if self._telling.due():
                    logger.warning("deliveries wait: %s", error.detail)
                await anyio.sleep(PAUSE_SECONDS)


class Look(NamedTuple):
    """What was found, from some name on."""

    row: int | None
    """The first that is due."""
    behind: str | None
    """The least name behind those that were looked at; None: these were all."""
    soonest: float
    """When one of theirs is due, where none is."""


def _look(start: str, at: Milliseconds, out: str, connection: sqlite3.Connection) -> Look:
    """Of each principal from this name on the first that nobody has, until one of them is due."""
    soonest, behind, looked_at = math.inf, "", 0
    with closing(connection.execute(_FIRST_OF_EACH, (start, LOOKED_AT, out))) as firsts:
        for principal, row, due in firsts:
            behind, looked_at = principal + "\0", looked_at + 1
            if row is not None and due <= at:
                return Look(row, behind, at)
            soonest = min(soonest, math.inf if row is None else due)
    return Look(None, behind if looked_at == LOOKED_AT else None, soonest)


def _begun(row: int, connection: sqlite3.Connection) -> tuple[int, bytes]:
    tries, body = connection.execute(_BEGIN, (row,)).fetchone()
    return tries, body


def _put_off(
    row: int, connection: sqlite3.Connection, *, due: Milliseconds, pause: Milliseconds, untried: bool
) -> None:
    connection.execute(_AGAIN, (due, pause, untried, row))


def _gone(row: int, connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM deliveries WHERE number = ?", (row,))


def _wait_anew(connection: sqlite3.Connection, *, at: Milliseconds) -> None:
    connection.execute(_ANEW, (at,))


def _count(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM deliveries").fetchone()
    assert isinstance(count, int)
    return count
