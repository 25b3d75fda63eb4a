"""Clusters with namespaces of their own on one NATS have nothing in common: no scan, note, market, queue, or place."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from nats.aio.client import Client

from cluster.farm import ended, started
from cluster.harness import quick
from scanstream.core import Core, open_core
from scanstream.errors import NotFound
from scanstream.model import ANYONE
from scanstream.settings import Settings
from support.nats import nats_server

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

NAMESPACES = ("", "eu", "eu_SCANS", "OBJ")
"""Some that begin as others, or are what names are made of."""
STREAMS = ("SCANS", "JOBS", "DELIVERIES")


async def test_namespaces_on_one_nats_do_not_see_each_other(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        async with AsyncExitStack() as stack:
            cores: dict[str, Core] = {}
            for name in NAMESPACES:
                data = str(tmp_path / f"data-{name}")
                settings = Settings(port=0, engine=server.url, namespace=name, data=data, workers=int(name == "eu"))
                cores[name] = await stack.enter_async_context(open_core(settings))
            scans = {name: await started(core, **quick()) for name, core in cores.items()}
            assert (await ended(cores["eu"], scans["eu"])).ended
            for name, core in cores.items():
                await core.store.remember("word", name.encode())
                others = [scans[other] for other in NAMESPACES if other != name]
                assert await core.store.newest(ANYONE, 10) == [scans[name]]
                for scan_id in others:
                    with pytest.raises(NotFound):
                        await core.desk.find(ANYONE, scan_id)
            assert len({core.store.identity for core in cores.values()}) == len(NAMESPACES)
            assert len({core.store.key for core in cores.values()}) == len(NAMESPACES)
            for name, core in cores.items():
                assert await core.store.recall("word") == name.encode()
                assert core.engine.places(False) == (1 if name == "eu" else 0)
                assert len(core.hub.live()) == (0 if name == "eu" else 1), "nobody else has run it"
            client = Client()
            await client.connect(server.url)
            there = {stream.config.name for stream in await client.jetstream().streams_info()}
            await client.close()
            prefixes = [f"{name}_" if name else "" for name in NAMESPACES]
            expected = {f"{prefix}{stream}" for prefix in prefixes for stream in STREAMS}
            assert there == expected | {f"OBJ_{prefix}PANELS" for prefix in prefixes}
