"""On a store that others write to, too, no route tells less than what another node may have shown already."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import anyio
import msgspec
import pytest

from conftest import Serve
from scanstream.errors import StoreUnavailable
from scanstream.log.cursor import epoch_of
from scanstream.log.entry import Cancelled
from scanstream.log.fold import Folded
from scanstream.model import ScanId, now
from scanstream.scans import recency
from scanstream.scans.archive import Archive
from scanstream.server import serving
from scanstream.settings import Settings
from support.behind import BehindStore, behind
from support.wire import ONE_QUICK_SCAN, Answer, discover, request, status, websocket

pytestmark = pytest.mark.anyio

EVENTS = {"accept": "text/event-stream"}
MANY = 40


class Scan(NamedTuple):
    """A scan, as a reader knows it from before."""

    id: str
    cursor: str
    tag: str


class Route(NamedTuple):
    """A way to ask for a scan, and what its answer says of it."""

    ask: Callable[[str, Scan], Awaitable[Answer]]
    tells: Callable[[Answer], dict[str, Any]] = Answer.json


def getting(path: str, headers: dict[str, str] | None = None) -> Callable[[str, Scan], Awaitable[Answer]]:
    """A GET, with what the scan is put into path and headers."""

    async def get(url: str, scan: Scan) -> Answer:
        there = {name: value.format(scan=scan) for name, value in (headers or {}).items()}
        return await request(url, "GET", "/opportunities/" + path.format(scan=scan), headers=there)

    return get


def following(headers: dict[str, str] | None = None) -> Callable[[str, Scan], Awaitable[Answer]]:
    """A `follow` from the reader's cursor."""

    async def follow(url: str, scan: Scan) -> Answer:
        wanted = {"follow": [{"scan_id": scan.id, "since": scan.cursor}], "wait": 30}
        return await request(url, "POST", "/opportunities/follow", msgspec.json.encode(wanted), headers)

    return follow


async def cancel(url: str, scan: Scan) -> Answer:
    """Ask for its end."""
    return await request(url, "POST", f"/opportunities/cancel/{scan.id}", b"")


def first_listed(answer: Answer) -> dict[str, Any]:
    """The newest scan of a list."""
    newest: dict[str, Any] = answer.json()["scans"][0]
    return newest


def of_frame(frame: dict[str, Any]) -> dict[str, Any]:
    """The state that a frame leads to, or what changes in it."""
    changed: dict[str, Any] = frame.get("state") or frame["patch"]
    return {"scan_id": frame["scan_id"], **changed}


def first_frame(answer: Answer) -> dict[str, Any]:
    """Of a long poll."""
    return of_frame(answer.json()["frames"][0])


def first_event(answer: Answer) -> dict[str, Any]:
    """Of a stream."""
    assert answer.status == 200, answer
    data = next(line for line in answer.body.decode().splitlines() if line.startswith("data: "))
    return of_frame(msgspec.json.decode(data.removeprefix("data: ")))


ROUTES = {
    "status": Route(getting("status/{scan.id}")),
    "tagged": Route(getting("status/{scan.id}", {"if-none-match": "{scan.tag}"})),
    "since": Route(getting("status/{scan.id}?since={scan.cursor}")),
    "long poll": Route(getting("status/{scan.id}?since={scan.cursor}&wait=30")),
    "tagged long poll": Route(getting("status/{scan.id}?wait=30", {"if-none-match": "{scan.tag}"})),
    "preferred wait": Route(getting("status/{scan.id}?since={scan.cursor}", {"prefer": "wait=30"})),
    "results": Route(getting("results/{scan.id}")),
    "awaited results": Route(getting("results/{scan.id}?wait=30")),
    "latest": Route(getting("status/latest")),
    "list": Route(getting("scans?limit=1"), first_listed),
    "cancel": Route(cancel),
    "events": Route(getting("events/{scan.id}"), first_event),
    "resumed events": Route(getting("events/{scan.id}", {"last-event-id": "{scan.cursor}"}), first_event),
    "events of latest": Route(getting("events/latest"), first_event),
    "follow": Route(following(), first_frame),
    "follow events": Route(following(EVENTS), first_event),
}
of_routes = pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)


@pytest.fixture(scope="module")
async def node() -> AsyncIterator[tuple[str, BehindStore]]:
    """A node that leaves it to others to conduct scans, and what it stands on."""
    with pytest.MonkeyPatch.context() as patch, behind(patch) as stores:
        async with serving(Settings(port=0, data=":memory:", workers=0)) as url:
            yield url, stores[0]


@pytest.fixture
def url(node: tuple[str, BehindStore]) -> str:
    """Its address."""
    return node[0]


@pytest.fixture
def store(node: tuple[str, BehindStore]) -> Iterator[BehindStore]:
    """Its store, which answers."""
    yield node[1]
    node[1].away = ""


async def started(url: str, phase: str = "queued") -> str:
    """A scan that waits, and of which this server has no more to write."""
    scan_id: str = (await discover(url)).json()["scan_id"]
    with anyio.fail_after(20):
        while (await status(url, scan_id)).json()["phase"] != phase:  # noqa: ASYNC110  # as a client does
            await anyio.sleep(0.01)
    return scan_id


async def cancelled_elsewhere(url: str, store: BehindStore) -> Scan:
    """A scan that has ended, and this node has not read that; as it was before."""
    scan_id = await started(url)
    before = await status(url, scan_id)
    await store.append_elsewhere(scan_id, Cancelled(at=now()))
    return Scan(scan_id, before.json()["cursor"], before.headers["etag"])


async def registered_elsewhere(url: str, store: BehindStore) -> Scan:
    """A scan that another node has acknowledged, and this one has not read of."""
    scan_id = await store.register_elsewhere(await started(url))
    await store.append_elsewhere(scan_id, Cancelled(at=now()))
    epoch = epoch_of(store.identity, ScanId(scan_id))
    return Scan(scan_id, f"{epoch}-1.0", f'"{epoch}-1"')


@of_routes
@pytest.mark.parametrize("happened", [cancelled_elsewhere, registered_elsewhere], ids=["ended", "registered"])
async def test_what_another_node_has_shown_is_told(
    url: str, store: BehindStore, route: Route, happened: Callable[[str, BehindStore], Awaitable[Scan]]
) -> None:
    with anyio.fail_after(20):
        scan = await happened(url, store)
        state = route.tells(await route.ask(url, scan))
    assert (state["scan_id"], state["status"]) == (scan.id, "cancelled")


@of_routes
@pytest.mark.parametrize("away", ["silent", "said"])
async def test_where_nobody_can_say_how_things_are_that_is_said(
    url: str, store: BehindStore, route: Route, away: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recency, "PATIENCE_SECONDS", 0.1)
    scan = await cancelled_elsewhere(url, store)
    store.away = away
    with anyio.fail_after(20):
        refusal = await route.ask(url, scan)
        assert (refusal.status, refusal.json()["code"]) == (503, "store_unavailable")
        assert int(refusal.headers["retry-after"]) >= 1
        store.away = ""
        assert route.tells(await route.ask(url, scan))["status"] == "cancelled"


@pytest.mark.parametrize("resumes", [False, True], ids=["anew", "resumed"])
@pytest.mark.parametrize("happened", [cancelled_elsewhere, registered_elsewhere], ids=["ended", "registered"])
async def test_a_subscription_begins_with_what_another_node_has_shown(
    url: str, store: BehindStore, happened: Callable[[str, BehindStore], Awaitable[Scan]], resumes: bool
) -> None:
    scan = await happened(url, store)
    async with websocket(url) as socket:
        with anyio.fail_after(20):
            await socket.send(type="subscribe", scan_id=scan.id, **({"since": scan.cursor} if resumes else {}))
            ack, frame = await socket.receive(), await socket.receive()
    assert (ack["status"], of_frame(frame)["status"]) == ("cancelled", "cancelled")
    assert frame["type"] == ("update" if resumes else "snapshot")


@pytest.mark.parametrize("away", ["silent", "said"])
async def test_a_socket_hears_that_the_store_is_away_and_stays_open(
    url: str, store: BehindStore, away: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recency, "PATIENCE_SECONDS", 0.1)
    followed = await started(url)
    async with websocket(url) as socket:
        with anyio.fail_after(20):
            await socket.send(type="subscribe", scan_id=followed)
            assert [(await socket.receive())["type"] for _ in range(2)] == ["ack", "snapshot"]
            scan = await cancelled_elsewhere(url, store)
            store.away = away
            for message in ("subscribe", "cancel", "unsubscribe"):
                await socket.send(type=message, id=message, scan_id=scan.id)
                refusal = await socket.receive()
                assert (refusal["type"], refusal["id"], refusal["code"]) == ("error", message, "store_unavailable")
                assert refusal["retry_after"] >= 1
            await socket.send(type="unsubscribe", id="followed", scan_id=followed)
            assert (await socket.receive())["type"] == "ack", "of one that is followed there is nothing to look up"
            store.away = ""
            await socket.send(type="subscribe", scan_id=scan.id)
            assert (await socket.receive())["status"] == "cancelled"


async def test_a_scan_that_is_followed_and_cannot_be_read_now_is_told_later_on_the_same_socket(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, times = Archive.find, 0

    async def failing(self: Archive, *asked: Any) -> Any:
        """It is found when it is asked for, and not when its turn comes."""
        nonlocal times
        times += 1
        if times in (4, 5):
            raise StoreUnavailable("The stream has no leader", retry_after=0.1)
        return await find(self, *asked)

    monkeypatch.setattr(Archive, "find", failing)
    async with serve(workers=0) as url:
        scan_id = (await discover(url)).json()["scan_id"]
        await request(url, "POST", f"/opportunities/cancel/{scan_id}", b"")
        head = (await request(url, "GET", f"/opportunities/status/{scan_id}", headers={"origin": url})).json()["cursor"]
        async with websocket(url) as socket:
            with anyio.fail_after(20):
                await socket.send(type="subscribe", scan_id=scan_id, since=head)
                told = [await socket.receive() for _ in range(4)]
    assert [message["type"] for message in told] == ["ack", "error", "error", "end"]
    assert {message["code"] for message in told[1:3]} == {"store_unavailable"}
    assert all("scan_id" not in message for message in told[1:3]), "it would be the last word on that scan"


async def test_an_identical_discover_joins_no_scan_that_has_ended_elsewhere(url: str, store: BehindStore) -> None:
    wanted = {**ONE_QUICK_SCAN, "force_refresh": False, "symbols": ["SOL/USDT"]}
    first = (await discover(url, wanted)).json()
    assert (await discover(url, wanted)).json()["reused"] == "running"
    await store.append_elsewhere(first["scan_id"], Cancelled(at=now()))
    again = (await discover(url, wanted)).json()
    assert "reused" not in again
    assert again["scan_id"] != first["scan_id"]


async def test_a_cursor_that_another_node_gave_is_none_that_is_ahead(url: str, store: BehindStore) -> None:
    scan = await cancelled_elsewhere(url, store)
    whole = await store.history(ScanId(scan.id))
    assert whole is not None
    ahead = f"{scan.cursor.partition('-')[0]}-{len(whole)}.0"
    async with websocket(url) as socket:
        await socket.send(type="subscribe", scan_id=scan.id, since=ahead)
        assert (await socket.receive())["cursor"] == ahead
        assert (await socket.receive())["type"] == "end"


async def test_what_has_ended_and_is_in_memory_needs_no_barrier(url: str, store: BehindStore) -> None:
    scan = await cancelled_elsewhere(url, store)
    await status(url, scan.id)
    before = store.barriers
    for name, route in ROUTES.items():
        if name not in ("latest", "list", "events of latest"):
            assert route.tells(await route.ask(url, scan))["status"] == "cancelled"
    assert store.barriers == before


async def test_what_is_nearly_over_is_told_behind_a_barrier(
    url: str, store: BehindStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node may have said that it is over: they all judge by the store's time as of their barrier."""
    scan = await cancelled_elsewhere(url, store)
    expires_at = now() + 24 * 3_600_000
    monkeypatch.setattr(Folded, "expires_at", property(lambda _: expires_at))
    monkeypatch.setattr(store, "now", lambda: expires_at - recency.NEAR_THE_END)
    before = store.barriers
    for name in ("status", "since", "results", "events"):
        assert ROUTES[name].tells(await ROUTES[name].ask(url, scan))["status"] == "cancelled"
    assert store.barriers == before + 4
    monkeypatch.setattr(store, "now", lambda: expires_at)
    for name in ("status", "since", "results", "events"):
        assert (await ROUTES[name].ask(url, scan)).status == 410


async def test_one_question_for_many_scans_needs_one_barrier(url: str, store: BehindStore) -> None:
    scan_ids = [await started(url) for _ in range(MANY)]
    for scan_id in scan_ids:
        await store.append_elsewhere(scan_id, Cancelled(at=now()))
    before = store.barriers
    wanted = msgspec.json.encode({"follow": [{"scan_id": scan_id} for scan_id in scan_ids]})
    frames = (await request(url, "POST", "/opportunities/follow", wanted)).json()["frames"]
    assert [frame["state"]["status"] for frame in frames] == ["cancelled"] * MANY
    assert store.barriers == before + 1
    listed = (await request(url, "GET", f"/opportunities/scans?limit=5&before={scan_ids[-1]}")).json()["scans"]
    assert [scan["scan_id"] for scan in listed] == scan_ids[-2:-7:-1]
    assert store.barriers == before + 2


async def test_a_store_of_ones_own_needs_none(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    with behind(monkeypatch, shared=False) as stores:
        async with serve(workers=0) as url:
            scan_id = await started(url, "running")
            answer = await status(url, scan_id)
            before = stores[0].barriers
            for name in ("status", "since", "results", "latest", "list", "cancel"):
                scan = Scan(scan_id, answer.json()["cursor"], answer.headers["etag"])
                assert (await ROUTES[name].ask(url, scan)).status in (200, 202)
            assert stores[0].barriers == before
