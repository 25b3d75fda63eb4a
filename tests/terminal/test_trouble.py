"""Commands whose network is bad: through whatever gets through, to exactly what the server has."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from anyio import to_thread

from client.programs import QUICK, Piped, Terminal, run, running, scripted
from scanstream.client.mirror import Mirror
from support.process import ServerProcess, server_process
from support.script import scripting
from support.wire import results
from wire.proxy import Faults
from wire.proxy import running as proxied

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server."""
    with server_process(":memory:", "--workers", "1") as server:
        yield server.url


FAULTS = {
    "no upgrade": Faults(refuse_upgrade=403),
    "no upgrade, no streams": Faults(refuse_upgrade=200, buffer_streams=True),
    "unknown types and fields": Faults(inject=True),
    "cut off": Faults(drop_after=20_000),
    "now and then a bad gateway": Faults(bad_gateway_every=3),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_what_json_prints_is_all_that_the_server_has(url: str, name: str) -> None:
    with proxied(url, FAULTS[name]) as proxy:
        flags = ["--json", "--force-refresh", "--url", proxy.url, "--strategy", "tsmom"]
        shown = await to_thread.run_sync(lambda: run("discover", *flags))
    assert shown.returncode == 0, shown.stderr
    ack, *frames = (msgspec.json.decode(line) for line in shown.stdout.splitlines())
    assert ack["type"] == "ack"
    mirror = added_up(frames)
    found = (await results(url, ack["scan_id"])).json()["opportunities"]
    assert sorted(one["id"] for one in mirror.opportunities) == sorted(one["id"] for one in found)
    assert len(found) > 0


def added_up(frames: list[dict[str, Any]]) -> Mirror:
    """What the messages come to; nothing is missing between them."""
    mirror = Mirror()
    for frame in frames:
        mirror.apply(frame)
    assert (mirror.ended, mirror.state["status"]) == (True, "complete")
    return mirror


@pytest.mark.parametrize("command", ["watch", "status", "results", "strategies"])
def test_without_websockets_a_command_says_nothing_of_it(url: str, command: str) -> None:
    assert run("discover", *QUICK, "--url", url).returncode == 0
    with proxied(url, Faults(refuse_upgrade=403)) as proxy:
        shown = run(command, *([] if command == "strategies" else ["latest"]), "--json", "--url", proxy.url)
    assert (shown.returncode, shown.stderr) == (0, "")
    if command == "watch":
        kinds = [msgspec.json.decode(line)["type"] for line in shown.stdout.splitlines()]
        assert kinds == ["ack", "snapshot", "end"]


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (Faults(refuse_upgrade=403), "Slower: over a stream of events ("),
        (Faults(close_at_once=True), "Slower: over a stream of events ("),
    ],
    ids=["no upgrade", "closed at once"],
)
async def test_a_terminal_says_over_what_a_scan_comes_where_it_is_no_websocket(
    url: str, faults: Faults, words: str
) -> None:
    async with scripting() as script:
        with (
            proxied(url, faults) as proxy,
            running(Terminal, "discover", "--url", proxy.url, *scripted(script), rows=24, columns=100) as following,
        ):
            shard = await script.started()
            await to_thread.run_sync(following.until_seen, "running · ", words, "scripted       [----")
            await shard.tell("find 2", "end")
            assert await to_thread.run_sync(following.end) == 0
    assert "Complete: 2 found" in following.shown


@pytest.mark.parametrize("restarts", [2, pytest.param(5, marks=pytest.mark.soak)])
async def test_restarts_cost_a_scan_nothing_but_time(tmp_path: Path, restarts: int) -> None:
    """SIGTERM and kill -9 by turns, watched in a terminal and in a pipe."""
    server = await to_thread.run_sync(ServerProcess, tmp_path, "--workers", "1")
    port = str(urlsplit(server.url).port)
    try:
        async with scripting() as script:
            with running(Terminal, "discover", "--url", server.url, *scripted(script, shards=restarts + 1)) as shown:
                shard = await script.started()
                with running(Piped, "watch", "latest", "--json", "--url", server.url) as piped:
                    await to_thread.run_sync(piped.until, '"running"')
                    for number in range(restarts):
                        await shard.tell("find 3", "end")
                        await to_thread.run_sync(piped.until, f'"shards_completed":{number + 1}')
                        cut_off = await script.started()
                        await to_thread.run_sync(server.kill if number % 2 else server.stop)
                        await cut_off.until_gone()
                        server = await to_thread.run_sync(ServerProcess, tmp_path, "--workers", "1", "--port", port)
                        shard = await script.started()
                    await shard.tell("find 3", "end")
                    assert await to_thread.run_sync(piped.end) == 0, piped.errors()
                    assert await to_thread.run_sync(shown.end) == 0, shown.shown
    finally:
        await to_thread.run_sync(server.kill)
    ack, *frames = (msgspec.json.decode(line) for line in piped.shown.splitlines())
    mirror = added_up(frames)
    found = 3 * (restarts + 1)
    assert len({one["id"] for one in mirror.opportunities}) == len(mirror.opportunities) == found
    assert ack["type"] == "ack"
    assert f"Complete: {found} found" in shown.shown
