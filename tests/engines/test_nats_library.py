"""What nodes share of their markets, on a real server: large values, which is the newest, whose turn it is."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from scanstream.engines.nats import bucket as buckets
from scanstream.engines.nats.bucket import PIECE_BYTES
from scanstream.engines.nats.library import NatsLibrary, open_library
from scanstream.engines.nats.store import open_nats
from scanstream.engines.nats.turn import Turn
from scanstream.errors import StoreUnavailable
from support.nats import NatsServer, nats_server, options

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

LEASE = 4.0
SIZE = 10 * PIECE_BYTES + 17


@pytest.fixture
def namespace() -> str:
    """A cluster of our own."""
    return f"t{secrets.token_hex(4)}"


@asynccontextmanager
async def node(server: NatsServer, namespace: str) -> AsyncIterator[NatsLibrary]:
    """The library as one node has it."""
    async with open_nats(options(server, namespace=namespace, lease=LEASE), lag=0) as store:
        yield await open_library(store)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A file of several pieces."""
    file = tmp_path / "written"
    file.write_bytes(secrets.token_bytes(SIZE))
    return file


async def pieces(library: NatsLibrary) -> int:
    """How many messages the bucket holds."""
    stream = library._bucket._stream
    state = (await library._connection.request_api(f"STREAM.INFO.{stream}"))["state"]
    return int(state["messages"])


async def test_what_one_node_puts_another_gets(nats: NatsServer, namespace: str, written: Path, tmp_path: Path) -> None:
    got = tmp_path / "got"
    async with node(nats, namespace) as one, node(nats, namespace) as other:
        assert not await other.get("a", got)
        await one.put("a", written)
        assert await other.has("a")
        assert await other.get("a", got)
    assert got.read_bytes() == written.read_bytes()  # noqa: ASYNC240  # a small file


async def test_of_many_who_put_the_same_at_once_one_does(nats: NatsServer, namespace: str, written: Path) -> None:
    async with node(nats, namespace) as one, node(nats, namespace) as other:
        async with anyio.create_task_group() as putting:
            for library in (one, other, one, other):
                putting.start_soon(library.put, "a", written)
        assert await pieces(one) == 11 + 1


async def test_what_is_not_to_be_kept_goes_and_may_come_again(
    nats: NatsServer, namespace: str, written: Path, tmp_path: Path
) -> None:
    async with node(nats, namespace) as library:
        for name in "abc":
            await library.put(name, written)
        await library.keep({"b", "of another node"})
        assert [await library.has(name) for name in "abc"] == [False, True, False]
        assert await pieces(library) == 11 + 1
        await library.put("a", written)
        assert await library.get("a", tmp_path / "got")


async def test_what_a_node_left_behind_that_died_in_the_middle_goes(
    nats: NatsServer, namespace: str, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(nats, namespace) as library:
        await library.put("a", written)
        for number in range(3):
            subject, once = library._bucket._pieces("dead"), {"Nats-Msg-Id": f"dead:{number}"}
            await library._bucket._publish(subject, bytes(PIECE_BYTES), once)
    async with node(nats, namespace) as library:
        assert await pieces(library) == 11 + 1 + 3  # it may be one that is on its way
    monkeypatch.setattr(buckets, "DEAD_SECONDS", 0.0)
    async with node(nats, namespace) as library:
        assert await pieces(library) == 11 + 1
        assert await library.get("a", tmp_path / "got")


async def test_what_is_not_whole_is_not_there(nats: NatsServer, namespace: str, written: Path, tmp_path: Path) -> None:
    async with node(nats, namespace) as library:
        await library.put("a", written)
        stream = library._bucket._stream
        await library._connection.request_api(f"STREAM.MSG.DELETE.{stream}", {"seq": 3})
        assert not await library.get("a", tmp_path / "got")


async def test_a_server_that_is_killed_meanwhile_costs_nothing_but_time(namespace: str, tmp_path: Path) -> None:
    written, got = tmp_path / "written", tmp_path / "got"
    written.write_bytes(secrets.token_bytes(300 * PIECE_BYTES))

    def kill(server: NatsServer) -> None:
        server.kill()
        server.start()

    with nats_server(tmp_path / "nats") as server:
        async with node(server, namespace) as one, node(server, namespace) as other:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one.put, "a", written)
                while await pieces(other) < 20:  # noqa: ASYNC110  # no one tells
                    await anyio.sleep(0.001)
                kill(server)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(other.get, "a", got)
                while not got.is_file() or not got.stat().st_size:  # noqa: ASYNC110  # no one tells
                    await anyio.sleep(0.001)
                kill(server)
    assert got.read_bytes() == written.read_bytes()


async def test_what_is_announced_is_heard_by_whoever_has_passed_a_barrier(nats: NatsServer, namespace: str) -> None:
    async with node(nats, namespace) as one, node(nats, namespace) as other:
        heard: list[bytes] = []
        other.listen("files:a.b", heard.append)
        assert await other.announced("files:a.b") is None
        await one.announce("files:a.b", b"first")
        await one.announce("files:a.b", b"second")
        await one.announce("files:a", b"of another market")
        assert await other.announced("files:a.b") == b"second"
        assert heard == [b"first", b"second"]
        assert await other.latest() == b"of another market"


async def test_it_is_one_nodes_turn_until_it_leaves(nats: NatsServer, namespace: str) -> None:
    async with node(nats, namespace) as one, node(nats, namespace) as other, anyio.create_task_group() as tasks:
        entered = anyio.Event()

        async def wait_for_it() -> None:
            async with other.turn("m"):
                entered.set()

        async with one.turn("m", waits=False) as ours:
            assert ours
            async with other.turn("m", waits=False) as theirs:
                assert not theirs
            tasks.start_soon(wait_for_it)
            await anyio.sleep(1.5 * LEASE)
            assert not entered.is_set(), "it is renewed"
        with anyio.fail_after(LEASE):
            await entered.wait()


async def test_the_turn_of_a_node_that_died_is_anothers_after_a_lease(nats: NatsServer, namespace: str) -> None:
    async with node(nats, namespace) as one, node(nats, namespace) as other:
        names = one._connection.names
        dead = Turn(one._connection, names.stream("SCANS"), names.note("reader.m"), LEASE)
        assert await dead.taken(), "and nobody renews it"
        begun = anyio.current_time()
        with anyio.fail_after(2 * LEASE + 5):
            async with other.turn("m"):
                assert anyio.current_time() - begun <= LEASE + LEASE / 2 + 2


async def test_what_is_done_in_a_turn_ends_when_it_is_lost(nats: NatsServer, namespace: str) -> None:
    async with node(nats, namespace) as one, node(nats, namespace) as other:
        with anyio.fail_after(4 * LEASE):
            async with one.turn("m"):
                names = one._connection.names
                gone = {"filter": names.note("reader.m")}
                await one._connection.request_api(f"STREAM.PURGE.{names.stream('SCANS')}", gone)
                async with other.turn("m"):
                    await anyio.sleep_forever()
            async with other.turn("m", waits=False) as free:
                assert free


async def test_a_node_that_stood_still_brings_nothing_back_that_was_before(nats: NatsServer, namespace: str) -> None:
    """It has read the market, stands still until its turn is another's, and goes on with what it wanted to say."""
    async with node(nats, namespace) as one, node(nats, namespace) as other:
        names = one._connection.names
        stands = Turn(one._connection, names.stream("SCANS"), names.note("reader.m"), LEASE)
        assert await stands.taken()

        async def late(issue: bytes) -> bool:
            return await stands.written(lambda ours: one._store.remember("panel.m", issue, only=ours))

        assert await late(b"first")
        assert await stands.taken(), "renewed"
        assert await late(b"second")
        async with other.turn("m") as announce:
            assert announce is not None
            await announce(b"third")
            assert not await late(b"of before")
            assert await one.announced("m") == b"third"
            await other._connection.request_api(
                f"STREAM.PURGE.{names.stream('SCANS')}", {"filter": names.note("reader.m")}
            )
            with pytest.raises(StoreUnavailable, match="another node's turn"):
                await announce(b"without a turn")
        assert await one.announced("m") == b"third"
