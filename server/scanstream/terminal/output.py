"""Standard output as people read it: nothing in it is obeyed by a terminal, and a terminal is left as it was found."""

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.segment import Segment

WIDE = 10_000
"""Columns of what is written to a pipe: nothing in it is cut off."""
FRAMES = 12
"""A second."""
SHOW_CURSOR = b"\x1b[?25h\n"
"""DECTCEM (ECMA-48's private modes, as every terminal has them)."""

_KEPT = "\n\t"
_OBEYED = [*range(0x20), 0x7F, *range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
"""Control characters (C0 and C1), and those that turn around what stands behind them (Unicode, UAX 9)."""
_LEGIBLE: dict[int, str | None] = {code: "\ufffd" for code in _OBEYED if chr(code) not in _KEPT} | {ord("\r"): None}


class ReaderLeft(BrokenPipeError):
    """Nobody reads standard output any more, as after `| head`."""


def legible(words: str) -> str:
    """Words of others, such as a note or a symbol, without what a terminal would obey."""
    return words.translate(_LEGIBLE)


class Output(Console):
    """Standard output; where it is no terminal, wide enough for everything. Brackets and colons are what they are."""

    def __init__(self) -> None:
        super().__init__(markup=False, emoji=False)
        if not self.is_terminal:
            self.width = WIDE

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See `Console.render`, through which all goes that is written."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(legible(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """An ordinary error, unlike rich's exit: what is under way can end as it should.

        :raises ReaderLeft: always
        """
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise ReaderLeft(errno.EPIPE, "The reader of standard output has left") from None


def draws(console: Console) -> bool:
    """Whether what stands there can be written over. Else there is a line for each change, as in a pipe."""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def drawing(console: Console, view: RenderableType) -> Iterator[None]:
    """The view in its place, drawn anew again and again. A signal that ends the program leaves no hidden cursor."""

    def end(number: int, _frame: FrameType | None) -> None:
        os.write(console.file.fileno(), SHOW_CURSOR)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    with _heard(end), Live(view, console=console, refresh_per_second=FRAMES):
        yield


@contextmanager
def _heard(end: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Signals that would end the program at once are heard first; what somebody hears or ignores stays as it is."""
    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    ours = [number for name in names if (number := getattr(signal, name, None)) is not None]
    ours = [number for number in ours if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def print_line(words: str, console: Console) -> None:
    """Whatever it says, as it stands, and never cut."""
    console.print(words, highlight=False, markup=False, soft_wrap=True)
