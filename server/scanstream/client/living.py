"""A thread with an event loop, in which a client is open: where the client without `await` lives.

Nothing waits for that loop but the calls themselves, and these until they are interrupted. So Ctrl-C is out at once
whatever the loop is busy with: a token function that blocks, a name server that does not answer, a closing handshake.
"""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, ParamSpec, TypeVar

import anyio
from anyio.abc import TaskGroup

from scanstream.client.client import AsyncClient
from scanstream.client.failures import BlockedLoop, Closed

LEAVE_SECONDS = 0.3
"""So long the thread is waited for at the end; a closing handshake has 0.2. What hangs in it ends with the program."""

LOOK_SECONDS = 0.1
"""Python looks for signals before a wait, and a wait is interrupted by one. What comes between the two, or to another
thread, wakes nobody: it is seen when the wait is over, so no wait is longer."""

P = ParamSpec("P")
T = TypeVar("T")


class Living:
    """See above."""

    _tasks: TaskGroup
    _leaving: anyio.Event

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened: Future[None] = Future()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="scanstream.client", daemon=True)
        self._asked: set[Future[Any]] = set()
        """Calls under way."""
        self._defect: BaseException | None = None
        self._closed = False

    def open(self) -> None:
        """Start; what goes wrong there is raised here.

        :raises BlockedLoop: inside a running event loop
        """
        _outside_of_loops()
        try:
            with _interruptible():
                self._thread.start()
            _waited(self._opened)
        except KeyboardInterrupt:
            self.leave()
            raise

    def call(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What this comes to, there. Whatever interrupts the wait here (Ctrl-C) cancels it there.

        :raises Closed: if the client is closed, or is meanwhile
        :raises BlockedLoop: inside a running event loop
        """
        _outside_of_loops()
        if not self._opened.done():
            raise RuntimeError("Open the client first: `with Client(url) as client:`")
        if os.getpid() != self._process:
            raise RuntimeError("This client was opened in another process, before a fork: open one here")
        future: Future[T] = Future()
        self._asked.add(future)
        try:
            if self._closed:
                raise self._over()
            self._tell(self._begin, ask, future)
            return _waited(future)
        except CancelledError:
            raise self._over() from None
        finally:
            self._asked.discard(future)
            self._tell(future.cancel)

    def close(self) -> None:
        """End what goes on there; nothing is waited for longer than a moment. Who is interrupted has left, too."""
        if self._closed or not self._thread.is_alive():
            return
        try:
            self.leave()
            with _interruptible():
                self._thread.join(LEAVE_SECONDS)
        except KeyboardInterrupt:
            self.leave()
            raise

    def leave(self) -> None:
        """What goes on there is to end soon, or not to begin. Called as often as one likes, from wherever."""
        self._closed = True
        if self._loop is not None:
            self._tell(self._leaving.set)

    def _over(self) -> BaseException:
        return self._defect or Closed("This client is closed")

    def _tell(self, call: Callable[..., object], *arguments: object) -> None:
        """Have this called there, soon."""
        if self._loop is None:
            return
        with suppress(RuntimeError):  # the loop is closed: nothing goes on there
            self._loop.call_soon_threadsafe(call, *arguments)

    # There

    def _run(self) -> None:
        try:
            anyio.run(self._live)
        except BaseException as error:
            self._defect = error
            if not self._opened.done():
                self._opened.set_exception(error)
        self._closed = True
        for future in tuple(self._asked):  # they came too late for the loop
            future.cancel()

    async def _live(self) -> None:
        loop, self._leaving = asyncio.get_running_loop(), anyio.Event()
        loop.set_default_executor(_Lookups())
        self._loop = loop  # from now on it can be told to leave
        async with anyio.create_task_group() as self._tasks:
            async with self._client:
                self._opened.set_result(None)
                if not self._closed:
                    await self._leaving.wait()
            self._tasks.cancel_scope.cancel()

    def _begin(self, ask: Callable[[], Awaitable[T]], future: "Future[T]") -> None:
        self._tasks.start_soon(self._answer, ask, future)

    async def _answer(self, ask: Callable[[], Awaitable[T]], future: "Future[T]") -> None:
        """What this comes to, unless nobody waits for it any more."""
        with anyio.CancelScope() as scope:
            future.add_done_callback(lambda asked: scope.cancel() if asked.cancelled() else None)
            try:
                answer = await ask()
            except Exception as error:  # raised in `call`
                if not future.cancelled():
                    future.set_exception(error)
            else:
                if not future.cancelled():
                    future.set_result(answer)


class _Lookups(ThreadPoolExecutor):
    """Where the loop has names looked up, which may hang: in threads that end with the program.

    It would wait for those of the usual executor. There are no more than there are attempts to connect, and these have
    pauses between them.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """In a thread of its own."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # whoever asked is told
                future.set_exception(error)

        threading.Thread(target=run, name="scanstream.lookup", daemon=True).start()
        return future


def _waited(future: "Future[T]") -> T:
    """What it comes to, however long that takes; an interrupt is heeded soon.

    :raises CancelledError: if it is cancelled
    """
    while not future.done():
        with suppress(TimeoutError), _interruptible():
            future.exception(LOOK_SECONDS)
    return future.result()


@contextmanager
def _interruptible() -> Iterator[None]:
    """In here an interrupt is one, also where it comes while Python takes a lock: it would let go of what it has not.

    :raises KeyboardInterrupt: instead of the RuntimeError that comes of that, in a `threading.Condition`
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise


def _outside_of_loops() -> None:
    """Whether it is all right to block here.

    :raises BlockedLoop: if not
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise BlockedLoop(
        "Client blocks, and here an event loop runs that would stand still meanwhile (in a notebook, too). Use"
        " `async with AsyncClient(url) as client:` and `await client.discover(...)` instead"
    )
