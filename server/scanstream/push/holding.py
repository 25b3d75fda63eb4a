"""Requests that went through the chain and wait now: without a task, where the transport has it so.

One is asked again when there is something to say: it goes through the chain once more, whose rules know what to add to
its answer, and its door finds in the scope that it has waited. A stream says its head through the chain, and is written
to at its line from then on.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol, TypeAlias

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from scanstream.push.callers import caller_of
from scanstream.push.credentials import unauthorized
from scanstream.push.line import HOLD, WAITED, Hold, Line, Waiting, WayBack
from scanstream.push.presence import while_there
from scanstream.push.sse import EventStream
from scanstream.security.caller import Caller
from scanstream.security.seats import Seat

Door: TypeAlias = Callable[[Request], Awaitable[Response]]


class Returning(Waiting, Protocol):
    """Who waits for a request that comes to its door again."""

    @property
    def caller(self) -> Caller:
        """Who asked, when it came first."""
        ...


def waited(request: Request) -> Returning | None:
    """What waited for this request; None where it comes for the first time.

    :raises Unauthorized: if what it has shown is somebody else's by now, or gives other rights: what was found for it
        is not theirs
    """
    waiting: Returning | None = request.scope.get("extensions", {}).get(WAITED)
    if waiting is not None and waiting.caller != caller_of(request):
        raise unauthorized()
    return waiting


class Held(Response):
    """No answer yet: the request waits, and then its door is asked again."""

    def __init__(self, door: Door, wait: Callable[[WayBack], Returning]) -> None:
        super().__init__()
        self._door = door
        self._wait = wait

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have it wait; in this task, on a server that knows no other way."""
        hold = _hold(scope)
        if hold is not None and hold(self._wait):
            return
        way = _Task()
        waiting = self._wait(way)
        try:
            async with while_there(receive):
                await way.called.wait()
        finally:
            waiting.leave()
        scope.setdefault("extensions", {})[WAITED] = waiting
        answer = await self._door(Request(scope, receive))
        await answer(scope, receive, send)


class HeldStream(EventStream):
    """A stream whose events are written at its line, after the head; in its task, on a server that knows no lines."""

    def __init__(
        self, events: AsyncGenerator[bytes, None], wait: Callable[[Line], Waiting], seat: Seat | None = None
    ) -> None:
        """:param events: the same events, for where they need a task
        :param seat: what it has taken for itself; who waits at a line leaves it when it ends
        """
        super().__init__(events)
        self._wait = wait
        self._seat = seat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin, and let the rest be written by whoever tells of it."""
        try:
            await self._begin(send)
            hold = _hold(scope) if scope["http_version"] != "1.0" else None  # which ends a stream in another way
            if hold is not None and hold(self._wait):
                self._seat = None
            else:
                await self._go_on(receive, send)
        finally:
            if self._seat is not None:
                self._seat.leave()


def _hold(scope: Scope) -> Hold | None:
    hold: Hold | None = scope.get("extensions", {}).get(HOLD)
    return hold


class _Task:
    """The way back of a request that waits in its task."""

    def __init__(self) -> None:
        self.called = anyio.Event()

    def again(self, _: Waiting) -> None:
        """See `WayBack`."""
        self.called.set()

    def break_off(self) -> None:
        """See `WayBack`; the door meets what is wrong, too, and knows what to say of it."""
        self.called.set()
