"""Every kind of write, and in the middle of it the network or the server fails: done, or told, and never by halves."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread
from nats.aio.msg import Msg

from scanstream.engines.nats.bucket import PIECE_BYTES
from scanstream.engines.nats.library import NatsLibrary, open_library
from scanstream.engines.nats.store import NatsStore, open_nats
from scanstream.errors import StoreUnavailable
from scanstream.log.entry import AnyEntry, Queued
from scanstream.model import ANYONE, ScanId
from support.metrics import metrics
from support.nats import NatsServer, nats_server, options
from support.process import ServerProcess
from support.relay import DOWN, UP, Relay, relay
from support.stores import Consumer, consuming, fact, registration
from support.until import until

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

EACH = 5
"""Writes of a kind that are on their way at once."""
NAMES = [str(number) for number in range(EACH)]
PIECES = 40
DEADLINE_SECONDS = 40
BLINK, OUTAGE = 1.0, 6.5
"""Shorter than it takes to give a connection up, and longer."""

Harm = Callable[[Relay, NatsServer], Awaitable[None]]


def silent(seconds: float, *ways: str) -> Harm:
    """The network falls silent."""

    async def silent(network: Relay, _: NatsServer) -> None:
        network.mute(*ways)
        await anyio.sleep(seconds)
        network.heal()

    return silent


async def cut(network: Relay, _: NatsServer) -> None:
    """The network is gone for a while, and says so."""
    await network.cut()
    await anyio.sleep(1)
    network.heal()


async def killed(_: Relay, server: NatsServer) -> None:
    """`kill -9`, and a start: what it knew of messages just written is forgotten."""
    await anyio.to_thread.run_sync(server.kill)
    await anyio.sleep(0.3)
    await anyio.to_thread.run_sync(server.start)


async def stopped(_: Relay, server: NatsServer) -> None:
    """SIGSTOP, for longer than a connection is waited for, and it goes on where it was."""
    server.pause()
    await anyio.sleep(OUTAGE)
    server.go_on()


@asynccontextmanager
async def before(other: NatsStore) -> AsyncIterator[None]:
    """What the writes stand on."""
    for kind in ("go", "ev", "end", "purge"):
        for name in NAMES:
            scan_id = ScanId(f"{kind}{name}")
            await other.register(registration(scan_id, f"slot of {scan_id}"), None)
    yield


def writes(node: NatsStore, library: NatsLibrary, panel: Path) -> Mapping[str, Callable[[str], Awaitable[object]]]:
    """Each kind, and how one of it is done (again)."""
    return {
        "reg": lambda name: node.register(registration(f"reg{name}", f"free {name}"), None),
        "go": lambda name: node.append(ScanId(f"go{name}"), Queued(at=1)),
        "ev": lambda name: node.append(ScanId(f"ev{name}"), fact(0), fact(1)),
        "end": lambda name: node.settle(ScanId(f"end{name}"), 9_000),
        "purge": lambda name: node.purge([ScanId(f"purge{name}")]),
        "note": lambda name: node.remember(f"pace{name}", name.encode()),
        "panel": lambda name: library.put(f"panel{name}", panel),
    }


# nats-py leaves a connection to a server that hangs to the collector, which closes it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize(
    "harm",
    [silent(BLINK, UP, DOWN), silent(OUTAGE, UP), silent(OUTAGE, DOWN), cut, killed, stopped],
    ids=["silent for a moment", "nothing goes out", "nothing comes in", "cut", "killed", "stopped"],
)
async def test_a_write_of_any_kind_is_done_or_told_and_may_be_done_again(tmp_path: Path, harm: Harm) -> None:
    panel = tmp_path / "panel"
    panel.write_bytes(secrets.token_bytes(PIECES * PIECE_BYTES))
    with nats_server(tmp_path / "nats") as server:
        here = options(server)
        async with relay(server.port) as network:
            there = options(server, namespace=here.namespace, url=f"nats://127.0.0.1:{network.port}")
            async with (
                open_nats(here) as other,
                open_nats(there) as node,
                consuming(other) as other_read,
                consuming(node) as read,
                before(other),
            ):
                library = await open_library(node)
                kinds = writes(node, library, panel)
                done: set[tuple[str, str]] = set()
                told: list[StoreUnavailable] = []

                async def write(kind: str, name: str) -> None:
                    while (kind, name) not in done:
                        try:
                            await kinds[kind](name)
                        except StoreUnavailable as error:
                            told.append(error)
                        else:
                            done.add((kind, name))

                with anyio.fail_after(DEADLINE_SECONDS):
                    async with anyio.create_task_group() as tasks:
                        for kind in kinds:
                            for name in NAMES:
                                tasks.start_soon(write, kind, name)
                        await anyio.wait_all_tasks_blocked()
                        await harm(network, server)
                    await node.barrier()
                    await other.barrier()
                assert all(error.retry_after for error in told)
                await _require_done(node, other, read, other_read)
                for name in NAMES:
                    got = tmp_path / f"got{name}"
                    assert await library.get(f"panel{name}", got)
                    assert got.read_bytes() == panel.read_bytes()


async def _require_done(node: NatsStore, other: NatsStore, read: Consumer, other_read: Consumer) -> None:
    """What was asked for is there, once where once is what counts, and both nodes have it alike."""
    for store, consumer in ((node, read), (other, other_read)):
        newest = await store.newest(ANYONE, 1000)
        assert len(newest) == 4 * EACH
        assert not [scan_id for scan_id in newest if scan_id.startswith("purge")]
        for name in NAMES:
            assert await store.holder(f"free {name}") == f"reg{name}"
            assert await store.holder(f"slot of purge{name}") is None
            assert await store.recall(f"pace{name}") == name.encode()
            assert consumer.log(f"reg{name}") == [registration(f"reg{name}", f"free {name}")]
            assert _once(consumer.log(f"go{name}")[1:]) == [Queued(at=1)]
            assert _once(consumer.log(f"ev{name}")[1:]) == [fact(0), fact(1)]
        assert sorted(await store.expired(20_000)) == [f"end{name}" for name in NAMES]
        for scan_id in newest:
            assert read.log(scan_id) == other_read.log(scan_id) == await store.history(scan_id)


def _once(entries: list[AnyEntry]) -> list[AnyEntry]:
    """Each of them; one may stand in the log again where NATS forgot that it had it, and changes nothing there."""
    return [entry for place, entry in enumerate(entries) if entry not in entries[:place]]


async def test_a_note_that_arrives_late_does_not_bring_back_what_was_before(nats: NatsServer) -> None:
    """It was sent into a network that held it back; sent again, that was acknowledged, and the next one after it."""
    here = options(nats)
    async with relay(nats.port) as network:
        there = options(nats, namespace=here.namespace, url=f"nats://127.0.0.1:{network.port}")
        async with open_nats(here) as other, open_nats(there) as node:
            network.hold()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(node.remember, "newest", b"1")
                while b".note.newest" not in network.held_back:  # noqa: ASYNC110  # as soon as it is under way
                    await anyio.sleep(0.001)
                node.connection.client._transport._io_writer.transport.abort()  # type: ignore[union-attr]
            await other.remember("newest", b"2")
            assert await node.recall("newest") == b"2"
            network.heal()
            with anyio.fail_after(DEADLINE_SECONDS):
                while network.connections > 1:  # noqa: ASYNC110  # the server hears that the old one has ended
                    await anyio.sleep(0.01)
            for store in (node, other):
                assert await store.recall("newest") == b"2"


@pytest.mark.parametrize("known", [False, True], ids=["just now", "for a while"])
async def test_a_node_that_is_told_to_stop_while_nats_is_away_has_not_failed(tmp_path: Path, known: bool) -> None:
    with nats_server(tmp_path / "nats") as server:
        node = ServerProcess(tmp_path / "node", "--engine", server.url, "--workers", "0")
        try:
            assert (await metrics(node.url)).of("scanstream_shortages") == 0
            server.kill()
            with anyio.fail_after(30):
                while known and not (await metrics(node.url)).of("scanstream_shortages"):  # noqa: ASYNC110  # it is asked
                    await anyio.sleep(0.1)  # an operator is told, though nobody asks for a scan
            code, _, said = await to_thread.run_sync(node.ended)
        finally:
            node.process.kill()
    assert (code, "has failed" in said) == (0, False), said


async def test_who_leaves_while_nats_says_nothing_drops_what_it_had_still_to_say(tmp_path: Path) -> None:
    """Written to a connection that is closed it would end the closing half way: what listens would be left behind."""
    with nats_server(tmp_path) as server:
        async with open_nats(options(server)) as store:
            client = store.connection.client
            listening = await client.subscribe("said.by.nobody", cb=_nothing)
            task: Any = listening._wait_for_msgs_task
            server.pause()
            await until(lambda: not store.connection.client.is_connected)
            await client.publish("said.too.late", b"")
        await anyio.lowlevel.checkpoint()
        assert task.done()


@pytest.mark.parametrize("error", [ConnectionResetError("lost"), RuntimeError("unable to perform operation")])
async def test_who_leaves_over_a_connection_that_was_closed_just_now_leaves_in_silence(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anybody has noticed: asyncio says the first where something is written then, uvloop the second."""

    def writelines(_: object) -> None:
        raise error

    with nats_server(tmp_path) as server:
        async with open_nats(options(server)) as store:
            client = store.connection.client
            assert client._transport is not None
            monkeypatch.setattr(client._transport, "writelines", writelines)
            await client.publish("said.too.late", b"")
            await client.leave()
        assert client.is_closed


async def _nothing(_: Msg) -> None: ...
