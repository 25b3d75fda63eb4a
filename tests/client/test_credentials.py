"""The library before a server that wants to know who asks: on each rung, with a credential that ends on the way."""

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from scanstream.client import AsyncClient
from scanstream.client.ladder import RUNGS
from scanstream.errors import Forbidden, NotFound, Unauthorized
from scanstream.push.websocket import Connection
from scanstream.security.caller import Right
from support.guards import Ring, guarded
from support.script import Script, scripting

pytestmark = [pytest.mark.anyio, pytest.mark.clients]

RING = Ring()


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    async with guarded(RING, workers=1) as url:
        yield url


@asynccontextmanager
async def client(url: str, transport: Any, token: Any) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(url, token=token, transports=(transport,)) as client:
        with anyio.fail_after(60):
            yield client


def jwt_until(seconds: float) -> str:
    """What looks like one that ends then, to the library; of the ring's making."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + seconds}).encode()).decode().rstrip("=")
    text = f"{base64.urlsafe_b64encode(b'{}').decode().rstrip('=')}.{claims}.{len(RING.given)}"
    return RING.key("ann", text=text, expires_at=round((time.time() + seconds) * 1000))


async def halfway(script: Script, scan: Any) -> Any:
    """The second shard of the scan, which waits; what the first one has found is here."""
    await (await script.started()).tell("find 2", "end")
    shard = await script.started()
    updates = aiter(scan)
    while len(scan.opportunities) < 2:
        await anext(updates)
    return shard


@pytest.mark.parametrize("transport", RUNGS)
async def test_one_that_ends_on_the_way_is_replaced(url: str, transport: str) -> None:
    keys = [RING.key("ann"), RING.key("ann")]
    given: list[str] = []

    def token() -> str:
        given.append(keys[len(given)])
        return given[-1]

    async with scripting() as script, client(url, transport, token) as here:
        scan = await here.discover(**script.request(shards=2))
        shard = await halfway(script, scan)
        RING.revoke(keys[0])
        while len(given) < 2:  # noqa: ASYNC110
            await anyio.sleep(0.01)
        await shard.tell("find 3", "end")
        state = await scan.wait()
        assert (state["status"], len(scan.opportunities)) == ("complete", 5)
        assert len(await scan.results()) == 5
        assert len(given) == 2, "asked for once more"
        assert here.connection.transport == transport


@pytest.mark.parametrize("transport", RUNGS)
async def test_one_that_cannot_be_replaced_is_the_end(url: str, transport: str) -> None:
    key = RING.key("ann")
    async with scripting() as script, client(url, transport, key) as here:
        scan = await here.discover(**script.request(shards=2))
        shard = await halfway(script, scan)
        RING.revoke(key)
        with pytest.raises(Unauthorized):
            await scan.wait()
        with pytest.raises(Unauthorized):
            await here.discover()
        await shard.tell("end")


@pytest.mark.parametrize("transport", RUNGS)
async def test_a_scan_token_follows_its_scan(url: str, transport: str) -> None:
    async with scripting() as script, client(url, transport, RING.key("ann")) as owner:
        scan = await owner.discover(**script.request(shards=1))
        shard = await script.started()
        shared = await scan.share(["read"], expires_in=60)
        async with client(url, transport, shared["token"]) as here:
            same = await here.watch(scan.id)
            await shard.tell("find 3", "end")
            assert (await same.wait())["status"] == "complete"
            assert len(await same.results()) == 3
            with pytest.raises(Forbidden):
                await same.cancel()
            with pytest.raises(Forbidden):
                await here.discover()
            with pytest.raises(Forbidden):
                await here.watch("latest")
        async with client(url, transport, RING.key("ben")) as other:
            with pytest.raises(NotFound):
                await (await other.watch(scan.id)).wait()


async def test_one_who_may_not_is_told_so_on_a_socket(url: str) -> None:
    async with client(url, "websocket", RING.key("ann")) as owner:
        scan_id = (await owner.discover()).id
    async with client(url, "websocket", RING.key("ann", Right.OPERATE)) as here:
        with pytest.raises(Forbidden):
            await (await here.watch(scan_id)).wait()


async def test_a_jwt_is_renewed_on_the_open_socket(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Connection] = []
    begin = Connection.__init__

    def noted(self: Connection, *arguments: Any) -> None:
        opened.append(self)
        begin(self, *arguments)

    monkeypatch.setattr(Connection, "__init__", noted)
    given: list[str] = []

    def token() -> str:
        given.append(jwt_until(3 if not given else 3600))
        return given[-1]

    async with scripting() as script, client(url, "websocket", token) as here:
        scan = await here.discover(**script.request(shards=2))
        shard = await halfway(script, scan)
        await anyio.sleep(3.5)
        await shard.tell("find 3", "end")
        assert (await scan.wait())["status"] == "complete"
    assert (len(given), len(opened)) == (2, 1)
