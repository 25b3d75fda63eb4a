"""The time of a cluster is that of its stream: no node is ahead of it, whatever its own clock says."""

import logging
import time

import anyio
import pytest

from scanstream.engines.nats.clock import DRIFT, StreamClock
from scanstream.engines.nats.store import open_nats
from scanstream.model import now
from support.nats import NatsServer, options
from support.stores import consuming

HOUR = 3_600_000
DAY = 24 * HOUR


class Node:
    """A machine whose clock is a day off, and that has run for an hour; messages come when the test says so."""

    def __init__(self) -> None:
        self.elapsed = 3600.0
        self.clock = StreamClock(lambda: self.elapsed, lambda: DAY)


def test_it_is_never_ahead_of_the_stream_and_never_goes_back() -> None:
    node = Node()
    assert node.clock.now() == DAY, "nothing was heard: there is nothing better"
    node.clock.hear(5_000)
    assert node.clock.now() == 5_000
    node.elapsed += 10
    assert 15_000 - 10_000 * DRIFT - 1 <= node.clock.now() <= 15_000
    node.clock.hear(5_001)  # it was long on its way
    assert node.clock.now() >= 15_000 - 10_000 * DRIFT - 1
    node.clock.hear(15_000)
    assert node.clock.now() == 15_000


def test_where_nothing_is_heard_it_falls_back_by_more_than_a_clock_may_go_wrong() -> None:
    node = Node()
    node.clock.hear(0)
    node.elapsed += 3600
    truth = HOUR * (1 - DRIFT / 2)  # this machine is fast
    assert truth - HOUR * DRIFT <= node.clock.now() <= truth


def test_a_clock_of_nats_that_goes_back_is_said_and_ours_does_not(caplog: pytest.LogCaptureFixture) -> None:
    node = Node()
    for at in (HOUR, HOUR + 5, HOUR - 1_000, HOUR + 10, 20, 30):
        node.clock.follow(at)
        node.clock.hear(at)
    assert node.clock.now() == HOUR + 10
    [said] = [record.getMessage() for record in caplog.records]
    assert "went back by 3600 s" in said


@pytest.mark.anyio
@pytest.mark.parametrize("hours", [-1, 1])
async def test_of_a_node_whose_clock_is_wrong_that_is_said_and_has_no_effect(
    nats: NatsServer, hours: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here, real = options(nats), time.time_ns
    async with open_nats(here) as right, consuming(right):
        monkeypatch.setattr(time, "time_ns", lambda: real() + hours * HOUR * 1_000_000)
        with caplog.at_level(logging.WARNING, "scanstream"):
            async with open_nats(here) as wrong, consuming(wrong):
                for _ in range(20):
                    seen = right.now()
                    assert abs(seen - real() // 1_000_000) < 5_000
                    await wrong.barrier()
                    assert wrong.now() >= seen, "what is over for one is over for all behind their barriers"
                    seen = wrong.now()
                    await right.barrier()
                    assert right.now() >= seen
                    await anyio.sleep(0.001)
                assert abs(now() - wrong.now()) > HOUR - 5_000
    said = [record.getMessage() for record in caplog.records if "clock" in record.getMessage()]
    words = "ahead of" if hours > 0 else "behind"
    assert said == [f"the clock of this machine is 3600 s {words} that of NATS, which is the one that counts"]
