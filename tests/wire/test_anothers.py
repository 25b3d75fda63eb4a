"""Another's scan costs what an unknown one costs: nothing is read for it, and no answer comes later or sooner."""

import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from math import sqrt
from typing import Any, NamedTuple, TypeVar
from unittest import mock

import msgspec
import pytest
from anyio import to_thread

from scanstream.core import Core
from scanstream.engines.sqlite import SqliteStore
from scanstream.log.hub import Hub
from scanstream.model import Principal, now
from scanstream.scans.identity import new_scan_id
from support.guards import Ring, bearer, guarded
from support.raw import connected
from support.receiver import NOWHERE
from support.script import scripting
from support.wire import ONE_QUICK_SCAN, request, websocket

pytestmark = pytest.mark.anyio

T = TypeVar("T")

RING = Ring()
ANN, BEN = RING.key("ann"), RING.key("ben")


class House(NamedTuple):
    """A server, and scans of Ann's."""

    url: str
    core: Core
    scans: dict[str, str]


@pytest.fixture(scope="module")
async def house() -> AsyncIterator[House]:
    async with inhabited() as house:
        assert isinstance(house.core.store, SqliteStore)
        yield house


@asynccontextmanager
async def inhabited(**settings: Any) -> AsyncIterator[House]:
    """A server with these settings, and scans of Ann's."""
    cores: list[Core] = []
    async with guarded(RING, cores=cores, workers=1, retention=1, notify=(NOWHERE,), **settings) as url:
        scans: dict[str, str] = {"of another store": new_scan_id(b"another store's", Principal("ben"), now())}
        async with scripting() as script:
            scans["expired"] = await started(url, ONE_QUICK_SCAN)
            while await status_of(url, scans["expired"]) != 410:
                pass
            scans["under way"] = await started(url, script.request(shards=1))
            shard = await script.started()
            yield House(url, cores[0], scans)
            await shard.tell("end")


async def started(url: str, wanted: dict[str, Any]) -> str:
    """A scan of Ann's."""
    answer = await request(url, "POST", "/opportunities/discover", msgspec.json.encode(wanted), bearer(ANN))
    return str(answer.json()["scan_id"])


async def status_of(url: str, scan_id: str) -> int:
    return (await request(url, "GET", f"/opportunities/status/{scan_id}?wait=1", None, bearer(ANN))).status


@contextmanager
def counted(core: Core) -> Iterator[Counter[str]]:
    """How often the store, and the logs in memory, are asked for anything but the time."""
    calls: Counter[str] = Counter()

    def noting(kind: type, name: str) -> Any:
        method = getattr(kind, name)

        def noted(self: Any, *arguments: Any, **named: Any) -> Any:
            calls[f"{kind.__name__}.{name}"] += 1
            return method(self, *arguments, **named)

        return mock.patch.object(kind, name, noted)

    with ExitStack() as stack:
        for kind, but in ((type(core.store), {"now"}), (Hub, {"feed"})):
            for name, value in vars(kind).items():
                if callable(value) and not name.startswith("_") and name not in but:
                    stack.enter_context(noting(kind, name))
        yield calls


def asked_by(scan_id: str) -> list[tuple[str, str, bytes | None, dict[str, str]]]:
    """Every question about a scan."""
    events = {"accept": "text/event-stream"}
    follow = msgspec.json.encode({"follow": [{"scan_id": scan_id}], "wait": 0})
    return [
        ("GET", f"/opportunities/status/{scan_id}", None, {}),
        ("GET", f"/opportunities/status/{scan_id}?wait=5", None, {}),
        ("GET", f"/opportunities/results/{scan_id}", None, {}),
        ("GET", f"/opportunities/results/{scan_id}?wait=5", None, {}),
        ("GET", f"/opportunities/events/{scan_id}", None, {}),
        ("GET", f"/opportunities/explain/{scan_id}", None, {}),
        ("GET", f"/opportunities/scans?before={scan_id}", None, {}),
        ("POST", f"/opportunities/cancel/{scan_id}", None, {}),
        ("POST", f"/opportunities/share/{scan_id}", b"", {}),
        ("POST", f"/opportunities/notify/{scan_id}", msgspec.json.encode({"url": NOWHERE}), {}),
        ("POST", "/opportunities/follow", follow, {}),
        ("POST", "/opportunities/follow", follow, events),
    ]


async def least(house: House, ask: Callable[[], Awaitable[T]]) -> tuple[dict[str, int], T]:
    """What is counted while this is answered, but for what others have the store do just then: so it is tried again."""
    found: list[Counter[str]] = []
    while len(found) < 10 and all(found):
        with counted(house.core) as calls:
            answer = await ask()
        calls.pop("Hub.held", None)  # of a status: whether it can be told at a glance, a look into a dict
        found.append(calls)
    fewest = min(found, key=lambda calls: calls.total())
    return dict(fewest), answer


async def over_http(house: House, scan_id: str) -> dict[str, Any]:
    """Question → what is counted, and what is said."""
    ways: dict[str, Any] = {}
    for method, target, body, more in asked_by(scan_id):
        headers = {**bearer(BEN), **more}
        calls, answer = await least(house, partial(request, house.url, method, target, body, headers))
        question = f"{method} {target} {more}".replace(scan_id, "ID")
        ways[question] = calls, answer.status, answer.body.replace(scan_id.encode(), b"ID")
    return ways


async def over_a_socket(house: House, scan_id: str) -> dict[str, Any]:
    """The same."""
    ways: dict[str, Any] = {}
    async with websocket(house.url, additional_headers=bearer(BEN)) as socket:

        async def ask(type: str) -> dict[str, Any]:
            await socket.send(type=type, scan_id=scan_id)
            return await socket.receive()

        for type in ("subscribe", "unsubscribe", "cancel"):
            calls, answer = await least(house, partial(ask, type))
            ways[type] = calls, 0, msgspec.json.encode(answer).replace(scan_id.encode(), b"ID")
    return ways


async def test_nothing_more_is_done_for_anothers_scan(house: House) -> None:
    found = {
        name: {**await over_http(house, scan_id), **await over_a_socket(house, scan_id)}
        for name, scan_id in house.scans.items()
    }
    for question, way in found["of another store"].items():
        ones_own = house.core.store.shared and "/scans?" in question  # a list is as of now, whatever it begins behind
        barriers = {f"{type(house.core.store).__name__}.barrier": 1} if ones_own else {}
        assert way[0] == barriers, f"nothing is read to answer {question}"
        assert b"not_found" in way[2]
        for name, ways in found.items():
            assert ways[question] == way, (question, name)


def answers_in(url: str, requests: list[bytes]) -> list[float]:
    """How long each takes, on one connection."""
    times: list[float] = []
    with connected(url) as connection:
        for one in requests:
            began = time.perf_counter()
            connection.sendall(one)
            received = b""
            while b"}" not in received:
                received += connection.recv(65536)
            times.append(time.perf_counter() - began)
    return times


def rank_sum(first: list[float], second: list[float]) -> float:
    """How far apart two samples are, in standard deviations of what chance does (Mann and Whitney, 1947)."""
    ranked = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    ranks = sum(rank for rank, (_, group) in enumerate(ranked, 1) if group == 0)
    m, n = len(first), len(second)
    return (ranks - m * (m + n + 1) / 2) / sqrt(m * n * (m + n + 1) / 12)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", path) for path in ("status", "results", "events", "explain")] + [("POST", "cancel"), ("POST", "share")],
)
async def test_the_times_do_not_tell_them_apart(house: House, method: str, path: str) -> None:
    """Asked by turns, so that whatever else the machine does falls on both alike."""
    ids = [house.scans["under way"], house.scans["of another store"]]
    head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {BEN}\r\n\r\n"
    head = head if method == "GET" else f"Content-Length: 0\r\n{head}"
    requests = [f"{method} /opportunities/{path}/{scan_id} HTTP/1.1\r\n{head}".encode() for scan_id in ids * 4000]
    times = await to_thread.run_sync(answers_in, house.url, requests)
    times = times[400:]
    anothers, unknown = times[::2], times[1::2]
    apart = rank_sum(anothers, unknown)
    told = f"{statistics.median(anothers) * 1e6:.1f} and {statistics.median(unknown) * 1e6:.1f} µs, {apart:+.2f} sd"
    assert abs(apart) < 5, told
