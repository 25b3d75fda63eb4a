"""Very many scans in the stream: a start reads what they hang on, and not their logs."""

import time
from collections import Counter
from pathlib import Path

import anyio
import pytest

from nats_engine import fill
from scanstream.engines.nats.reader import Reader
from scanstream.engines.nats.store import open_nats
from scanstream.engines.nats.tail import Message
from scanstream.model import ANYONE
from support.nats import NatsServer, nats_server, options
from support.stores import consuming

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


async def test_a_start_reads_nothing_of_finished_scans_but_their_ends(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = options(nats)
    async with open_nats(here) as store:
        await fill(store, 300)
        await store.barrier()
    read: Counter[str] = Counter()
    know = Reader._know

    def counted(reader: Reader, message: Message) -> object:
        read[message.subject.rpartition(".")[2]] += 1
        return know(reader, message)

    monkeypatch.setattr(Reader, "_know", counted)
    async with open_nats(here) as store, consuming(store) as consumer:
        assert consumer.taken == []
        assert read["ev"] == read["go"] == 0
        assert 300 < read["reg"] < 310  # and some marks
        assert 300 < read["end"] < 310
        newest = await store.newest(ANYONE, 1000)
        assert len(newest) == 300
        assert len(await store.history(newest[0]) or ()) == 6


@pytest.mark.soak
async def test_a_node_is_ready_soon_though_a_hundred_thousand_scans_have_ended(tmp_path: Path) -> None:
    """Ten seconds on a quiet machine; here others may be at work, so what this process did counts."""
    with nats_server(tmp_path) as server:
        here = options(server)
        async with open_nats(here) as store:
            await fill(store, 100_000)
        begun, worked = anyio.current_time(), time.process_time()
        async with open_nats(here) as store, consuming(store):
            assert len(await store.newest(ANYONE, 200_000)) == 100_000
        assert time.process_time() - worked < 8
        assert anyio.current_time() - begun < 60
