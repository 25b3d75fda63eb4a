"""One who floods keeps nobody else's scan from starting: over the wire, with principals that are told apart."""

from typing import Any

import anyio
import msgspec
import pytest

from support.guards import Ring, bearer, guarded
from support.script import scripting
from support.wire import Answer, request

pytestmark = pytest.mark.anyio

FLOOD = 30


async def discover(url: str, key: str, wanted: dict[str, Any]) -> Answer:
    """POST a discover with this key."""
    body = msgspec.json.encode({"force_refresh": True, **wanted})
    return await request(url, "POST", "/opportunities/discover", body, bearer(key))


async def state(url: str, key: str, scan_id: str) -> dict[str, Any]:
    """The scan's, with its rank."""
    answer = await request(url, "GET", f"/opportunities/status/{scan_id}", headers=bearer(key))
    told: dict[str, Any] = answer.json()
    return told


def _plain(told: dict[str, Any]) -> set[tuple[str, Any]]:
    return {(name, value) for name, value in told.items() if isinstance(value, str | int)}


async def until(url: str, key: str, scan_id: str, **there: Any) -> None:
    """Wait until the state has these fields."""
    with anyio.fail_after(20):
        while not there.items() <= _plain(await state(url, key, scan_id)):  # noqa: ASYNC110  # as a client polls
            await anyio.sleep(0.02)


async def test_whoever_comes_to_a_flood_is_let_in_next() -> None:
    ring = Ring()
    a, b, c = (ring.key(name) for name in ("a", "b", "c"))
    async with guarded(ring, workers=1, max_running=1, max_discovers=0) as url, scripting() as script:
        wanted = script.request(shards=1)
        flood = [(await discover(url, a, wanted)).json()["scan_id"] for _ in range(FLOOD)]
        first = await script.started()
        told = [(await state(url, a, scan_id)).get("rank") for scan_id in flood]
        assert told == [None, *range(1, FLOOD)]
        theirs = (await discover(url, b, wanted)).json()["scan_id"]
        await until(url, b, theirs, rank=1)
        others = (await discover(url, c, wanted)).json()["scan_id"]
        await until(url, c, others, rank=2)
        assert (await state(url, a, flood[1]))["rank"] == 3
        for scan_id, key in ((theirs, b), (others, c), (flood[1], a)):
            await first.tell("end")
            first = await script.started()
            await until(url, key, scan_id, phase="running")
        await first.tell("end")


async def test_limits_are_each_principals_own() -> None:
    ring = Ring()
    a, b = ring.key("a"), ring.key("b")
    async with guarded(ring, workers=0, max_scans=40) as url:
        wanted = {"symbols": ["BTC/USDT"], "strategy_ids": ["tsmom"]}
        told = [await discover(url, a, wanted) for _ in range(12)]
        assert [answer.status for answer in told] == [202] * 10 + [429] * 2, "a fourth of 40"
        assert told[-1].json()["code"] == "too_many_scans"
        assert (await discover(url, b, wanted)).status == 202
    async with guarded(ring, workers=0) as url:
        told = [await discover(url, a, wanted) for _ in range(31)]
        assert [answer.status for answer in told[:30]] == [202] * 30
        if told[-1].status != 202:  # a machine that takes two seconds for thirty has filled up again
            assert told[-1].json()["code"] == "rate_limited"
            assert 1 <= int(told[-1].headers["retry-after"]) <= 2
        assert (await discover(url, b, wanted)).status == 202
