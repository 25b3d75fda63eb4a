"""Every answer, from whichever door, says what a browser must not make of it."""

import re

import msgspec
import pytest
from anyio import to_thread

from conftest import Serve
from scanstream.push.confined import CONFINED
from scanstream.push.page import CONFINED as OF_PAGES
from support.raw import HOST, UPGRADE, connected, get
from support.wire import ONE_QUICK_SCAN, discover, request, until_terminal

pytestmark = pytest.mark.anyio

POLICY = "content-security-policy"


def fields(received: bytes) -> dict[str, list[str]]:
    """The headers of an answer, each as often as it is there."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(rb"(?m)^([A-Za-z-]+): ([^\r]*)\r$", received.partition(b"\r\n\r\n")[0] + b"\r\n"):
        found.setdefault(name.decode().lower(), []).append(value.decode())
    return found


def said(url: str, first: bytes) -> bytes:
    """The beginning of the answer."""
    with connected(url, first) as connection:
        return connection.recv(65536)


def post(path: str, body: bytes, *lines: bytes) -> bytes:
    """A request with a body."""
    head = f"POST {path} HTTP/1.1\r\n".encode() + HOST + b"".join(line + b"\r\n" for line in lines)
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def test_every_door_confines_what_it_answers(serve: Serve) -> None:
    async with serve(workers=1) as url:
        scan_id = (await discover(url)).json()["scan_id"]
        await until_terminal(url, scan_id)
        there = (await request(url, "GET", f"/opportunities/status/{scan_id}")).headers["etag"]
        page, script = await request(url, "GET", "/"), await request(url, "GET", "/static/scanstream.js")
        follow = msgspec.json.encode({"follow": [{"scan_id": scan_id}]})
        foreign = b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n"
        answers = {
            200: [
                get("/healthz"),
                get("/metrics"),
                get("/openapi.json"),
                get(f"/opportunities/status/{scan_id}"),
                get("/opportunities/status/latest"),
                get(f"/opportunities/status/{scan_id}?since=none"),
                get(f"/opportunities/results/{scan_id}"),
                get(f"/opportunities/events/{scan_id}"),
                post("/opportunities/follow", follow),
                post("/opportunities/follow", follow, b"Accept: text/event-stream"),
                b"HEAD /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
            ],
            202: [post("/opportunities/discover", msgspec.json.encode(ONE_QUICK_SCAN))],
            204: [b"OPTIONS /healthz HTTP/1.1\r\n" + HOST + b"\r\n"],
            304: [get(f"/opportunities/status/{scan_id}")[:-2] + b"If-None-Match: " + there.encode() + b"\r\n\r\n"],
            400: [b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", b"NONSENSE\r\n\r\n", UPGRADE.replace(b"13", b"1") + b"\r\n"],
            403: [foreign, UPGRADE + b"Origin: https://elsewhere.example\r\n\r\n"],
            404: [get("/nothing"), get("/opportunities/status/none"), get("/static/none")],
            405: [b"DELETE /healthz HTTP/1.1\r\n" + HOST + b"\r\n"],
            422: [post("/opportunities/discover", b'{"symbols":[]}')],
            426: [get("/ws")],
            431: [get("/healthz")[:-2] + b"X: " + b"x" * 40_000 + b"\r\n\r\n"],
        }
        for status, firsts in answers.items():
            for first in firsts:
                received = await to_thread.run_sync(said, url, first)
                if UPGRADE[:40] not in first:
                    assert received.startswith(b"HTTP/1.1 %d " % status), (first[:80], received[:200])
                told = fields(received)
                for name, value in CONFINED.items():
                    assert told.get(name) == [value], (name, first[:80], received[:400])
        for path, whole in (("/", page), ("/static/scanstream.js", script)):
            again = await request(url, "GET", path, headers={"if-none-match": whole.headers["etag"]})
            assert (whole.status, again.status) == (200, 304)
            for name, value in OF_PAGES.items():
                assert (whole.headers[name], again.headers[name]) == (value, value)
        assert "strict-transport-security" not in page.headers
