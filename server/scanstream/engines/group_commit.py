"""Group commit: many operations, one durable transaction.

One thread owns the connection. It takes everything that is queued into one transaction, and while the disk syncs, the
next batch gathers: the sync itself is the batching window, and waiting for more would only add latency. Measured by
bench/group_commit.py.
"""

import asyncio
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

import anyio

from scanstream.errors import StoreUnavailable
from scanstream.log.refold import Crowd
from scanstream.measure import Commits

T = TypeVar("T")

MOST_AT_ONCE = 512
"""Operations in one transaction: bounds how long the first of them waits."""

ANSWER_SECONDS = 20.0
"""In which a caller is answered: a disk that is busy takes seconds, one that hangs is as good as away."""

CLOSE_SECONDS = 3.0
"""In which the thread ends; else the disk hangs, and nothing that can be done would make it go on."""

MOST_WAITING = 4096
"""Operations accepted and not yet answered; a caller beyond waits."""

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_UNREADABLE = (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS)
_PRIMARY = 0xFF
"""The part of SQLite's extended error codes that says of which kind they are (sqlite.org/rescode.html)."""


class Malformed(StoreUnavailable):
    """What the operation needed is on pages that are damaged. Others need other pages: it fails alone."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that a place of the file is damaged, and not that it cannot write now."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & _PRIMARY in _DAMAGE or code in _UNREADABLE)


def _identity(file: str) -> tuple[int, int] | None:
    """Which file is there; None if there is none, or nobody can say."""
    try:
        status = os.stat(file)  # noqa: PTH116  # at each commit: half of what it takes with a Path
    except OSError:
        return None
    return status.st_dev, status.st_ino


class Operation(Generic[T]):
    """Something to do inside the next transaction, and how it came out. `_commit` may do it twice."""

    def __init__(self, run: Callable[[sqlite3.Connection], T], *, fed: bool, reads: bool) -> None:
        self.run = run
        self.reads = reads
        """Whether it only reads: then it is done after the transaction, alone, on what is durable."""
        self.fed = fed
        """Whether it is answered only after the feed's consumer has seen what it wrote."""
        self.result: T | None = None
        self.error: Exception | None = None
        self.tried = False
        """Whether the disk has had its say; then only the feed's consumer is waited for."""
        self.unanswered: StoreUnavailable | None = None
        """What its caller is told where the disk has not had its say in time."""
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answer(self) -> None:
        """Let the caller go on; one that was cancelled has gone already."""
        if not self.answered.done():
            self.answered.set_result(None)


class Bell:
    """Wakes one thread, from one other; rung again before it is heard it is rung once.

    A lock and no `threading.Condition`, which takes ten calls for the same, on the way of every ack.
    """

    def __init__(self) -> None:
        self._silent = threading.Lock()
        self._silent.acquire()

    def ring(self) -> None:
        """What the other thread is to see is there already."""
        if self._silent.locked():
            self._silent.release()

    def wait(self) -> None:
        """Until it is rung."""
        self._silent.acquire()


class GroupCommit:
    """The writer thread and its bounded queue. The connection is the thread's, which closes it at its end."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        on_commit: Callable[[list[Operation[Any]]], None],
        on_rollback: Callable[[], None],
        most_at_once: int = MOST_AT_ONCE,
        file: Path | None = None,
    ) -> None:
        """`file`: where the database is; what is written while it is not there is not kept."""
        self._file = None if file is None else (str(file), _identity(str(file)))
        self._connection = connection
        self._on_commit = on_commit
        self._on_rollback = on_rollback
        self._most_at_once = most_at_once
        self._queue: deque[Operation[Any]] = deque()
        self._handed: deque[list[Operation[Any]]] = deque()
        """Batches that are done, each for one call of `_take_over`."""
        self._done: deque[Operation[Any]] = deque()
        """Those of which the loop has not been told yet; bounded, as their callers wait."""
        self._crowd = Crowd()
        self.commits = Commits()
        self._bell = Bell()
        self._closing = False
        self._places = asyncio.Semaphore(MOST_WAITING)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name="scanstream-store", daemon=True)
        self._thread.start()

    async def run(
        self,
        run: Callable[[sqlite3.Connection], T],
        *,
        fed: bool = False,
        reads: bool = False,
        urgent: bool = False,
    ) -> T:
        """Do `run` in the next transaction; return when that is durable.

        :param reads: it changes nothing: whatever it meets on the disk, it fails alone
        :param urgent: do not wait for a place in the queue, but as long as it takes: for what all others wait for
        :raises StoreUnavailable: if it could not be written; then nothing of it was, unless the disk hangs
        :raises Malformed: if it needs what is damaged
        """
        operation = Operation(run, fed=fed, reads=reads)
        async with nullcontext() if urgent else self._places:
            if self._closing:
                raise StoreUnavailable("The store is closed", retry_after=5)
            self._queue.append(operation)
            self._bell.ring()
            self.commits.under_way += 1
            # a timer and no cancel scope: those cost more than all else that is done for an operation
            late = None if urgent else self._loop.call_later(ANSWER_SECONDS, self._late, operation)
            try:
                await operation.answered
            finally:
                self.commits.under_way -= 1
                if late is not None:
                    late.cancel()
        try:
            if (error := operation.unanswered or operation.error) is not None:
                raise error
            return operation.result  # type: ignore[return-value]  # set by the thread unless there was an error
        finally:
            del (
                error,
                operation,
            )  # else an error holds, by its traceback, what holds it: with all that was to be written

    def _late(self, operation: Operation[Any]) -> None:
        """The disk hangs: say so, unless only the consumer is late. What is being written may still come to be."""
        if operation.tried:
            return
        with suppress(ValueError):
            self._queue.remove(operation)
        operation.unanswered = StoreUnavailable(f"The store has not answered for {ANSWER_SECONDS:g} s", retry_after=5)
        operation.answer()

    async def close(self) -> bool:
        """Write what was accepted, and end the thread, the connection with it; whether it has ended."""
        self._closing = True
        self._bell.ring()
        with anyio.move_on_after(CLOSE_SECONDS):
            while self._thread.is_alive():  # noqa: ASYNC110  # to wait in a thread would need one, and have no end
                await anyio.sleep(0.005)
        return not self._thread.is_alive()

    def _write(self) -> None:
        try:
            self._serve()
        finally:
            self._connection.close()  # of a large log it takes long: what it holds comes into the file

    def _serve(self) -> None:
        while batch := self._take():
            self._do(batch)

    def _do(self, batch: list[Operation[Any]]) -> None:
        """Takes the operations out of the list."""
        writing = [operation for operation in batch if not operation.reads]
        reading = [operation for operation in batch if operation.reads]
        batch.clear()
        if writing:
            self._written(writing)
            self._hand_over(writing)
        if reading:
            self._read(reading)
            self._hand_over(reading)

    def _hand_over(self, batch: list[Operation[Any]]) -> None:
        """From here on no name of this thread holds one of them.

        They may be large, and their callers free them bit by bit (`let_go`). Freed here they would be at once, and
        nobody else could run meanwhile.
        """
        for operation in batch:
            operation.tried = True
        del operation
        self._handed.append(batch[:])
        batch.clear()
        self._loop.call_soon_threadsafe(self._take_over)

    def _take_over(self) -> None:
        """On the loop: in the order in which it was done, and so much in a turn that no caller is in others' way."""
        behind = bool(self._done)
        self._done += self._handed.popleft()
        if not behind:
            self._tell()

    def _tell(self, told: float | None = None) -> None:
        """`told`: when the callers before these were."""
        now = time.perf_counter()
        if told is not None:
            self._crowd.took(now - told)
        self._on_commit([self._done.popleft() for _ in range(min(len(self._done), self._crowd.most))])
        if self._done:
            self._loop.call_soon(self._tell, now)

    def _take(self) -> list[Operation[Any]]:
        """What waits, as much of it as one transaction may do; empty at the end."""
        batch: list[Operation[Any]] = []
        while not batch and not (self._closing and not self._queue):
            if not self._queue:
                self._bell.wait()
            with suppress(IndexError):  # one may have been taken back meanwhile
                while len(batch) < self._most_at_once:
                    batch.append(self._queue.popleft())
        return batch

    def _read(self, batch: list[Operation[Any]]) -> None:
        for operation in batch:
            try:
                self._attempt(operation)
            except (sqlite3.Error, MemoryError) as error:
                operation.error = StoreUnavailable(f"The store could not read: {_words(error)}", retry_after=5)

    def _written(self, batch: list[Operation[Any]]) -> None:
        """Nothing may end this thread: everybody would wait for it, and for ever."""
        try:
            self._transact(batch)
        except Exception as error:  # not even the way back was possible
            for operation in batch:
                operation.error = StoreUnavailable(f"The store could not write: {_words(error)}", retry_after=5)

    def _transact(self, batch: list[Operation[Any]]) -> None:
        if self._try(batch):
            return
        if any(isinstance(operation.error, Malformed) for operation in batch):
            for operation in batch:  # SQLite commits nothing after it has met damage: each for itself
                self._try([operation])
        else:
            self._try(batch, apart=True)

    def _try(self, batch: list[Operation[Any]], *, apart: bool = False) -> bool:
        """False: nothing of the batch has happened, as one of it failed in a way that the others need not suffer."""
        try:
            return self._commit(batch, apart=apart)
        except (sqlite3.Error, MemoryError) as error:
            self._undo(batch, error)
            return True

    def _commit(self, batch: list[Operation[Any]], *, apart: bool = False) -> bool:
        """All of the batch in one transaction; False, and nothing of it, if one failed that had written already.

        That is rare, so savepoints, which cost more than the operations between them, are left for the second try:
        `apart`, an operation that fails is undone alone.
        """
        if self._file is not None and _identity(self._file[0]) != self._file[1]:  # moved away, deleted, or another one
            raise sqlite3.OperationalError("its file is no longer in the data directory")
        began = time.perf_counter()
        self._connection.execute("BEGIN IMMEDIATE")
        for operation in batch:
            if apart:
                self._connection.execute("SAVEPOINT operation")
            before = self._connection.total_changes
            self._attempt(operation)
            if isinstance(operation.error, Malformed):
                self._roll_back()
                return False
            if operation.error is not None and self._connection.total_changes != before:
                if not apart:
                    self._roll_back()
                    return False
                self._connection.execute("ROLLBACK TO operation")
                self._on_rollback()
            if apart:
                self._connection.execute("RELEASE operation")
        self._connection.execute("COMMIT")
        self.commits.add(time.perf_counter() - began, len(batch))
        return True

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._on_rollback()

    def _attempt(self, operation: Operation[Any]) -> None:
        operation.error = None
        try:
            operation.result = operation.run(self._connection)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError) as error:
            operation.error = error
        except sqlite3.Error as error:
            if is_damage(error):
                operation.error = Malformed(f"The database is damaged here: {error}", retry_after=5)
                return
            raise  # the disk's or the file's fault, not the operation's
        except MemoryError:
            raise
        except Exception as error:
            operation.error = error

    def _undo(self, batch: list[Operation[Any]], cause: sqlite3.Error | MemoryError) -> None:
        self._roll_back()
        for operation in batch:
            operation.error = StoreUnavailable(f"The store could not write: {_words(cause)}", retry_after=5)


def _words(error: Exception) -> str:
    """What SQLite says; a MemoryError says nothing."""
    return "out of memory" if isinstance(error, MemoryError) else str(error)
