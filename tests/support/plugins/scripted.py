"""A strategy that does what a test tells it: it starts, finds, fails, hangs, dies and ends on command.

Installed for tests as a plug-in like any other: `scripted-1.0.dist-info` beside this file is on the path.
With `control` each shard connects to a Unix socket of the test and obeys one word a line (support/script.py);
without, it finds `found` opportunities a shard after `work` rounds of hashing and a `pause` of so many seconds.
"""

import hashlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from scanstream.panel import Panel
from scanstream.strategies import strategy
from scanstream.strategies.strategy import NothingToScan, Signal


class Parameters(strategy.Parameters, frozen=True, kw_only=True):
    """The script."""

    shards: Annotated[int, Meta(ge=0)] = 0
    found: Annotated[int, Meta(ge=0)] = 0
    work: Annotated[int, Meta(ge=0)] = 0
    pause: Annotated[float, Meta(ge=0)] = 0.0
    control: str = ""


class Scripted(strategy.Strategy):
    """Obeys."""

    id = "scripted"
    name = "Scripted"
    opportunity_type = "scripted"
    description = "Does what a test tells it."
    source = "tests/support/plugins/scripted.py"
    chunk = 1
    budget_seconds = 600.0  # of all the time in which a test has a shard stand and wait: it ends only what hangs
    parameters = Parameters

    def units(self, panel: Panel, parameters: Parameters) -> int:
        """One a shard."""
        if not parameters.shards:
            raise NothingToScan("was given no script")
        return parameters.shards

    def scan(self, panel: Panel, units: range, parameters: Parameters) -> Iterator[Signal]:
        """Follow the script of this shard."""
        shard = units.start
        if parameters.control:
            yield from _obey(panel, shard, parameters.control)
            return
        digest = b"work"
        for _ in range(parameters.work):
            digest = hashlib.sha256(digest).digest()
        threading.Event().wait(parameters.pause)
        for number in range(parameters.found):
            yield found(panel, shard, number)


def found(panel: Panel, shard: int, number: int) -> Signal:
    """The `number`-th opportunity of a shard: its id is its own, whoever runs the shard."""
    return Signal(
        symbols=(f"S{shard}/N{number}",),
        side="neutral",
        bar=panel.bars - 1,
        expected_return=0.01,
        confidence=(number % 100) / 100,
        horizon=1,
        metadata={"shard": shard},
    )


def _obey(panel: Panel, shard: int, control: str) -> Iterator[Signal]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(control)
        connection.sendall(f"{shard} {os.getpid()}\n".encode())
        number = 0
        for line in connection.makefile():
            match line.split():
                case ["find", count]:
                    for _ in range(int(count)):
                        yield found(panel, shard, number)
                        number += 1
                case ["fail", *words]:
                    raise RuntimeError(" ".join(words))
                case ["hang"]:
                    threading.Event().wait()
                case ["die"]:
                    os.kill(os.getpid(), signal.SIGKILL)
                case ["end"]:
                    return
        raise ConnectionError("the test left without a word")
