"""The page's files on the wire: compressed for who takes that, asked for again for nothing, the same behind nginx."""

import gzip
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.routing import Mount, Route
from starlette.staticfiles import PathLike

from conftest import ROOT, Serve
from scanstream.app import Scanstream
from scanstream.push import shelf
from scanstream.push.page import PageDoor
from scanstream.push.shelf import Copy, Shelf, Text
from scanstream.routes import static_files
from support.hosting import hosted
from support.proxy import proxied
from support.wire import Answer, discover, request, until_terminal

pytestmark = pytest.mark.anyio

MAIN = "/static/page/main.js"
BROWSERS = "gzip, deflate, br, zstd"


async def get(url: str, path: str, accepts: str | None = None, method: str = "GET", **headers: str) -> Answer:
    """As a caller that takes these codings."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return await request(url, method, path, headers=told if accepts is None else {"accept-encoding": accepts, **told})


@pytest.mark.parametrize(
    ("asks", "market", "told"),
    [
        (False, "files:acme-positions", b'data-market="files:acme-positions"'),
        (True, "files:acme-positions", b'data-market=""'),
        (True, "synthetic", b'data-market="synthetic"'),
    ],
)
async def test_strangers_are_not_told_what_is_scanned(asks: bool, market: str, told: bytes) -> None:
    """The page is for them, too, where a credential is asked for; that prices are generated everybody is told."""
    door = PageDoor(static_files(), lambda: market, asks=asks)
    async with hosted(Starlette(routes=[Route("/", door.page)])) as url:
        page = await request(url, "GET", "/")
    assert told in page.body
    assert (b"acme" in page.body) is (not asks and "acme" in market)


@pytest.mark.parametrize(
    ("accepts", "compressed"),
    [
        (None, False),
        ("", False),
        (BROWSERS, True),
        ("GZIP", True),
        ("*", True),
        ("br", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=0.5, identity;q=0.4", True),
        ("gzip;q=0.001", True),
        ("identity;q=0", True),
        ("br, identity;q=0", True),
        ("*;q=0", False),  # nothing is acceptable: what they may not like helps more than none
        ("gzip;q=0, identity;q=0", False),
        ("gzip;q=2, gzip;q=x", False),
        (",;=,gzip", True),
    ],
)
def test_a_caller_gets_what_it_takes(accepts: str | None, compressed: bool) -> None:
    """RFC 9110, section 12.5.3."""
    headers = [] if accepts is None else [(b"accept-encoding", accepts.encode())]
    body, told = Text(b"a" * 1000).form(Request({"type": "http", "headers": headers}))
    assert ("content-encoding" in told) is compressed
    assert (gzip.decompress(body) if compressed else body) == b"a" * 1000


async def test_files_are_compressed_and_asked_for_again_for_nothing(serve: Serve) -> None:
    """Whole, by HEAD, with a range, with the tag of either form; the page itself, too, and nothing else."""
    plain = (ROOT / MAIN.removeprefix("/")).read_bytes()
    async with serve() as url:
        packed, whole = await get(url, MAIN, BROWSERS), await get(url, MAIN)
        assert (gzip.decompress(packed.body), whole.body) == (plain, plain)
        assert len(packed.body) < len(plain) / 2
        assert (packed.headers["content-encoding"], whole.headers.get("content-encoding")) == ("gzip", None)
        assert packed.headers["etag"] != whole.headers["etag"]
        for answer, accepts in ((packed, BROWSERS), (whole, "identity")):
            assert int(answer.headers["content-length"]) == len(answer.body)
            assert "Accept-Encoding" in answer.headers["vary"].split(", ")
            assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
            head = await get(url, MAIN, accepts, "HEAD")
            assert (head.body, {**head.headers, "date": ""}) == (b"", {**answer.headers, "date": ""})
            ranged = await get(url, MAIN, accepts, range="bytes=0-9", if_range=answer.headers["etag"])
            assert (ranged.status, ranged.body) == (200, answer.body)
            tag = answer.headers["etag"]
            for known in ({"if_none_match": f'"x", W/{tag}'}, {"if_modified_since": answer.headers["last-modified"]}):
                again = await get(url, MAIN, accepts, **known)
                assert (again.status, again.body) == (304, b"")
                assert (again.headers["etag"], again.headers["vary"]) == (tag, answer.headers["vary"])
                assert "content-encoding" not in again.headers
        assert (await get(url, MAIN, BROWSERS, if_none_match=whole.headers["etag"])).status == 200

        page = await get(url, "/", BROWSERS)
        assert b'data-market="synthetic"' in gzip.decompress(page.body)
        assert (await get(url, "/", BROWSERS, if_none_match=page.headers["etag"])).status == 304
        for path in (
            "/opportunities/strategies",
            "/opportunities/market",
            "/openapi.json",
            "/metrics",
            "/static/nowhere",
        ):
            assert "content-encoding" not in (await get(url, path, BROWSERS)).headers


async def test_nginx_and_the_middleware_of_a_host_pass_on_what_is_compressed(serve: Serve, tmp_path: Path) -> None:
    """Once, with the same tag; and what a host's `GZipMiddleware` does to status bodies leaves their tags true."""
    plain = (ROOT / MAIN.removeprefix("/")).read_bytes()
    async with serve(trusted_proxy=("127.0.0.1",)) as url:
        own = await get(url, MAIN, BROWSERS)
        with proxied(url, tmp_path, naked=url) as fronts:
            for front in fronts:
                for accepts, held in ((BROWSERS, own), ("identity", await get(url, MAIN))):
                    answer = await get(front, f"/tools/scan{MAIN}", accepts, host=urlsplit(front).netloc)
                    assert (answer.body, answer.headers["etag"]) == (held.body, held.headers["etag"])
                    assert answer.headers.get("content-encoding") == held.headers.get("content-encoding")
                    again = await get(front, f"/tools/scan{MAIN}", accepts, if_none_match=held.headers["etag"])
                    assert again.status == 304
    scans = Scanstream(data=":memory:", workers=1)
    routes = [Mount("/scans", scans)]
    app = Starlette(routes=routes, lifespan=scans.lifespan, middleware=[Middleware(GZipMiddleware, minimum_size=1)])
    async with hosted(app) as root:
        url = f"{root}/scans"
        answer = await get(url, MAIN, BROWSERS)
        assert (gzip.decompress(answer.body), answer.headers["etag"]) == (plain, own.headers["etag"])
        scan_id = (await discover(url)).json()["scan_id"]
        await until_terminal(url, scan_id)
        path = f"/opportunities/status/{scan_id}"
        state, packed = await get(url, path), await get(url, path, BROWSERS)
        assert gzip.decompress(packed.body) == state.body
        assert (await get(url, path, BROWSERS, if_none_match=packed.headers["etag"])).status == 304
        events = await get(url, f"/opportunities/events/{scan_id}", BROWSERS)
        assert "content-encoding" not in events.headers
        assert b"event: end" in events.body


async def test_what_is_held_is_bounded_and_what_is_written_anew_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file for which there is no room, or that gets no shorter, is sent as it is."""
    monkeypatch.setattr(shelf, "MOST_HELD", 5000)
    (tmp_path / "one.js").write_text("a" * 1000)
    (tmp_path / "another.js").write_text("b" * 2000)
    (tmp_path / "random.bin").write_bytes(os.urandom(200))

    async with hosted(Starlette(routes=[Mount("/", Shelf(tmp_path))])) as url:
        for name, compressed in (("one.js", True), ("another.js", False), ("random.bin", False)):
            for _ in range(2):
                answer = await get(url, f"/{name}", BROWSERS)
                body = gzip.decompress(answer.body) if compressed else answer.body
                assert body == (tmp_path / name).read_bytes()
                assert ("content-encoding" in answer.headers) is compressed
                assert answer.headers["vary"] == "Accept-Encoding"
        (tmp_path / "one.js").write_text("c" * 999)
        anew = await get(url, "/one.js", BROWSERS, if_none_match=answer.headers["etag"])
        assert gzip.decompress(anew.body) == b"c" * 999


def test_files_that_are_asked_for_at_once_are_all_kept(tmp_path: Path) -> None:
    """As by the first visit, each in a thread: while one counts what is held, others wait, however long that takes."""
    names = [f"{number}.js" for number in range(16)]
    for name in names:
        (tmp_path / name).write_text(f"// {name}\n" * 50)
    held = Shelf(tmp_path)
    held._copies = Slow()
    with ThreadPoolExecutor(len(names)) as threads:
        found = list(threads.map(held.lookup_path, names))
    assert {path for path, _ in found} == set(held._copies)


class Slow(dict[PathLike, Copy]):
    """Other threads have their turn while it is gone through."""

    def items(self) -> Any:
        """See `dict.items`."""
        for pair in super().items():
            time.sleep(0.001)
            yield pair
