"""A panel of a hundred megabytes goes from node to node, and the loop of neither waits for it."""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import numpy as np
import pytest

from scanstream.engines.nats.library import open_library
from scanstream.engines.nats.store import open_nats
from scanstream.market.copies import Copies
from scanstream.market.synthetic import SyntheticMarket
from scanstream.panel import FIELDS, Panel
from support.nats import NatsServer, options

BARS, SYMBOLS = 4400, 600
MOST_SECONDS = 0.005
TRAVELS = 3
"""What takes long in the code does so each time; what a busy machine adds to one step it does not."""


def large(directory: Path) -> Panel:
    """A saved panel of some hundred megabytes."""
    random = np.random.default_rng(1)
    times = np.arange(BARS, dtype=np.int64) * 3_600_000
    names = tuple(f"COIN{number}/USDT" for number in range(SYMBOLS))
    prices: dict[str, Any] = {name: random.uniform(1, 2, (BARS, SYMBOLS)) for name in FIELDS}
    return Panel("large", "large", 3_600_000, names, times, **prices).save(directory).prepared()


@contextmanager
def longest_step() -> Iterator[list[float]]:
    """How long the loop's steps take, in seconds of this thread's own work; the collector is kept out of its way."""
    run, steps = asyncio.Handle._run, [0.0]

    def timed(self: asyncio.Handle) -> None:
        begun = time.thread_time()
        run(self)
        steps[0] = max(steps[0], time.thread_time() - begun)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", timed)
        gc.collect()
        gc.disable()
        try:
            yield steps
        finally:
            gc.enable()


@pytest.mark.cluster
def test_a_large_panel_travels_in_short_steps(
    nats: NatsServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    panel = large(tmp_path / "here")
    small = SyntheticMarket(symbols=2, bars=5).load().save(tmp_path / "here")

    async def travel(there: Path) -> float:
        """The longest step, in seconds."""
        here = options(nats)
        async with open_nats(here, lag=0) as one, open_nats(here, lag=0) as other:
            libraries = [await open_library(store) for store in (one, other)]
            announce = partial(libraries[0].announce, panel.market)
            await Copies(libraries[0], tmp_path / "here").publish(
                small, announce
            )  # what is imported late is imported now
            with longest_step() as longest:
                await Copies(libraries[0], tmp_path / "here").publish(panel, announce)
                assert await Copies(libraries[1], there).panel(panel.digest) is not None
                await anyio.lowlevel.checkpoint()  # what ends here is a step of its own
                return longest[0]

    longest: list[float] = []
    while len(longest) < TRAVELS and min(longest, default=1.0) > MOST_SECONDS:
        there = tmp_path / f"there{len(longest)}"
        there.mkdir()
        longest.append(anyio.run(travel, there))
        with capsys.disabled():
            print(f"\n100 MB, published and fetched: steps of at most {longest[-1] * 1000:.1f} ms")
    assert min(longest) <= MOST_SECONDS
