"""What the engine tests write into a store, and a consumer of its feed."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import cast

import anyio

from scanstream.log.entry import AnyEntry, Registered, ShardStarted
from scanstream.log.store import Store
from scanstream.model import ANYONE, DiscoverRequest, Milliseconds, Principal, ScanId

Fed = tuple[ScanId, int, AnyEntry]


def registration(
    name: str, slot: str | None = None, *, ballast: int = 0, at: Milliseconds = 1_000, principal: Principal = ANYONE
) -> Registered:
    """A scan, alone in its slot unless told otherwise; `ballast` bytes make it heavy."""
    return Registered(
        at=at,
        scan_id=ScanId(name),
        principal=principal,
        slot=f"slot of {name}" if slot is None else slot,
        market="synthetic",
        digest="d" * 32,
        request=DiscoverRequest(symbols=["BTC/USDT"], parameters={"tsmom": {"z_min": 0.1 + 0.2}}),
        filters={"symbols": ["BTC/USDT"], **({"ballast": "b" * ballast} if ballast else {})},
        budgets={"tsmom": 120.0},
        budget=900.0,
        retention=3_600_000,
    )


def fact(number: int, writer: str = "tsmom") -> ShardStarted:
    """A small entry that is unlike the others."""
    return ShardStarted(at=1_000 + number, strategy_id=writer, shard=number)


def feeding(store: Store) -> AsyncGenerator[Fed, None]:
    """The feed, to be closed by hand: every engine's is an async generator."""
    return cast(AsyncGenerator[Fed, None], store.feed())


class Consumer:
    """Takes the feed as the hub does, and keeps all of it."""

    def __init__(self) -> None:
        self.taken: list[Fed] = []

    async def run(self, store: Store) -> None:
        """Take, for ever."""
        async with aclosing(feeding(store)) as feed:
            async for item in feed:
                self.taken.append(item)

    def log(self, scan_id: ScanId | str) -> list[AnyEntry]:
        """What the feed gave of one scan; its seqs must be 1, 2, 3 …, each once and in order."""
        of_it = [(seq, entry) for fed, seq, entry in self.taken if fed == scan_id]
        assert [seq for seq, _ in of_it] == list(range(1, len(of_it) + 1))
        return [entry for _, entry in of_it]


@asynccontextmanager
async def consuming(store: Store) -> AsyncIterator[Consumer]:
    """A consumer at work, which has taken all that the store held before."""
    consumer = Consumer()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consumer.run, store)
        await store.barrier()
        yield consumer
        tasks.cancel_scope.cancel()
