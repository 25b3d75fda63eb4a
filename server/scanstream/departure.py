"""Hears that somebody else's process is told to end, early enough to end what would keep it from that.

A server waits for its connections before it ends the lifespan of its application, and an event stream would not end by
itself. So the signals are heard on their way to whoever handles them.
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
def hearing(tell: Callable[[], object]) -> Iterator[None]:
    """In here `tell` is called when a signal says that the process is to end; whoever handles that has it next.

    Signals that nobody handles are left alone, and so are all outside of the main thread, which Python demands.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: handler for number in SIGNALS if _taken(handler := signal.getsignal(number))}
    ours = {number: partial(_pass_on, tell, handler) for number, handler in before.items()}
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


def _pass_on(tell: Callable[[], object], handler: Any, number: int, frame: FrameType | None) -> None:
    try:
        tell()
    finally:
        handler(number, frame)
