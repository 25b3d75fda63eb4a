"""The load generator counts right, and notices what is not right: else no figure of the bench is worth anything."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from instrument.crowd import Held, Wrong, asking, following, holding, polling
from instrument.questions import answer, cursor, status_path, until_waiting
from instrument.servers import FLOOR, NAIVE, SCANSTREAM, Kind, Server, running

pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="the load generator is in C: needs gcc"),
    pytest.mark.skipif(sys.platform != "linux", reason="the load generator needs epoll"),
]

READERS = 30
BROKEN = '"broken":[1-9]'


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of the bench keep their files below the current directory."""
    monkeypatch.chdir(tmp_path)


def test_every_reader_of_the_lower_bound_has_every_update() -> None:
    with running(FLOOR) as server, following(server, READERS) as crowd:
        one = crowd.take(server, updates=20, per_tick=1, milliseconds=1)
        sixteen = crowd.take(server, updates=64, per_tick=16, milliseconds=1)

    assert one.messages == one.updates == 20 * READERS
    assert sixteen.messages == 64 * READERS
    assert one.latency["count"] == 20 * READERS
    assert 0 < one.latency["p50"] <= one.latency["p99"] <= one.latency["max"] * 1.02


def test_every_reader_of_scanstream_comes_to_the_last_revision() -> None:
    with running(SCANSTREAM) as server:
        server.begin_scans()
        with following(server, READERS, silent=5) as crowd:
            taken = crowd.take(server, updates=64, per_tick=16, milliseconds=1)
            since = cursor(server)
            server.begin_run(10, 1, 1)
            last = server.end_run()
            crowd.until(last)
        with following(server, READERS, window=READERS, since=since) as resumed:
            resumed.until(last)
        path = status_path(server)
        tag = answer(server, path).headers["etag"]
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nIf-None-Match: {tag}\r\n\r\n".encode()
        with polling(server, request, "--connections", 3, "--each", 4, "--status", 304) as pollers:
            polled = pollers.answered()

    assert taken.updates == 64 * (READERS - 5)
    assert taken.messages < taken.updates, "progress is conflated"
    assert taken.results == 16 * (READERS - 5), "results are all delivered"
    assert taken.latency["count"] == taken.whole["count"] == taken.updates
    assert polled.answers == 12


def test_an_answer_of_another_status_is_no_answer() -> None:
    with running(NAIVE) as server:
        request = b"GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        with polling(server, request, "--connections", 2, "--each", 2) as pollers, pytest.raises(Wrong, match=BROKEN):
            pollers.answered()


def test_an_answer_without_what_is_expected_in_it_is_no_answer() -> None:
    with running(NAIVE) as server:
        request = b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        with polling(server, request, "--each", 2, "--expect", '"cursor":"7b5a453e-2.0"') as pollers:
            assert pollers.answered().answers == 2
        with (
            polling(server, request, "--each", 2, "--expect", '"cursor":"7b5a453e-3.0"') as pollers,
            pytest.raises(Wrong, match=BROKEN),
        ):
            pollers.answered()


def test_questions_over_websockets_are_answered_one_after_the_other() -> None:
    with running(NAIVE) as server:
        with asking(server, b'{"n":1}', "--total", 3, "--expect", '{"n":1}') as askers:
            assert askers.answered().answers == 3
        with asking(server, b"1", "--total", 2, "--expect", "2") as askers, pytest.raises(Wrong, match=BROKEN):
            askers.answered()


def test_held_connections_are_counted_and_one_that_has_an_answer_too_soon_is_noticed() -> None:
    with running(NAIVE) as server:
        poll = b"GET /poll HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        with holding(server, poll, 20) as waiting, holding(server, EVENTS, 10, "HTTP/1.1 200") as streams:
            until_waiting(server, 30)
            waiting.still()
            streams.still()
        with pytest.raises(Wrong, match=BROKEN), holding(server, EVENTS, 2, "HTTP/1.1 404"):
            pass
        with holding(server, EVENTS, 2) as silent, pytest.raises(Wrong, match=BROKEN):
            until_told(silent)


def until_told(held: Held) -> None:
    """Ask until something is wrong."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        held.still()
        time.sleep(0.01)


def test_a_reader_that_resumes_goes_on_from_its_cursor(tmp_path: Path) -> None:
    with (
        saying([frame(8, skipped=2)], "scanstream", tmp_path) as server,
        following(server, 1, since="k3f9-5.0") as crowd,
    ):
        assert (crowd.joined.messages, crowd.joined.updates) == (1, 3)
    with (
        saying([frame(8, skipped=1)], "scanstream", tmp_path) as server,
        pytest.raises(Wrong, match=BROKEN),
        following(server, 1, since="k3f9-5.0"),
    ):
        pass


EVENTS = b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
UPDATES = {
    "lost": ['{"n":1,"at":1}', '{"n":3,"at":1}'],
    "twice": ['{"n":1,"at":1}', '{"n":2,"at":1}', '{"n":2,"at":1}'],
    "torn": ['{"n":1,"at":1}', '{"n":2,"at":1'],
    "not an update": ['{"n":1,"at":1}', "[]"],
}


def frame(seq: int, n: int = 0, **more: object) -> str:
    """An update of scanstream."""
    message = {"type": "update", "scan_id": "scan_1", "cursor": f"k3f9-{seq}.{n}", "patch": {}, "skipped": 0, **more}
    return json.dumps(message, separators=(",", ":"))


SNAPSHOT = '{"type":"snapshot","scan_id":"scan_1","cursor":"k3f9-2.0","state":{},"opportunities":[],"offset":0}'
ONE = [{"id": "a"}]
FRAMES = {
    "a revision lost": [frame(3), frame(5)],
    "a revision twice": [frame(3), frame(3)],
    "more skipped than lies between": [frame(5, skipped=3)],
    "a result lost": [frame(3, 2, opportunities=ONE, offset=1)],
    "a result twice": [frame(3, 1, opportunities=ONE, offset=0), frame(4, 1, opportunities=ONE, offset=0)],
    "a cursor without its results": [frame(3, 2, opportunities=ONE, offset=0)],
    "a second snapshot": [SNAPSHOT],
    "an error": ['{"type":"error","code":"internal","detail":"…"}'],
}


@pytest.mark.parametrize("texts", UPDATES.values(), ids=UPDATES.keys())
def test_updates_that_are_not_what_they_must_be_are_noticed(texts: list[str], tmp_path: Path) -> None:
    with saying(texts, "plain", tmp_path) as server, pytest.raises(Wrong, match=BROKEN), following(server, 1) as crowd:
        crowd.until(3)


@pytest.mark.parametrize("texts", FRAMES.values(), ids=FRAMES.keys())
def test_frames_that_do_not_go_on_where_the_last_one_ended_are_noticed(texts: list[str], tmp_path: Path) -> None:
    said = [SNAPSHOT, *texts]
    with (
        saying(said, "scanstream", tmp_path) as server,
        pytest.raises(Wrong, match=BROKEN),
        following(server, 1) as crowd,
    ):
        crowd.until(5)


def test_frames_that_go_on_are_right(tmp_path: Path) -> None:
    right = [frame(3), frame(6, 1, skipped=2, opportunities=ONE, offset=0), frame(7, 1)]
    with saying([SNAPSHOT, *right], "scanstream", tmp_path) as server, following(server, 1) as crowd:
        assert crowd.joined.messages + crowd.until(7).messages == 3


@contextmanager
def saying(texts: list[str], dialect: str, scratch: Path) -> Iterator[Server]:
    """A server that says these to whoever connects, as the peers of the bench are started."""
    script = scratch / "saying.py"
    script.write_text(SAYING)
    command = [sys.executable, str(script), json.dumps(texts)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            server = Server("saying", Kind(command, dialect), process, scratch)
            server.scan_ids = ["scan_1"]
            (scratch / "stamps").write_bytes(bytes(2 * 8 * (1 << 16)))
            yield server
        finally:
            process.kill()


SAYING = """
import asyncio, json, sys
from websockets.asyncio.server import serve

async def say(connection):
    for text in json.loads(sys.argv[1]):
        await connection.send(text)
    await connection.wait_closed()

async def main():
    first = lambda _, offered: next(iter(offered), None)
    async with serve(say, "127.0.0.1", 0, compression=None, select_subprotocol=first) as server:
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.Future()

asyncio.run(main())
"""
