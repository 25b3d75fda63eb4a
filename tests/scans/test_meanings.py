"""What a request means is found out once, and never for another market, caller or answer of a plug-in."""

from collections import Counter
from gc import collect
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from scans.planted import Planted, panel
from scanstream.errors import InvalidRequest
from scanstream.model import ANYONE, DiscoverRequest, Principal
from scanstream.scans import meanings as module
from scanstream.scans.meanings import Meaning, Meanings
from scanstream.strategies.installed import admit

pytestmark = pytest.mark.anyio

STRATEGIES = {"planted": admit(Planted(lambda *_: ()))}
"""One, as an entry point gives it."""


async def test_equal_requests_share_one_meaning() -> None:
    meanings, market = Meanings(STRATEGIES), panel()
    first = await meanings.of(ANYONE, DiscoverRequest(capital_usd=5.0), market, STRATEGIES)
    assert await meanings.of(ANYONE, DiscoverRequest(capital_usd=5.0), market, STRATEGIES) is first
    other = await meanings.of(ANYONE, DiscoverRequest(capital_usd=6.0), market, STRATEGIES)
    assert (other.slot != first.slot, other.budgets is first.budgets) == (True, True)
    insisting = await meanings.of(ANYONE, DiscoverRequest(capital_usd=5.0, force_refresh=True), market, STRATEGIES)
    assert (insisting.slot, insisting.request.force_refresh) == (first.slot, True)


async def test_another_caller_market_or_answer_is_another_meaning() -> None:
    meanings, market = Meanings(STRATEGIES), panel()
    first = await meanings.of(ANYONE, DiscoverRequest(), market, STRATEGIES)
    somebody = await meanings.of(Principal("somebody"), DiscoverRequest(), market, STRATEGIES)
    assert somebody.slot != first.slot
    judged = await meanings.of(ANYONE, DiscoverRequest(), market, dict(STRATEGIES))
    assert judged == first
    assert judged is not first
    later = panel()
    assert await meanings.of(ANYONE, DiscoverRequest(), later, STRATEGIES) is not first
    assert len(meanings._known) == 1


async def test_what_is_refused_is_refused_again() -> None:
    meanings, market = Meanings(STRATEGIES), panel()
    for _ in range(2):
        with pytest.raises(InvalidRequest):
            await meanings.of(ANYONE, DiscoverRequest(symbols=["NO"]), market, STRATEGIES)
    assert not meanings._known


async def test_few_and_short_ones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KNOWN", 4)
    meanings, market = Meanings(STRATEGIES), panel()
    request = DiscoverRequest(capital_usd=1.0)
    for number in range(10):
        await meanings.of(ANYONE, replace(request, capital_usd=float(number)), market, STRATEGIES)
    assert len(meanings._known) == 4
    long = replace(request, symbols=", ".join([market.symbols[0]] * 1000))
    await meanings.of(ANYONE, long, market, STRATEGIES)
    assert len(meanings._known) == 4
    assert all(len(key) < 100 for _, key in meanings._known)


async def test_long_requests_of_one_principal_are_looked_at_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each has turns on the loop: of a thousand at once everybody else would wait for a thousand turns."""
    looking: list[Principal] = []
    most: list[int] = []
    look = Meanings._found_out

    async def slowly(self: Meanings, principal: Principal, *arguments: Any) -> Meaning:
        looking.append(principal)
        most.append(max(Counter(looking).values()))
        await anyio.wait_all_tasks_blocked()
        looking.remove(principal)
        return await look(self, principal, *arguments)

    monkeypatch.setattr(Meanings, "_found_out", slowly)
    meanings, market = Meanings(STRATEGIES), panel()
    long = DiscoverRequest(symbols=", ".join([market.symbols[0]] * 1000))
    async with anyio.create_task_group() as asking:
        for _ in range(20):
            for name in ("a", "b"):
                asking.start_soon(meanings.of, Principal(name), long, market, STRATEGIES)
    assert (most, len(looking)) == ([1] * 40, 0)
    collect()
    assert not len(meanings._long)
    async with anyio.create_task_group() as asking:
        for number in range(20):
            short = DiscoverRequest(capital_usd=float(number + 1))
            asking.start_soon(meanings.of, Principal("a"), short, market, STRATEGIES)
    assert max(most) == 20, "others do not wait"
