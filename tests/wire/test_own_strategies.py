"""Strategies of somebody's own, in a package that pip has really installed: one computes, one waits for a feed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from anyio import to_thread

from conftest import ROOT
from scanstream.client.mirror import Mirror
from scanstream.market.synthetic import SyntheticMarket
from scanstream.panel import Panel
from scanstream.settings import Settings
from support.feed import Feed, feeding
from support.installing import install, serving_with
from support.process import ServerProcess
from support.script import scripting
from support.wire import Socket, discover, request, results, until_terminal, websocket

pytestmark = pytest.mark.anyio

MOST_IN_LOOP = Settings().max_in_loop_per_scan

BITCOIN = "BTC/USDT"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that pip has installed the package into."""
    target = tmp_path_factory.mktemp("installed")
    install(ROOT / "tests" / "own_strategies", target)
    return target


@pytest.fixture(scope="module")
async def server(installed: Path) -> AsyncIterator[ServerProcess]:
    """One for all that leave nothing behind in it."""
    async with serving_with(installed) as server:
        yield server


@pytest.fixture(scope="module")
async def alone(installed: Path) -> AsyncIterator[ServerProcess]:
    """The same with one worker."""
    async with serving_with(installed, "--workers", "1") as server:
        yield server


@pytest.fixture(scope="module")
def panel() -> Panel:
    """What the server sees."""
    return SyntheticMarket().load()


def asking(feed: Feed, *strategies: str, **more: Any) -> dict[str, Any]:
    """A discover request of these strategies, where those that ask a feed ask this one."""
    ask = {name: {"feed": feed.url} for name in strategies if name.startswith("feed_gap")}
    return {"strategy_ids": list(strategies), "parameters": ask, "force_refresh": True, **more}


async def follow(socket: Socket, wanted: dict[str, Any]) -> tuple[str, Mirror]:
    """Discover, on this socket."""
    await socket.send(type="discover", request=wanted)
    ack = await socket.receive()
    assert ack["type"] == "ack", ack
    return ack["scan_id"], Mirror()


def found_by(mirror: Mirror, strategy_id: str) -> dict[str, dict[str, Any]]:
    """Symbol → what a strategy found."""
    return {found["symbol"]: found for found in mirror.opportunities if found["strategy_id"] == strategy_id}


def new_highs(panel: Panel, window: int) -> set[str]:
    """The symbols whose last close is their highest, without the strategy."""
    closes = panel.close[-window - 1 :]
    return {panel.symbols[column] for column in np.flatnonzero(closes.argmax(axis=0) == window)}


async def test_both_are_in_the_catalogue_with_their_parameters(server: ServerProcess) -> None:
    listed = (await request(server.url, "GET", "/opportunities/strategies")).json()
    strategies = {strategy["id"]: strategy for strategy in listed}

    computing, waiting = strategies["new_high"]["parameters"], strategies["feed_gap"]["parameters"]
    assert computing["properties"].keys() == {"walk_forward", "window"}
    assert computing["properties"]["window"] == {
        "type": "integer",
        "minimum": 2,
        "maximum": 1000,
        "default": 50,
        "description": "Bars that the last close must be above",
    }
    assert waiting["properties"].keys() == {"walk_forward", "feed", "least"}
    assert waiting["properties"]["feed"]["type"] == "string"
    assert waiting["properties"]["least"]["exclusiveMinimum"] == 0


async def test_both_find_what_is_there(server: ServerProcess, panel: Panel) -> None:
    async with feeding() as feed, websocket(server.url) as socket:
        closes = dict(zip(panel.symbols, panel.close[-1].tolist(), strict=True))
        cheap, dear, absent, *_ = closes
        feed.prices = {**closes, cheap: 0.9 * closes[cheap], dear: 1.2 * closes[dear]}
        del feed.prices[absent]
        scan_id, mirror = await follow(socket, asking(feed, "new_high", "feed_gap"))
        await socket.until_end(mirror, scan_id)

    assert mirror.state["status"] == "complete"
    gaps = found_by(mirror, "feed_gap")
    assert {symbol: found["side"] for symbol, found in gaps.items()} == {cheap: "short", dear: "long"}
    assert gaps[dear]["expected_return"] == pytest.approx(0.2)
    assert gaps[dear]["metadata"] == {"feed": feed.prices[dear]}
    assert mirror.state["strategies"]["feed_gap"]["note"] == f"the feed has no {absent}"
    assert found_by(mirror, "new_high").keys() == new_highs(panel, 50) != set()


async def test_what_goes_wrong_in_one_leaves_the_others_alone(server: ServerProcess, panel: Panel) -> None:
    async with feeding() as feed, websocket(server.url) as socket:
        feed.broken = True
        scan_id, mirror = await follow(socket, asking(feed, "new_high", "feed_gap", "raising", "killing"))
        await socket.until_end(mirror, scan_id)

    assert mirror.state["status"] == "complete"
    strategies = mirror.state["strategies"]
    assert {name: state["status"] for name, state in strategies.items()} == {
        "new_high": "complete",
        "feed_gap": "failed",
        "raising": "failed",
        "killing": "failed",
    }
    errors = {name: state["error"] for name, state in strategies.items() if "error" in state}
    assert {name: error["code"] for name, error in errors.items()} == {
        "feed_gap": "strategy_error",
        "raising": "strategy_error",
        "killing": "worker_died",
    }
    assert "HTTPStatusError: Server error '500 Broken'" in errors["feed_gap"]["detail"]
    assert "LookupError: own mistake (mishaps.py, line " in errors["raising"]["detail"]
    assert "its worker process died 3 times" in errors["killing"]["detail"]
    assert found_by(mirror, "new_high").keys() == new_highs(panel, 50) != set()


async def test_a_feed_that_never_answers_costs_its_strategy_the_budget_and_nobody_else(
    server: ServerProcess, panel: Panel
) -> None:
    async with feeding() as feed, websocket(server.url) as socket:
        feed.silent = True
        scan_id, mirror = await follow(socket, asking(feed, "new_high", "feed_gap_soon"))
        await socket.until_end(mirror, scan_id)
        with anyio.fail_after(10):
            await (await feed.asked()).wait()

    assert mirror.state["status"] == "complete"
    late = mirror.state["strategies"]["feed_gap_soon"]
    assert (late["status"], late["error"]["code"]) == ("timed_out", "timed_out")
    assert "budget of 2 s" in late["error"]["detail"]
    assert found_by(mirror, "new_high").keys() == new_highs(panel, 50)


async def test_one_that_hangs_in_the_only_worker_costs_its_budget_and_nobody_else(
    alone: ServerProcess, panel: Panel
) -> None:
    async with websocket(alone.url) as socket:
        wanted = {"strategy_ids": ["hanging", "new_high"], "force_refresh": True}
        scan_id, mirror = await follow(socket, wanted)
        await socket.until_end(mirror, scan_id)

    assert mirror.state["status"] == "complete"
    late = mirror.state["strategies"]["hanging"]
    assert (late["status"], late["error"]["code"]) == ("timed_out", "timed_out")
    assert "budget of 2 s" in late["error"]["detail"]
    assert (late["shards_completed"], late["total_shards"]) == (4, 4)
    assert mirror.state["strategies"]["new_high"]["status"] == "complete"
    assert found_by(mirror, "new_high").keys() == new_highs(panel, 50) != set()


async def test_one_that_waits_holds_up_neither_the_loop_nor_a_worker(installed: Path, panel: Panel) -> None:
    async with feeding() as feed, serving_with(installed, "--workers", "1") as server, websocket(server.url) as socket:
        feed.silent = True
        _, mirror = await follow(socket, asking(feed, "new_high", "feed_gap"))
        with anyio.fail_after(20):
            for _ in range(MOST_IN_LOOP):
                await feed.asked()
            while mirror.state.get("strategies", {}).get("new_high", {}).get("status") != "complete":
                mirror.apply(await socket.receive())
            await socket.send(type="ping", id="p")
            while (message := await socket.receive())["type"] != "pong":
                mirror.apply(message)
        depths = (await request(server.url, "GET", "/metrics")).body.decode().splitlines()
        assert f"scanstream_shards_running {MOST_IN_LOOP}.0" in depths
        assert f"scanstream_shards_waiting {len(panel.symbols) - MOST_IN_LOOP}.0" in depths
        assert mirror.state["strategies"]["feed_gap"]["status"] == "running"
        assert found_by(mirror, "new_high")


async def test_busy_workers_hold_up_nobody_who_waits(alone: ServerProcess) -> None:
    async with feeding() as feed, scripting() as script:
        busy = (await discover(alone.url, script.request(shards=2))).json()["scan_id"]
        shard = await script.started()
        waiting = (await discover(alone.url, asking(feed, "feed_gap"))).json()["scan_id"]
        assert (await until_terminal(alone.url, waiting))["status"] == "complete"
        await shard.tell("end")
        await (await script.started()).tell("end")
        assert (await until_terminal(alone.url, busy))["status"] == "complete"


async def test_a_cancel_closes_what_the_strategy_waits_on(server: ServerProcess) -> None:
    async with feeding() as feed, websocket(server.url) as socket:
        feed.silent = True
        scan_id, mirror = await follow(socket, asking(feed, "feed_gap", symbols=[BITCOIN]))
        left = await feed.asked()
        await socket.send(type="cancel", id="c", scan_id=scan_id)
        with anyio.fail_after(10):
            await left.wait()
            while not mirror.ended:
                if (message := await socket.receive())["type"] != "ack":
                    mirror.apply(message)

    assert mirror.state["status"] == "cancelled"
    assert mirror.state["strategies"]["feed_gap"]["status"] == "cancelled"


async def test_a_restart_while_it_waits_runs_the_shard_again(installed: Path, panel: Panel, tmp_path: Path) -> None:
    wanted = {"symbols": [BITCOIN]}
    async with feeding() as feed:
        feed.silent = True
        async with serving_with(installed, data=tmp_path) as server:
            scan_id = (await discover(server.url, asking(feed, "feed_gap", **wanted))).json()["scan_id"]
            left = await feed.asked()
            with anyio.fail_after(20):
                assert await to_thread.run_sync(server.stop) == 0
                await left.wait()
        feed.silent = False
        feed.prices = {BITCOIN: 2 * float(panel.close[-1, panel.symbols.index(BITCOIN)])}
        async with serving_with(installed, data=tmp_path) as server:
            assert (await until_terminal(server.url, scan_id))["status"] == "complete"
            [found] = (await results(server.url, scan_id)).json()["opportunities"]

    assert (found["strategy_id"], found["symbol"], found["side"]) == ("feed_gap", BITCOIN, "long")
