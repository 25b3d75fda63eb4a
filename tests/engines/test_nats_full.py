"""NATS without room, whatever is full: said with its name, nothing acked is lost, and what there is can be read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from engines.contract import A, B, C
from scanstream.engines.nats.options import NatsOptions
from scanstream.engines.nats.store import NatsStore, open_nats
from scanstream.errors import StoreUnavailable
from scanstream.log.entry import AnyEntry, ScanFailed
from scanstream.model import ANYONE
from support.nats import nats_cluster, nats_server, options
from support.stores import consuming, fact, registration

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

MEGABYTE = 1024 * 1024
ACCOUNT = "accounts { A { jetstream: {max_file: 2MB}, users: [{user: me, password: plain}] } }"
DEADLINE_SECONDS = 30
BARRIERS = 15
"""More than a few seconds hold, one after the other."""

FULL = {
    "the stream": "_SCANS has reached its limit (max_bytes)",
    "a server": "a server has reached its limit (max_file_store, or its disk)",
    "the account": "the account has reached its limit",
    "the stream of three servers": "_SCANS has reached its limit (max_bytes)",
}


def heavy(number: int, size: int = 30_000) -> ScanFailed:
    """An entry that takes room."""
    return ScanFailed(at=number, code="heavy", detail="h" * size)


@contextmanager
def served(what: str, directory: Path) -> Iterator[NatsOptions]:
    """A NATS of which this will be full soon."""
    if what == "the stream of three servers":
        with nats_cluster(directory) as servers:
            yield options(*servers)
    elif what == "the account":
        with nats_server(directory, extra=ACCOUNT) as server:
            yield options(server, user="me", password="plain")  # noqa: S106  # of a test
    else:
        with nats_server(directory, jetstream="max_file_store: 2MB" if what == "a server" else "") as server:
            yield options(server)


async def bound(store: NatsStore, size: int) -> None:
    """The stream may be so large."""
    ask, name = store.connection.request_api, store.connection.names.stream("SCANS")
    config = (await ask(f"STREAM.INFO.{name}"))["config"]
    await ask(f"STREAM.UPDATE.{name}", {**config, "max_bytes": size})


async def filled(store: NatsStore, acked: list[AnyEntry], sizes: Sequence[int] = (30_000, 1_000)) -> str:
    """Append until there is no room, large entries and then smaller ones; what is told then."""
    told = ""
    for size in sizes:
        with pytest.raises(StoreUnavailable) as caught:  # noqa: PT012  # sooner or later
            for number in range(10_000):
                await store.append(A, heavy(number, size))
                acked.append(heavy(number, size))
        assert caught.value.retry_after
        told = told or caught.value.detail
    return told


@pytest.mark.parametrize("what", FULL)
async def test_a_full_store_says_what_is_full_can_be_read_and_goes_on_when_there_is_room(
    tmp_path: Path, what: str
) -> None:
    with served(what, tmp_path) as here:
        async with open_nats(here) as one, open_nats(here) as other, consuming(one), consuming(other) as read:
            if what.startswith("the stream"):
                await bound(one, 2 * MEGABYTE)
            acked: list[AnyEntry] = [registration(A)]
            await one.register(registration(B), None)
            await one.append(B, *map(heavy, range(10)))
            await one.register(registration(A), None)
            with anyio.fail_after(DEADLINE_SECONDS):
                told = await filled(one, acked)
            assert FULL[what] in told
            for store in (one, other):  # every node knows, and takes nothing; whoever asks is told what is full
                with pytest.raises(StoreUnavailable) as caught:
                    await store.probe()
                assert FULL[what] in caught.value.detail, caught.value.detail
                with pytest.raises(StoreUnavailable):
                    await store.register(registration(C), None)
                with pytest.raises(StoreUnavailable):
                    await store.append(A, fact(0))
            for _ in range(BARRIERS):  # what there is can be read, and ends
                await other.barrier()
                assert await other.holder(f"slot of {A}") == A
                assert await other.newest(ANYONE, 10) == [A, B]
            assert (read.log(A) == acked) is True  # not to be told by pytest, it is long
            await other.settle(A, 9_000)
            await one.barrier()
            assert await one.expired(20_000) == [A]
            async with open_nats(here) as late, consuming(late) as read_late:  # a node starts, and is not ready
                assert len(read_late.log(B)) == 11
                assert await late.newest(ANYONE, 10) == [A, B]
                assert (await late.history(A) == acked) is True
                with pytest.raises(StoreUnavailable):
                    await late.probe()
                await late.purge([B])
            await one.barrier()
            for store in (one, other):
                await store.probe()
            assert await other.register(registration(C), None) == C
            assert (await one.history(A) == acked) is True


async def test_servers_that_are_all_full_have_no_leader_and_it_is_said_why(tmp_path: Path) -> None:
    """So does NATS where the limit of a server of several is reached: none of them leads until there is more room."""
    with nats_cluster(tmp_path, jetstream="max_file_store: 2MB") as servers:
        async with open_nats(options(*servers)) as store:
            await store.register(registration(A), None)
            with anyio.fail_after(DEADLINE_SECONDS):
                told = await filled(store, [], sizes=[30_000])
                assert "a server has reached its limit (max_file_store, or its disk)" in told
                with pytest.raises(StoreUnavailable) as caught:
                    await store.probe()
            assert caught.value.retry_after
            assert "a server has reached its limit (max_file_store, or its disk)" in caught.value.detail
