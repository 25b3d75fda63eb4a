"""No false alarm: servers that are unlike ours and keep every promise pass, whatever check looks at them."""

import pytest

from conformance.judged import APART, judged
from conformance.mutating import Mutation, mutated_server
from conformance.test_server import QUICK, SHORT, assert_kept
from conformance.unusual import ONE_BY_ONE, AllAtOnce
from scanstream.conformance.promise import CHECKS

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("breaking")]

BELOW = {"large-heads", "too-large", "wrong-frames"}
"""Not tried: what is below messages is as it is."""


async def breaks_nothing(unusual: Mutation, *wanted: str) -> None:
    """Each of these checks is tried, and holds."""
    with pytest.MonkeyPatch.context() as patches:
        async with mutated_server(patches) as (url, server):
            server.mutation = unusual
            verdicts = await judged(url, *wanted, long=SHORT)
    assert_kept(verdicts)


async def test_a_server_that_is_unlike_ours_breaks_nothing() -> None:
    await breaks_nothing(AllAtOnce(), *QUICK)


@pytest.mark.clients
@pytest.mark.timeout(500)
async def test_a_server_that_is_unlike_ours_breaks_nothing_of_all() -> None:
    await breaks_nothing(AllAtOnce(), *(CHECKS.keys() - APART - BELOW))


@pytest.mark.clients
@pytest.mark.parametrize("unusual", ONE_BY_ONE)
async def test_what_is_unlike_ours_breaks_nothing_by_itself(unusual: str) -> None:
    await breaks_nothing(ONE_BY_ONE[unusual](), *QUICK)
