"""One run against one server: what its checks have in common."""

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Any, NamedTuple

from scanstream.conformance.asking import Server
from scanstream.conformance.copy import Copy
from scanstream.conformance.patience import Patience
from scanstream.conformance.promise import Broken, NotTried, equal
from scanstream.conformance.record import Record, record
from scanstream.conformance.scans import Scans, same_found


class Options(NamedTuple):
    """How a run is to be made."""

    urls: Sequence[str]
    token: str | None = None
    seed: int = 0
    only: Sequence[str] = ()
    requests: Mapping[str, dict[str, Any]] = MappingProxyType({})
    seconds: float = 60.0
    """For each check."""
    slow: bool = True
    """Whether checks are made that wait for time to pass."""
    other_token: str | None = None
    """Of another principal, where there is one."""
    stall: float = 60.0
    """Seconds after which the server cuts a reader off that takes nothing, as it was told."""
    restart: str = ""
    """A command that restarts the server in an orderly way …"""
    crash: str = ""
    """… and one that kills it and starts it anew."""


class Run:
    """What checks are given."""

    def __init__(self, server: Server, stranger: Server, other: Server | None, options: Options) -> None:
        """`stranger`: the same server, asked without a credential; `other`: with another principal's."""
        self.server = server
        self.stranger = stranger
        self.other = other
        self.options = options
        self.trace = server.trace
        self.random = Random(options.seed)  # noqa: S311  # repeatable on purpose
        self.patience = Patience(options.seconds)
        by_chance = Random()  # noqa: S311  # no two runs ask for the same
        self.scans = Scans(server, options.requests, by_chance, self.patience)
        self._records: dict[str, Record | str] = {}

    async def recorded(self, kind: str = "long") -> Record:
        """A scan of this kind, followed over all transports: made once.

        :raises NotTried: if that has failed before
        """
        known = self._records.get(kind)
        if known is None:
            self._records[kind] = "the scan that it looks at could not be followed; see what is broken"
            try:
                known = self._records[kind] = await record(self.server, self.scans, kind)
            except (NotTried, BaseExceptionGroup) as error:
                if isinstance(reason := first(error), NotTried):
                    self._records[kind] = str(reason)
                raise
        if isinstance(known, str):
            raise NotTried(known)
        return known

    async def matches(self, copy: Copy) -> None:
        """What a reader holds at the end is what the server answers: nothing is lost, and nothing came twice.

        :raises Broken: if not
        """
        final = await self.scans.status(copy.scan_id)
        told = {name: value for name, value in final.items() if name in copy.state}
        equal(copy.state, told, "the state at the end: what the status says")
        results = await self.scans.results(copy.scan_id)
        same_found(results["opportunities"], copy.opportunities)


def first(error: BaseException) -> BaseException:
    """Of a group the one that says most."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    inner = [first(one) for one in error.exceptions]
    return next((one for one in inner if isinstance(one, Broken)), inner[0])
