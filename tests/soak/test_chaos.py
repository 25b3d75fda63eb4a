"""Chaos: all goes wrong at once, before clients of all kinds; and afterwards nothing is lost, doubled or left over."""

import os
import sys
from functools import partial
from pathlib import Path

import pytest

from soak.chaos.run import Opening, chaos, seed
from soak.chaos.world import on_nats, on_sqlite

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(sys.platform != "linux", reason="what processes hold, and may, is told by Linux"),
]

SHORT = 180.0
LONG = float(os.environ.get("SCANSTREAM_CHAOS_SECONDS", "900"))
"""Of each of the two long runs, in seconds: 30 minutes together."""


@pytest.mark.parametrize(
    ("opening", "seconds", "pause"),
    [
        pytest.param(on_sqlite, SHORT, 4.0, id="sqlite"),
        pytest.param(on_nats, SHORT, 4.0, id="nats", marks=pytest.mark.cluster),
        pytest.param(partial(on_sqlite, guarded=False), SHORT, 2.0, id="sqlite-open", marks=pytest.mark.soak),
        pytest.param(on_sqlite, LONG, 2.0, id="sqlite-long", marks=pytest.mark.soak),
        pytest.param(on_nats, LONG, 2.0, id="nats-long", marks=pytest.mark.soak),
    ],
)
async def test_whatever_goes_wrong(
    opening: Opening,
    seconds: float,
    pause: float,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    retention = min(60.0, max(15.0, seconds / 15))
    drawn = seed()
    with capsys.disabled():
        print(f"\nseed {drawn}")
    heavy = request.node.get_closest_marker("soak") is not None
    story = await chaos(opening, tmp_path, seed=drawn, seconds=seconds, retention=retention, pause=pause, heavy=heavy)
    with capsys.disabled():
        print(f"\n{story}")
    assert not story.faults
