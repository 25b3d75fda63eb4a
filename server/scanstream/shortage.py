"""Out of descriptors, memory, processes or room: states of a machine that pass.

What fails for such a reason is not wrong: it is tried again, or refused for the moment. It is nobody's outcome as long
as waiting may still mend it.
"""

import errno
import sqlite3

from scanstream.causes import causes

LACKING = {
    errno.EMFILE: "file descriptors",
    errno.ENFILE: "file descriptors",
    errno.ENOMEM: "memory",
    errno.ENOBUFS: "memory",
    errno.ENOSPC: "room on the disk",
    errno.EDQUOT: "room on the disk",
}
"""errno → what the machine has no more of. EAGAIN is not here: only where a process is made it means that."""

UNREACHABLE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EBUSY,
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
}
"""errno → a directory of ours is there, and not for us just now: somebody mends rights, or a mount."""

_NOT_OURS = {errno.EACCES, errno.EPERM, errno.EROFS}

_REMEDIES = {
    "make room on its disk": {errno.ENOSPC, errno.EDQUOT},
    "let the user that the server runs as write there": _NOT_OURS,
    "end the other program that has it open": {errno.EBUSY},
    "its disk cannot be read or written just now, so look at that first (dmesg)": {
        errno.EIO,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
    },
    "give the server more memory": {errno.ENOMEM, errno.ENOBUFS},
    "raise the limit of open files (ulimit -n)": {errno.EMFILE, errno.ENFILE},
}
"""What an operator is to do about a file of ours, or its directory, that a start cannot use."""


def remedy(number: int | None) -> str:
    """What to do about this errno; empty where it is the file itself that is not as it must be."""
    return next((told for told, numbers in _REMEDIES.items() if number in numbers), "")


def where_else(error: OSError) -> str:
    """What to do about a data directory that a start cannot write to.

    Who takes another one begins without scans: that is told only where this may be the wrong one.
    """
    found = remedy(error.errno)
    if found and error.errno not in _NOT_OURS:
        return found
    return f"{found}, or name another with --data" if found else "name another with --data"


def shortage(error: BaseException | None) -> str:
    """What the machine lacks, where that is why this error (or one behind it) came; empty where it is not."""
    try:
        return _lacking(error)
    except BaseException:  # a plug-in's exception may raise, whatever it likes, when it is looked at
        return ""


def _lacking(error: BaseException | None) -> str:
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.errno in LACKING:
            return LACKING[cause.errno]
        if isinstance(cause, MemoryError):
            return "memory"
        if isinstance(cause, RuntimeError) and str(cause) == "can't start new thread":
            return "threads"
        if isinstance(cause, sqlite3.OperationalError) and "unable to open database file" in str(cause):
            return "file descriptors"
    return ""


def of_ours(error: BaseException | None) -> str:
    """As `shortage`, for files that are the server's own: those that cannot be reached count, too."""
    lacking = shortage(error)
    for cause in causes(error):
        if not lacking and isinstance(cause, OSError) and cause.errno in UNREACHABLE:
            lacking = "access to the data directory"
    return lacking
