"""What passes is told from what is wrong."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from scanstream import panel
from scanstream.errors import Shortage
from scanstream.panel import Panel
from scanstream.shortage import shortage


def _behind(cause: BaseException) -> BaseException:
    try:
        try:
            raise cause
        except BaseException as inner:
            raise ValueError("cannot be read") from inner
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    ("error", "lacking"),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "file descriptors"),
        (OSError(errno.ENFILE, ""), "file descriptors"),
        (OSError(errno.ENOMEM, ""), "memory"),
        (OSError(errno.ENOSPC, ""), "room on the disk"),
        (MemoryError(), "memory"),
        (RuntimeError("can't start new thread"), "threads"),
        (sqlite3.OperationalError("unable to open database file"), "file descriptors"),
        (ConnectionRefusedError(errno.ECONNREFUSED, ""), ""),
        (FileNotFoundError(errno.ENOENT, ""), ""),
        (BlockingIOError(errno.EAGAIN, ""), ""),
        (RuntimeError("something else"), ""),
    ],
)
def test_a_state_of_the_machine_is_known_in_whatever_it_comes(error: BaseException, lacking: str) -> None:
    assert shortage(error) == lacking
    assert shortage(_behind(error)) == lacking
    assert shortage(BaseExceptionGroup("several", [ValueError("else"), error])) == lacking


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ESTALE, errno.ENOTCONN, errno.EMFILE])
def test_files_of_ours_that_cannot_be_reached_are_a_lack_and_not_damage(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Path) -> Panel:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(panel, "_load", refused)
    with pytest.raises(Shortage) as raised:
        panel.load(tmp_path)
    assert raised.value.lacking == (shortage(OSError(number, "")) or "access to the data directory")
    if number != errno.EMFILE:
        assert shortage(OSError(number, "")) == ""  # of a strategy's own files that is its own affair


def test_no_error_is_no_shortage_and_a_circle_of_causes_ends() -> None:
    assert shortage(None) == ""
    first, second = ValueError("one"), ValueError("two")
    first.__cause__, second.__cause__ = second, first
    assert shortage(first) == ""
