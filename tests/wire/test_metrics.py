"""The metrics: each is explained, is there from the start, and moves with what it counts."""

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from itertools import product
from typing import Any

import anyio
import pytest

from conftest import Serve
from docs.pages import code, table
from scanstream import __version__
from scanstream.core import open_core
from scanstream.errors import TABLE
from scanstream.notify import courier
from scanstream.push.refused import REFUSED
from scanstream.push.resumes import OUTCOMES, TRANSPORTS
from scanstream.push.transport import tls
from scanstream.routes import application
from scanstream.scans import outcomes
from scanstream.scans.desk import ANSWERS
from scanstream.server import serving
from scanstream.settings import Settings
from scanstream.strategies.installed import registry
from support.metrics import metrics
from support.readers import READERS, Reader
from support.receiver import answers, notify, receiving
from support.script import scripting
from support.wire import ONE_QUICK_SCAN, Socket, discover, request, until_terminal, websocket

pytestmark = pytest.mark.anyio

FOREIGN = "00000000-3.0"
NEVER = "scan_" + "0" * 42


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    """A server that nobody has asked for anything yet, when the first test comes."""
    async with serving(Settings(port=0, data=":memory:", workers=1)) as url:
        yield url


async def test_every_metric_is_explained_with_its_kind_and_labels(url: str) -> None:
    told = {
        code(row["Metric"])[0]: (row["Kind"].split()[0], set(code(row["Kind"])))
        for row in table("operations.md", "Metric", "Kind")
    }
    said = (await metrics(url)).families
    own = {name: (family.kind, family.labels) for name, family in said.items() if name.startswith("scanstream_")}

    assert own == told
    assert all(name.startswith(("scanstream_", "process_", "python_")) for name in said)


async def test_units_are_in_the_names(url: str) -> None:
    for name, family in (await metrics(url)).families.items():
        assert name.endswith("_total") == (family.kind == "counter"), name
        if family.kind == "histogram":
            assert name.endswith(("_seconds", "_operations")), name


async def test_every_counter_is_there_before_anything_has_happened(serve: Serve) -> None:
    async with serve(workers=1) as url:
        said = await metrics(url)
    strategies = list(registry())
    expected: dict[str, list[dict[str, str]]] = {
        "scanstream_scans_ended_total": [{"status": status} for status in ("complete", "failed", "cancelled")],
        "scanstream_opportunities_found_total": [{"strategy": name} for name in strategies],
        "scanstream_loop_held_up_total": [{"strategy": name} for name in strategies],
        "scanstream_shards_total": [
            {"strategy": name, "outcome": outcome} for name, outcome in product(strategies, outcomes.OUTCOMES)
        ],
        "scanstream_shard_seconds_count": [{"strategy": name} for name in strategies],
        "scanstream_worker_deaths_total": [{"pool": "shards"}, {"pool": "plans"}],
        "scanstream_worker_starts_total": [{"pool": "shards"}, {"pool": "plans"}],
        "scanstream_follows_total": [
            {"transport": transport, "outcome": outcome} for transport, outcome in product(TRANSPORTS, OUTCOMES)
        ],
        "scanstream_deliveries_total": [{"outcome": outcome} for outcome in courier.OUTCOMES],
        "scanstream_handshakes_total": [{"outcome": outcome} for outcome in tls.OUTCOMES],
        "scanstream_ack_seconds_count": [{"answer": answer} for answer in ANSWERS],
        "scanstream_frames_sent_total": [{}],
        "scanstream_entries_skipped_total": [{}],
        "scanstream_entry_to_frame_seconds_count": [{}],
    }
    for name, samples in expected.items():
        for labels in samples:
            assert said.of(name, **labels) == 0, (name, labels)
    codes = {code for code, row in TABLE.items() if row.fault != "operator"}
    assert said.samples["scanstream_refused_total"]["code"] == codes  # of the process, so others may have counted
    counted = {name for name, family in said.families.items() if family.kind == "counter"}
    assert {name for name in counted if name.startswith("scanstream_")} <= expected.keys() | {
        "scanstream_refused_total"
    }


async def test_a_scan_leaves_its_marks(url: str) -> None:
    before = await metrics(url)
    async with scripting() as script:
        for _ in range(2):  # the second is answered by the first
            answer = (await discover(url, script.request(shards=2))).json()
        await (await script.started()).tell("find 2", "end")
        await (await script.started()).tell("fail no more")
        assert (await until_terminal(url, answer["scan_id"]))["status"] == "failed"
    after = await metrics(url)

    def grew(name: str, **labels: str) -> float:
        return after.of(name, **labels) - before.of(name, **labels)

    assert grew("scanstream_ack_seconds_count", answer="new") == 1
    assert grew("scanstream_ack_seconds_count", answer="running") == 1
    assert grew("scanstream_shards_total", strategy="scripted", outcome="done") == 1
    assert grew("scanstream_shards_total", strategy="scripted", outcome="failed") == 1
    assert grew("scanstream_shard_seconds_count", strategy="scripted") == 1
    assert grew("scanstream_scans_ended_total", status="failed") == 1
    assert grew("scanstream_scan_seconds_count", status="failed") == 1
    assert grew("scanstream_scan_wait_seconds_count") == 1
    assert 1 <= grew("scanstream_commit_seconds_count") <= grew("scanstream_commit_operations_sum")
    assert grew("scanstream_ack_seconds_bucket", answer="new", le="+Inf") == 1
    assert grew("scanstream_worker_starts_total", pool="plans") >= 1
    assert after.of("scanstream_worker_processes", pool="shards") == 1
    assert after.of("scanstream_loop_lag_seconds_count") > 0
    assert after.of("process_start_time_seconds") > 0


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("discover", b"{"),
        ("follow", b'{"follow": ['),
        ("follow", b'{"follow": [{"scan_id": "ID"}], "wait": 60}'),
    ],
    ids=["in its body", "in another", "while it is looked for"],
)
async def test_whoever_leaves_in_the_middle_of_a_request_is_no_defect(target: str, body: bytes) -> None:
    """Defects wake up those who look after the server."""
    said = [
        {"type": "http.request", "body": body, "more_body": not body.endswith(b"}")},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return said.pop(0) if said else await anyio.sleep_forever()

    async def send(_: Any) -> None:
        """To nobody."""

    settings = Settings(port=0, data=":memory:", workers=0)
    async with open_core(settings) as core:
        path = f"/opportunities/{target}"
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": path, "raw_path": path.encode()}
        scope |= {"headers": [(b"host", b"localhost")], "query_string": b"", "client": ("127.0.0.1", 1)}
        scope |= {"scheme": "http", "root_path": "", "server": ("127.0.0.1", 2)}
        before = Counter(REFUSED)
        with anyio.fail_after(20):
            await application(settings, core)(scope, receive, send)
        assert said == []
        assert Counter(REFUSED) == before


async def test_a_worker_that_dies_is_counted(url: str) -> None:
    async with scripting() as script:
        scan_id = (await discover(url, script.request(shards=1))).json()["scan_id"]
        before = (await metrics(url)).of("scanstream_worker_deaths_total", pool="shards")
        os.kill((await script.started()).pid, signal.SIGKILL)
        await (await script.started()).tell("end")
        await until_terminal(url, scan_id)
    assert (await metrics(url)).of("scanstream_worker_deaths_total", pool="shards") == before + 1


@pytest.mark.clients
async def test_what_waits_and_what_is_held_is_told(serve: Serve) -> None:
    """A queue, a notification that nobody takes, finished scans in memory, and who answers."""
    async with receiving() as receiver, scripting() as script:
        receiver.always = answers(503)
        may = {"notify": (receiver.url("/"),), "notify_private": ("127.0.0.0/8",)}
        async with serve(workers=1, max_running=1, **may) as url:
            before = await metrics(url)
            wanted = {**script.request(shards=1), "force_refresh": True}
            first, second = [(await discover(url, wanted)).json()["scan_id"] for _ in range(2)]
            await script.started()
            waiting = await metrics(url)
            await notify(url, first, receiver.url())
            (await request(url, "POST", f"/opportunities/cancel/{first}")).json()
            await until_terminal(url, first)
            await receiver.until(1)
            with anyio.fail_after(30):
                while not (told := await metrics(url)).of("scanstream_deliveries_waiting"):  # noqa: ASYNC110  # it is asked
                    await anyio.sleep(0.1)
            await request(url, "POST", f"/opportunities/cancel/{second}")
    assert [said.of("scanstream_scans_queued") for said in (before, waiting)] == [0, 1]
    assert [said.of("scanstream_scans_unfinished") for said in (before, waiting)] == [0, 2]
    assert [said.of("scanstream_deliveries_waiting") for said in (before, told)] == [0, 1]
    assert told.of("scanstream_delivery_seconds_count") >= 1
    assert told.of("scanstream_finished_scans_bytes") > before.of("scanstream_finished_scans_bytes") == 0
    assert told.of("scanstream_build_info", version=__version__, engine="sqlite") == 1


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
async def test_frames_are_counted_on_every_way(url: str, reader: type[Reader]) -> None:
    before = await metrics(url)
    scan_id = (await discover(url)).json()["scan_id"]
    async with reader.open(url, scan_id) as one:
        await one.until_end()
    after = await metrics(url)
    name = "scanstream_frames_sent_total"
    polls = reader.name in ("poll", "long-poll")  # whose answers are no frames
    assert polls or after.of(name) - before.of(name) >= 2


async def follow_by_socket(url: str, scan_id: str, since: str | None) -> None:
    async with websocket(url) as socket:
        await socket.send(type="subscribe", scan_id=scan_id, **({} if since is None else {"since": since}))
        await socket.receive()


async def follow_by_events(url: str, scan_id: str, since: str | None) -> None:
    await request(url, "GET", f"/opportunities/events/{scan_id}" + (f"?since={since}" if since else ""))


async def follow_together(url: str, scan_id: str, since: str | None, accept: str = "text/event-stream") -> None:
    asked = f'{{"scan_id": "{scan_id}"{f", {chr(34)}since{chr(34)}: {chr(34)}{since}{chr(34)}" if since else ""}}}'
    body = f'{{"follow": [{asked}], "wait": 0}}'.encode()
    await request(url, "POST", "/opportunities/follow", body, {"accept": accept})


async def follow_by_long_poll(url: str, scan_id: str, since: str | None) -> None:
    await follow_together(url, scan_id, since, "application/json")


async def poll(url: str, scan_id: str, since: str | None) -> None:
    await request(url, "GET", f"/opportunities/status/{scan_id}" + (f"?since={since}" if since else ""))


async def poll_long(url: str, scan_id: str, since: str | None) -> None:
    await request(url, "GET", f"/opportunities/status/{scan_id}" + (f"?since={since}&wait=1" if since else ""))


WAYS = [
    ("websocket", follow_by_socket),
    ("stream", follow_by_events),
    ("stream", follow_together),
    ("longpoll", follow_by_long_poll),
    ("longpoll", poll_long),
    ("poll", poll),
]


@pytest.mark.parametrize(("transport", "way"), WAYS, ids=lambda value: getattr(value, "__name__", value))
async def test_what_became_of_a_cursor_is_counted(url: str, transport: str, way: Any) -> None:
    ack = (await discover(url)).json()
    await until_terminal(url, ack["scan_id"])
    head = (await request(url, "GET", f"/opportunities/status/{ack['scan_id']}")).json()["cursor"]
    epoch, _, seq = head.partition("-")
    ahead = f"{epoch}-{int(seq.partition('.')[0]) + 5}.0"
    asked = {"resumed": head, "foreign": FOREIGN, "ahead": ahead, "new": ack["cursor"].partition("-")[0] + "-0.0"}
    for outcome, cursor in asked.items():
        before = await metrics(url)
        await way(url, ack["scan_id"], cursor)
        after = await metrics(url)
        grown = {
            labels: after.values[name, labels] - value
            for (name, labels), value in before.values.items()
            if name == "scanstream_follows_total" and after.values[name, labels] != value
        }
        assert grown == {frozenset({("transport", transport), ("outcome", outcome)}): 1}, outcome
    if transport != "poll" and way is not poll_long:
        before = await metrics(url)
        await way(url, NEVER, None)
        after = await metrics(url)
        labels = {"transport": transport, "outcome": "not_found"}
        assert after.of("scanstream_follows_total", **labels) == before.of("scanstream_follows_total", **labels) + 1


async def test_what_a_reader_is_told_together_is_counted(url: str) -> None:
    """It comes back from the first entry when there are many more."""
    async with scripting() as script:
        ack = (await discover(url, script.request(shards=12))).json()
        for _ in range(12):
            await (await script.started()).tell("end")
        await until_terminal(url, ack["scan_id"])
        before = (await metrics(url)).of("scanstream_entries_skipped_total")
        async with websocket(url) as socket:
            epoch = ack["cursor"].partition("-")[0]
            await socket.send(type="subscribe", scan_id=ack["scan_id"], since=f"{epoch}-2.0")
            skipped = await _until_end(socket)
        assert skipped > 10  # in one frame
        assert (await metrics(url)).of("scanstream_entries_skipped_total") == before + skipped


async def _until_end(socket: Socket) -> int:
    skipped = 0
    while (message := await socket.receive())["type"] != "end":
        skipped += message.get("skipped", 0)
    return skipped


async def test_a_reader_that_takes_nothing_is_behind(serve: Serve) -> None:
    async with serve(workers=1) as url:
        scan_id = (await discover(url, {**ONE_QUICK_SCAN, "symbols": None})).json()["scan_id"]
        await until_terminal(url, scan_id)
        async with await anyio.connect_tcp("127.0.0.1", int(url.rpartition(":")[2])) as deaf:
            line = f"GET /opportunities/results/{scan_id} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()
            with anyio.fail_after(30):
                while not (said := await metrics(url)).of("scanstream_connections_behind"):
                    await deaf.send(line)
                while not (said := await metrics(url)).of(  # noqa: ASYNC110  # time is what it waits for
                    "scanstream_connections_behind_longest_seconds"
                ):
                    await anyio.sleep(0.1)
        assert said.of("scanstream_connections_behind") >= 1
