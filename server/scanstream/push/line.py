"""The port below the doors: a caller whose request was read, as the transport has it, without a task of its own."""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeAlias

from scanstream.push.question import Fields, Order, Question

Client = Any
"""A caller's address as in an ASGI scope."""


class Waiting(Protocol):
    """What a door keeps of a caller who waits."""

    patient: ClassVar[bool]
    """Whether it waits for news only, and nothing was said yet: who is sent away may ask again as well."""

    def leave(self) -> None:
        """The caller has gone: let go of everything, and say nothing more."""
        ...

    def resume(self) -> None:
        """The caller takes bytes again."""
        ...


class WayBack(Protocol):
    """The way of somebody who waits, back to the door."""

    def again(self, waited: Waiting) -> None:
        """Ask for an answer once more, in a task as at first; the scope's `extensions` say who has waited."""
        ...

    def break_off(self) -> None:
        """The answer cannot be completed: hang up, so that the caller does not take what came for the whole."""
        ...


class Line(WayBack, Protocol):
    """The way to the caller. push/transport/exchange.py fits it."""

    def start(self, status: int) -> bytes:
        """What every answer with this status begins with: its first line, and the headers that all have."""
        ...

    def say(self, data: bytes) -> None:
        """Bytes as they go over the wire."""
        ...

    def end(self) -> None:
        """The answer is complete."""
        ...

    @property
    def paused(self) -> bool:
        """Whether the caller has much to take first; `Waiting.resume` tells when that is over."""
        ...

    @property
    def untaken(self) -> int:
        """Bytes that the system has not taken yet."""
        ...


Hold: TypeAlias = Callable[[Callable[[Line], Waiting]], bool]
"""Have the request that is being answered wait at its line, and let its task end; False where that cannot be."""
HOLD = "scanstream.hold"
"""In the scope's `extensions`: a `Hold`."""
WAITED = "scanstream.waited"
"""There, too, of a request that has waited: what waited for it, and it is to be answered now."""


class Taker(Protocol):
    """What a transport asks before it makes a task for a request. push/glance.py fits it."""

    def question(self, target: bytes, fields: Fields, client: Client) -> Question | None:
        """What is asked, if it is plain and may be: of the head alone, so that equal heads are equal questions.

        :param target: of a GET of HTTP/1.1 that keeps its connection
        """
        ...

    def take(self, asked: Question, line: Line) -> bytes | Waiting | None:
        """The answer, or who waits at the line for it; None where the application is to answer."""
        ...

    def order(self, target: bytes, fields: Fields, client: Client) -> Order | None:
        """What is to be registered, if it is a discover, is plain and may be.

        :param target: of a POST of HTTP/1.1 that keeps its connection
        """
        ...

    def place(self, asked: Order, body: bytes, line: Line) -> Waiting:
        """Who waits at the line until that is done."""
        ...
