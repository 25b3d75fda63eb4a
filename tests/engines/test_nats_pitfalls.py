"""What is easily got wrong with JetStream and its client: docs/testing.md says what, and which test is for which."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from engines.contract import A, B
from scanstream.engines.nats.answers import ConflictError
from scanstream.engines.nats.connection import Connection
from scanstream.engines.nats.store import NatsStore, open_nats
from scanstream.model import ANYONE, ScanId
from support.nats import NatsServer, options
from support.stores import consuming, fact, registration

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

QUEUE = 20
BURST = 2_000


@contextmanager
def asked(store: NatsStore) -> Iterator[list[str]]:
    """The subjects that the node publishes to inside."""
    client, subjects = store.connection.client, list[str]()
    publish = client.publish

    async def published(subject: str, *arguments: Any, **named: Any) -> None:
        subjects.append(subject)
        await publish(subject, *arguments, **named)

    client.publish = published  # type: ignore[method-assign]
    yield subjects
    client.publish = publish  # type: ignore[method-assign]


async def test_a_queue_of_nats_py_that_overflows_is_no_gap(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By itself it drops what does not go in, with a word in the log and none to whoever reads. Ours does not go in."""
    here = options(nats)
    subscribe = Client.subscribe

    async def narrow(client: Client, subject: str, **named: Any) -> Any:
        """Every queue is bounded, as its default is: only much smaller."""
        return await subscribe(client, subject, **{**named, "pending_msgs_limit": QUEUE})

    async with open_nats(here) as writer:
        await writer.register(registration(A), None)
        with monkeypatch.context() as patch:
            patch.setattr(Client, "subscribe", narrow)
            async with open_nats(here) as node, consuming(node) as consumer:
                async with anyio.create_task_group() as tasks:
                    for number in range(BURST):
                        tasks.start_soon(writer.append, A, fact(number))
                await node.barrier()
                assert consumer.log(A) == await writer.history(A)
                assert len(consumer.log(A)) == 1 + BURST
    assert "slow consumer" not in caplog.text.lower()


async def test_no_read_is_answered_by_a_get_however_near_the_answer_is(nats: NatsServer) -> None:
    """Neither a direct one nor one of the leader is linearizable: a barrier, and our own memory."""
    here = options(nats)
    async with open_nats(here) as store, open_nats(here) as other:
        await store.register(registration(A), None)
        await store.remember("pace", b"1")
        with asked(other) as subjects:
            assert await other.holder(f"slot of {A}") == A
            assert await other.recall("pace") == b"1"
            await other.barrier()
            assert await other.newest(ANYONE, 10) == [A]
            await other.append(A, fact(0))
        reads = [subject for subject in subjects if ".scan." not in subject and "CONSUMER" not in subject]
        assert reads
        assert {subject.rpartition(".")[0] for subject in reads} == {f"{here.namespace}.barrier"}


async def test_what_jetstream_refuses_no_node_ever_sees(nats: NatsServer) -> None:
    """Who subscribes to a stream's subject sees what is published and then refused; our nodes read the stream only."""
    here = options(nats)
    async with open_nats(here) as one, open_nats(here) as other, consuming(one) as here_read, consuming(other) as read:
        await one.register(registration(A, "slot"), None)
        names, stream = one.connection.names, one.connection.names.stream("SCANS")
        seen: list[Msg] = []

        async def see(message: Msg) -> None:
            seen.append(message)

        await one.connection.client.subscribe(names.subject("scan.>"), cb=see)
        await one.connection.client.flush()
        subject = names.scan(names.slot("slot"), B, "reg")
        expected = {
            "Nats-Expected-Last-Subject-Sequence": "0",
            "Nats-Expected-Last-Subject-Sequence-Subject": names.scan(names.slot("slot"), "*", "reg"),
        }
        with pytest.raises(ConflictError):
            await one.connection.publish(subject, b"{}", headers=expected, stream=stream)
        for store in (one, other):
            await store.barrier()
            assert await store.newest(ANYONE, 10) == [A]
        assert [message.subject for message in seen] == [subject]  # this is the pitfall
        assert {scan_id for scan_id, _, _ in here_read.taken + read.taken} == {A}
        subjects = [one.subject for one in other.connection.client._subs.values()]
        assert all(one.startswith(("_INBOX.", "$JS.EVENT.ADVISORY.")) for one in subjects), subjects


async def test_what_belongs_together_is_one_message_and_no_batch(nats: NatsServer) -> None:
    """An atomic batch is slow on one server, and one that was left open holds up all others."""
    async with open_nats(options(nats)) as store:
        stream = store.connection.names.stream("SCANS")
        for write in (
            lambda: store.register(registration(A), None),
            lambda: store.append(A, *[fact(number) for number in range(50)]),
            lambda: store.settle(A, 9_000),
        ):
            before = (await store.connection.request_api(f"STREAM.INFO.{stream}"))["state"]["last_seq"]
            await write()
            state = (await store.connection.request_api(f"STREAM.INFO.{stream}"))["state"]
            assert state["last_seq"] == before + 1
            last = await store.connection.request_api(f"STREAM.MSG.GET.{stream}", {"seq": state["last_seq"]})
            assert "hdrs" in last["message"]
            assert "Nats-Batch" not in str(last)


async def test_the_defaults_that_lose_a_connection_are_changed(nats: NatsServer) -> None:
    """By default it is given up after sixty tries, and a server that hangs is noticed after four minutes."""
    async with open_nats(options(nats)) as store:
        chosen = store.connection.client.options
    assert chosen["max_reconnect_attempts"] == -1
    assert chosen["reconnect_time_wait"] <= 0.5
    assert chosen["ping_interval"] * chosen["max_outstanding_pings"] <= 5
    configuration = (Path(__file__).parents[2] / "deploy" / "nats.conf").read_text()
    assert "sync_interval: always" in configuration  # instead of two minutes, in which the power may go


async def test_there_is_one_consumer_a_node_however_many_scans_there_are(nats: NatsServer) -> None:
    """A stream or a consumer for each scan is what does not scale."""
    here = options(nats)
    async with open_nats(here) as one, open_nats(here) as other, consuming(one), consuming(other):
        scans = [ScanId(f"scan{number}") for number in range(30)]
        for scan_id in scans:
            await one.register(registration(scan_id), None)
            await one.append(scan_id, fact(0))
        await one.settle(scans[0], 9_000)
        assert len(await other.history(scans[0]) or ()) == 2
        assert await _consumers(one.connection) == 2
        streams = await one.connection.request_api("STREAM.NAMES", {"subject": f"{here.namespace}.>"})
        assert streams["streams"] == [f"{here.namespace}_SCANS"]


async def _consumers(connection: Connection) -> int:
    """Those of the stream; one whose end was just told may be there for a moment."""
    with anyio.move_on_after(5):
        while True:
            listed = await connection.request_api(f"CONSUMER.LIST.{connection.names.stream('SCANS')}")
            if listed["total"] == 2:
                break
            await anyio.sleep(0.05)
    return int(listed["total"])


async def test_what_is_purged_leaves_no_subject_behind(nats: NatsServer) -> None:
    """The server keeps every subject in its memory, as long as there is a message of it."""
    async with open_nats(options(nats)) as store:
        for number in range(20):
            scan_id = ScanId(f"scan{number}")
            await store.register(registration(scan_id), None)
            await store.append(scan_id, fact(0))
            await store.settle(scan_id, 1)
        await store.purge([ScanId(f"scan{number}") for number in range(20)])
        stream = store.connection.names.stream("SCANS")
        wanted = {"subjects_filter": store.connection.names.subject("scan.>")}
        state = (await store.connection.request_api(f"STREAM.INFO.{stream}", wanted))["state"]
        left = {subject.rpartition(".")[2] for subject in state["subjects"]}
        assert left <= {"gone", "reg", "end"}  # the marks of its start are of these kinds, and go by themselves
        assert sum(subject.endswith(".gone") for subject in state["subjects"]) <= 21
        assert not [one for one in state["subjects"] if ".scan" in one.partition(".scan.")[2].replace(".gone", "")[33:]]


def test_a_server_that_somebody_else_has_left_on_the_port_is_not_taken_for_ours(
    nats: NatsServer, tmp_path: Path
) -> None:
    ours = NatsServer(tmp_path)
    ours.port = nats.port
    file = tmp_path / f"{ours.name}.conf"
    file.write_text(
        file.read_text().replace(f"listen: 127.0.0.1:{ours.url.rpartition(':')[2]}", f"listen: 127.0.0.1:{nats.port}")
    )
    try:
        with pytest.raises(RuntimeError, match="did not start"):
            ours.start()
    finally:
        ours.kill()
