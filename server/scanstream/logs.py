"""What a server says beside its answers, on standard error: lines for people on a terminal, JSON for programs.

A record is one line, whatever is in it: callers, plug-ins and files may bring newlines, control characters and what
terminals obey. In JSON all that is no plain ASCII is escaped; for people what cannot be printed is, and each further
line (of a traceback) is moved in. Who asks is never said, neither a principal nor an address.
"""

import json
import logging
import sys
import threading
from typing import Any

from scanstream.about import SCAN_ID, at_stake, node_name
from scanstream.model import timestamp

FORMATS = ("auto", "text", "json")
FIELDS = ("scan_id", "strategy", "shard")
"""What a record may be about."""
MOVED_IN = "    "


def install(form: str = "text") -> bool:
    """Have all that is logged in this process written so, uvicorn's lines and Python's warnings, too.

    Where somebody else has seen to that, it stays as it is. Whether it is for programs.

    :param form: `auto`: JSON unless standard error is a terminal
    """
    root = logging.getLogger()
    if root.handlers:
        return False
    people = form == "text" or (form != "json" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(Lines() if people else JsonLines(node_name()))
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("scanstream.market").setLevel(logging.INFO)  # how far reading is
    logging.getLogger("scanstream.security").setLevel(logging.INFO)  # what changes about who may come in
    logging.captureWarnings(True)
    sys.unraisablehook = _unraisable
    threading.excepthook = _of_thread
    return not people


class Lines(logging.Formatter):
    """For people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        first = f"{self.formatTime(record)} {record.levelname} {record.name}: {_message(record)}"
        lines = [first, *(MOVED_IN + line for line in _trace(record, self).splitlines())]
        return "\n".join(map(_printable, lines))


class JsonLines(logging.Formatter):
    """For programs."""

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        message, trace = _message(record), _trace(record, self)
        told: dict[str, Any] = {
            "time": timestamp(int(1000 * record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
            **_about(record, message, trace),
            "node": self._node,
        }
        if trace:
            told["exception"] = trace
        return json.dumps(told).replace("\x7f", "\\u007f")  # the one control character that it leaves


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage().rstrip()
    except Exception:  # somebody's words do not fit their arguments: nothing is lost for that
        return f"{record.msg} {record.args}"


def _trace(record: logging.LogRecord, formatter: logging.Formatter) -> str:
    parts = [formatter.formatException(record.exc_info)] if record.exc_info and record.exc_info[0] else []
    return "\n".join([*parts, *([record.stack_info] if record.stack_info else [])])


def _about(record: logging.LogRecord, message: str, trace: str) -> dict[str, Any]:
    """What it is about, as far as that is known: from the call, from where it was made, from the words."""
    stake = at_stake()
    found = {name: getattr(record, name, stake.get(name)) for name in FIELDS}
    if not found["scan_id"] and (named := SCAN_ID.search(message) or SCAN_ID.search(trace)):
        found["scan_id"] = named[0]
    return {name: value for name, value in found.items() if value is not None}


def _printable(line: str) -> str:
    """The line without what a terminal would obey, or take for the end of it."""
    if line.isprintable():
        return line
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in line)


_logger = logging.getLogger("scanstream")


def _unraisable(told: Any) -> None:
    """What nobody could catch, as it came up while something was let go."""
    _logger.error("%s: %r", told.err_msg or "Exception ignored", told.object, exc_info=_info(told))


def _of_thread(told: Any) -> None:
    """What has ended a thread."""
    if told.exc_type is not SystemExit:
        _logger.error("a thread has failed: %s", getattr(told.thread, "name", "?"), exc_info=_info(told))


def _info(told: Any) -> Any:
    return told.exc_type, told.exc_value or told.exc_type(), told.exc_traceback
