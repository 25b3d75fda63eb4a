"""The parts of saved panels that requests select: each made once in a process, for all shards that look at it.

A field is cut when a strategy first looks at it, as most look at one of five. A cut lasts as long as anybody looks at
it; a worker, which takes one shard after the other, keeps those that it used last.
"""

from collections import OrderedDict
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import msgspec
import numpy as np

from scanstream.model import DiscoverRequest
from scanstream.panel import FIELDS, Array, Panel, mapped
from scanstream.scans.selection import symbols_of

MOST_KEPT = 8
"""Cuts that a worker keeps: scans take turns at the workers, and each may have another …"""
MOST_KEPT_BYTES = 256 * 1024 * 1024
"""… with so many bytes of fields in all, the newest one aside."""

Key: TypeAlias = tuple[Path, bytes]
"""The saved panel, and what of the request selects."""


class Cut(Panel):
    """Some symbols of a panel. Nobody may write to its fields, as they are shared."""

    _panel: Panel
    _columns: list[int]

    @classmethod
    def of(cls, panel: Panel, symbols: list[str]) -> Panel:
        """These symbols; the panel itself where they are all that it has."""
        columns, words = panel.part(symbols)
        if len(columns) == len(panel.symbols):
            return panel
        cut = object.__new__(cls)
        shared = {field.name: getattr(panel, field.name) for field in fields(panel) if field.name not in FIELDS}
        cut.__dict__.update({**shared, **words, "path": None, "_panel": panel, "_columns": columns})
        return cut

    def __getattr__(self, name: str) -> Any:
        """Whatever is not there (yet)."""
        if name not in FIELDS or "_panel" not in self.__dict__:
            raise AttributeError(f"a panel has no {name!r}", name=name, obj=self)
        field: Array = np.take(getattr(self._panel, name), self._columns, axis=1)
        field.setflags(write=False)
        return self.__dict__.setdefault(name, field)

    @property
    def weight(self) -> int:
        """Bytes of the fields that were cut."""
        return sum(self.__dict__[name].nbytes for name in FIELDS if name in self.__dict__)


_shared: WeakValueDictionary[Key, Panel] = WeakValueDictionary()
"""Those that shards of this process look at just now."""
_kept: OrderedDict[Key, Panel] = OrderedDict()
"""Those that this process, a worker, has used last; the last one last."""


def selected(path: Path, request: DiscoverRequest, *, keep: bool = False) -> Panel:
    """The part of a saved panel that a canonical request selects.

    :param keep: whether the next one who asks will be there when this one has gone: of a worker the next shard
    :raises MarketError: if the panel is not there, or not whole
    """
    panel = mapped(path)
    if request.symbols is None and request.asset_tiers is None:
        return panel
    key = (path, msgspec.msgpack.encode([request.symbols, request.asset_tiers]))
    cut = _shared.get(key)
    if cut is None:
        cut = _shared.setdefault(key, Cut.of(panel, symbols_of(request, panel)))
    if keep:
        _keep(key, cut)
    return cut


def _keep(key: Key, cut: Panel) -> None:
    """Keep it, and let go of the oldest ones and of those whose market data is gone."""
    if key not in _kept:
        for gone in [other for other in _kept if not other[0].is_dir()]:
            del _kept[gone]
    _kept[key] = cut
    _kept.move_to_end(key)
    while len(_kept) > 1 and (len(_kept) > MOST_KEPT or _weight() > MOST_KEPT_BYTES):
        _kept.popitem(last=False)


def _weight() -> int:
    return sum(cut.weight for cut in _kept.values() if isinstance(cut, Cut))


def complete(panel: Panel) -> Panel:
    """The same, with all fields cut: for who has no time to do it later."""
    for name in FIELDS:
        getattr(panel, name)
    return panel
