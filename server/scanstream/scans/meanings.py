"""What requests mean here, found out once: most callers ask what somebody has asked before.

Scans of the same request share its canonical form, so one more that waits costs little.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from scanstream.log.entry import lean_filters
from scanstream.log.refold import OneOfEach, sliced
from scanstream.model import DiscoverRequest, Principal
from scanstream.panel import Panel
from scanstream.scans import selection
from scanstream.strategies.installed import Installed

MOST_KNOWN = 512
LONGEST_KNOWN_BYTES = 2048
"""Of a request as it is kept here; a longer one is looked at each time, and of one principal's one after the other."""


class Meaning(NamedTuple):
    """A request on today's market; whoever has it changes nothing of it."""

    request: DiscoverRequest
    """Canonical."""
    slot: str
    """Its cache_key."""
    filters: dict[str, Any]
    budgets: dict[str, float]
    """Strategy id → seconds it may take."""


class Meanings:
    """Those of the last requests."""

    def __init__(self, strategies: Mapping[str, Installed]) -> None:
        self._strategies = strategies
        self._panel: Panel | None = None
        self._known: OrderedDict[tuple[Principal, bytes], Meaning] = OrderedDict()
        self._budgets: dict[tuple[str, ...], dict[str, float]] = {}
        self._long = OneOfEach[Principal]()

    async def of(
        self, principal: Principal, request: DiscoverRequest, panel: Panel, judged: Mapping[str, Installed]
    ) -> Meaning:
        """What the request means on this panel.

        :param judged: the strategies, of which some have looked at the request's own parameters
        :raises InvalidRequest: naming the fields
        """
        if panel is not self._panel:
            self._panel = panel
            self._known.clear()
        key = principal, msgspec.msgpack.encode(request)
        if len(key[1]) > LONGEST_KNOWN_BYTES:
            async with self._long.turn(principal):
                return await self._found_out(principal, request, panel, judged)
        if judged is not self._strategies:
            return await self._found_out(principal, request, panel, judged)
        meaning = self._known.get(key)
        if meaning is None:
            meaning = await self._found_out(principal, request, panel, judged)
            if panel is self._panel:
                self._known[key] = meaning
                if len(self._known) > MOST_KNOWN:
                    self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return meaning

    async def _found_out(
        self, principal: Principal, request: DiscoverRequest, panel: Panel, judged: Mapping[str, Installed]
    ) -> Meaning:
        request = await sliced(selection.canonical(request, panel, judged))
        selected = selection.strategies_of(request, self._strategies)
        budgets = {strategy.id: strategy.budget_seconds for strategy in selected}
        return Meaning(
            request,
            selection.slot_of(principal, panel, request),
            lean_filters(request, selection.given(request)),
            self._budgets.setdefault(tuple(budgets), budgets) if len(self._budgets) < MOST_KNOWN else budgets,
        )
