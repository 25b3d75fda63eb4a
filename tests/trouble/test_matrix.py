"""Every fault of a hostile proxy, and every client: each ends with exactly what the server has.

The clients are programs in Node and Python (`make clients`), and pages of Chromium (`make browser`). All cells of a
kind of trouble go on at once: they wait most of the time.
"""

import math
from pathlib import Path
from typing import Any

import anyio
import pytest

from trouble.matrix import FROZEN, LASTING, ODDITIES, PASSING, Cell, Server, dripping, lasting, passing
from wire.proxy import RUNGS

pytestmark = pytest.mark.anyio

NOTICED_SECONDS = 15.0
BACK_SECONDS = 60.0
TROUBLE_SECONDS = 25.0


class Run:
    """What became of all cells of one group of clients."""

    def __init__(self) -> None:
        self.lasting: list[Cell] = []
        self.passing: list[Cell] = []
        self.scans: list[str] = []
        """The ids of those that the server had in the end."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("node", "python"), marks=pytest.mark.clients),
        pytest.param(("browser",), marks=pytest.mark.browser),
    ],
)
async def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All cells, at once."""
    run, server, directory = Run(), Server(), tmp_path_factory.mktemp("taps")
    try:
        async with anyio.create_task_group() as tasks:
            for kind in request.param:
                tasks.start_soon(lasting, server, kind, run.lasting, dripping(20, 0.15), LASTING)
                tasks.start_soon(passing, server, kind, PASSING, run.passing, directory, 0.0)
        run.scans = await server.scans()
    finally:
        server.stop()
    return run


def told(cells: list[Cell]) -> list[str]:
    """All cells that do not hold, with what is wrong."""
    wrong = []
    for cell in cells:
        try:
            cell.check_end()
        except AssertionError as error:
            wrong.append(f"{cell.name}: {error}")
    return wrong


def late(cells: list[Cell]) -> dict[str, Any]:
    """Cells whose client was not on the best rung in time, and what it said."""
    took = {cell: max(0.0, cell.back["at"] - cell.cleared) if cell.back else math.inf for cell in cells}
    return {cell.name: cell.follower.events[-8:] for cell in cells if took[cell] > BACK_SECONDS}


SOME = (
    "nothing",
    "refuses Upgrade",
    "drops after 24 kB",
    "502 now and then",
    "swallows the ack",
    "long polls: injects",
)


async def test_a_client_in_python_ends_with_the_servers_results_behind_some_faults() -> None:
    cells: list[Cell] = []
    server = Server()
    try:
        await lasting(server, "python", cells, dripping(20, 0.05), {name: LASTING[name] for name in SOME})
        scans = await server.scans()
    finally:
        server.stop()
    assert told(cells) == []
    assert {cell.name: most for cell in cells if (most := cell.crowded())} == {}
    assert len(scans) == len(cells) == len(SOME)


async def test_each_client_ends_with_the_servers_results_behind_each_fault(run: Run) -> None:
    assert {cell.fault for cell in run.lasting} == set(LASTING)
    assert told(run.lasting) == []


async def test_each_client_goes_on_after_the_trouble_and_ends_with_the_servers_results(run: Run) -> None:
    assert {cell.fault for cell in run.passing} == set(PASSING)
    assert told(run.passing) == []


async def test_after_the_trouble_each_client_is_back_on_the_best_rung(run: Run) -> None:
    assert late(run.passing) == {}


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["node", "python", "browser"])
async def test_after_much_trouble_of_any_kind_each_client_is_back_within_a_minute(kind: str, tmp_path: Path) -> None:
    cells: list[Cell] = []
    server = Server()
    try:
        await passing(server, kind, LASTING, cells, tmp_path, TROUBLE_SECONDS)
        scans = await server.scans()
    finally:
        server.stop()
    assert told(cells) == []
    assert late(cells) == {}
    assert {cell.name: most for cell in cells if (most := cell.crowded())} == {}
    assert len(scans) == len(cells) == len(LASTING)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("node", marks=pytest.mark.clients),
        pytest.param("python", marks=pytest.mark.clients),
        pytest.param("browser", marks=pytest.mark.soak),  # dozens of pages, all at once
    ],
)
async def test_whatever_other_makers_do_each_client_ends_with_the_servers_results(kind: str) -> None:
    cells: list[Cell] = []
    server = Server()
    try:
        await lasting(server, kind, cells, dripping(20, 0.15), ODDITIES)
        scans = await server.scans()
    finally:
        server.stop()
    assert told(cells) == []
    assert {cell.name: most for cell in cells if (most := cell.crowded())} == {}
    assert len(scans) == len(cells) == len(ODDITIES)


COST_NOTHING = {
    "nothing": "websocket",
    "2 s late": "websocket",
    "injects": "websocket",
    "streams: 2 s late": "stream",
    "streams: injects": "stream",
    "long polls": "longpoll",
    "long polls: 2 s late": "longpoll",
    "long polls: injects": "longpoll",
}
"""Faults that cost no rung, and the best one that they leave."""


async def test_what_is_late_or_unknown_costs_no_rung(run: Run) -> None:
    tried = {}
    for cell in run.lasting:
        if (best := COST_NOTHING.get(cell.fault)) is not None:
            worse = RUNGS[RUNGS.index(best) + 1 :]
            tried[cell.name] = [attempt for attempt in cell.proxy.attempts if attempt.rung in worse]
    assert len(tried) > 0
    assert {name: attempts for name, attempts in tried.items() if attempts} == {}


async def test_no_client_tries_often(run: Run) -> None:
    assert {cell.name: most for cell in run.lasting + run.passing if (most := cell.crowded())} == {}


async def test_each_client_has_started_one_scan(run: Run) -> None:
    cells = run.lasting + run.passing
    followed = [event["scan_id"] for cell in cells for event in cell.follower.events if event["event"] == "started"]
    assert len(run.scans) == len(cells)
    assert sorted(run.scans) == sorted(followed)


async def test_a_frozen_socket_is_noticed(run: Run) -> None:
    took = {cell.name: cell.noticed() for cell in run.lasting if cell.fault in FROZEN}
    assert len(took) >= len(FROZEN)
    assert {name: seconds for name, seconds in took.items() if seconds > NOTICED_SECONDS} == {}
