"""How long a strategy's shards take here, and how many there are: measured, never guessed, and kept through restarts.

Of each strategy the same is measured twice: over all scans, and over those with the same parameters and as many
symbols. The second is nearer to the truth, the first is there for a request that is the first of its kind.
"""

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, NamedTuple

import anyio
import msgspec
from msgspec import Meta, Struct

from scanstream.errors import StoreUnavailable
from scanstream.log.store import Store
from scanstream.model import TIERS, DiscoverRequest, Milliseconds
from scanstream.undecodable import UNDECODABLE

NAME = "pace"
"""Under which the store remembers it."""
SAVE_SECONDS = 2.0
"""No oftener than this it is written: what a crash may lose."""
CLOSE_SECONDS = 2.0
"""How long the last writing may take."""
MEMORY = 50
"""A mean forgets what is older than so many measurements: a machine gets busier, a market longer."""
MOST_KINDS = 512
"""Kinds of requests told apart; the one that was measured the longest ago goes first."""
LONGEST_WANTED_BYTES = 2048
"""Of a request as it is remembered; a longer one is looked at each time."""
ROUNDING = 1e-6
"""What a number of shards, divided by symbols and multiplied again, may be off."""

logger = logging.getLogger("scanstream")


class Mean(Struct):
    """A moving mean."""

    value: Annotated[float, Meta(ge=0, le=1e15)] = 0.0
    count: Annotated[int, Meta(ge=0, le=MEMORY)] = 0

    def take(self, value: float, times: int = 1) -> None:
        """What was measured so many times."""
        self.count = min(self.count + times, MEMORY)
        self.value += (value - self.value) * min(1.0, times / self.count)


class Measured(Struct):
    """What is known of one strategy, or of one kind of request for it."""

    milliseconds: Mean = msgspec.field(default_factory=Mean)
    """Of a shard."""
    shards: Mean = msgspec.field(default_factory=Mean)
    """For each symbol that is selected."""


class Kept(Struct):
    """What the store remembers."""

    market: str
    """Another market is another amount of data: what was measured there says nothing here."""
    strategies: dict[str, Measured]
    kinds: dict[str, Measured]


class Kind(NamedTuple):
    """What a request wants of one strategy, as far as that decides how long it takes."""

    strategy_id: str
    key: str
    """The same for the same parameters and as many symbols."""
    symbols: float


class Work(NamedTuple):
    """What is to be done of one strategy."""

    shards: int
    seconds_each: float

    @property
    def seconds(self) -> float:
        """One shard after the other."""
        return self.shards * self.seconds_each


class Pace:
    """What was measured of each strategy."""

    def __init__(self, market: str, symbols: Callable[[], int]) -> None:
        """:param symbols: how many symbols the market has now"""
        self._market = market
        self._symbols = symbols
        self._strategies: dict[str, Measured] = {}
        self._kinds: dict[str, Measured] = {}
        self._wanted: dict[bytes, dict[str, Kind]] = {}
        """What the last requests want, by all that this depends on: scans of equal ones share it …"""
        self._met: dict[Kind, Kind] = {}
        """… and others what is the same of it."""
        self._changed = anyio.Event()
        self._times = 0
        """How often anything was measured."""

    def as_of(self) -> tuple[int, int]:
        """What all that is expected here depends on, beside what is asked: as long as it is the same, that is, too."""
        return self._times, self._symbols()

    def kinds(self, strategy_ids: Iterable[str], request: DiscoverRequest) -> Mapping[str, Kind]:
        """What a canonical request wants of each of these strategies."""
        key = msgspec.msgpack.encode((list(strategy_ids), request, self._symbols()))
        kinds = self._wanted.get(key)
        if kinds is None:
            if len(self._met) >= MOST_KINDS:
                self._met.clear()
            found = [self.kind(strategy_id, request) for strategy_id in strategy_ids]
            kinds = {kind.strategy_id: self._met.setdefault(kind, kind) for kind in found}
            if len(key) <= LONGEST_WANTED_BYTES:
                if len(self._wanted) >= MOST_KINDS:
                    self._wanted.pop(next(iter(self._wanted)))
                self._wanted[key] = kinds
        return kinds

    def kind(self, strategy_id: str, request: DiscoverRequest) -> Kind:
        """What a canonical request wants of a strategy. Its tiers are thirds of the symbols, about."""
        every = self._symbols() if request.symbols is None else len(request.symbols)
        symbols = max(1.0, every * len(request.asset_tiers or TIERS) / len(TIERS))
        parameters = (request.parameters or {}).get(strategy_id) or {}
        wanted = msgspec.json.encode([strategy_id, parameters, symbols], order="sorted")
        return Kind(strategy_id, hashlib.blake2s(wanted, digest_size=8).hexdigest(), symbols)

    def planned(self, kind: Kind, shards: int) -> None:
        """A scan was cut into so many shards of this strategy."""
        self._times += 1
        for measured in self._of(kind):
            measured.shards.take(shards / kind.symbols)
        if not shards:  # else it is worth a word once they have run
            self._changed.set()

    def ran(self, kind: Kind, shards: int, milliseconds: Milliseconds) -> None:
        """So many shards ran to their end, and took so long together."""
        self._times += 1
        for measured in self._of(kind):
            measured.milliseconds.take(milliseconds / shards, shards)
        self._changed.set()

    def _of(self, kind: Kind) -> tuple[Measured, Measured]:
        """Where it is measured; the kind is the youngest now."""
        of_kind = self._kinds[kind.key] = self._kinds.pop(kind.key, Measured())
        if len(self._kinds) > MOST_KINDS:
            self._kinds.pop(next(iter(self._kinds)))
        return of_kind, self._strategies.setdefault(kind.strategy_id, Measured())

    def expects(self, kind: Kind, shards: int | None = None) -> Work | None:
        """The work of a strategy in a scan; None where nothing has been measured that says it.

        :param shards: how many there are, where that is known
        """
        nearest = [self._kinds.get(kind.key, Measured()), self._strategies.get(kind.strategy_id, Measured())]
        if shards is None:
            known = next((measured.shards for measured in nearest if measured.shards.count), None)
            if known is None:
                return None
            shards = math.ceil(known.value * kind.symbols - ROUNDING)
        if not shards:
            return Work(0, 0.0)
        taken = next((measured.milliseconds for measured in nearest if measured.milliseconds.count), None)
        return None if taken is None else Work(shards, taken.value / 1000)

    def known(self) -> int:
        """How many strategies were measured."""
        return sum(measured.milliseconds.count > 0 for measured in self._strategies.values())

    def usual(self) -> float:
        """Seconds that a strategy computes in a scan of the whole market: the mean over those that were measured."""
        whole = DiscoverRequest()
        works = [self.expects(self.kind(strategy_id, whole)) for strategy_id in self._strategies]
        known = [work.seconds for work in works if work is not None]
        return sum(known) / len(known) if known else 0.0

    async def recall(self, store: Store) -> None:
        """Take up what was measured before the restart. What cannot be read is measured anew."""
        try:
            stored = await store.recall(NAME)
            kept = msgspec.json.decode(stored, type=Kept) if stored else None
        except StoreUnavailable as error:
            logger.warning("how long scans take is measured anew: %s", error.detail)
        except UNDECODABLE as error:
            logger.warning("how long scans take is measured anew: what was kept of it cannot be read (%s)", error)
        else:
            if kept is not None and kept.market == self._market:
                self._times += 1
                self._strategies = kept.strategies
                self._kinds = dict(list(kept.kinds.items())[-MOST_KINDS:])

    async def keep(self, store: Store) -> None:
        """Write what is measured, for ever; and a last time on the way out."""
        try:
            while True:
                await self._changed.wait()
                await self._save(store)
                await anyio.sleep(SAVE_SECONDS)
        finally:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                if self._changed.is_set():
                    await self._save(store)

    async def _save(self, store: Store) -> None:
        self._changed = anyio.Event()
        try:
            await store.remember(NAME, msgspec.json.encode(Kept(self._market, self._strategies, self._kinds)))
        except StoreUnavailable:  # of a full disk those tell who wait for it
            self._changed.set()
