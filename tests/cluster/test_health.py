"""How a worker says that it is, on `--health-port`: from its start to its end, and why it takes no shards meanwhile."""

import signal
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from cluster.farm import PATIENCE, farm
from cluster.harness import LOST
from onemachine.ports import free_ports
from support.nats import NatsServer, nats_server
from support.script import scripting
from support.wire import Answer, request

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A server of NATS that may be harmed."""
    with nats_server(tmp_path / "nats") as server:
        yield server


async def asked(port: int, path: str, status: int, words: str = "", seconds: float = PATIENCE) -> Answer:
    """The answer, as soon as it has this status, and these words in it."""
    answer: object = None
    with anyio.move_on_after(seconds):
        while True:
            try:
                with anyio.move_on_after(5):
                    answer = await request(f"http://127.0.0.1:{port}", "GET", path)
                    if answer.status == status and words in answer.body.decode():
                        return answer
            except LOST as error:
                answer = error
            await anyio.sleep(0.02)
    raise AssertionError((path, status, words, answer))


async def test_a_worker_says_how_it_is_from_its_start_to_its_end(own_nats: NatsServer, tmp_path: Path) -> None:
    [port] = free_ports(1)
    async with farm(own_nats, tmp_path) as nodes, scripting() as script:
        nodes.flags += ["--health-port", str(port)]
        own_nats.pause()  # it starts, and NATS does not answer yet
        (worker,) = nodes.launch(1)
        starting = await asked(port, "/readyz", 503, "starts")
        assert float(starting.headers["retry-after"]) > 0
        await asked(port, "/healthz", 200)
        own_nats.go_on()
        await asked(port, "/readyz", 200)
        assert b"scanstream_shards_running 0.0" in (await asked(port, "/metrics", 200)).body
        own_nats.pause()
        await asked(port, "/readyz", 503, "NATS")
        await asked(port, "/healthz", 200)
        own_nats.go_on()
        await asked(port, "/readyz", 200)
        refused = await request(f"http://127.0.0.1:{port}", "GET", "/metrics", headers={"host": "evil.example.org"})
        assert refused.status == 403
        assert (await asked(port, "/opportunities/strategies", 404)).json()["code"] == "no_such_route"
        await nodes.scan(**script.request(shards=1))
        with anyio.fail_after(PATIENCE):
            await script.started()
        worker.send(signal.SIGTERM)
        assert await worker.until_gone(10) == 0, worker.errors


async def test_a_port_that_is_taken_is_said_in_a_line(own_nats: NatsServer, tmp_path: Path) -> None:
    [port] = free_ports(1)
    async with farm(own_nats, tmp_path) as nodes:
        nodes.flags += ["--health-port", str(port)]
        await nodes.start(1)
        (second,) = nodes.launch(1)
        assert await second.until_gone(PATIENCE) == 2
        assert f"Port {port} on 127.0.0.1 is in use; name another with --health-port" in second.errors
        assert f"tells how it is on http://127.0.0.1:{port}" in nodes.workers[0]._out.read_text()
