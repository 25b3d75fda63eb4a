"""How scans are shown in notebooks: by whoever is installed for that. The client itself brings nothing of it."""

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeAlias

ENTRY_POINTS = "scanstream.displays"
"""The group; the one that is called `scan` is taken."""

Show: TypeAlias = Callable[[Any], None]


@cache
def installed() -> Show | None:
    """What shows a scan; none where none is installed.

    :raises ImportError, AttributeError: if what is installed is broken
    """
    for found in entry_points(group=ENTRY_POINTS, name="scan"):
        show: Show = found.load()
        return show
    return None
