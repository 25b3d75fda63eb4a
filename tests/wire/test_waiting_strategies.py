"""Strategies in the loop, as their readers see them: what they find comes as it is found, and stays."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from scanstream.client.mirror import Mirror
from support.installing import plug_in, serving_with
from support.process import ServerProcess
from support.wire import discover, request, results, until_terminal, websocket

pytestmark = pytest.mark.anyio

SOURCE = """
import time
import anyio
from scanstream.strategies.strategy import AsyncStrategy, Note, Signal


def signal(symbol):
    return Signal(symbols=(symbol,), side="neutral", expected_return=0.01, confidence=0.5, metadata={})


class Finding(AsyncStrategy):
    id, name, opportunity_type, description, source = "finding", "F", "own", "Finds three, and goes on.", "a test"
    chunk, budget_seconds = 1000, 60.0

    def units(self, panel, parameters):
        return 1

    async def scan(self, panel, units, parameters):
        for number in range(3):
            yield signal(f"S{number}/X")
        yield Note("three so far")
        await self.go_on()

    async def go_on(self):
        await anyio.sleep_forever()


class Late(Finding):
    id, budget_seconds = "late", 5.0


class Raising(Finding):
    id = "raising"

    async def go_on(self):
        await anyio.sleep(0.5)
        raise RuntimeError("own mistake")


class Blocking(Finding):
    id = "blocking"

    async def go_on(self):
        time.sleep(0.4)


class Elsewhere(Finding):
    id = "elsewhere"

    async def go_on(self):
        async def task():
            await anyio.sleep(0.3)
            time.sleep(0.6)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(task)


class Own(Finding):
    id, opportunity_types = "own", ("basis", "carry")

    async def scan(self, panel, units, parameters):
        yield Signal(symbols=("A/X",), side="long", entry=100.0, expected_return=0.01, confidence=0.5, metadata={})
        yield Signal(
            symbols=("B/X",), side="long", entry=100.0, expected_return=0.01, confidence=0.5, metadata={},
            exchange="kraken", required_capital=250.0, risk_level="medium", opportunity_type="basis",
        )
"""
CLASSES = ("Finding", "Late", "Raising", "Blocking", "Elsewhere", "Own")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where they are installed."""
    return plug_in(tmp_path_factory.mktemp("waiting"), "waiting_own", SOURCE, *CLASSES)


@pytest.fixture
async def server(installed: Path) -> AsyncIterator[ServerProcess]:
    """A server that has them."""
    async with serving_with(installed, "--workers", "1") as server:
        yield server


def of(*strategies: str, **more: Any) -> dict[str, Any]:
    """A request for these."""
    return {"strategy_ids": list(strategies), "force_refresh": True, **more}


async def test_what_is_found_is_shown_while_the_strategy_waits_and_kept_when_it_is_cancelled(
    server: ServerProcess,
) -> None:
    async with websocket(server.url) as socket:
        await socket.send(type="discover", request=of("finding"))
        scan_id, mirror = (await socket.receive())["scan_id"], Mirror()
        with anyio.fail_after(30):
            while len(mirror.opportunities) < 3:
                mirror.apply(await socket.receive())
            assert mirror.state["strategies"]["finding"]["status"] == "running"
            await socket.send(type="cancel", id="c", scan_id=scan_id)
            while not mirror.ended:
                if (message := await socket.receive())["type"] != "ack":
                    mirror.apply(message)
    assert mirror.state["status"] == "cancelled"
    found = (await results(server.url, scan_id)).json()
    assert [one["symbol"] for one in found["opportunities"]] == ["S0/X", "S1/X", "S2/X"]


async def test_what_is_found_is_kept_when_the_strategy_fails_or_is_late(server: ServerProcess) -> None:
    first = (await discover(server.url, of("own"))).json()["scan_id"]
    await until_terminal(server.url, first)  # the panel is read: on a busy machine that takes some of a budget
    scan_id = (await discover(server.url, of("late", "raising", "own"))).json()["scan_id"]
    with anyio.fail_after(60):
        state = await until_terminal(server.url, scan_id)
    late, raising = state["strategies"]["late"], state["strategies"]["raising"]
    assert state["status"] == "complete"
    assert (late["status"], late["opportunities_found"], late["note"]) == ("timed_out", 3, "three so far")
    assert (raising["status"], raising["opportunities_found"], raising["note"]) == ("failed", 3, "three so far")
    found = (await results(server.url, scan_id)).json()["opportunities"]
    assert sorted(one["strategy_id"] for one in found) == ["late"] * 3 + ["own"] * 2 + ["raising"] * 3


async def test_who_holds_up_the_loop_is_named_in_the_note_and_the_metrics(server: ServerProcess) -> None:
    scan_id = (await discover(server.url, of("blocking", "elsewhere", "own"))).json()["scan_id"]
    with anyio.fail_after(60):
        state = await until_terminal(server.url, scan_id)
    strategies = state["strategies"]
    assert strategies["blocking"]["note"] == "it held up the server's loop for more than 100 ms at a time; three so far"
    assert "note" not in strategies["own"]
    metrics = (await request(server.url, "GET", "/metrics")).body.decode()
    told = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line.startswith("scanstream_loop_held_up"))
    assert float(told['scanstream_loop_held_up_total{strategy="blocking"}']) >= 1
    assert float(told['scanstream_loop_held_up_longest_seconds{strategy="blocking"}']) > 0.1
    assert float(told['scanstream_loop_held_up_total{strategy="elsewhere"}']) >= 1, "its own task is seen, too"


@pytest.mark.parametrize(
    ("filters", "symbols"),
    [
        ({}, "AB"),
        ({"opportunity_type": ["basis"]}, "B"),
        ({"opportunity_type": ["own"]}, "A"),
        ({"filter_by_risk_level": "medium"}, "B"),
        ({"filter_by_risk_level": "high"}, "AB"),
        ({"filter_by_risk_level": "low"}, ""),
        ({"max_required_capital": 300.0}, "B"),
    ],
)
async def test_filters_go_by_what_a_signal_says(server: ServerProcess, filters: dict[str, Any], symbols: str) -> None:
    scan_id = (await discover(server.url, of("own", **filters))).json()["scan_id"]
    assert (await until_terminal(server.url, scan_id))["status"] == "complete"
    found = (await results(server.url, scan_id)).json()["opportunities"]
    assert "".join(sorted(one["symbol"][0] for one in found)) == symbols
    for one in found:
        if one["symbol"] == "B/X":
            assert (one["exchange"], one["required_capital_usd"], one["opportunity_type"]) == ("kraken", 250.0, "basis")
        else:
            assert (one["exchange"], one["risk_level"], one["opportunity_type"]) == ("synthetic", "high", "own")


async def test_the_catalogue_says_what_types_a_strategy_may_find(server: ServerProcess) -> None:
    listed = {one["id"]: one for one in (await request(server.url, "GET", "/opportunities/strategies")).json()}
    assert listed["own"]["opportunity_types"] == ["own", "basis", "carry"]
    assert "opportunity_types" not in listed["late"]
