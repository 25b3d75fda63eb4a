"""What is answered at a glance is, byte for byte, what the chain of rules and routes says."""

import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread
from msgspec.json import encode

from conftest import Serve
from scanstream.push.glance import Glance
from scanstream.security.caller import Right
from scanstream.server import serving
from scanstream.settings import Settings
from support.certificates import TOLD_STRICTLY, Authority, over
from support.guards import Ring, bearer, guarded
from support.raw import connected, get
from support.script import scripting
from support.wire import ONE_QUICK_SCAN, discover, request, until_terminal

pytestmark = pytest.mark.anyio

PREFIX = "/tools/scan"
PAGE = "https://page.example"
CHAIN = ("Content-Length: 0",)
"""Says nothing of a GET, and is not plain: with it the chain answers."""


@pytest.fixture(scope="module")
async def plain() -> AsyncIterator[str]:
    """A server as it is without any setting."""
    async with serving(Settings(port=0, data=":memory:", workers=1, max_running=1)) as url:
        yield url


@pytest.fixture(scope="module")
async def placed() -> AsyncIterator[str]:
    """A server below a path, behind a proxy, for pages and names that its operator allows."""
    allowed: dict[str, Any] = {"allow_origin": (PAGE,), "allow_host": ("scans.example", "*.wild.example")}
    there: dict[str, Any] = {"root_path": PREFIX, "trusted_proxy": ("127.0.0.1",)}
    async with serving(Settings(port=0, data=":memory:", workers=1, max_running=1, **allowed, **there)) as url:
        yield url


@pytest.fixture
def glances(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each request that looked plain, whether it was answered at a glance."""
    seen: list[bool] = []
    take = Glance.take

    def noted(self: Glance, *asked: Any) -> Any:
        told = take(self, *asked)
        seen.append(told is not None)
        return told

    monkeypatch.setattr(Glance, "take", noted)
    return seen


def answered(
    url: str, method: str, target: str, lines: Sequence[str], version: str = "1.1", *, times: int = 1
) -> bytes:
    """The answer to a request, as it came, but for its date; the same each time that it is asked on one connection."""
    request = "\r\n".join([f"{method} {target} HTTP/{version}", *lines, "", ""]).encode("latin-1")
    answers = set[bytes]()
    with connected(url, b"") as connection:
        for _ in range(times):
            connection.sendall(request)
            received = b""
            while (sizes := _sizes(method, received)) is None or len(received) < sum(sizes):
                if not (chunk := connection.recv(65536)):
                    break
                received += chunk
            answers.add(re.sub(rb"\r\ndate: [^\r]+", b"", received))
            if b"\r\nconnection: close\r\n" in received:
                break
    assert len(answers) == 1
    return answers.pop()


def _sizes(method: str, received: bytes) -> tuple[int, int] | None:
    head, end, _ = received.partition(b"\r\n\r\n")
    if not end:
        return None
    if b"\r\ntransfer-encoding: chunked" in head and not received.endswith(b"\r\n0\r\n\r\n"):
        return None
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return len(head) + 4, int(length[1]) if length and method != "HEAD" and b" 304 " not in head[:16] else 0


async def both_ways(
    url: str,
    glances: list[bool],
    target: str,
    *lines: str,
    method: str = "GET",
    version: str = "1.1",
    host: bool = True,
) -> tuple[bytes, bool]:
    """The answer, the same both ways, and whether it was had at a glance."""
    named = [f"Host: {urlsplit(url).netloc}", *lines] if host else list(lines)
    before = len(glances)
    short = await to_thread.run_sync(partial(answered, times=3), url, method, target, named, version)
    taken = glances[before:] == [True] * 3
    long = await to_thread.run_sync(answered, url, method, target, [*named, *CHAIN], version)
    assert taken or not any(glances[before:])
    assert len(glances) <= before + 3
    assert short == long, (method, target, lines)
    return short, taken


def status_of(scan_id: str) -> str:
    return f"/opportunities/status/{scan_id}"


async def finished(url: str) -> tuple[str, str]:
    """A scan that has ended and is settled, and its tag."""
    scan_id: str = (await discover(url, ONE_QUICK_SCAN)).json()["scan_id"]
    await until_terminal(url, scan_id)
    return scan_id, (await request(url, "GET", status_of(scan_id))).headers["etag"]


def of_tags(tag: str) -> list[tuple[tuple[str, ...], bytes, bool]]:
    """Header lines, the status that they get, and whether at a glance."""
    return [
        ((), b"200", True),
        ((f"If-None-Match: {tag}",), b"304", True),
        ((f"if-none-match:\t{tag} ",), b"304", True),
        ((f"If-None-Match: W/{tag}",), b"304", True),
        (('If-None-Match: "another"',), b"200", True),
        (('If-None-Match: W/"another"',), b"200", True),
        (('If-None-Match: ""',), b"200", True),
        (("If-None-Match:",), b"200", False),
        (("If-None-Match: *",), b"304", False),
        ((f"If-None-Match: {tag.strip(chr(34))}",), b"304", False),
        ((f"If-None-Match: w/{tag}",), b"304", False),
        ((f'If-None-Match: "a", {tag}',), b"304", False),
        (('If-None-Match: "a"', f"If-None-Match: {tag}"), b"304", False),
        ((f"If-None-Match: {tag}", f"If-None-Match: {tag}"), b"304", False),
        (('If-None-Match: "ä"',), b"200", False),
    ]


PLAIN = [
    ("Accept: application/json", "User-Agent: curl/8", "Accept-Encoding: gzip, deflate, br", "Cookie: a=b"),
    ("Connection: keep-alive",),
    ("Connection: Keep-Alive",),
    ("Range: bytes=0-10",),
    ("Accept: text/html;q=0.1",),
    ("Authorization: Bearer of-no-meaning-here",),
    ("X-Forwarded-Prefix: /elsewhere", "X-Forwarded-Host: foreign.example", "X-Forwarded-For: 10.1.1.1"),
    ("X-Request-Id: 1", "Cache-Control: no-cache", "Pragma: no-cache", "Sec-Fetch-Site: same-origin"),
    ("Prefer: wait=0",),
    ("Prefer: wait=5",),
    ("Last-Event-ID: k3f9-1.0",),
    tuple(f"X-{number}: {number}" for number in range(90)),
]
NOT_PLAIN = [
    ("Origin: https://page.example",),
    ("Origin: null",),
    ("Prefer: respond-async, wait",),
    ("Prefer: wait=61",),
    ("Expect: something",),
    ("Upgrade: h2c", "Connection: upgrade"),
    ("Connection: close",),
    ("Access-Control-Request-Method: GET",),
]


async def test_tags_and_headers(plain: str, glances: list[bool]) -> None:
    scan_id, tag = await finished(plain)
    for lines, status, at_a_glance in of_tags(tag):
        answer, taken = await both_ways(plain, glances, status_of(scan_id), *lines)
        assert (answer.split()[1], taken) == (status, at_a_glance), lines
    for lines in PLAIN:
        answer, taken = await both_ways(plain, glances, status_of(scan_id), *lines)
        assert (answer.split()[1], taken) == (b"200", True), lines
    for lines in NOT_PLAIN:
        _, taken = await both_ways(plain, glances, status_of(scan_id), *lines)
        assert not taken, lines


async def test_targets_methods_and_versions(plain: str, glances: list[bool]) -> None:
    scan_id, _ = await finished(plain)
    path, other = status_of(scan_id), "0" if scan_id[-1] != "0" else "1"
    epoch = (await request(plain, "GET", path)).json()["cursor"].partition("-")[0]
    since = [f"{path}?since={cursor}" for cursor in ("k3f9-0.0", f"{epoch}-0.0", f"{epoch}-2.0", f"{epoch}-1.999")]
    at_a_glance = [path, f"http://127.0.0.1{path}", *since, f"{path}?wait=1", f"{since[1]}&wait=60", f"{path}?wait=07"]
    targets = [
        *(
            f"{path}{more}"
            for more in ("?", "?wait=x", "?wait=61", "?wait=1&wait=1", "?wait=1&wait=2", "?wait=007", "?x=1")
        ),
        *(
            f"{path}{more}"
            for more in ("?since=", "?since=none", "?since=k3f9-1.0&x=1", "/", "%20", "#f", ";a", "?wait")
        ),
        *(f"{path}?since={epoch}-999.0", path.replace("status", "events"), path.replace("status", "results")),
        *(status_of(name) for name in ("latest", scan_id.upper(), f"{scan_id}0", "scan_", "", f"%73{scan_id[1:]}")),
        *(status_of(name) for name in (scan_id[:-1] + other, "scan_" + "0" * 42)),
        *(PREFIX + path, "/" + path, f"https://foreign.example{path}"),
    ]
    for target in [*at_a_glance, *targets]:
        _, taken = await both_ways(plain, glances, target)
        assert taken == (target in at_a_glance), target
    for method in ("HEAD", "POST", "OPTIONS", "DELETE"):
        assert not (await both_ways(plain, glances, path, method=method))[1]
    assert not (await both_ways(plain, glances, path, version="1.0"))[1]


HOSTS = [
    "localhost",
    "LOCALHOST:81",
    "127.1",
    "[::1]:80",
    "foreign.example",
    "a b",
    "",
    "scans.example",
    "x.wild.example",
]


async def test_hosts(plain: str, placed: str, glances: list[bool]) -> None:
    for url in (plain, placed):
        scan_id, _ = await finished(url)
        for host in HOSTS:
            answer, taken = await both_ways(url, glances, status_of(scan_id), f"Host: {host}", host=False)
            assert taken == (answer.split()[1] == b"200"), host
        for lines in ((), ("Host: localhost", "Host: localhost"), ("Host: localhost", "Host: foreign.example")):
            answer, taken = await both_ways(url, glances, status_of(scan_id), *lines, host=False)
            assert (answer.split()[1], taken) == (b"400", False), lines


async def test_below_a_path_and_behind_a_proxy(placed: str, glances: list[bool]) -> None:
    scan_id, tag = await finished(placed)
    path = status_of(scan_id)
    cases: list[tuple[str, tuple[str, ...], bool]] = [
        (path, (), True),
        (PREFIX + path, (f"If-None-Match: {tag}",), True),
        (PREFIX + PREFIX + path, (), False),
        (PREFIX + "x" + path, (), False),
        (path, ("X-Forwarded-For: 10.0.0.1, 127.0.0.1", "X-Forwarded-Proto: https"), True),
        (path, ("X-Forwarded-Host: scans.example", "X-Forwarded-Port: 443"), True),
        (path, ("X-Forwarded-Host: foreign.example",), False),
        (path, ("X-Forwarded-Host: foreign.example, scans.example",), True),
        ("/other" + path, ("X-Forwarded-Prefix: /other",), True),
        (PREFIX + path, ("X-Forwarded-Prefix: /other",), False),
        (path, ("X-Forwarded-Prefix: /o/../ther",), False),
        (path, ("X-Forwarded-Prefix: /static",), False),
        (path, (f"Origin: {PAGE}",), False),
        (path, (f"Origin: {PAGE}", f"If-None-Match: {tag}"), False),
    ]
    for target, lines, at_a_glance in cases:
        _, taken = await both_ways(placed, glances, target, *lines)
        assert taken == at_a_glance, (target, lines)


async def test_scans_in_every_state(plain: str, glances: list[bool]) -> None:
    async with scripting() as script:
        running = (await discover(plain, script.request(shards=2))).json()["scan_id"]
        shard = await script.started()
        await shard.tell("find 30", "end")
        shard = await script.started()
        waiting = (await discover(plain, ONE_QUICK_SCAN)).json()["scan_id"]
        with anyio.fail_after(30):
            while b'"rank"' not in (await request(plain, "GET", status_of(waiting))).body:
                pass
        for scan_id, said in ((running, b"partial_results"), (waiting, b'"rank":1')):
            answer, taken = await both_ways(plain, glances, status_of(scan_id))
            assert (said in answer, b"retry-after" in answer, taken) == (True, True, True)
            tag = re.search(rb'\r\netag: ("[^"]+")', answer)
            assert tag is not None
            answer, taken = await both_ways(plain, glances, status_of(scan_id), f"If-None-Match: {tag[1].decode()}")
            assert (answer.split()[1], taken) == (b"304", True)
        await shard.tell("fail on purpose")
        await until_terminal(plain, running)
        answer, taken = await both_ways(plain, glances, status_of(running))
        assert (b'"status":"failed"' in answer, taken) == (True, True)
        await until_terminal(plain, waiting)


async def together(
    url: str, target: str, lines: Sequence[str], act: Callable[[], Awaitable[object]], host: str = ""
) -> set[bytes]:
    """What those get who are told of it both ways, once they wait and something is done."""
    got: list[bytes] = []

    async def ask(*more: str) -> None:
        named = [f"Host: {host or urlsplit(url).netloc}", *lines, *more]
        got.append(await to_thread.run_sync(answered, url, "GET", target, named))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask, *CHAIN)
            while b"scanstream_readers 2" not in (await request(url, "GET", "/metrics")).body:
                pass
            await act()
    assert len(got) == 2
    return set(got)


async def test_those_who_wait(plain: str, glances: list[bool]) -> None:
    """A scan that waits for its turn has one entry more when it is cancelled: both see the same state."""

    async def nothing() -> None:
        """The time is over without any news."""

    async with scripting() as script:
        first = (await discover(plain, script.request(shards=1))).json()["scan_id"]
        await script.started()
        for number in range(5):
            scan_id = (await discover(plain, ONE_QUICK_SCAN)).json()["scan_id"]
            with anyio.fail_after(30):
                while b'"rank"' not in (now := await request(plain, "GET", status_of(scan_id))).body:
                    pass
            tag, cursor = f"If-None-Match: {now.headers['etag']}", now.json()["cursor"]
            target, lines = [
                (f"{status_of(scan_id)}?wait=60", [tag]),
                (f"{status_of(scan_id)}?since={cursor}&wait=60", []),
                (status_of(scan_id), [tag, "Prefer: wait=60"]),
                (status_of(scan_id).replace("status", "events"), []),
                (status_of(scan_id).replace("status", "events"), [f"Last-Event-ID: {cursor}"]),
            ][number]
            if number < 3:
                again = target.replace("wait=60", "wait=1"), [line.replace("wait=60", "wait=1") for line in lines]
                answers = await together(plain, *again, nothing)
                assert len(answers) == 1
                assert [answer.split()[1] for answer in answers] == [b"200" if "since" in target else b"304"]
            cancel = partial(request, plain, "POST", f"/opportunities/cancel/{scan_id}")
            answers = await together(plain, target, lines, cancel)
            assert len(answers) == 1, answers
            assert all(b'"status":"cancelled"' in answer for answer in answers)
        await request(plain, "POST", f"/opportunities/cancel/{first}")
    assert glances.count(True) >= 8


NAME = "scans.example"


@pytest.fixture(scope="module")
async def secure(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A server that ends TLS itself."""
    certificate = Authority(tmp_path_factory.mktemp("certificates")).signs("server")
    tls = over(certificate, allow_host=(NAME,))
    async with serving(Settings(port=0, data=":memory:", workers=1, max_running=1, **tls)) as url:
        yield url


async def test_over_tls_a_name_is_told_to_be_asked_by_that_only(secure: str, glances: list[bool]) -> None:
    scan_id, tag = await finished(secure)
    for host, strict in (("127.0.0.1", False), ("localhost:1", False), (NAME, True), (f"{NAME.upper()}.:443", True)):
        for lines in ((), (f"If-None-Match: {tag}",), ("Prefer: wait=1",)):
            answer, taken = await both_ways(secure, glances, status_of(scan_id), f"Host: {host}", *lines, host=False)
            assert (answer.count(TOLD_STRICTLY), taken) == (strict, True), answer


async def test_over_tls_who_waits_is_told_so_too(secure: str, glances: list[bool]) -> None:
    async with scripting() as script:
        scan_id = (await discover(secure, script.request(shards=1))).json()["scan_id"]
        shard = await script.started()
        tag = (await request(secure, "GET", status_of(scan_id))).headers["etag"]
        waits = (f"If-None-Match: {tag}", "Prefer: wait=1")
        told = await together(secure, status_of(scan_id), waits, anyio.lowlevel.checkpoint, NAME)
        events = status_of(scan_id).replace("status", "events")
        told |= await together(secure, events, (), partial(shard.tell, "end"), NAME)
        assert [answer.count(TOLD_STRICTLY) for answer in told] == [1, 1], told
    assert glances.count(True) >= 2


async def test_a_scan_that_has_expired(serve: Serve, glances: list[bool]) -> None:
    async with serve(workers=0, retention=0.2, fresh=0) as url:
        scan_id = (await discover(url)).json()["scan_id"]
        await request(url, "POST", f"/opportunities/cancel/{scan_id}")
        with anyio.fail_after(30):
            while (await request(url, "GET", status_of(scan_id))).status == 200:
                pass
        answer, taken = await both_ways(url, glances, status_of(scan_id))
        assert (answer.split()[1], taken) == (b"410", False)


async def test_a_head_that_comes_again_is_not_read_again(plain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where it is all that came, and the scan is told as it is by then."""
    asked: list[bytes] = []
    question = Glance.question

    def noted(self: Glance, target: bytes, *more: Any) -> Any:
        asked.append(target)
        return question(self, target, *more)

    monkeypatch.setattr(Glance, "question", noted)
    async with scripting() as script:
        running = (await discover(plain, script.request(shards=1))).json()["scan_id"]
        shard = await script.started()
        scan_id = (await discover(plain, ONE_QUICK_SCAN)).json()["scan_id"]
        first, other = get(status_of(scan_id)), get(status_of(running))
        with connected(plain) as connection:
            for sent, said, heads in (
                (first, b"scanning", 1),
                (first, b"scanning", 0),
                (other, b"scanning", 1),
                (first, b"scanning", 1),
                (first + first, b"scanning", 2),
                (first, b"scanning", 1),
                (b"\r\n" + first, b"scanning", 1),
                (first, b"scanning", 1),
                (first, b"scanning", 0),
                (first, b"cancelled", 0),
                (b"\r\n" + first, b"cancelled", 1),
                (first, b"cancelled", 1),
            ):
                if said == b"cancelled":
                    await request(plain, "POST", f"/opportunities/cancel/{scan_id}")
                asked.clear()
                await to_thread.run_sync(connection.sendall, sent)
                for _ in range(sent.count(b"Host")):
                    received = await to_thread.run_sync(_one, connection)
                    assert b'"status":"' + said in received
                assert len(asked) == heads, (sent, said)
        await shard.tell("end")
        await until_terminal(plain, running)


def _one(connection: socket.socket) -> bytes:
    received = b""
    while (sizes := _sizes("GET", received)) is None or len(received) < sum(sizes):
        received += connection.recv(1 if sizes is None else sum(sizes) - len(received))
    return received


async def test_one_connection_has_its_answers_in_the_order_of_its_requests(plain: str, glances: list[bool]) -> None:
    """Whichever way each of them goes, and however many are sent ahead."""
    scan_id, tag = await finished(plain)
    host = f"Host: {urlsplit(plain).netloc}\r\n"
    kinds = [
        (f"GET {status_of(scan_id)} HTTP/1.1\r\n{host}\r\n", b"200"),
        (f"GET {status_of(scan_id)}?wait=0 HTTP/1.1\r\n{host}\r\n", b"200"),
        (f"GET {status_of(scan_id)} HTTP/1.1\r\n{host}If-None-Match: {tag}\r\n\r\n", b"304"),
        (f"\r\nGET /nothing HTTP/1.1\r\n{host}\r\n", b"404"),
    ]
    order = [kinds[number * 7 // 3 % 4] for number in range(200)]
    sent = "".join(text for text, _ in order).encode()

    def exchange() -> list[bytes]:
        with connected(plain, sent) as connection:
            received = b""
            while received.count(b"HTTP/1.1 ") < len(order) and (chunk := connection.recv(65536)):
                received += chunk
        return re.findall(rb"HTTP/1\.1 (\d+) ", received)

    assert await to_thread.run_sync(exchange) == [status for _, status in order]
    assert any(glances)


async def test_who_asks(glances: list[bool]) -> None:
    """A credential that was shown before is known at a glance; whatever else is shown, the chain looks at."""
    ring = Ring()
    key, late, other = ring.key("ann"), ring.key("ann"), ring.key("ben")
    operator = ring.key("ann", Right.OPERATE)
    async with guarded(ring, workers=1) as url:
        ack = (await request(url, "POST", "/opportunities/discover", encode(ONE_QUICK_SCAN), bearer(key))).json()
        path, token = status_of(ack["scan_id"]), ack["scan_token"]
        await request(url, "GET", path.replace("status", "results") + "?wait=30", None, bearer(key))
        for shown in (late, other, operator, token):
            await request(url, "GET", path, None, bearer(shown))  # known from now on
        reads = (await request(url, "POST", path.replace("status", "share"), b"", bearer(key))).json()["token"]
        await request(url, "GET", path, None, bearer(reads))
        ring.revoke(late)
        cases: list[tuple[str, tuple[str, ...], bytes, bool]] = [
            (path, (f"Authorization: Bearer {key}",), b"200", True),
            (path, (f"authorization: bearer   {key}",), b"200", True),
            (f"{path}?wait=1", (f"Authorization: Bearer {token}",), b"200", True),
            (path, (f"Authorization: Bearer {reads}",), b"200", True),
            (path, (), b"401", False),
            (path, (f"Authorization: Bearer {late}",), b"401", False),
            (path, ("Authorization: Bearer unknown",), b"401", False),
            (path, ("Authorization: Basic YTpi",), b"401", False),
            (path, ("Authorization:",), b"401", False),
            (path, (f"Authorization: Bearer {key}", f"Authorization: Bearer {key}"), b"401", False),
            (path, (f"Authorization: Bearer {key}", "Authorization: Basic YTpi"), b"401", False),
            (f"{path}?token={token}", (), b"200", False),
            (f"{path}?token={token}", (f"Authorization: Bearer {key}",), b"401", False),
            (f"{path}?token=abc", (f"Authorization: Bearer {key}",), b"401", False),
            (f"{path}?token=abc&wait=1", (), b"401", False),
            (path, (f"Authorization: Bearer {operator}",), b"403", False),
            (path, (f"Authorization: Bearer {other}",), b"404", False),
            (status_of("scan_" + "0" * 42), (f"Authorization: Bearer {key}",), b"404", False),
            (status_of("scan_" + "0" * 42), (f"Authorization: Bearer {token}",), b"404", False),
        ]
        for target, lines, status, at_a_glance in cases:
            answer, taken = await both_ways(url, glances, target, *lines)
            assert (answer.split()[1], taken) == (status, at_a_glance), (target, lines)


async def test_one_connection_whose_credential_ends(glances: list[bool]) -> None:
    """Also where the very same bytes come again, which are not even parsed."""
    ring = Ring()
    key = ring.key("ann")
    async with guarded(ring, workers=0) as url:
        body = encode(ONE_QUICK_SCAN)
        scan_id = (await request(url, "POST", "/opportunities/discover", body, bearer(key))).json()["scan_id"]
        asked = f"GET {status_of(scan_id)} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\r\n".encode()

        def exchange() -> list[bytes]:
            told = []
            with connected(url, b"") as connection:
                for number in range(6):
                    if number == 3:
                        ring.revoke(key)
                    connection.sendall(asked)
                    told.append(_one(connection).split()[1])
            return told

        assert await to_thread.run_sync(exchange) == [b"200"] * 3 + [b"401"] * 3
    assert glances[:4] == [True, True, True, False]
