"""Hears that somebody else's process is told to end, early enough to end what would keep it from that.

A server waits for its connections before it ends the lifespan of its application, and an event stream would not end by
itself; WebSockets it may close in the same turn of the loop. So the signals are heard on their way to whoever handles
them, and handed on once everybody was told.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def hearing(tell: Callable[[Callable[[], object]], object]) -> Iterator[None]:
    """In here `tell` is called with the first signal that says that the process is to end.

    It is given what hands the signal on to whoever handles it, and calls that in time; later signals go there at once.
    Signals that nobody handles are left alone, and so are all outside of the main thread, which Python demands.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: handler for number in SIGNALS if _taken(handler := signal.getsignal(number))}
    told: set[int] = set()
    ours = {number: partial(_pass_on, tell, handler, told) for number, handler in before.items()}
    for number, heard in ours.items():
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number, heard in ours.items():
            if signal.getsignal(number) is heard:
                signal.signal(number, before[number])


def _taken(handler: Any) -> bool:
    return callable(handler) and handler is not signal.default_int_handler


def _pass_on(
    tell: Callable[[Callable[[], object]], object], handler: Any, told: set[int], number: int, frame: FrameType | None
) -> None:
    if told:
        handler(number, frame)
        return
    told.add(number)
    try:
        tell(partial(handler, number, None))
    except BaseException:  # the loop has ended, for one: nobody is there to be told
        handler(number, frame)
        raise
