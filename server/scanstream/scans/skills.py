"""Which strategies can be run: nodes that share an engine may have others installed than we have.

A strategy that this node lacks is no failure where another has it: what needs it is handed back (returns.py), and what
nobody has waits, as long as its scan may run.
"""

import logging
from collections.abc import Callable

from scanstream.jobs import Releases, covers
from scanstream.log.fold import Folded

logger = logging.getLogger("scanstream")


class Skills:
    """What this node can run, and whether any node can."""

    def __init__(self, own: dict[str, str], anybody: Callable[[Releases], bool], *, shared: bool) -> None:
        """`own`: the strategies of this node by id, and their releases; what it turns out to lack is taken out.

        :param anybody: whether one of the nodes that run shards has all of these
        :param shared: whether there are other nodes; if not, what is lacking here is lacking
        """
        self._own = own
        self._anybody = anybody
        self.shared = shared

    def here(self, wants: Releases) -> bool:
        """Whether this node can run all of these."""
        return not self.shared or covers(self._own, wants)

    def anywhere(self, wants: Releases) -> bool:
        """Whether one node can."""
        return self._anybody(wants)

    def lacking(self, wants: Releases) -> list[str]:
        """Those that no node has."""
        return [name for name, release in wants.items() if not self._anybody({name: release})]

    def lose(self, strategy_id: str) -> None:
        """A worker process does not find it, or finds another release: its package was changed as this node ran."""
        if self._own.pop(strategy_id, None) is not None:
            words = "the strategy %s is not installed here any more as it was at the start: other nodes run it; restart"
            logger.error(words + " this node to have it again", strategy_id)


def cut_with(folded: Folded) -> dict[str, str]:
    """The strategies of a scan that are not done, by id, and the release that has cut each."""
    cuts, tallies = folded.cuts, folded.tallies or {}
    return {name: cuts[name].release for name, tally in tallies.items() if tally.completed < tally.total}


def named(wants: Releases) -> str:
    """Strategies as the log and a scan tell them."""
    return ", ".join(f"{name} ({release})" if release else name for name, release in wants.items())
