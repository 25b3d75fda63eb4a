"""`POST /opportunities/follow`: many scans over one answer, in both forms; what is absent or refused, who leaves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import httpx
import msgspec
import pytest
from msgspec.structs import replace

from conftest import Serve
from scanstream.client.mirror import Mirror
from scanstream.core import open_core
from scanstream.errors import StoreUnavailable
from scanstream.model import ANYONE, DiscoverRequest
from scanstream.push import follow, sse, together
from scanstream.push import stream as alone
from scanstream.push.round import Round
from scanstream.scans.archive import Archive
from scanstream.settings import Settings
from support.plain import NO_TLS
from support.script import scripting
from support.wire import Answer, discover, request, results, status, until_terminal

pytestmark = pytest.mark.anyio

PATH = "/opportunities/follow"
EVENTS = {"accept": "text/event-stream"}
UNTOLD = {"opportunities", "offset", "more"}
UNKNOWN = "scan_" + "0" * 42


async def ask(url: str, body: Any, headers: dict[str, str] | None = None) -> Answer:
    """One request."""
    return await request(url, "POST", PATH, msgspec.json.encode(body), headers)


async def frames(url: str, *scans: dict[str, Any], wait: int = 30) -> list[dict[str, Any]]:
    """What one long poll brings."""
    answer = await ask(url, {"follow": list(scans), "wait": wait})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), answer
    body = answer.json()
    assert body.keys() == {"frames"}
    found: list[dict[str, Any]] = body["frames"]
    assert len({frame["scan_id"] for frame in found}) == len(found), "at most one frame a scan"
    return found


@asynccontextmanager
async def stream(url: str, *scans: dict[str, Any]) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The messages of the form that streams, to its end."""
    async with (
        httpx.AsyncClient(timeout=30, verify=NO_TLS) as client,
        client.stream("POST", url + PATH, json={"follow": list(scans)}, headers=EVENTS) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield messages(response)


async def messages(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Its events."""
    named = ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        assert field in ("", "retry", "event", "data"), line
        if field == "event":
            named = value
        elif field == "data":
            message: dict[str, Any] = msgspec.json.decode(value)
            assert message["type"] == named
            yield message


async def ended(url: str, *counts: int) -> list[str]:
    """Scans that have ended, with so many opportunities each."""
    ids = []
    for count in counts:
        wanted = {"strategy_ids": ["scripted"], "parameters": {"scripted": {"shards": 1, "found": count}}}
        ids.append(str((await discover(url, wanted)).json()["scan_id"]))
    for scan_id in ids:
        await until_terminal(url, scan_id)
    return ids


async def assert_whole(url: str, mirrors: dict[str, Mirror]) -> None:
    """Each mirror is the server's state and results."""
    for scan_id, mirror in mirrors.items():
        state = (await status(url, scan_id)).json()
        assert mirror.state == {name: state[name] for name in mirror.state}
        found = (await results(url, scan_id)).json()["opportunities"]
        assert {it["id"] for it in found} == {it["id"] for it in mirror.opportunities}
        assert len(found) == len(mirror.opportunities)


async def test_the_events_of_many_scans_come_over_one_stream_until_all_have_ended(serve: Serve) -> None:
    async with serve(workers=2) as url, scripting() as script:
        quick = await ended(url, 3, 1201)
        running = [(await discover(url, script.request(shards=1, force_refresh=True))).json()["scan_id"]]
        shard = await script.started()
        mirrors = {scan_id: Mirror() for scan_id in (*quick, *running)}
        async with stream(url, *({"scan_id": scan_id} for scan_id in mirrors)) as events:
            async for message in events:
                mirrors[message["scan_id"]].apply(message)
                if all(mirrors[scan_id].ended for scan_id in quick) and message["scan_id"] in quick:
                    await shard.tell("find 2", "end")
        assert all(mirror.ended for mirror in mirrors.values())
        await assert_whole(url, mirrors)


async def test_the_long_poll_of_many_scans(serve: Serve) -> None:
    async with serve(workers=2) as url, scripting() as script:
        ids = await ended(url, 3, 1201)
        ids.append((await discover(url, script.request(shards=1))).json()["scan_id"])
        shard = await script.started()
        mirrors = {scan_id: Mirror() for scan_id in ids}
        words = [("find 2", "end")]
        while left := {scan_id: mirror for scan_id, mirror in mirrors.items() if not mirror.ended}:
            if words and left.keys() == {ids[2]} and "'status': 'running'" in str(left[ids[2]].state):
                await shard.tell(*words.pop())
            for message in await frames(url, *({"scan_id": i, "since": m.cursor} for i, m in left.items())):
                mirrors[message["scan_id"]].apply(message)
        await assert_whole(url, mirrors)


async def test_a_long_poll_waits_for_news_and_an_end_is_told_again(serve: Serve) -> None:
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        shard = await script.started()
        mirror = Mirror()
        while "running" not in str(mirror.state.get("strategies")):
            for message in await frames(url, {"scan_id": scan_id, "since": mirror.cursor}):
                mirror.apply(message)
        here = {"scan_id": scan_id, "since": mirror.cursor}
        assert await frames(url, here, wait=0) == []
        assert await frames(url, here, wait=1) == []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shard.tell, "find 1")
            tasks.start_soon(shard.tell, "end")
            [message] = await frames(url, here, wait=60)
        assert message["type"] == "update"
        end = {"scan_id": scan_id, "since": (await until_terminal(url, scan_id))["cursor"].replace(".0", ".1")}
        for _ in range(2):
            assert [frame["type"] for frame in await frames(url, end, wait=60)] == ["end"]


async def test_what_is_absent_is_one_error_and_the_others_go_on(serve: Serve) -> None:
    async with serve(workers=1, retention=0.3, fresh=0) as url:
        gone = (await discover(url)).json()["scan_id"]
        with anyio.fail_after(20):
            while (await status(url, gone)).status != 410:  # noqa: ASYNC110  # as a script would
                await anyio.sleep(0.05)
        absent = [{"scan_id": gone}, {"scan_id": UNKNOWN}]
        both = [("expired", gone), ("not_found", UNKNOWN)]
        told = await frames(url, *absent, wait=60)
        assert [(it["code"], it["scan_id"]) for it in told] == both
        assert all(it["type"] == "error" and it["detail"] for it in told)
        async with stream(url, *absent) as events:
            assert [(it["code"], it["scan_id"]) async for it in events] == both
        running = (await discover(url, {"symbols": "BTC/USDT", "strategy_ids": "tsmom"})).json()["scan_id"]
        async with stream(url, *absent, {"scan_id": running}) as events:
            kinds = [(it["type"], it["scan_id"]) async for it in events]
        assert kinds.count(("error", gone)) == kinds.count(("error", UNKNOWN)) == kinds.count(("end", running)) == 1


async def test_who_is_attached_when_a_scan_expires_is_told_once() -> None:
    async with open_core(Settings(port=0, data=":memory:", workers=0)) as core:
        request = DiscoverRequest()
        ids = [(await core.desk.register(ANYONE, replace(request, capital_usd=it))).scan_id for it in (1.0, 2.0)]
        gone, other = [await core.desk.find(ANYONE, scan_id) for scan_id in ids]
        scans = Round(partial(core.desk.find, ANYONE), core.fanout)
        scans.add(gone, gone.head, None)
        scans.add(other, other.head, None)
        core.desk.release(gone.scan_id)
        await core.desk.cancel(ANYONE, gone.scan_id)
        with scans.opened(), anyio.fail_after(20):
            core.hub.forget(gone.scan_id)
            message = await scans.next()
            assert message is not None
            assert msgspec.json.decode(message.payload)["code"] == "expired"
            assert message.type == "error"
            assert await scans.next() is None
            assert not scans.over


async def test_only_the_state_and_then_all(serve: Serve) -> None:
    async with serve(workers=1) as url:
        [scan_id] = await ended(url, 700)
        only = {"scan_id": scan_id, "only": "state"}
        async with stream(url, only) as events:
            streamed = [message async for message in events]
        [snapshot] = await frames(url, only)
        [end] = await frames(url, {**only, "since": snapshot["cursor"]})
        assert streamed == [snapshot, end]
        assert snapshot["type"] == "snapshot"
        assert not UNTOLD & snapshot.keys()
        assert (snapshot["state"]["total_opportunities"], end["type"]) == (700, "end")
        assert end["cursor"] == snapshot["cursor"] == (await status(url, scan_id)).json()["cursor"]
        mirror = Mirror()
        mirror.apply(snapshot)
        async with stream(url, {"scan_id": scan_id, "since": end["cursor"]}) as events:
            async for message in events:
                mirror.apply(message)
        await assert_whole(url, {scan_id: mirror})


async def test_latest_is_the_newest_and_a_foreign_cursor_begins_anew(serve: Serve) -> None:
    async with serve(workers=1) as url:
        assert [it["code"] for it in await frames(url, {"scan_id": "latest"})] == ["not_found"]
        [first, second] = await ended(url, 1, 2)
        [snapshot] = await frames(url, {"scan_id": "latest"})
        assert (snapshot["type"], snapshot["scan_id"]) == ("snapshot", second)
        for since in (snapshot["cursor"], "nonsense", "", None):
            [other] = await frames(url, {"scan_id": first, "since": since})
            assert (other["type"], other["offset"]) == ("snapshot", 0)


async def test_one_scan_is_followed_once(serve: Serve) -> None:
    async with serve(workers=1) as url:
        [scan_id] = await ended(url, 1)
        other = {"scan_id": UNKNOWN}
        for twice in (
            [scan_id, scan_id],
            [scan_id, "latest"],
            ["latest", scan_id],
            ["latest", "latest"],
            [UNKNOWN] * 2,
        ):
            answer = await ask(url, {"follow": [{"scan_id": it} for it in twice]}, EVENTS)
            assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "follow[1].scan_id")
        answer = await ask(url, {"follow": [other, {"scan_id": scan_id}, {"scan_id": "latest"}]})
        assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "follow[2].scan_id")


ONE = {"scan_id": UNKNOWN}
WAITS: list[object] = [61, -1, "5", 1.5, True, [], 10**30]
REFUSED: list[tuple[Any, str]] = [
    ({}, "follow"),
    ([], "request"),
    ({"follow": []}, "follow"),
    ({"follow": None}, "follow"),
    ({"follow": ONE}, "follow"),
    ({"follow": [{"scan_id": f"{number}"} for number in range(257)]}, "follow"),
    ({"follow": [ONE, "x"]}, "follow[1]"),
    ({"follow": [ONE, {}]}, "follow[1].scan_id"),
    ({"follow": [{"scan_id": 5}]}, "follow[0].scan_id"),
    ({"follow": [{"scan_id": None}]}, "follow[0].scan_id"),
    ({"follow": [{**ONE, "since": 5}]}, "follow[0].since"),
    ({"follow": [ONE, ONE, ONE, {**ONE, "only": "opportunities"}]}, "follow[3].only"),
    ({"follow": [{**ONE, "only": ["state"]}]}, "follow[0].only"),
    ({"follow": [{**ONE, "colour": "red"}]}, "follow[0].colour"),
    ({"follow": [ONE], "colour": "red"}, "colour"),
    *(({"follow": [ONE], "wait": wait}, "wait") for wait in WAITS),
]


@pytest.mark.parametrize("headers", [{}, EVENTS], ids=["poll", "events"])
async def test_what_cannot_be_followed_is_refused_by_name(serve: Serve, headers: dict[str, str]) -> None:
    async with serve(workers=0) as url:
        for body, field in REFUSED:
            answer = await ask(url, body, headers)
            assert (answer.status, answer.headers["content-type"]) == (422, "application/problem+json"), body
            assert [error["field"] for error in answer.json()["errors"]] == [field], body
        assert (await request(url, "POST", PATH, b"", headers)).status == 422
        assert (await request(url, "POST", PATH, b'{"follow": [', headers)).json()["code"] == "invalid_json"


async def test_256_scans_are_as_many_as_may_be(serve: Serve) -> None:
    async with serve(workers=0) as url:
        told = await frames(url, *({"scan_id": f"scan {number}"} for number in range(256)))
        assert [error["code"] for error in told] == ["not_found"] * 256


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("TEXT/Event-Stream", "text/event-stream"),
        ("text/event-stream;charset=utf-8", "text/event-stream"),
        ("text/event-stream, */*;q=0.5", "text/event-stream"),
        ("text/event-stream;q=0.1, application/json;q=0.2", "application/json"),
        ("text/event-stream;q=0, */*", "application/json"),
        ("application/json;q=0, text/event-stream;q=0.001", "text/event-stream"),
        ("text/html", "application/json"),
    ],
)
async def test_the_form_is_the_one_that_the_caller_accepts(serve: Serve, accept: str | None, media: str) -> None:
    async with serve(workers=0) as url:
        answer = await ask(url, {"follow": [ONE]}, {} if accept is None else {"accept": accept})
        assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, media)
        assert "Accept" in answer.headers["vary"].split(", ")
        assert answer.headers["cache-control"] == "no-cache"


async def test_nothing_but_a_post_of_a_page_of_ours(serve: Serve) -> None:
    async with serve(workers=0) as url:
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            assert (await request(url, method, PATH)).status == 405
        for headers in ({}, EVENTS):
            foreign = await ask(url, {"follow": [ONE]}, {**headers, "origin": "https://elsewhere.example"})
            assert (foreign.status, foreign.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("many", [True, False], ids=["follow", "events"])
async def test_a_stream_without_news_has_a_heartbeat(serve: Serve, monkeypatch: pytest.MonkeyPatch, many: bool) -> None:
    assert sse.HEARTBEAT_SECONDS == 5
    for door in (alone, together):
        monkeypatch.setattr(door, "HEARTBEAT_SECONDS", 0.05)
    async with serve(workers=0) as url, httpx.AsyncClient(timeout=30, verify=NO_TLS) as client:
        scan_id = (await discover(url)).json()["scan_id"]
        if many:
            events = client.stream("POST", url + PATH, json={"follow": [{"scan_id": scan_id}]}, headers=EVENTS)
        else:
            events = client.stream("GET", f"{url}/opportunities/events/{scan_id}")
        async with events as response:
            lines = response.aiter_lines()
            assert await anext(lines) == "retry: 1000"
            beats = 0
            while beats < 3:
                beats += (await anext(lines)).startswith(":")


async def cursor_of_running(url: str, scan_id: str) -> str:
    """Where the log of a scan stands that is planned and that nobody runs."""
    with anyio.fail_after(30):
        while (state := (await status(url, scan_id)).json())["phase"] != "running":  # noqa: ASYNC110  # as a script would
            await anyio.sleep(0.02)
    return str(state["cursor"])


async def readers(url: str) -> int:
    """How many readers the server has, as its metrics say."""
    [line] = [
        line
        for line in (await request(url, "GET", "/metrics")).body.decode().splitlines()
        if line.startswith("scanstream_readers ")
    ]
    return int(float(line.split()[1]))


@pytest.mark.parametrize("headers", [{}, EVENTS], ids=["poll", "events"])
async def test_who_has_left_is_let_go(serve: Serve, headers: dict[str, str]) -> None:
    async with serve(workers=0) as url:
        ids = [(await discover(url, {"capital_usd": 1.0 + number})).json()["scan_id"] for number in range(3)]
        heads = [await cursor_of_running(url, scan_id) for scan_id in ids]
        wanted = [{"scan_id": scan_id, "since": head} for scan_id, head in zip(ids, heads, strict=True)]
        body = msgspec.json.encode({"follow": wanted, "wait": 60})
        fields = {"host": url.removeprefix("http://"), "content-length": str(len(body)), **headers}
        head = f"POST {PATH} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
        host, port = fields["host"].split(":")
        async with await anyio.connect_tcp(host, int(port)) as leaving:
            await leaving.send(head.encode() + body)
            with anyio.fail_after(20):
                while await readers(url) != 3:  # noqa: ASYNC110  # a scrape, as an operator's
                    await anyio.sleep(0.02)
        with anyio.fail_after(20):
            while await readers(url) != 0:  # noqa: ASYNC110  # a scrape, as an operator's
                await anyio.sleep(0.02)


@pytest.mark.parametrize("headers", [{}, EVENTS], ids=["poll", "events"])
async def test_who_leaves_while_the_scans_are_looked_for_is_let_go(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    looking, given_up = anyio.Event(), anyio.Event()

    async def find(*_: Any) -> None:
        looking.set()
        try:
            await anyio.sleep_forever()
        finally:
            given_up.set()

    monkeypatch.setattr(Archive, "find", find)
    async with serve(workers=0) as url:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, url, {"follow": [ONE]}, headers)
                await looking.wait()
                tasks.cancel_scope.cancel()
            await given_up.wait()


@pytest.mark.parametrize("headers", [{}, EVENTS], ids=["poll", "events"])
async def test_a_store_that_is_away_is_said_to_be(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    async def find(*_: Any) -> None:
        raise StoreUnavailable("The store could not read", retry_after=5)

    monkeypatch.setattr(Archive, "find", find)
    async with serve(workers=0) as url:
        answer = await ask(url, {"follow": [ONE]}, headers)
        assert (answer.status, answer.json()["code"]) == (503, "store_unavailable")
        assert answer.headers["retry-after"] == "5"


async def test_what_does_not_fit_into_an_answer_comes_with_the_next(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "MOST_ANSWER_BYTES", 1000)
    async with serve(workers=2) as url:
        mirrors = {scan_id: Mirror() for scan_id in await ended(url, 30, 31, 32)}
        answers = 0
        while left := {scan_id: mirror for scan_id, mirror in mirrors.items() if not mirror.ended}:
            told = await frames(url, *({"scan_id": i, "since": m.cursor} for i, m in left.items()), wait=60)
            assert [frame["type"] for frame in told].count("snapshot") <= 1
            assert told, "there is news: it comes at once"
            answers += 1
            for message in told:
                mirrors[message["scan_id"]].apply(message)
        assert answers >= 4
        await assert_whole(url, mirrors)


@pytest.mark.parametrize(("scans", "at_once"), [(follow.MANY, 6), (follow.MANY + 1, 1)])
async def test_of_many_scans_those_of_one_callers_requests_are_looked_for_one_after_the_other(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, scans: int, at_once: int
) -> None:
    """Else a few clients with hundreds each had the loop for themselves."""
    looking, most, asked = 0, 0, anyio.Event()
    look = follow.FollowDoor._found

    async def slowly(self: follow.FollowDoor, *arguments: Any) -> Round:
        nonlocal looking, most
        looking += 1
        most = max(most, looking)
        if looking == at_once > 1:
            asked.set()
        with anyio.move_on_after(5 if at_once > 1 else 0.05):
            await asked.wait()
        looking -= 1
        return await look(self, *arguments)

    monkeypatch.setattr(follow.FollowDoor, "_found", slowly)
    wanted = {"follow": [{"scan_id": f"scan_{number}"} for number in range(scans)], "wait": 0}
    answers: list[int] = []

    async def follows() -> None:
        answers.append(len((await ask(url, wanted)).json()["frames"]))

    async with serve(workers=0) as url, anyio.create_task_group() as asking:
        for _ in range(6):
            asking.start_soon(follows)
    assert (most, answers) == (at_once, [scans] * 6)
