"""A store of NATS that is brought back as it was before: new nodes find it whole, those that had read more end."""

import json
import shutil
from pathlib import Path
from typing import Any

import anyio
import pytest
from nats.aio.msg import Msg

from engines.contract import A, B, C
from scanstream.engines.nats.connection import Connection, connected
from scanstream.engines.nats.options import NatsOptions
from scanstream.engines.nats.store import NatsStore, open_nats
from scanstream.errors import EngineUnusable
from scanstream.model import ANYONE
from support.nats import NatsServer, nats_server, options
from support.relay import relay
from support.stores import consuming, fact, registration

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

DEADLINE_SECONDS = 30


def saved(server: NatsServer, place: Path) -> None:
    """A copy of its directory, made while it is stopped."""
    server.end()
    shutil.copytree(server.store, place)
    server.start()


def restored(server: NatsServer, place: Path) -> None:
    """The copy in place of what there is now."""
    server.end()
    shutil.rmtree(server.store)
    shutil.copytree(place, server.store)
    server.start()


async def write(here: NatsOptions, name: str, entries: int) -> None:
    """A scan with so many entries, by a node of its own."""
    async with open_nats(here) as store:
        await store.register(registration(name), None)
        for number in range(entries):
            await store.append(registration(name).scan_id, fact(number, name))


@pytest.mark.parametrize("more", [0, 60], ids=["as it was", "and it has gone further than before"])
async def test_an_older_backup_ends_the_nodes_that_had_read_more(tmp_path: Path, more: int) -> None:
    """They would tell of scans that nobody has any more, and never see what stands at places that they have passed."""
    with nats_server(tmp_path / "nats") as server:
        here = options(server)
        await write(here, A, 5)
        await anyio.to_thread.run_sync(saved, server, tmp_path / "backup")
        async with relay(server.port) as network:
            there = options(server, namespace=here.namespace, url=f"nats://127.0.0.1:{network.port}")
            with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012  # it ends the whole block
                async with open_nats(there) as node, consuming(node) as consumer:
                    await write(here, B, 5)
                    await node.barrier()
                    assert len(consumer.log(B)) == 6
                    await network.cut()
                    await anyio.to_thread.run_sync(restored, server, tmp_path / "backup")
                    if more:
                        await write(here, C, more)
                    network.heal()
                    await _asked_until_it_ends(node)
        assert caught.group_contains(EngineUnusable, match="another message than" if more else "brought back|ends at")
        async with open_nats(here) as store, consuming(store) as consumer:
            assert len(consumer.log(A)) == 6
            assert consumer.log(B) == []
            assert len(consumer.log(C)) == (1 + more if more else 0)


async def _asked_until_it_ends(node: NatsStore) -> None:
    with anyio.fail_after(DEADLINE_SECONDS):
        while True:
            await anyio.sleep(0.05)
            try:
                await node.probe()
            except Exception:  # noqa: S112  # the connection is on its way back
                continue


async def snapshot(connection: Connection, stream: str) -> tuple[dict[str, Any], list[bytes]]:
    """What `nats stream backup` fetches: what the stream is, and a file in pieces; each is acknowledged."""
    pieces: list[bytes] = []
    whole = anyio.Event()
    client = connection.client
    inbox = client.new_inbox()

    async def receive(message: Msg) -> None:
        if message.data:
            pieces.append(message.data)
        else:
            whole.set()
        if message.reply:
            await message.respond(b"")

    await client.subscribe(inbox, cb=receive)
    about = await connection.request_api(
        f"STREAM.SNAPSHOT.{stream}", {"deliver_subject": inbox, "no_consumers": True, "chunk_size": 128 * 1024}
    )
    with anyio.fail_after(DEADLINE_SECONDS):
        await whole.wait()
    return about, pieces


async def restore(connection: Connection, stream: str, about: dict[str, Any], pieces: list[bytes]) -> None:
    """What `nats stream restore` sends."""
    wanted = {"config": about["config"], "state": about["state"]}
    taken = await connection.request_api(f"STREAM.RESTORE.{stream}", wanted)
    for piece in (*pieces, b""):
        answer = await connection.client.request(taken["deliver_subject"], piece, timeout=DEADLINE_SECONDS)
    assert "error" not in json.loads(answer.data)


async def test_a_snapshot_is_the_whole_store_for_another_nats(tmp_path: Path) -> None:
    """As docs/scaling.md has it, with what the command `nats` sends: taken while nodes write, for an empty server."""
    with nats_server(tmp_path / "one") as server, nats_server(tmp_path / "other") as another:
        here = options(server)
        stream = f"{here.namespace}_SCANS"
        async with open_nats(here) as store, consuming(store):
            await store.register(registration(A), None)
            await store.append(A, *map(fact, range(200)))
            await store.register(registration(B), None)
            await store.settle(A, 9_000_000)
            await store.remember("pace", b"1")
            identity, key = store.identity, store.key
            about, pieces = await snapshot(store.connection, stream)
            await store.append(B, fact(0))  # which is not in it
        there = options(another, namespace=here.namespace)
        async with connected(there) as connection:
            await restore(connection, stream, about, pieces)
        async with open_nats(there) as store, consuming(store) as consumer:
            assert (store.identity, store.key) == (identity, key)
            assert await store.newest(ANYONE, 10) == [B, A]
            assert await store.history(A) == [registration(A), *map(fact, range(200))]
            assert consumer.log(B) == [registration(B)]
            assert await store.recall("pace") == b"1"
            await store.append(B, fact(1))
            assert consumer.log(B) == [registration(B), fact(1)]
