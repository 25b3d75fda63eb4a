"""How long a run waits for a server that takes scans at a pace of its own, and for one that takes none."""

import anyio
import pytest

from scanstream.conformance.patience import Patience
from scanstream.conformance.promise import NotTried

pytestmark = pytest.mark.anyio

WAIT = 0.3
"""What the server wants to be left alone for."""
SAID = "429, rate_limited"


@pytest.fixture
async def patience() -> Patience:
    """Enough for one wait, and not for two."""
    patience = Patience(1.5 * WAIT)
    patience.begins(anyio.CancelScope())
    return patience


async def test_who_waits_beside_others_costs_no_time(patience: Patience) -> None:
    scope = anyio.CancelScope(deadline=anyio.current_time())
    patience.begins(scope)
    before = scope.deadline
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(patience.left_alone, WAIT, SAID)
    assert scope.deadline - before == pytest.approx(WAIT, abs=0.1)


async def test_one_wait_behind_the_other_is_as_long_as_both(patience: Patience) -> None:
    await patience.left_alone(WAIT, SAID)
    with pytest.raises(NotTried):
        await patience.left_alone(WAIT, SAID)


async def test_a_server_that_takes_scans_slowly_is_waited_for_in_each_check(patience: Patience) -> None:
    patience.taken()
    with pytest.raises(NotTried, match="took 1 of the scans for it"):
        await patience.left_alone(60, SAID)
    assert patience.refused == ""
    patience.begins(anyio.CancelScope())
    await patience.left_alone(WAIT, SAID)


async def test_one_that_takes_none_is_waited_for_in_one_check_only(patience: Patience) -> None:
    for _ in range(2):
        with pytest.raises(NotTried, match="takes no new scan"):
            await patience.left_alone(60, SAID)
        assert patience.refused == SAID
        patience.begins(anyio.CancelScope())
    with pytest.raises(NotTried):
        await patience.left_alone(WAIT, SAID)


async def test_where_it_takes_one_again_it_is_waited_for_as_before(patience: Patience) -> None:
    with pytest.raises(NotTried):
        await patience.left_alone(60, SAID)
    patience.begins(anyio.CancelScope())
    patience.taken()
    assert patience.refused == ""
    await patience.left_alone(WAIT, SAID)
