"""The inside of a worker process: takes one call after the other from its standard input, and answers on its output.

Each answer is a length and so many bytes. Of a call there are two: an empty one when it is taken up, and how it came
out, pickled. What a call gives as a list of bytes follows piece by piece, each an answer of its own: who takes them
never has to look at all of it at once. What the calls print goes nowhere, so that it does not get between; nor do
processes that they fork: the pipes are this one's alone.
"""

import os
import pickle
import sys
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO

LENGTH_BYTES = 8
TAKEN = b""
"""The answer that says: I am at it (the first one of all: I am there)."""

BOOT = (
    "import pickle, sys\nsys.path[:] = pickle.load(sys.stdin.buffer)\n"
    "from scanstream.scans.work.errands import run\nrun()\n"
)
"""What a worker's interpreter is started with: it looks for modules where its server does."""


def framed(payload: bytes) -> bytes:
    """An answer as it goes through the pipe."""
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def run() -> None:
    """Take calls until the server is gone."""
    me = os.getpid()
    calls, answers = _pipes()
    _answer(answers, TAKEN)
    while True:
        try:
            call = pickle.load(calls)  # noqa: S301  # from the server that started this process
        except EOFError:
            return
        except Exception as error:  # a function that cannot be found here
            call = (_fail, (error,))
        _answer(answers, TAKEN)
        outcome, *pieces = _outcome(*call)
        if os.getpid() != me:  # a call has forked, and this is the child that came back from it, too
            os._exit(0)
        for answer in (outcome, *pieces):
            _answer(answers, answer)


def _fail(error: Exception) -> None:
    raise error


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """The two pipes to the server; the standard streams lead nowhere from here on."""
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)  # until here it was the server's, so that its log says why a worker does not come up
    sys.stdin = os.fdopen(nowhere)
    os.register_at_fork(after_in_child=partial(_let_go, calls.fileno(), answers.fileno()))
    return calls, answers


def _let_go(*pipes: int) -> None:
    """In a child of this process: it would take calls that are not for it, and keep the pipes open for ever."""
    for pipe in pipes:
        with suppress(OSError):  # closed already
            os.close(pipe)


def _outcome(function: Any, arguments: tuple[Any, ...]) -> list[bytes]:
    """(whether it returned, what it returned or raised, how many pieces follow), pickled; and the pieces."""
    try:
        value = function(*arguments)
        pieces = value if isinstance(value, list) and all(type(piece) is bytes for piece in value) else []
        return [pickle.dumps((True, [] if pieces else value, len(pieces)), pickle.HIGHEST_PROTOCOL), *pieces]
    except BaseException as error:
        words = f"{type(error).__name__} in a worker process"
        try:  # what is no Exception would end the server, which raises it again
            raised = error if isinstance(error, Exception) else RuntimeError(words)
            return [pickle.dumps((False, raised, 0), pickle.HIGHEST_PROTOCOL)]
        except BaseException:  # what it raised cannot be sent
            return [pickle.dumps((False, RuntimeError(words), 0))]


def _answer(answers: BinaryIO, payload: bytes) -> None:
    answers.write(framed(payload))
    answers.flush()
