"""`Client`: the same without `await`, in programs without a loop."""

import inspect
import threading
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal

from client.test_client import QUICK, SECONDS, added_up
from scanstream.client import AsyncClient, BlockedLoop, BlockingScan, Client, Closed, Scan, Unreachable
from scanstream.errors import InvalidRequest, NotFound
from support.script import Script


def tell(portal: BlockingPortal, script: Script, *words: str) -> None:
    """The next shard is told this."""

    async def told() -> None:
        await (await script.started()).tell(*words)

    portal.call(told)


def offered(kind: type) -> dict[str, Any]:
    """What a caller sees of it, by name: parameters where it is called, None where it is looked at."""
    members = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}
    return {
        name: [str(one) for one in inspect.signature(member).parameters.values()] if callable(member) else None
        for name, member in members.items()
    }


@pytest.mark.parametrize(("awaited", "blocking"), [(AsyncClient, Client), (Scan, BlockingScan)])
def test_it_has_the_methods_of_the_other_with_the_same_parameters(awaited: type, blocking: type) -> None:
    theirs, ours = offered(awaited), offered(blocking)

    assert len(theirs) > 6
    assert {name: ours.get(name, "absent") for name in theirs} == theirs
    started = [[*inspect.signature(kind).parameters.values()] for kind in (AsyncClient, Client)]
    assert started[0] == started[1]


def test_a_scan_is_followed_to_its_end(server: str) -> None:
    with Client(server) as client:
        scan = client.discover(**QUICK)
        state, told = added_up(list(scan))
        results = scan.results()
        again = client.watch("latest", since=scan.cursor)

        assert state == scan.state == scan.wait(timeout=5) == again.wait(SECONDS)
        assert (scan.status, scan.done, scan.ack["scan_id"]) == ("complete", True, scan.id)
        assert sorted(told) == sorted(found["id"] for found in results)
        assert (len(scan.opportunities), again.opportunities) == (len(told), [])
        assert (client.connection.state, client.connection.transport) == ("live", "websocket")
        assert client.scans(limit=1)[0]["scan_id"] == scan.id
        assert client.market()["market"] == "synthetic"
        assert "tsmom" in [strategy["id"] for strategy in client.strategies()]
        client.reconnect()
        assert client.watch(scan.id).wait(SECONDS) == client.follow(scan.id).wait(SECONDS) == state
        assert (scan.url, scan.connection, scan.error, scan.left, scan.over) == (
            client.url,
            client.connection,
            None,
            False,
            True,
        )
    assert client.connection.state == "closed"
    with pytest.raises(Closed):
        client.market()
    client.close()


def test_scans_are_cancelled_and_left(server: str, portal: BlockingPortal, script: Script) -> None:
    with Client(server) as client:
        scan = client.discover(**script.request(shards=2))
        tell(portal, script, "find 2", "end")
        for update in scan:
            if update.opportunities:
                break  # no more of it is wanted here
        with pytest.raises(TimeoutError):
            scan.wait(timeout=0.05)
        scan.close()
        assert list(scan) == []
        again = client.watch(scan.id)
        assert again.cancel()["phase"] in ("cancelling", "done")
        assert again.wait(SECONDS)["status"] == "cancelled"


def test_errors_are_the_same(server: str) -> None:
    with Client(server) as client:
        with pytest.raises(InvalidRequest):
            client.discover(symbols=["NOPE/USDT"])
        with pytest.raises(NotFound):
            client.watch("scan_0")
    with Client("http://127.0.0.1:1") as nowhere, pytest.raises(Unreachable):
        nowhere.discover(timeout=0.3)
    with pytest.raises(RuntimeError, match="with Client"):
        Client(server).market()
    with pytest.raises(ValueError, match="no address"):
        Client("http://")


def test_in_a_running_loop_it_says_what_to_do(server: str) -> None:
    async def enters() -> None:
        with Client(server):
            raise AssertionError

    async def calls(client: Client) -> None:
        client.market()

    with pytest.raises(BlockedLoop, match="AsyncClient"):
        anyio.run(enters)
    with Client(server) as client, pytest.raises(RuntimeError, match="await client"):
        anyio.run(calls, client)


def test_who_waits_in_another_thread_is_told_when_the_client_is_closed(
    server: str, portal: BlockingPortal, script: Script
) -> None:
    told: list[BaseException] = []

    def waits() -> None:
        try:
            scan.wait()
        except Closed as error:
            told.append(error)

    with Client(server) as client:
        scan = client.discover(**script.request(shards=1))
        thread = threading.Thread(target=waits)
        thread.start()
        for _ in scan:
            break
    thread.join(SECONDS)
    assert len(told) == 1
    with Client(server) as client:
        client.watch(scan.id).cancel()
