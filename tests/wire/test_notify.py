"""Told elsewhere that a scan has ended: real receivers, real servers, and every moment at which somebody may ask."""

import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import msgspec
import pytest
from anyio.abc import ByteStream

from conftest import Serve
from scanstream.core import Core
from scanstream.deliveries import Delivery
from scanstream.errors import Damaged, Expired, NotFound, ScanstreamError, StoreUnavailable
from scanstream.model import ANYONE, DiscoverRequest, Principal, ScanId
from scanstream.notify import backoff, courier, hosts, sending
from scanstream.notify.courier import OUTCOMES
from scanstream.notify.targets import Allowed
from scanstream.notify.telling import MOST_OPPORTUNITIES
from scanstream.security.guard import Open
from support.certificates import Authority
from support.guards import Ring, bearer, guarded
from support.nats import NatsServer
from support.receiver import Receiver, answers, closes, hangs, notify, receiving, verified
from support.script import scripting
from support.until import until
from support.wire import discover, request, results, status, until_terminal

pytestmark = pytest.mark.anyio

LOOPBACK = "127.0.0.0/8"


class House(NamedTuple):
    """A server that may tell others, seen from outside and from inside."""

    url: str
    core: Core
    before: dict[str, int]
    """What had been counted when the test began."""

    async def notify(self, scan_id: str, target: str, wanted: int = 202) -> dict[str, Any]:
        """Have this address told of the scan's end."""
        return await notify(self.url, scan_id, target, wanted)

    async def scan(self, wanted: Any = None) -> str:
        """A scan that has ended."""
        scan_id = str((await (discover(self.url, wanted) if wanted else discover(self.url))).json()["scan_id"])
        await until_terminal(self.url, scan_id)
        return scan_id

    async def settled(self) -> None:
        """Wait until nobody is to be told anything any more: what was told by then is all."""
        with anyio.fail_after(30):
            while self.core.sweeper._unsettled or await self.core.engine.deliveries.waiting():  # noqa: ASYNC110
                await anyio.sleep(0.01)

    def counted(self) -> dict[str, int]:
        """What became of the attempts, but for what never did."""
        counts = {outcome: count for (outcome,), count in self.core.courier.counts.of.items()}
        return {
            name: count - self.before.get(name, 0) for name, count in counts.items() if count > self.before.get(name, 0)
        }


@asynccontextmanager
async def telling(*receivers: Receiver, **settings: Any) -> AsyncIterator[House]:
    """A server that may tell these."""
    cores: list[Core] = []
    may = {"notify": tuple(one.url("/") for one in receivers), "notify_private": (LOOPBACK,)}
    async with guarded(Open(), cores, **{"workers": 1, **may, **settings}) as url:
        yield House(url, cores[0], {})


@pytest.fixture(scope="module")
async def hall() -> AsyncIterator[tuple[House, Receiver]]:
    """A server and its receiver, for all tests that want no other."""
    async with receiving() as receiver, telling(receiver) as house:
        yield house, receiver


@pytest.fixture
async def receiver(hall: tuple[House, Receiver]) -> Receiver:
    """As if it were new: well-behaved first, so that what an earlier test has left to be told is told."""
    house, receiver = hall
    receiver.next, receiver.always = [], None
    await house.settled()
    receiver.got, receiver.connections = [], 0
    return receiver


@pytest.fixture
async def house(hall: tuple[House, Receiver], receiver: Receiver) -> House:
    assert receiver.got == []
    house, _ = hall
    return house._replace(before={outcome: count for (outcome,), count in house.core.courier.counts.of.items()})


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who failed is tried again after a moment."""
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.02)
    monkeypatch.setattr(backoff, "LONGEST_SECONDS", 0.1)


async def test_a_receiver_is_told_once_signed_and_all_that_the_server_would_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with receiving(authority.signs("hooks")) as receiver, telling(receiver) as house:
        scan_id = (await discover(house.url)).json()["scan_id"]
        answer = await house.notify(scan_id, receiver.url("/hooks/T0/secret?x=1"))
        [got] = await receiver.until(1)
        state, found = (await status(house.url, scan_id)).json(), (await results(house.url, scan_id)).json()
        await house.settled()
        assert house.counted() == {"delivered": 1}
    assert answer == {
        "success": True,
        "scan_id": scan_id,
        "notification_id": got.id,
        "url": receiver.url("/hooks/T0/secret?x=1"),
        "signing_secret": answer["signing_secret"],
    }
    assert verified(answer["signing_secret"], got)
    assert abs(int(got.headers["webhook-timestamp"]) - time.time()) < 60
    assert got.line == "POST /hooks/T0/secret?x=1 HTTP/1.1"
    told = got.json()
    assert (told["type"], told["timestamp"]) == ("scan.complete", state["finished_at"])
    data = told["data"]
    assert data.pop("cursor") == found["cursor"]
    assert data.pop("opportunities") == found["opportunities"] != []
    state.pop("cursor")
    assert data == state
    assert len(receiver.got) == 1


async def test_of_much_that_was_found_the_best_is_told(house: House, receiver: Receiver) -> None:
    async with scripting() as script:
        scan_id = (await discover(house.url, script.request(shards=1))).json()["scan_id"]
        await house.notify(scan_id, receiver.url())
        await (await script.started()).tell(f"find {MOST_OPPORTUNITIES + 1}", "end")
        [got] = await receiver.until(1)
        found = (await results(house.url, scan_id)).json()
    data = got.json()["data"]
    assert data["more"] is True
    assert data["total_opportunities"] == MOST_OPPORTUNITIES + 1
    assert data["opportunities"] == found["opportunities"][:MOST_OPPORTUNITIES]


async def test_it_may_be_asked_for_at_any_time_of_a_scan_s_life(receiver: Receiver) -> None:
    """Registered, queued, running, cancelling, ended: each address is told once, and each of the same end."""
    async with telling(receiver, max_running=1) as house, scripting() as script:
        request_of = msgspec.convert(script.request(shards=1), DiscoverRequest)
        ack = await house.core.desk.register(ANYONE, request_of)
        state = (await status(house.url, ack.scan_id)).json()
        assert state["phase"] == "init"
        await house.notify(ack.scan_id, receiver.url("/init"))
        house.core.desk.release(ack.scan_id)
        shard = await script.started()
        await house.notify(ack.scan_id, receiver.url("/running"))
        queued = (await discover(house.url, script.request(shards=1, force_refresh=True))).json()["scan_id"]
        await house.notify("latest", receiver.url("/queued"))
        cancelled = await request(house.url, "POST", f"/opportunities/cancel/{ack.scan_id}")
        assert cancelled.json()["phase"] == "cancelling"
        await house.notify(ack.scan_id, receiver.url("/cancelling"))
        await shard.until_gone()
        await (await script.started()).tell("fail it broke")
        for scan_id in (ack.scan_id, queued):
            await until_terminal(house.url, scan_id)
        await house.notify(ack.scan_id, receiver.url("/ended"))
        await receiver.until(5)
        await house.settled()
    told = {got.line.split()[1]: (got.json()["type"], got.json()["data"]["scan_id"]) for got in receiver.got}
    end = ("scan.cancelled", ack.scan_id)
    assert told == {
        "/init": end,
        "/running": end,
        "/cancelling": end,
        "/ended": end,
        "/queued": ("scan.failed", queued),
    }
    assert len(receiver.got) == 5


async def test_at_the_very_moment_of_the_end_it_is_told_once_all_the_same(house: House, receiver: Receiver) -> None:
    rounds = 12
    async with scripting() as script:
        for number in range(rounds):
            wanted = script.request(shards=1, force_refresh=True)
            scan_id = (await discover(house.url, wanted)).json()["scan_id"]
            shard = await script.started()
            async with anyio.create_task_group() as both:
                both.start_soon(shard.tell, "end")
                await anyio.sleep(0.001 * number)  # so that it comes before, behind, and between
                both.start_soon(house.notify, scan_id, receiver.url(f"/{number}"))
            await until_terminal(house.url, scan_id)
        await receiver.until(rounds)
        await house.settled()
        assert house.counted() == {"delivered": rounds}
    assert sorted(int(got.line.split()[1][1:]) for got in receiver.got) == [*range(rounds)]


async def test_the_end_overtakes_whoever_asks(
    house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written behind the end, where nothing counts: so it is put into the queue all the same."""
    async with scripting() as script:
        scan_id = (await discover(house.url, script.request(shards=1))).json()["scan_id"]
        shard, store = await script.started(), house.core.store

        class Late:
            now, barrier = staticmethod(store.now), staticmethod(store.barrier)

            async def append(self, *written: Any) -> None:
                await shard.tell("end")
                await until_terminal(house.url, scan_id)
                await store.append(*written)

        monkeypatch.setattr(house.core.notices, "_store", Late())
        answer = await house.notify(scan_id, receiver.url())
        monkeypatch.undo()
        [got] = await receiver.until(1)
        assert got.id == answer["notification_id"]
        await house.settled()
    assert len(receiver.got) == 1


async def test_after_its_time_there_is_nothing_to_be_told(receiver: Receiver) -> None:
    async with telling(receiver, retention=0.5) as house:
        scan_id = (await discover(house.url)).json()["scan_id"]
        while (await status(house.url, scan_id)).status == 200:
            pass
        assert (await house.notify(scan_id, receiver.url(), 410))["status"] == "expired"
    assert receiver.connections == 0


async def test_who_comes_to_a_scan_that_is_there_asks_for_themselves(house: House, receiver: Receiver) -> None:
    async with scripting() as script:
        first = (await discover(house.url, script.request(shards=1))).json()
        await house.notify(first["scan_id"], receiver.url("/first"))
        second = (await discover(house.url, script.request(shards=1))).json()
        assert (second["scan_id"], second["reused"]) == (first["scan_id"], "running")
        await house.notify(second["scan_id"], receiver.url("/second"))
        await (await script.started()).tell("end")
        await receiver.until(2)
        third = (await discover(house.url, script.request(shards=1))).json()
        assert third["reused"] == "fresh"
        await house.notify(third["scan_id"], receiver.url("/third"))
        await receiver.until(3)
        await house.settled()
    assert {got.line.split()[1] for got in receiver.got} == {"/first", "/second", "/third"}
    assert len({got.id for got in receiver.got}) == len(receiver.got) == 3


async def test_the_same_address_is_the_same_notification(house: House, receiver: Receiver) -> None:
    async with scripting() as script:
        running = (await discover(house.url, script.request(shards=1))).json()["scan_id"]
        ways = [receiver.url("/x"), receiver.url("/x").replace("http:", "HTTP:")]
        answers_ = [await house.notify(running, way) for way in (*ways, *ways)]
        assert all(answer == answers_[0] for answer in answers_)
        await (await script.started()).tell("end")
        await receiver.until(1)
        await until_terminal(house.url, running)
        assert await house.notify(running, receiver.url("/x")) == answers_[0]
        ended = await house.scan()
        late = [await house.notify(ended, receiver.url("/x")) for _ in range(3)]
        assert late[0] == late[1] == late[2] != answers_[0]
        assert late[0]["signing_secret"] == answers_[0]["signing_secret"]
        await receiver.until(2)
        await house.settled()
        assert await house.notify(ended, receiver.url("/x")) == late[0]
        await house.settled()
    assert [got.id for got in receiver.got] == [answers_[0]["notification_id"], late[0]["notification_id"]]


async def test_so_many_addresses_and_no_more(house: House, receiver: Receiver) -> None:
    async with scripting() as script:
        scan_id = (await discover(house.url, script.request(shards=1))).json()["scan_id"]
        for number in range(4):
            await house.notify(scan_id, receiver.url(f"/{number}"))
        shard = await script.started()
        await shard.tell("end")
        await until_terminal(house.url, scan_id)
        await house.notify(scan_id, receiver.url("/late"))
        refused = await house.notify(scan_id, receiver.url("/one-too-many"), 422)
        assert [error["field"] for error in refused["errors"]] == ["url"]
        assert "5 addresses already" in refused["detail"]
        running = (await discover(house.url, script.request(shards=1, force_refresh=True))).json()["scan_id"]
        async with anyio.create_task_group() as all_at_once:
            outcomes: list[int] = []

            async def ask(number: int) -> None:
                body = msgspec.json.encode({"url": receiver.url(f"/{number}")})
                answer = await request(house.url, "POST", f"/opportunities/notify/{running}", body)
                outcomes.append(answer.status)

            for number in range(8):
                all_at_once.start_soon(ask, number)
        assert sorted(outcomes) == [202] * 5 + [422] * 3
        await (await script.started()).tell("end")
        await receiver.until(10)
        await house.settled()
    assert len(receiver.got) == 10


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": None}, "url"),
        ({"url": ["https://hooks.example.com/"]}, "url"),
        ({"url": "https://evil.example/"}, "url"),
        ({"url": "https://hooks.example.com@evil.example/"}, "url"),
        ({"url": "http://hooks.example.com/"}, "url"),
        ({"url": "https://hooks.example.com/" + "x" * 2048}, "url"),
        ({"url": "https://hooks.example.com/", "secret": "x"}, "secret"),
    ],
)
async def test_what_is_refused_names_its_field_and_shows_no_address(body: Any, field: str, serve: Serve) -> None:
    async with serve(workers=0, notify=("https://hooks.example.com",)) as url:
        scan_id = (await discover(url)).json()["scan_id"]
        for name in (scan_id, "scan_" + "0" * 42):
            path = f"/opportunities/notify/{name}"
            answer = await request(url, "POST", path, msgspec.json.encode(body))
            assert (answer.status, answer.json()["errors"][0]["field"]) == (422, field)
            assert b"evil" not in answer.body
        fine = msgspec.json.encode({"url": "https://hooks.example.com/"})
        absent = await request(url, "POST", path, fine)
        assert (absent.status, absent.json()["status"]) == (404, "not_found")


@pytest.mark.parametrize("foreign", [{"origin": "https://evil.example"}, {"origin": "null"}, {"host": "evil.example"}])
async def test_a_foreign_page_has_nobody_told(house: House, receiver: Receiver, foreign: dict[str, str]) -> None:
    body = msgspec.json.encode({"url": receiver.url()})
    path = f"/opportunities/notify/{await house.scan()}"
    for kind in ("application/json", "text/plain"):  # of which browsers send one without asking
        answer = await request(house.url, "POST", path, body, {"content-type": kind, **foreign})
        assert answer.status == 403
    await house.settled()
    assert receiver.connections == 0


async def test_a_server_that_tells_nobody_says_so(serve: Serve) -> None:
    async with serve(workers=0) as url:
        scan_id = (await discover(url)).json()["scan_id"]
        answer = await request(url, "POST", f"/opportunities/notify/{scan_id}", b'{"url": "https://hooks.example/"}')
    assert (answer.status, answer.json()["code"]) == (404, "no_such_route")
    assert "--notify" in answer.json()["detail"]


@pytest.mark.usefixtures("_soon")
async def test_who_fails_is_told_again_the_same_and_signed_anew(house: House, receiver: Receiver) -> None:
    receiver.next += [
        *(answers(500), closes, answers(302, "Location: http://169.254.169.254/"), answers(404)),
        *(answers(429, "Retry-After: 0"), answers(503, "Retry-After: 1")),
    ]
    scan_id = await house.scan()
    answer = await house.notify(scan_id, receiver.url())
    await receiver.until(7)
    await house.settled()
    assert house.counted() == {"delivered": 1, "refused": 3, "unreachable": 1, "busy": 2}
    metrics = (await request(house.url, "GET", "/metrics")).body.decode()
    assert {f'scanstream_deliveries_total{{outcome="{name}"}}' for name in OUTCOMES} <= set(metrics.split())
    assert {got.id for got in receiver.got} == {answer["notification_id"]}
    assert len({got.body for got in receiver.got}) == 1
    assert all(verified(answer["signing_secret"], got) for got in receiver.got)
    stamps = [int(got.headers["webhook-timestamp"]) for got in receiver.got]
    assert stamps == sorted(stamps)
    assert stamps[-1] > stamps[0], "each attempt has its own time"


async def test_who_is_gone_is_told_no_more(house: House, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    receiver.always = answers(410)
    await house.notify(scan_id := await house.scan(), receiver.url("/secret"))
    await receiver.until(1)
    await house.settled()
    assert house.counted() == {"gone": 1}
    assert len(receiver.got) == 1
    [said] = [record.getMessage() for record in caplog.records if record.name == "scanstream.notify"]
    assert said == f"{scan_id}: 127.0.0.1 is not told of the end: it answers 410, and wants to hear no more"


async def test_who_never_answers_well_is_given_up_with_the_scan_in_one_line(
    house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(courier, "pause_after", lambda number, _: 0.02 if number < 4 else 1e9)
    receiver.always = answers(500)
    await house.notify(scan_id := await house.scan(), receiver.url("/secret"))
    await house.settled()
    assert house.counted() == {"refused": 4, "expired": 1}
    assert len(receiver.got) == 4
    said = [record.getMessage() for record in caplog.records if record.name == "scanstream.notify"]
    told = f"{scan_id}: 127.0.0.1 is not told of the end: it answers 500; "
    last = f"{told}given up, as the scan expires (attempt 4)"
    assert said in ([f"{told}it is tried again", last], [last]), "a host that fails anyway is not told of each time"
    assert not any("secret" in record.getMessage() for record in caplog.records)


async def test_a_receiver_that_hangs_holds_up_no_other(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "ATTEMPT_SECONDS", 3600.0)  # for as long as the test lasts
    receiver.always = hangs
    async with receiving(host="127.0.0.2") as good, AsyncExitStack() as stack:
        may = {"notify": (receiver.url("/"), good.url("/", host="127.0.0.2"))}
        house = await stack.enter_async_context(telling(receiver, **may))
        for number in range(6):
            scan_id = await house.scan()
            for other in range(4):
                await house.notify(scan_id, receiver.url(f"/{number}/{other}"))
            await house.notify(scan_id, good.url(f"/{number}", host="127.0.0.2"))
        await good.until(6)
        with anyio.fail_after(30):
            while (waiting := await house.core.engine.deliveries.waiting()) > 24:  # noqa: ASYNC110  # none is done yet
                await anyio.sleep(0.01)
        assert (waiting, receiver.connections <= 2) == (24, True)


class Gate:
    """How a receiver behaves that answers one request each time that it is let."""

    def __init__(self) -> None:
        self._places = anyio.Semaphore(0)

    async def __call__(self, stream: ByteStream) -> None:
        await self._places.acquire()
        await answers(204)(stream)

    def open(self, number: int = 1) -> None:
        """Let so many have their answer."""
        for _ in range(number):
            self._places.release()


async def put(house: House, principal: str, urls: Iterable[str]) -> None:
    """Of one end these are to be told, of this principal's."""
    scan_id, who = ScanId(await house.scan()), Principal(principal)
    told = [Delivery(id=url, scan_id=scan_id, url=url, expires_at=2**41, principal=who) for url in urls]
    await house.core.engine.deliveries.put(*told)


@pytest.mark.parametrize("engine", ["sqlite", "nats"])
async def test_however_much_one_has_for_a_receiver_another_s_is_next(
    engine: str, receiver: Receiver, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "ATTEMPT_SECONDS", 3600.0)
    monkeypatch.setattr(hosts, "GRACE_SECONDS", 60.0)  # however late the queue is beside other tests
    receiver.always = gate = Gate()
    where = {"engine": nats.url, "namespace": "fair"} if engine == "nats" else {}
    async with telling(receiver, **where) as house:
        await put(house, "ann", [receiver.url(f"/ann/{number}") for number in range(60)])
        await receiver.until(2)
        claims = house.core.courier._hosts.of("127.0.0.1").places.claims
        await put(house, "bob", [receiver.url("/bob/1"), receiver.url("/bob/2")])
        await until(lambda: Principal("bob") in claims)
        for number in range(3, 7):
            gate.open()
            await receiver.until(number)
        receiver.always = None
        gate.open(receiver.connections)
    told = [got.line.split("/")[1] for got in receiver.got[2:6]]
    assert told[0] == "bob"
    assert sorted(told) == ["ann", "ann", "bob", "bob"], "and then in turn"


async def test_however_many_receivers_hang_that_one_has_another_is_told(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "ATTEMPT_SECONDS", 3600.0)
    async with receiving(host="0.0.0.0") as all_of_ann_s:  # noqa: S104  # so each of 127.0.0.x is a receiver
        ann_s = [all_of_ann_s.url("/", host=f"127.0.0.{number}") for number in range(2, 42)]
        all_of_ann_s.always = gate = Gate()
        async with telling(receiver, notify=(receiver.url("/"), *ann_s)) as house:
            await put(house, "ann", [f"{url}{number}" for url in ann_s for number in range(3)])
            await all_of_ann_s.until(hosts.AT_ONCE_IN_ALL // 2)
            await put(house, "bob", [receiver.url("/bob")])
            await receiver.until(1)
            assert all_of_ann_s.connections == hosts.AT_ONCE_IN_ALL // 2
            all_of_ann_s.always = None
            gate.open(all_of_ann_s.connections)


async def test_who_might_ask_is_told_also_if_their_key_is_revoked_since(receiver: Receiver) -> None:
    """It is the scan's end that is told, to whom it was promised; a key opens the door of asking, and no other."""
    guard, cores = Ring(), list[Core]()
    may = {"notify": (receiver.url("/"),), "notify_private": (LOOPBACK,), "workers": 1}
    async with guarded(guard, cores, **may) as url, scripting() as script:
        key = guard.key("ann")
        body = msgspec.json.encode(script.request(shards=1))
        discovered = await request(url, "POST", "/opportunities/discover", body, bearer(key))
        path = f"/opportunities/notify/{discovered.json()['scan_id']}"
        asked = msgspec.json.encode({"url": receiver.url("/ann")})
        assert (await request(url, "POST", path, asked, bearer(key))).status == 202
        guard.revoke(key)
        assert (await request(url, "POST", path, asked, bearer(key))).status == 401
        await (await script.started()).tell("end")
        [got] = await receiver.until(1)
    assert got.json()["data"]["scan_id"] == discovered.json()["scan_id"]


@pytest.mark.usefixtures("_soon")
async def test_a_defect_at_one_receiver_is_told_and_ends_nobody_else_s(
    house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> Any:
        raise LookupError("https://hooks.example/secret")

    scan_id = await house.scan()
    with monkeypatch.context() as patch:
        patch.setattr("scanstream.notify.sending.Sender._sent", broken)
        await house.notify(scan_id, receiver.url("/secret"))
        await house.notify(scan_id, receiver.url("/other"))
        await until(lambda: house.counted().get("failed", 0) >= 2)
    await receiver.until(2)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) >= 2
    assert all("LookupError in " in error for error in errors)
    assert not any("secret" in record.getMessage() for record in caplog.records)


@pytest.mark.usefixtures("_soon")
async def test_who_is_allowed_no_more_is_not_asked_and_is_told_once_that_is_taken_back(
    house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan_id = await house.scan()
    with monkeypatch.context() as patch:
        patch.setattr(house.core.courier, "_allowed", Allowed([]))
        await house.notify(scan_id, receiver.url())
        await until(lambda: house.counted().get("forbidden", 0) >= 2)
        assert receiver.connections == 0
    await receiver.until(1)
    await house.settled()
    assert house.counted()["delivered"] == 1


async def test_where_nobody_may_be_told_any_more_what_is_left_is_given_up_in_time(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It was started anew without `--notify`: else what waits would stay for ever, and nobody would hear."""
    receiver.always = hangs
    async with telling(receiver, data=str(tmp_path)) as house:
        scan_id = await house.scan()
        await house.notify(scan_id, receiver.url("/secret"))
        await receiver.until(1)
    monkeypatch.setattr(courier, "pause_after", lambda *_: 1e9)  # the scan has expired by then
    async with telling(receiver, data=str(tmp_path), notify=(), notify_private=()) as house:
        await house.settled()
        assert house.counted() == {"forbidden": 1, "expired": 1}
    assert receiver.connections == 1
    said = [record.getMessage() for record in caplog.records if record.name == "scanstream.notify"]
    assert said[-1].startswith(f"{scan_id}: 127.0.0.1 is not told of the end: it is not allowed any more (--notify)")
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("trouble", "outcome"),
    [
        (Damaged("its record is damaged"), "lost"),
        (Expired("it has expired"), "expired"),
        (NotFound("it never was"), "expired"),
    ],
)
async def test_a_scan_that_cannot_be_told_of_any_more_is_given_up(
    trouble: ScanstreamError, outcome: str, house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan_id = await house.scan()

    async def find(*_: Any) -> Any:
        raise trouble

    monkeypatch.setattr(house.core.courier, "_find", find)
    await house.notify(scan_id, receiver.url())
    await house.settled()
    assert house.counted() == {outcome: 1}
    assert receiver.connections == 0


async def test_while_the_store_does_not_answer_nothing_is_an_attempt(
    house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan_id, failures, find = await house.scan(), 3, house.core.courier._find

    async def away(*asked: Any) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise StoreUnavailable("not now", retry_after=1)
        return await find(*asked)

    monkeypatch.setattr(courier, "LATER_SECONDS", 0.02)
    monkeypatch.setattr(house.core.courier, "_find", away)
    await house.notify(scan_id, receiver.url())
    await receiver.until(1)
    await house.settled()
    assert failures < 0
    assert house.counted() == {"delivered": 1}


async def test_an_address_that_only_another_version_can_read_is_given_up(house: House, receiver: Receiver) -> None:
    delivery = Delivery(id="msg_x", scan_id=ScanId(await house.scan()), url="gopher://a.example/", expires_at=2**41)
    await house.core.engine.deliveries.put(delivery)
    await house.settled()
    assert house.counted() == {"lost": 1}
    assert receiver.connections == 0


async def test_on_nats_it_is_the_same(nats: NatsServer, receiver: Receiver) -> None:
    where = {"engine": nats.url, "namespace": "notify"}
    async with telling(receiver, **where) as house, scripting() as script:
        scan_id = (await discover(house.url, script.request(shards=1))).json()["scan_id"]
        before = await house.notify(scan_id, receiver.url("/before"))
        with anyio.fail_after(30):
            await (await script.started()).tell("end")
        await until_terminal(house.url, scan_id)
        behind = await house.notify(scan_id, receiver.url("/behind"))
        await receiver.until(2)
        await house.settled()
        assert house.counted() == {"delivered": 2}
    assert {got.id for got in receiver.got} == {before["notification_id"], behind["notification_id"]}
    assert all(verified(before["signing_secret"], got) for got in receiver.got)
    assert receiver.got[0].body == receiver.got[1].body
