"""The same market gives the same scan, whatever engine it runs on and however many nodes share it.

The generated market is the same everywhere and always.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from cluster.harness import ended, planned
from onemachine.cluster import running
from support.process import server_process
from support.wire import discover, results

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

REQUEST = {"symbols": ["BTC/USDT", "ETH/USDT", "SOL/USDT"], "parameters": {"tsmom": {"walk_forward": 200}}}
OF_ONE_RUN = re.compile(r"scan_id|cursor|.*(_at|_time|_seconds|_ms|_url)")
"""What two runs of the same scan on one engine do not share either."""


async def outcome(url: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The last state without what is of one run, and all that was found, by id."""
    answer = await discover(url, REQUEST)
    assert answer.status == 202, answer
    scan_id = answer.json()["scan_id"]
    state = await ended(url, scan_id)
    found = (await results(url, scan_id)).json()["opportunities"]
    return _plain(state), sorted(found, key=lambda one: str(one["id"]))


def _plain(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _plain(held) for key, held in value.items() if not OF_ONE_RUN.fullmatch(key)}


async def test_ids_and_states_are_those_of_the_embedded_engine(tmp_path: Path) -> None:
    with server_process(tmp_path / "embedded") as server:
        state, found = await outcome(server.url)
    async with running(planned(tmp_path, nodes=(1, 2, 2))) as cluster:
        here = [await outcome(node.url) for node in cluster.web]

    assert found
    for other_state, other_found in here:
        assert [one["id"] for one in other_found] == [one["id"] for one in found]
        assert other_state == state, "the states differ"
