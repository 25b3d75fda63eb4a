"""When a credential runs out or is revoked, whoever stays is told so and leaves; a new one can be shown in time.

On the fast ways and on those of any ASGI server.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import anyio
import msgspec
import pytest
from anyio import to_thread
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from scanstream.client.token import subprotocols
from scanstream.core import Core, open_core
from scanstream.model import now
from scanstream.push.vigil import Vigil
from scanstream.routes import application
from scanstream.security.caller import Right
from scanstream.security.keychanges import revoke_key
from scanstream.server import serving
from scanstream.settings import Settings
from support.guards import Ring, bearer, guarded, key_in
from support.hosting import hosted
from support.raw import connected, everything
from support.script import scripting
from support.wire import Answer, Socket, request, websocket

pytestmark = pytest.mark.anyio


class House(NamedTuple):
    """A server where no scan ever ends, and who knows its callers."""

    url: str
    ring: Ring
    vigil: Vigil


@pytest.fixture(scope="module", autouse=True)
def looks_more_often() -> Iterator[None]:
    """A look takes no longer, and is soon."""
    with mock.patch("scanstream.push.vigil.SWEEP_SECONDS", 0.1):
        yield


@asynccontextmanager
async def fast(ring: Ring) -> AsyncIterator[tuple[str, Core]]:
    """`scanstream serve`."""
    cores: list[Core] = []
    async with guarded(ring, cores=cores, workers=0, max_running=1) as url:
        yield url, cores[0]


@asynccontextmanager
async def plain(ring: Ring) -> AsyncIterator[tuple[str, Core]]:
    """Any ASGI server."""
    settings = Settings(port=0, data=":memory:", workers=0, max_running=1)
    async with open_core(settings, guard=ring) as core, hosted(application(settings, core)) as url:
        yield url, core
        await core.drain.run()


@pytest.fixture(scope="module", params=[fast, plain], ids=["fast", "plain"])
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    ring = Ring()
    async with AsyncExitStack() as stack:
        url, core = await stack.enter_async_context(request.param(ring))
        assert core.vigil is not None
        yield House(url, ring, core.vigil)


async def started(house: House, key: str) -> str:
    """A scan that goes on for ever."""
    body = msgspec.json.encode({"force_refresh": True})
    answer = await request(house.url, "POST", "/opportunities/discover", body, bearer(key))
    assert answer.status == 202, answer
    return str(answer.json()["scan_id"])


async def until_nobody_is_left(house: House) -> None:
    with anyio.fail_after(30):
        while len(house.vigil):  # noqa: ASYNC110  # it tells nobody
            await anyio.sleep(0.01)


@asynccontextmanager
async def socket(house: House, token: str, protocol: str = "scanstream.v1.json") -> AsyncIterator[Socket]:
    """As a web page opens one."""
    async with websocket(house.url, subprotocols=subprotocols(Subprotocol(protocol), token)) as connection:
        assert connection.connection.subprotocol == protocol
        yield connection


async def closed(connection: Socket) -> tuple[list[str], int]:
    """What is said to the end, but for frames, and the code of the end."""
    said: list[str] = []
    with anyio.fail_after(30):
        try:
            while True:
                message = await connection.receive()
                said.append(message.get("code", message["type"]))
        except ConnectionClosed as end:
            code = end.rcvd.code if end.rcvd else 0
    return [word for word in said if word not in ("snapshot", "update")], code


async def test_a_socket_ends_with_its_credential(house: House) -> None:
    key = house.ring.key("ann")
    async with socket(house, key) as connection:
        await connection.send(type="subscribe", scan_id=await started(house, key))
        assert (await connection.receive())["scan_token"]
        house.ring.revoke(key)
        assert await closed(connection) == (["unauthorized"], 4401)
    await until_nobody_is_left(house)


async def test_a_message_after_that_is_not_answered(house: House) -> None:
    """Also before the next look."""
    key = house.ring.key("ann")
    scan_id = await started(house, key)
    async with socket(house, key) as connection:
        await connection.send(type="ping")
        await connection.receive()
        house.ring.revoke(key)
        await connection.send(type="subscribe", scan_id=scan_id)
        said, code = await closed(connection)
        assert (set(said), code) == ({"unauthorized"}, 4401)
    await until_nobody_is_left(house)


async def test_one_that_is_renewed_stays(house: House) -> None:
    first, second = house.ring.key("ann"), house.ring.key("ann")
    scan_id = await started(house, first)
    async with socket(house, first) as connection:
        await connection.send(type="subscribe", scan_id=scan_id)
        await connection.receive()
        await connection.send(type="authenticate", id="r", token=second)
        while (answer := await connection.receive()).get("id") != "r":
            pass
        assert answer == {"type": "ack", "id": "r"}
        house.ring.revoke(first)
        await house.vigil.sweep()
        await connection.send(type="ping", id="p")
        while (answer := await connection.receive())["type"] != "pong":
            assert answer["type"] in ("snapshot", "update")
        house.ring.revoke(second)
        assert await closed(connection) == (["unauthorized"], 4401)


async def test_another_caller_does_not_take_over(house: House) -> None:
    ring = house.ring
    key, other = ring.key("ann"), ring.key("ben")
    operator, less = ring.key("ann", Right.OPERATE), ring.key("ann", Right.READ)
    scan_id = await started(house, key)
    token = await token_of(house, key, scan_id)
    async with socket(house, key) as connection:
        await connection.send(type="subscribe", scan_id=scan_id)
        await connection.receive()
        for shown, code in (
            *((one, "forbidden") for one in (other, operator, less, token)),
            *((one, "unauthorized") for one in ("ssk_unknown", "", "two words", "a" * 5000)),
        ):
            await connection.send(type="authenticate", id="r", token=shown)
            while (answer := await connection.receive()).get("id") != "r":
                pass
            assert (answer["type"], answer["code"]) == ("error", code), shown
            assert shown not in answer["detail"] or not shown
        await connection.send(type="authenticate", id="x")
        while (answer := await connection.receive()).get("id") != "x":
            pass
        assert (answer["code"], answer["errors"][0]["field"]) == ("invalid_message", "token")
        await connection.send(type="unsubscribe", id="still", scan_id=scan_id)
        while (answer := await connection.receive()).get("id") != "still":
            pass
        assert answer["type"] == "ack"


async def token_of(house: House, key: str, scan_id: str, **asked: Any) -> str:
    """To be handed on."""
    answer = await request(
        house.url, "POST", f"/opportunities/share/{scan_id}", msgspec.json.encode(asked), bearer(key)
    )
    return str(answer.json()["token"])


async def test_a_token_is_renewed_by_one_for_the_same_scan(house: House) -> None:
    key = house.ring.key("ann")
    scan_id, other = await started(house, key), await started(house, key)
    shown = await token_of(house, key, scan_id, rights=["read", "cancel"])
    async with socket(house, shown) as connection:
        for rights, scan, told in (
            (["read"], scan_id, "forbidden"),
            (["cancel", "read"], other, "forbidden"),
            (["cancel", "read"], scan_id, "ack"),
        ):
            await connection.send(type="authenticate", token=await token_of(house, key, scan, rights=rights))
            answer = await connection.receive()
            assert answer.get("code", answer["type"]) == told
        await connection.send(type="authenticate", token=key)
        assert (await connection.receive())["code"] == "forbidden"


async def test_a_credential_that_runs_out_by_itself(house: House) -> None:
    key = house.ring.key("ann", expires_at=now() + 500)
    async with socket(house, key) as connection:
        assert await closed(connection) == (["unauthorized"], 4401)


EVENTS = "/opportunities/events/{}"
STREAMS = [
    ("GET", EVENTS, {}, None),
    ("GET", EVENTS, {"content-length": "0"}, None),  # through the chain
    ("POST", "/opportunities/follow", {"accept": "text/event-stream"}, b'{"follow":[{"scan_id":"ID"}]}'),
]


@pytest.mark.parametrize(("method", "path", "headers", "body"), STREAMS, ids=["glance", "chain", "follow"])
@pytest.mark.parametrize("token", [False, True], ids=["key", "token"])
async def test_a_stream_ends_with_its_credential(
    house: House, method: str, path: str, headers: dict[str, str], body: bytes | None, token: bool
) -> None:
    key = house.ring.key("ann")
    scan_id = await started(house, key)
    shown = await token_of(house, key, scan_id) if token else key
    await request(house.url, "GET", f"/opportunities/status/{scan_id}", None, bearer(shown))  # known from now on
    await until_nobody_is_left(house)  # of an earlier test: who is there then is who listens
    said: list[bytes] = []

    async def listen() -> None:
        whole = body and body.replace(b"ID", scan_id.encode())
        answer = await request(house.url, method, path.format(scan_id), whole, {**bearer(shown), **headers})
        said.append(answer.body)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            while not len(house.vigil):  # noqa: ASYNC110
                await anyio.sleep(0.01)
            house.ring.revoke(shown)
    events = said[0].strip().split(b"\n\n")
    assert events[-1].startswith(b"event: error\ndata: {")
    assert msgspec.json.decode(events[-1].partition(b"data: ")[2])["code"] == "unauthorized"
    assert not any(b"unauthorized" in event for event in events[:-1])
    await until_nobody_is_left(house)


POLLS = [
    ("GET", "/opportunities/status/{}?since=CURSOR&wait=1", {}, None),
    ("GET", "/opportunities/status/{}?since=CURSOR&wait=1", {"content-length": "0"}, None),
    ("GET", "/opportunities/results/{}?wait=1", {}, None),
    ("POST", "/opportunities/follow", {}, b'{"follow":[{"scan_id":"ID","since":"CURSOR"}],"wait":1}'),
]


LOST: dict[str, Callable[[Ring, str], None]] = {
    "revoked": lambda ring, key: ring.revoke(key),
    "somebody else's": lambda ring, key: ring.hand_over(key, "bob", Right.SCAN),
    "of other rights": lambda ring, key: ring.hand_over(key, "ann", Right.OPERATE),
}


@pytest.mark.parametrize("lost", LOST)
async def test_a_long_poll_is_refused_at_its_end(house: House, lost: str) -> None:
    """Also where the same key would let in somebody: what was found was not for them."""
    key = house.ring.key("ann")
    scan_id = await started(house, key)
    status = f"/opportunities/status/{scan_id}"
    with anyio.fail_after(30):
        while True:
            before = (await request(house.url, "GET", f"{status}?since=", None, bearer(key))).json()
            if before["phase"] == "running" or "rank" in before:
                break
    answers: list[Answer] = []

    async def ask(method: str, path: str, headers: dict[str, str], body: bytes | None) -> None:
        target = path.format(scan_id).replace("CURSOR", before["cursor"])
        whole = body and body.replace(b"ID", scan_id.encode()).replace(b"CURSOR", before["cursor"].encode())
        answers.append(await request(house.url, method, target, whole, {**bearer(key), **headers}))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for poll in POLLS:
                tasks.start_soon(ask, *poll)
            await anyio.sleep(0.3)
            assert not answers
            LOST[lost](house.ring, key)
    for answer in answers:
        assert (answer.status, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        assert answer.headers["vary"] == "Origin"
    assert len({answer.body for answer in answers}) == 1


@pytest.mark.parametrize("path", ["discover", "follow", "share/latest", "notify/latest"])
async def test_a_body_that_comes_afterwards_does_nothing(house: House, path: str) -> None:
    """What was shown with the head was good then."""
    key, other = house.ring.key("slow"), house.ring.key("slow")
    head = f"POST /opportunities/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nConnection: close\r\n"
    with connected(house.url, f"{head}Authorization: Bearer {key}\r\n\r\n{{".encode()) as slow:
        with anyio.fail_after(30):
            while not house.ring.has_seen(key):  # noqa: ASYNC110  # it tells nobody
                await anyio.sleep(0.01)
        house.ring.revoke(key)
        slow.sendall(b"}")
        assert (await to_thread.run_sync(everything, slow)).startswith(b"HTTP/1.1 401")
    assert (await request(house.url, "GET", "/opportunities/scans", None, bearer(other))).json()["scans"] == []


@pytest.mark.parametrize("lines", [True, False])
async def test_a_download_breaks_off_where_it_is(lines: bool) -> None:
    """Who reads slowly has no more of it than what was on its way; and does not take that for the whole."""
    ring = Ring()
    key = ring.key("ann")
    async with guarded(ring, workers=1) as url, scripting() as script:
        body = msgspec.json.encode(script.request(shards=1))
        scan_id = (await request(url, "POST", "/opportunities/discover", body, bearer(key))).json()["scan_id"]
        await (await script.started()).tell("find 20000", "end")
        path = f"/opportunities/results/{scan_id}"
        whole = await request(url, "GET", f"{path}?wait=60", None, bearer(key))
        assert whole.status == 200
        accept = "application/x-ndjson" if lines else "application/json"
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\nAuthorization: Bearer {key}\r\n\r\n"
        with connected(url, head.encode(), receive_buffer=8192) as slow:
            assert (await to_thread.run_sync(slow.recv, 1000)).startswith(b"HTTP/1.1 200")
            ring.revoke(key)
            with suppress(ConnectionResetError):
                rest = await to_thread.run_sync(everything, slow)
                assert len(rest) < len(whole.body) - 100_000


async def test_a_short_list_is_said_at_once_and_is_never_broken_off(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made while the key was good, and there is nothing to wait for between its pieces."""
    key = house.ring.key("ann")
    scan_id = await started(house, key)
    monkeypatch.setattr("scanstream.push.http.PiecewiseResponse", None)
    answer = await request(house.url, "GET", "/opportunities/scans?limit=1", None, bearer(key))
    assert (answer.status, [scan["scan_id"] for scan in answer.json()["scans"]]) == (200, [scan_id])


async def test_a_key_that_is_taken_out_of_the_file(tmp_path: Path) -> None:
    """The guard of `--auth required` itself."""
    keys = tmp_path / "keys.toml"
    lost, kept = key_in(keys, "ann", name="lost"), key_in(keys, "ann", name="kept")
    async with serving(Settings(port=0, data=":memory:", workers=0, auth="required", keys=str(keys))) as url:
        async with websocket(url, additional_headers=bearer(lost)) as connection:
            revoke_key(keys, "lost")
            assert await closed(connection) == (["unauthorized"], 4401)
        assert (await request(url, "GET", "/opportunities/scans", None, bearer(lost))).status == 401
        assert (await request(url, "GET", "/opportunities/scans", None, bearer(kept))).status == 200


async def test_nothing_is_held_for_those_who_are_gone(house: House) -> None:
    key = house.ring.key("ann")
    scan_id = await started(house, key)
    async with AsyncExitStack() as stack:
        for _ in range(5):
            connection = await stack.enter_async_context(socket(house, key))
            await connection.send(type="subscribe", scan_id=scan_id)
            await connection.receive()
        head = f"GET {EVENTS.format(scan_id)} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\r\n"
        for _ in range(5):
            raw = stack.enter_context(connected(house.url, head.encode()))
            assert re.match(rb"HTTP/1.1 200", await to_thread.run_sync(raw.recv, 1000))
        with anyio.fail_after(30):
            while len(house.vigil) < 10:  # noqa: ASYNC110
                await anyio.sleep(0.01)
    await until_nobody_is_left(house)
