"""HTTP to the letter: negotiation, preferences, caching, methods, old versions, and callers who leave."""

import logging
import socket
from typing import Any
from urllib.parse import urlsplit

import anyio
import msgspec
import pytest
from anyio.abc import SocketAttribute
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from websockets.exceptions import InvalidStatus

from conftest import Serve
from scanstream.errors import TABLE
from scanstream.push.contract.documents import openapi
from scanstream.push.refusals import REFUSALS, CacheRule
from support.script import scripting
from support.wire import ONE_QUICK_SCAN, Answer, discover, request, until_terminal, websocket

pytestmark = pytest.mark.anyio

JSON, LINES = "application/json", "application/x-ndjson"


async def get(url: str, path: str, *headers: tuple[str, str], version: str = "1.1", method: str = "GET") -> Answer:
    """A request with header lines as they are, several of one name too."""
    address = urlsplit(url)
    lines = [f"{method} {path} HTTP/{version}", f"host: {address.netloc}", *(f"{n}: {value}" for n, value in headers)]
    if version == "1.1" and "connection" not in dict(headers):
        lines.append("connection: close")
    assert address.hostname is not None
    assert address.port is not None
    async with await anyio.connect_tcp(address.hostname, address.port) as stream:
        await stream.send("\r\n".join([*lines, "", ""]).encode())
        received = b"".join([chunk async for chunk in stream])
    head, _, body = received.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    named = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return Answer(int(status.split()[1]), named, body)


async def complete(url: str) -> str:
    """The id of a scan that has ended."""
    scan_id: str = (await discover(url)).json()["scan_id"]
    await until_terminal(url, scan_id)
    return scan_id


ACCEPTS = [
    ([], JSON),
    (["*/*"], JSON),
    (["text/html"], JSON),
    ([LINES], LINES),
    (["APPLICATION/X-NDJSON"], LINES),
    ([f"{LINES};q=0"], JSON),
    ([f"{LINES};q=0.0, */*"], JSON),
    ([f"{JSON};q=0, */*"], LINES),
    ([f"{JSON};q=0.5, {LINES}"], LINES),
    ([f"{LINES};q=0.5, {JSON};Q=0.9"], JSON),
    ([f"text/html, {LINES} ; q=0.1"], LINES),
    ([f"{LINES};charset=utf-8"], LINES),
    (["text/html", LINES], LINES),
    ([f"{LINES};q=2"], JSON),
    (["*"], JSON),
    ([",,;;=", "/", LINES], LINES),
    (['"'], JSON),
]


async def test_results_come_in_the_type_that_is_preferred(serve: Serve) -> None:
    async with serve(workers=1) as url:
        scan_id = await complete(url)
        for lines, chosen in ACCEPTS:
            answer = await get(url, f"/opportunities/results/{scan_id}", *(("accept", line) for line in lines))
            assert (answer.status, answer.headers["content-type"]) == (200, chosen), lines
            assert {"Accept", "Prefer"} <= set(answer.headers["vary"].split(", "))


PREFERENCES: list[tuple[list[str], str | None]] = [
    (["wait=3"], "wait=3"),
    (['wait="3"'], "wait=3"),
    (["WAIT = 3"], "wait=3"),
    (["respond-async, wait=3;x=y"], "wait=3"),
    (["respond-async", "wait=3"], "wait=3"),
    (["wait=3, wait=4"], "wait=3"),
    (["wait=0"], "wait=0"),
    (['foo="a, wait=5"'], None),
    (["nowait=3"], None),
    (["wait"], None),
    (["wait=soon"], None),
    (["wait=;x"], None),
]
OUT_OF_BOUNDS = ["wait=61", "wait=-1", "wait=1.5", 'wait="61"', "Wait = 3600", "wait=" + "9" * 5000]


async def test_a_preference_is_followed_or_passed_over_and_the_answer_says_which(serve: Serve) -> None:
    async with serve(workers=1) as url:
        scan_id = await complete(url)
        for kind in ("status", "results"):
            for lines, applied in PREFERENCES:
                answer = await get(url, f"/opportunities/{kind}/{scan_id}", *(("prefer", line) for line in lines))
                assert (answer.status, answer.headers.get("preference-applied")) == (200, applied), lines
                assert "Prefer" in answer.headers["vary"]
            for line in OUT_OF_BOUNDS:
                answer = await get(url, f"/opportunities/{kind}/{scan_id}", ("prefer", line))
                assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "wait"), line
            both = await get(url, f"/opportunities/{kind}/{scan_id}?wait=1", ("prefer", "wait=3"))
            assert "preference-applied" not in both.headers


async def test_the_place_in_the_queue_is_in_the_tag_and_its_change_ends_a_wait(serve: Serve) -> None:
    async with serve(workers=1, max_running=1) as url, scripting() as script:
        await discover(url, script.request(shards=1))
        shard = await script.started()
        ahead, behind = [(await discover(url, {"capital_usd": usd})).json()["scan_id"] for usd in (1, 2)]
        path = f"/opportunities/status/{behind}"
        while (first := await get(url, path)).json().get("rank") != 2:
            pass
        tag = ("if-none-match", first.headers["etag"])
        assert (await get(url, path, tag)).status == 304
        answers: list[Answer] = []

        async def ask(form: str, *headers: tuple[str, str]) -> None:
            answers.append(await get(url, path + form, *headers))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, "?wait=60", tag)
                tasks.start_soon(ask, f"?wait=60&since={first.json()['cursor']}")
                while b"scanstream_readers 2" not in (await get(url, "/metrics")).body:
                    pass
                await request(url, "POST", f"/opportunities/cancel/{ahead}")
        assert [(answer.status, answer.json()["rank"]) for answer in answers] == [(200, 1)] * 2
        newer = await get(url, path, tag)
        assert (newer.status, newer.json()["rank"]) == (200, 1)
        assert newer.headers["etag"] != first.headers["etag"]
        assert newer.json()["cursor"] == first.json()["cursor"]
        await shard.tell("end")


async def test_tags_are_compared_as_their_rfc_has_it(serve: Serve) -> None:
    async with serve(workers=1) as url:
        scan_id = await complete(url)
        tag = (await get(url, f"/opportunities/status/{scan_id}")).headers["etag"]
        held = [[tag], [f"W/{tag}"], ["*"], [f'"x", W/{tag}'], ['"x"', tag], [f"  {tag}  "]]
        for lines in held:
            answer = await get(url, f"/opportunities/status/{scan_id}", *(("if-none-match", line) for line in lines))
            assert (answer.status, answer.headers["etag"], answer.body) == (304, tag, b""), lines
            assert answer.headers["cache-control"] == "no-cache"
        for line in ('"x"', "", '"', f"{tag[:-1]}0{tag[-1:]}", tag.upper() + "x"):
            assert (await get(url, f"/opportunities/status/{scan_id}", ("if-none-match", line))).status == 200, line


async def test_every_answer_says_how_it_may_be_cached(serve: Serve) -> None:
    async with serve(workers=1) as url:
        scan_id = await complete(url)
        granted = [f"/opportunities/{kind}/{scan_id}" for kind in ("status", "results", "events")]
        granted += ["/opportunities/scans", "/opportunities/market", "/opportunities/strategies", "/healthz", "/readyz"]
        granted += ["/metrics", "/openapi.json", "/asyncapi.json", "/", "/static/page/main.js"]
        for path in granted:
            answer = await get(url, path)
            assert (answer.status, answer.headers["cache-control"]) == (200, "no-cache"), path
        page = await get(url, "/static/page/main.js")
        again = await get(url, "/static/page/main.js", ("if-none-match", page.headers["etag"]))
        assert (again.status, again.headers["cache-control"]) == (304, "no-cache")
        refused = ["/nowhere", "/static/nowhere", "/static/%00", "/opportunities/status/x", "/opportunities/discover"]
        refused += ["/ws", "/opportunities/scans?limit=0", "/opportunities/scans?before=%ff%00", "//", "/%"]
        for path in refused:
            answer = await get(url, path)
            assert (400 <= answer.status < 500, answer.headers["cache-control"]) == (True, "no-store"), path
            assert "json" in answer.headers["content-type"]
        for method, path in (("DELETE", "/"), ("PUT", "/static/page/main.js"), ("TRACE", "/healthz"), ("POST", "/ws")):
            answer = await get(url, path, method=method)
            assert (answer.status, answer.headers["cache-control"]) == (405, "no-store")


async def test_methods(serve: Serve) -> None:
    async with serve(workers=1) as url:
        scan_id = await complete(url)
        for path, operations in openapi()["paths"].items():
            real = path.replace("{scan_id}", scan_id)
            options = await get(url, real, method="OPTIONS")
            allowed = {method.upper() for method in operations} | {"OPTIONS"}
            allowed |= {"HEAD"} if "get" in operations else set()
            assert (options.status, set(options.headers["allow"].split(", "))) == (204, allowed), path
            other = await get(url, real, method="DELETE")
            problem = other.json()
            assert (other.status, problem["code"]) == (405, "method_not_allowed")
            assert set(other.headers["allow"].split(", ")) == allowed
            assert problem["message"] == problem["detail"]
            if "get" in operations:
                head, whole = await get(url, real, method="HEAD"), await get(url, real)
                assert (head.status, head.body) == (whole.status, b""), path
                assert head.headers["content-type"] == whole.headers["content-type"]


async def test_the_path_of_the_websocket_and_others(serve: Serve) -> None:
    async with serve(workers=0) as url:
        plain = await get(url, "/ws")
        assert (plain.status, plain.headers["upgrade"], plain.json()["code"]) == (426, "websocket", "upgrade_required")
        for path in ("/opportunities/scans", "/static/page/main.js", "/nowhere", "/"):
            with pytest.raises(InvalidStatus) as refused:
                async with websocket(url + path):
                    pass
            response = refused.value.response
            assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")
            assert msgspec.json.decode(response.body or b"")["code"] == "no_such_route"


async def test_handshakes_that_are_none(serve: Serve) -> None:
    asked = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13")]
    key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    async with serve(workers=0) as url:
        for headers, how, status, code in (
            ([*asked, key], {"method": "POST"}, 405, "method_not_allowed"),
            ([*asked, key], {"version": "1.0"}, 426, "upgrade_required"),
            (asked, {}, 400, "malformed_request"),
            ([*asked[:2], ("sec-websocket-version", "8"), key], {}, 400, "malformed_request"),
        ):
            answer = await get(url, "/ws", *headers, **how)
            problem = answer.json()
            assert (answer.status, problem["status"], problem["code"]) == (status, status, code)
            assert answer.headers["cache-control"] == "no-store"
        assert "GET" in (await get(url, "/ws", *asked, key, method="POST")).headers["allow"]


async def test_blanks_around_a_value_are_no_part_of_it(serve: Serve) -> None:
    async with serve(workers=0, allow_origin=("http://localhost:5173",)) as url:
        scan_id = (await discover(url)).json()["scan_id"]
        path = f"/opportunities/status/{scan_id}"
        for blanks in (" ", "\t", " \t  "):
            told = [("origin", "http://localhost:5173"), ("if-none-match", "*"), ("prefer", "wait=0")]
            padded = [(name, f"{blanks}{value}{blanks}") for name, value in told]
            answer = await get(url, path, *padded)
            assert (answer.status, answer.headers["preference-applied"]) == (304, "wait=0")
            assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"
            assert (await request(url, "GET", path, headers={"host": f"localhost{blanks}"})).status == 200


async def test_a_range_is_passed_over(serve: Serve) -> None:
    async with serve(workers=0) as url:
        whole = await get(url, "/static/page/main.js")
        for asked in ("bytes=0-1", "bytes=99999999-", "foo", "lines=1-2", "bytes=5-1"):
            answer = await get(url, "/static/page/main.js", ("range", asked))
            assert (answer.status, answer.body) == (200, whole.body)


async def test_http_1_0_gets_no_chunks(serve: Serve) -> None:
    async with serve(workers=1) as url:
        scan_id = await complete(url)
        results = f"/opportunities/results/{scan_id}"
        for path, headers in (
            (results, [("accept", LINES)]),
            (results, []),
            (f"/opportunities/events/{scan_id}", []),
            ("/healthz", [("connection", "keep-alive")]),
            ("/static/page/main.js", []),
            ("/nowhere", []),
        ):
            old = await get(url, path, *headers, version="1.0")
            new = await request(url, "GET", path, headers=dict(headers) | {"connection": "close"})
            assert "transfer-encoding" not in old.headers, path
            assert (old.status, old.body) == (new.status, new.body), path
            assert old.headers["connection"] == "close"
        head = await get(url, results, ("accept", LINES), version="1.0", method="HEAD")
        assert (head.status, head.body) == (200, b"")


ODD_QUERIES = [
    ("status/{}?wait=", "wait"),
    ("status/{}?wait=1&wait=1", "wait"),
    ("status/{}?since=a&since=b", "since"),
    ("status/{}?wait=%31%00", "wait"),
    ("status/{}?wait=+1", "wait"),
    ("status/{}?wait=%D9%A3", "wait"),
    ("results/{}?limit=", "limit"),
    ("results/{}?limit=1e3", "limit"),
    ("results/{}?offset=-0", "offset"),
    ("results/{}?offset=1&offset=", "offset"),
    ("results/{}?limit=" + "1" * 5000, "limit"),
    ("scans?limit=101", "limit"),
    ("scans?before=a&before=b", "before"),
    ("events/{}?since=a&since=b", "since"),
]


async def test_odd_queries_are_named(serve: Serve) -> None:
    async with serve(workers=0) as url:
        scan_id = (await discover(url)).json()["scan_id"]
        for query, field in ODD_QUERIES:
            answer = await get(url, "/opportunities/" + query.format(scan_id))
            assert (answer.status, answer.json()["errors"][0]["field"]) == (422, field), query
            assert len(answer.body) < 1000


async def test_a_body_over_the_limit_is_answered_although_the_connection_closes(serve: Serve) -> None:
    """It is larger than what the kernel keeps, so the answer would be lost in a reset."""
    async with serve(workers=0, max_message=1_000_000) as url:
        for _ in range(5):
            answer = await request(url, "POST", "/opportunities/discover", b" " * 1_900_000)
            assert (answer.status, answer.json()["code"]) == (413, "too_large")


async def test_what_names_scans_takes_what_the_longest_of_its_kind_needs_and_no_more(serve: Serve) -> None:
    async with serve(workers=0) as url:
        each = {"scan_id": "scan_" + 42 * "0", "since": f"{2**63}-{2**63}.{2**63}", "only": "state"}
        for count, status in ((256, 422), (10_000, 413)):  # the same scan twice is what is wrong with the first
            body = msgspec.json.encode({"follow": [each] * count, "wait": 0})
            answer = await request(url, "POST", "/opportunities/follow", body)
            assert (answer.status, answer.json()["status"]) == (status, status)
        notify = f"/opportunities/notify/{each['scan_id']}"
        for size, code in ((10_000, "invalid_request"), (20_000, "too_large")):
            body = msgspec.json.encode({"url": "h" * size})
            assert (await request(url, "POST", notify, body)).json()["code"] == code


async def test_a_key_is_given_once(serve: Serve) -> None:
    async with serve(workers=0) as url:
        keys = [("idempotency-key", "a"), ("idempotency-key", "b")]
        answer = await get(url, "/opportunities/discover", *keys, method="POST")
        assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "Idempotency-Key")
        assert (await get(url, "/opportunities/discover", keys[0], method="POST")).status == 202


async def test_bodies_as_people_send_them(serve: Serve) -> None:
    body = msgspec.json.encode(ONE_QUICK_SCAN)
    async with serve(workers=0) as url:
        for sent, headers in (
            (b"\xef\xbb\xbf" + body, {}),
            (body, {"content-type": "application/x-www-form-urlencoded"}),
            (body, {"content-type": "text/plain; charset=utf-8"}),
            (body, {"content-encoding": "identity"}),
            (b"\xef\xbb\xbf", {}),
            (b" \r\n", {}),
        ):
            answer = await request(url, "POST", "/opportunities/discover", sent, headers)
            assert answer.status == 202, (sent, answer)
        for encoding in ("utf-16", "utf-32-le"):
            refused = await request(url, "POST", "/opportunities/discover", body.decode().encode(encoding))
            assert (refused.status, refused.json()["code"]) == (400, "invalid_json")
            assert "UTF-8" in refused.json()["detail"]
        coded = await request(url, "POST", "/opportunities/discover", body, {"content-encoding": "gzip"})
        assert (coded.status, coded.json()["code"]) == (415, "unsupported_media")
        assert coded.headers["accept-encoding"] == "identity"


async def test_callers_who_leave_are_no_trace_in_the_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with serve(workers=1) as url, scripting() as script:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        shard = await script.started()
        head = f"HTTP/1.1\r\nhost: {urlsplit(url).netloc}\r\n"
        posts = [f"POST /opportunities/{kind} {head}" for kind in ("discover", "follow")]
        starts = [f"{post}content-length: 100\r\n\r\n{{" for post in posts]
        starts += [f"{post}transfer-encoding: chunked\r\n\r\n5\r\n{{    " for post in posts]
        starts += [
            f"GET /opportunities/{kind} {head}\r\n" for kind in (f"events/{scan_id}", f"results/{scan_id}?wait=9")
        ]
        for start in starts:
            for rude in (False, True):
                await _leave(url, start.encode(), rude=rude)
        assert (await get(url, "/readyz")).status == 200
        await shard.tell("end")
        await until_terminal(url, scan_id)
    assert [record.getMessage() for record in caplog.records] == []


async def _leave(url: str, start: bytes, *, rude: bool) -> None:
    """Begin a request and close the connection, properly or with a reset."""
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    async with await anyio.connect_tcp(address.hostname, address.port) as stream:
        await stream.send(start)
        await anyio.wait_all_tasks_blocked()
        if rude:
            linger = b"\x01\0\0\0\0\0\0\0"
            raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610  # no database is near
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


async def test_a_defect_is_a_problem_with_a_message() -> None:
    async def broken(_: Request) -> Response:
        raise RuntimeError("secret")

    app = CacheRule(Starlette(routes=[Route("/", broken)], exception_handlers=REFUSALS))
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    with pytest.raises(RuntimeError, match="secret"):  # for the server's log
        await app(scope, receive, send)
    headers = dict(sent[0]["headers"])
    problem = msgspec.json.decode(sent[1]["body"])
    assert (sent[0]["status"], headers[b"content-type"]) == (500, b"application/problem+json")
    assert (problem["code"], problem["message"]) == ("internal", problem["detail"])
    assert headers[b"cache-control"] == b"no-store"
    assert b"retry-after" in headers
    assert "secret" not in problem["detail"]
    assert problem["title"] == TABLE["internal"].title
