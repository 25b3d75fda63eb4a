"""Traces: a real server sends its spans to a receiver of OTLP over HTTP, and nothing where none is configured."""

import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio
import pytest

from scanstream.about import came_from, traceparent
from scanstream.exporting import secrets, tracer_provider
from scanstream.log.entry import AnyEntry
from scanstream.log.scanlog import ScanLog
from scanstream.model import ScanId
from scanstream.traces import MOST_SHARDS, Traces
from support.histories import SCAN, done, failed, found, planned, registered
from support.nats import NatsServer
from support.process import ServerProcess
from support.until import until
from support.wire import ONE_QUICK_SCAN, request, until_terminal, websocket

pytestmark = pytest.mark.anyio
pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Receiver:
    """What came."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Any] = []
        self.resource: dict[str, str] = {}

    def take(self, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        told = ExportTraceServiceRequest()
        told.ParseFromString(body)
        for resource in told.resource_spans:
            self.resource = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def of(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def traced() -> Iterator[tuple[ServerProcess, Receiver]]:
    """A server that sends its traces, and where they come to."""
    with receiving() as receiver:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        server = ServerProcess(":memory:", "--workers", "1", environment=environment)
        try:
            yield server, receiver
        finally:
            server.kill()


async def discover(url: str, parent: str | None) -> str:
    import msgspec

    headers = {} if parent is None else {"traceparent": parent}
    answer = await request(url, "POST", "/opportunities/discover", msgspec.json.encode(ONE_QUICK_SCAN), headers)
    assert answer.status == 202
    scan_id: str = answer.json()["scan_id"]
    return scan_id


async def root_of(receiver: Receiver, scan_id: str) -> Any:
    """The scan's own span, as soon as it has come."""
    with anyio.fail_after(30):
        while True:
            for span in receiver.of("scan"):
                if any(one.value.string_value == scan_id for one in span.attributes):
                    return span
            await anyio.sleep(0.02)


async def test_a_scan_is_one_tree_below_its_caller(traced: tuple[ServerProcess, Receiver]) -> None:
    server, receiver = traced
    scan_id = await discover(server.url, f"00-{TRACE}-{SPAN}-01")
    await until_terminal(server.url, scan_id)
    root = await root_of(receiver, scan_id)
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, SPAN)
    spans = {span.name: span for span in receiver.spans if span.trace_id == root.trace_id}
    assert spans.keys() == {"scan", "register", "queue", "plan", "shards", "shard", "tell"}
    for name in ("register", "queue", "plan", "shards", "tell"):
        assert spans[name].parent_span_id == root.span_id
    assert spans["shard"].parent_span_id == spans["shards"].span_id
    for span in spans.values():
        assert span.start_time_unix_nano <= span.end_time_unix_nano, span.name
    assert root.end_time_unix_nano >= spans["shards"].end_time_unix_nano
    assert receiver.resource["service.name"] == "scanstream"
    facts = {one.key for span in spans.values() for one in span.attributes}
    assert facts == {
        f"scanstream.{name}"
        for name in (
            "scan_id",
            "status",
            "strategies",
            "shards",
            "opportunities",
            "strategy",
            "shard",
            "outcome",
            "node",
        )
    }


@pytest.mark.cluster
async def test_what_another_node_has_run_is_in_the_trace_of_the_node_that_was_asked(
    nats: NatsServer, tmp_path: Path
) -> None:
    with receiving() as receiver, ExitStack() as nodes:
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        asked, works = (
            ServerProcess(tmp_path / name, "--engine", nats.url, "--workers", workers, environment=environment)
            for name, workers, environment in (("asked", "0", traced), ("works", "1", {}))
        )
        nodes.callback(works.kill)
        nodes.callback(asked.kill)
        scan_id = await discover(asked.url, f"00-{TRACE}-{SPAN}-01")
        await until_terminal(asked.url, scan_id)
        root = await root_of(receiver, scan_id)
        spans = {span.name: span for span in receiver.spans if span.trace_id == root.trace_id}
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, SPAN)
    known = spans.keys() - {"plan"}  # where it begins is known to the node that has planned it
    assert known == {"scan", "register", "queue", "shards", "shard", "tell"}
    [node] = [one.value.string_value for one in spans["shard"].attributes if one.key == "scanstream.node"]
    assert node.endswith(f":{works.pid}")


@pytest.mark.parametrize(
    "parent", [None, "00-nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", f"ff-{TRACE}-{SPAN}-01"]
)
async def test_without_a_caller_that_has_one_it_is_a_trace_of_its_own(
    traced: tuple[ServerProcess, Receiver], parent: str | None
) -> None:
    server, receiver = traced
    scan_id = await discover(server.url, parent)
    root = await root_of(receiver, scan_id)
    assert root.parent_span_id == b""
    assert int(root.trace_id.hex(), 16)


async def test_a_caller_that_does_not_sample_gets_no_spans(traced: tuple[ServerProcess, Receiver]) -> None:
    server, receiver = traced
    other = "5" * 32
    unsampled = await discover(server.url, f"00-{other}-{SPAN}-00")
    await until_terminal(server.url, unsampled)
    async with websocket(server.url) as socket:
        await socket.send(type="discover", request={**ONE_QUICK_SCAN, "force_refresh": True})
        later = (await socket.receive())["scan_id"]
    await root_of(receiver, later)
    assert all(span.trace_id.hex() != other for span in receiver.spans)


async def test_of_many_shards_the_first_have_a_span_and_the_log_is_let_go_bit_by_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shards = MOST_SHARDS + 44
    entries: list[AnyEntry] = [registered("a"), planned(a=shards), found("a", "a:1"), failed("a", 0)]
    entries += (done("a", number) for number in range(1, shards))
    log = ScanLog(registered("a"), "e")
    for seq, entry in enumerate(entries[1:], start=2):
        log.apply(seq, entry)
    begun: list[Callable[[], Awaitable[None]]] = []

    async def history(_: ScanId) -> list[AnyEntry]:
        return entries

    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        traces = Traces(tracer_provider(), history, lambda _: False, begun.append)
        traces.registered(SCAN, 0.1)
        traces.notice(log)
        await begun[0]()
        await until(lambda: receiver.of("scan"))  # which ends last
        await traces.close()
    assert entries == []
    assert len(receiver.of("shard")) == MOST_SHARDS
    assert [span.status.code for span in receiver.of("shard")].count(0) == MOST_SHARDS - 1


HIDDEN = "s3cr3t-pass%2Fword"
ODD = {
    "a header that is none": {"OTEL_EXPORTER_OTLP_HEADERS": f"Authorization Bearer {HIDDEN}"},
    "a header of traces that is none": {"OTEL_EXPORTER_OTLP_TRACES_HEADERS": f"a=b,{HIDDEN}"},
    "a header with a line end": {"OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer%20x%0A{HIDDEN}"},
    "an address without a scheme": {"OTEL_EXPORTER_OTLP_ENDPOINT": f"ann:{HIDDEN}@127.0.0.1:9"},
    "an address of another scheme": {"OTEL_EXPORTER_OTLP_ENDPOINT": f"grpc://ann:{HIDDEN}@127.0.0.1:9"},
    "an address without a host": {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://ann:{HIDDEN}@"},
    "an address with no port": {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://ann:{HIDDEN}@127.0.0.1:99999/v1/traces"},
}
"""Variables that OpenTelemetry cannot use, and tells of."""


@pytest.mark.parametrize("address", ["https://ann:s3cr%26t@h:4318/v1", "ann:s3cr%26t@h", "//ann:s3cr%26t@h"])
def test_the_password_of_an_address_is_known_by_itself(address: str) -> None:
    assert {*secrets({"OTEL_EXPORTER_OTLP_ENDPOINT": address})} == {"s3cr%26t", "s3cr&t"}


@pytest.mark.parametrize("odd", ODD)
def test_no_password_of_the_variables_is_in_the_log(
    odd: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"} | ODD[odd]).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    provider = tracer_provider()
    assert provider is not None
    provider.get_tracer("t").start_span("s").end()
    provider.shutdown()
    assert "opentelemetry" in {name.partition(".")[0] for name, _, _ in caplog.record_tuples}
    assert HIDDEN not in caplog.text
    assert unquote(HIDDEN) not in caplog.text
    assert "***" in caplog.text


def test_variables_that_cannot_be_used_cost_the_traces_and_not_the_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
    assert tracer_provider() is None
    assert "no traces are sent: the variables OTEL_" in caplog.text
    assert "max_export_batch_size" in caplog.text


def test_nothing_is_imported_where_no_exporter_is_configured() -> None:
    program = (
        "import sys, anyio\n"
        "from scanstream.server import serving\n"
        "from scanstream.settings import Settings\n"
        "async def main():\n"
        "    async with serving(Settings(port=0, data=':memory:', workers=0)): pass\n"
        "anyio.run(main)\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_no_traceparent_is_none() -> None:
    for text, taken in (
        (f"00-{TRACE}-{SPAN}-01", True),
        ("x", False),
        (f"00-{TRACE}-{SPAN}-01\n", False),
        (None, False),
    ):
        came_from(text)
        assert (traceparent() is not None) == taken
    came_from(None)
