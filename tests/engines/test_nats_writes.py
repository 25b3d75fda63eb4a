"""Writing to NATS: answers that are lost, purges whose word is on its way, what is too large, and no room."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from engines.contract import A, B, C
from scanstream.engines.nats.decoding import packed
from scanstream.engines.nats.names import Names, token
from scanstream.engines.nats.store import NatsStore, open_nats
from scanstream.errors import NotFound, StoreUnavailable
from scanstream.log.entry import AnyEntry, Queued, ScanFailed
from scanstream.model import ANYONE, ScanId
from support.nats import NatsServer, nats_server, options
from support.stores import consuming, fact, registration

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

MEGABYTE = 1024 * 1024


def heavy(number: int, size: int = 50_000) -> ScanFailed:
    """An entry that takes room."""
    return ScanFailed(at=number, code="heavy", detail="h" * size)


def deaf(store: NatsStore, times: int) -> list[str]:
    """The next answers from NATS are lost, so many; where they had come to."""
    connection = store.connection
    lost: list[str] = []

    async def answered(subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        if len(lost) < times:
            lost.append(subject)
        else:
            await connection._answered(subject, reply, data, headers)

    client = connection.client
    (number,) = [number for number, one in client._subs.items() if one.subject == f"{connection._inbox}.*"]
    client._heard[number] = answered
    return lost


async def test_a_write_whose_ack_is_lost_is_repeated_and_has_happened_once(nats: NatsServer) -> None:
    async with open_nats(options(nats)) as store, consuming(store) as consumer:
        lost = deaf(store, 2)
        assert await store.register(registration(A, "slot"), None) == A
        assert len(lost) == 2  # the ack of the first try, and the conflict of the second with it
        writes: list[Callable[[], Awaitable[None]]] = [
            lambda: store.append(A, fact(0), fact(1)),
            lambda: store.append(A, Queued(at=1)),
            lambda: store.settle(A, 9_000),
            lambda: store.remember("pace", b"1"),
        ]
        for write in writes:
            lost = deaf(store, 1)
            await write()
            assert len(lost) == 1
        assert consumer.log(A) == await store.history(A) == [registration(A, "slot"), fact(0), fact(1), Queued(at=1)]
        assert await store.newest(ANYONE, 10) == [A]


async def test_who_insists_is_registered_once_though_the_ack_is_lost(nats: NatsServer) -> None:
    async with open_nats(options(nats)) as store, consuming(store) as consumer:
        await store.register(registration(A, "slot"), None)
        lost = deaf(store, 1)
        assert await store.register(registration(B, "slot"), "any") == B
        assert len(lost) == 1
        assert consumer.log(B) == await store.history(B) == [registration(B, "slot")]


async def test_many_that_insist_over_two_nodes_are_all_registered(nats: NatsServer) -> None:
    here = options(nats)
    async with open_nats(here) as one, open_nats(here) as other:
        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon((one, other)[number % 2].register, registration(f"{number}", "slot"), "any")
        await one.barrier()
        assert len(await one.newest(ANYONE, 1000)) == 100
        assert await one.holder("slot") == await other.holder("slot") == (await one.newest(ANYONE, 1))[0]


async def test_a_slot_can_be_had_though_nobody_has_told_yet_that_its_scan_is_purged(nats: NatsServer) -> None:
    """As where a node died between the purge and the word of it."""
    async with open_nats(options(nats)) as store, consuming(store):
        await store.register(registration(A, "slot"), None)
        await store.register(registration(B, "slot"), A)
        names, stream = store.connection.names, store.connection.names.stream("SCANS")
        subject = names.scan(names.slot("slot"), token(B), ">")
        await store.connection.request_api(f"STREAM.PURGE.{stream}", {"filter": subject})
        assert await store.register(registration(C, "slot"), None) == B  # as this node knows it
        assert await store.register(registration(C, "slot"), B) == C
        await store.purge([B])
        assert await store.newest(ANYONE, 10) == [C, A]


async def test_what_one_node_purges_no_node_knows_and_what_comes_late_is_taken_away(nats: NatsServer) -> None:
    here = options(nats)
    async with open_nats(here) as one, open_nats(here) as other, consuming(other):
        await one.register(registration(A), None)
        await other.append(A, fact(0))  # which has not read of it, perhaps
        late = other._index.get(token(A))
        assert late is not None
        await one.purge([A])
        with pytest.raises(NotFound):
            await other._log(late, "ev", b"late", "late")
        await other.barrier()
        assert await other.history(A) is None
        assert await other.newest(ANYONE, 10) == []
        assert await other.register(registration(B, f"slot of {A}"), None) == B
        found = await one.connection.request_api(
            f"STREAM.INFO.{here.namespace}_SCANS", {"subjects_filter": f"{here.namespace}.scan.*.{A}.>"}
        )
        assert [subject.rpartition(".")[2] for subject in found["state"]["subjects"]] == ["gone"]


async def test_nodes_that_purge_at_once_share_the_work(nats: NatsServer) -> None:
    here, purges = options(nats), list[str]()
    async with open_nats(here) as one, open_nats(here) as other, consuming(one), consuming(other):
        names = [ScanId(f"scan_{number}") for number in range(200)]
        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(one.register, registration(name), None)
        await other.barrier()
        for store in (one, other):
            _count_purges(store, purges)
        async with anyio.create_task_group() as tasks:
            for store in (one, other):
                tasks.start_soon(store.purge, names)
        assert await one.newest(ANYONE, 10) == await other.newest(ANYONE, 10) == []
    assert len(set(purges)) == 200
    assert len(purges) <= 300, "each of them has deleted nearly all"


def _count_purges(store: NatsStore, purges: list[str]) -> None:
    purge = store._writer.purge

    async def counted(subjects: str) -> None:
        purges.append(subjects)
        await purge(subjects)

    store._writer.purge = counted  # type: ignore[method-assign]


async def test_notes_reach_the_listeners_of_every_node_in_their_order(nats: NatsServer) -> None:
    here = options(nats)
    heard: list[tuple[str, bytes]] = []
    async with open_nats(here) as one, open_nats(here) as other:
        await one.remember("panel.å b/*>", b"0")
        await other.barrier()
        other.listen("panel.", lambda name, value: heard.append((name, value)))
        for number in range(1, 4):
            await one.remember("panel.å b/*>", b"%d" % number)
        await one.remember("pace", b"")
        assert await other.recall("panel.å b/*>") == b"3"
        assert heard == [("panel.å b/*>", b"%d" % number) for number in range(4)]
        state = (await one.connection.request_api(f"STREAM.INFO.{here.namespace}_SCANS", {"subjects_filter": ">"}))[
            "state"
        ]
        kept = [count for subject, count in state["subjects"].items() if ".note.panel" in subject]
        assert kept == [1]


async def test_an_append_that_is_larger_than_a_message_comes_whole_and_in_order(nats: NatsServer) -> None:
    entries: list[AnyEntry] = [heavy(number, 300_000) for number in range(12)]
    async with open_nats(options(nats)) as store, consuming(store) as consumer:
        await store.register(registration(A), None)
        await store.append(A, fact(0), *entries, fact(1))
        assert consumer.log(A) == await store.history(A) == [registration(A), fact(0), *entries, fact(1)]


def test_entries_are_packed_in_order_into_few_messages() -> None:
    bodies = [b"a" * size for size in (5, 4, 1, 9, 12, 1)]
    assert packed(bodies, 10) == [b"aaaaa\naaaa", b"a", b"a" * 9, b"a" * 12, b"a"]
    assert packed([], 10) == []


def test_names_are_parts_of_subjects_and_stay_apart() -> None:
    assert token("scan_0198c1-x") == "scan_0198c1-x"
    hostile = ["", ".", "*", ">", "a.b", "a b", "å", "~", "a" * 65, "a\r\nPUB x 0"]
    tokens = {token(name) for name in hostile}
    assert len(tokens) == len(hostile)
    names = Names("here")
    for name in hostile:
        subject = names.note(name)
        (kind, part) = names.parts(subject)
        assert (kind, names.noted(part)) == ("note", name)
        assert not set(".*> \r\n") & set(part) | set(".*> \r\n") & set(token(name))


@pytest.mark.parametrize(
    ("jetstream", "most"), [("", 2 * MEGABYTE), ("max_file_store: 2MB", None)], ids=["the stream", "the server"]
)
async def test_what_there_is_no_room_for_is_refused_and_nothing_acked_is_lost(
    tmp_path: Path, jetstream: str, most: int | None
) -> None:
    with nats_server(tmp_path, jetstream=jetstream) as server:
        here = options(server)
        async with open_nats(here) as store, consuming(store) as consumer:
            if most is not None:
                name = f"{here.namespace}_SCANS"
                config = (await store.connection.request_api(f"STREAM.INFO.{name}"))["config"]
                await store.connection.request_api(f"STREAM.UPDATE.{name}", {**config, "max_bytes": most})
            acked: list[AnyEntry] = [registration(A)]
            await store.register(registration(B), None)
            await store.append(B, *[heavy(number) for number in range(10)])
            await store.register(registration(A), None)
            begun = anyio.current_time()
            with pytest.raises(StoreUnavailable, match=r"room|maximum|resource") as caught:  # noqa: PT012  # sooner or later
                for number in range(100):
                    await store.append(A, heavy(number))
                    acked.append(heavy(number))
            assert caught.value.retry_after
            with pytest.raises(StoreUnavailable, match=r"\w"):
                await store.register(registration(C, ballast=300_000), None)
            assert anyio.current_time() - begun < 30
            assert consumer.log(A) == acked
            await store.purge([B])
            await store.append(A, heavy(1000))
            assert await store.register(registration(C), None) == C
            await store.probe()
            assert consumer.log(A) == await store.history(A) == [*acked, heavy(1000)]
        async with open_nats(here) as store, consuming(store) as consumer:
            assert consumer.log(A) == [*acked, heavy(1000)]
