"""What a slow ping has waited for is read from the scheduler's own record."""

import pytest

from slow_pings import CLIENT, LOOP, Cores, divided

RECORD = """\
python-10      [000] ...1. 5.000000: tracing_mark_write: ping
python-10      [000] d.s8. 5.001000: sched_wakeup: comm=python pid=20 prio=120 target_cpu=001
python-10      [000] d..2. 5.001000: sched_switch: prev_comm=python prev_pid=10 prev_prio=120 prev_state=S ==> \
next_comm=swapper/0 next_pid=0 next_prio=120
python-30      [001] d..2. 5.004000: sched_switch: prev_comm=python prev_pid=30 prev_prio=130 prev_state=R ==> \
next_comm=python next_pid=20 next_prio=120
python-20      [001] d.s8. 5.006000: sched_wakeup: comm=python pid=10 prio=120 target_cpu=000
python-20      [001] d..2. 5.006000: sched_switch: prev_comm=python prev_pid=20 prev_prio=120 prev_state=S ==> \
next_comm=python next_pid=30 next_prio=130
<idle>-0       [000] d..2. 5.006500: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> \
next_comm=python next_pid=10 next_prio=120
python-10      [000] ...1. 5.007000: tracing_mark_write: pong
"""


def test_the_time_of_a_ping_is_divided_among_its_causes() -> None:
    cores = Cores(client=10, loop=20, workers={30}, running={1: (30, "python")})

    (ping,) = divided(cores, RECORD.splitlines())

    assert ping.taken == pytest.approx(7.0)
    assert ping.by_cause == pytest.approx(
        {
            CLIENT: 1.5,
            "the loop could run, and its processor has a worker": 3.0,
            LOOP: 2.0,
            "the client could run, and its processor has nobody: it wakes up": 0.5,
        }
    )
