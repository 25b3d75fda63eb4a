"""An engine that cannot be used, which is said in one line; and one that is full: what runs waits for room."""

import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from cluster.harness import LEASE, ended, ids_of, planned, plugins, quick, refused_properly, until_answers
from onemachine.cluster import running
from onemachine.nats import Nats, nats
from onemachine.node import Node
from onemachine.ports import free_ports
from support.script import scripting
from support.wire import discover, request, status

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

SECRET = "s3cr3t"  # noqa: S105  # a test
WAIT_SECONDS = 15.0


async def started(command: str, engine: str, directory: Path, *flags: str) -> tuple[int, str, float]:
    """A node that is not to start: its exit code, what it said, and how long it took."""
    directory = directory / uuid.uuid4().hex
    directory.mkdir()
    data = ["--data", str(directory / "data"), *(["--port", "0"] if command == "serve" else [])]
    node = Node("refused", command, engine, directory, [*data, *flags], plugins())
    since = anyio.current_time()
    node.start()
    try:
        code = await node.until_gone(60)
    finally:
        if node.runs:
            node.kill()
    return code, node.errors, anyio.current_time() - since


def last_line(said: str) -> str:
    """The one line that says why; what was logged before it has a time."""
    *logged, last = said.splitlines()
    assert all(re.match(r'{"time": "\d{4}-\d\d-\d\dT', line) for line in logged), said
    assert last.startswith("scanstream: ")
    assert SECRET not in said
    assert "Traceback" not in said
    return last


async def test_an_engine_that_nobody_answers_for_is_waited_for(tmp_path: Path) -> None:
    [port] = free_ports(1)

    async def start(command: str) -> None:
        code, said, seconds = await started(command, f"nats://me:{SECRET}@127.0.0.1:{port}", tmp_path)
        assert code == 3
        assert f"nats://127.0.0.1:{port}" in last_line(said)
        assert len(said.splitlines()) > 1, "while it waits it says why"
        assert seconds >= WAIT_SECONDS

    async with anyio.create_task_group() as tasks:
        for command in ("serve", "worker"):
            tasks.start_soon(start, command)


async def test_a_node_starts_with_an_engine_that_comes_late(tmp_path: Path) -> None:
    cluster = planned(tmp_path, nodes=(1, 1, 0))
    [node] = cluster.web
    node.start()
    try:
        await anyio.sleep(4)
        assert node.runs
        await cluster.start()
        await node.until_serving()
        await until_answers(node, 200)
    finally:
        cluster.kill()


async def test_a_wrong_login_is_told_at_once(tmp_path: Path) -> None:
    servers = nats(1, tmp_path, more=f"authorization {{ user: me, password: {SECRET}good }}")
    await servers.start()
    try:
        right = servers.engine.replace("//", f"//me:{SECRET}good@")
        for engine in (servers.engine, right.replace("good", "bad"), right.replace("me:", "you:")):
            code, said, seconds = await started("serve", engine, tmp_path)
            assert code == 3
            assert "let us in" in last_line(said)
            assert seconds < WAIT_SECONDS
        cluster = planned(tmp_path / "right", nodes=(1, 1, 1))
        cluster.nats.servers.clear()
        for node in cluster.nodes:
            node.command[node.command.index("--engine") + 1] = right
        async with running(cluster):
            scan_id = (await discover(cluster.web[0].url, quick())).json()["scan_id"]
            assert (await ended(cluster.web[0].url, scan_id))["status"] == "complete"
            for node in cluster.nodes:
                assert SECRET not in node.errors
    finally:
        await servers.stop()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--lease", f"{LEASE + 1:g}"), (f"{LEASE:g}", f"{LEASE + 1:g}")),
        (("--lease", f"{LEASE:g}", "--max-running", "17"), ("16", "17")),
        (("--lease", f"{LEASE:g}", "--max-running", "16", "--replicas", "3"), ("--replicas", "1", "3")),
    ],
    ids=["lease", "max-running", "replicas"],
)
async def test_a_node_with_other_settings_is_refused_with_both_values(
    small: Nats, tmp_path: Path, flags: tuple[str, ...], says: tuple[str, ...]
) -> None:
    code, said, _ = await started("worker", small.engine, tmp_path, *flags)

    assert code == 2
    for words in says:
        assert re.search(rf"(?<![\d.]){re.escape(words)}(?![\d.])", last_line(said)), said


@pytest.fixture(scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nats]:
    """One server, used by nodes with the settings of planned clusters."""
    async with running(planned(tmp_path_factory.mktemp("small"), nodes=(1, 1, 1))) as cluster:
        yield cluster.nats


async def test_a_full_store_refuses_what_is_new_and_what_runs_waits_for_room(tmp_path: Path) -> None:
    """The bound of the stream is reached; then NATS is given more room, and started again."""
    cluster = planned(tmp_path, nodes=(1, 2, 1), limit="max_file_store: 24MB")
    [server] = cluster.nats.servers
    async with running(cluster), scripting() as script:
        here, there = cluster.web
        held = (await discover(here.url, script.request(1))).json()["scan_id"]
        shard = await script.started()
        acked = []
        while (answer := await discover(here.url, quick(found=10_000))).status == 202:
            acked.append(answer.json()["scan_id"])
            with anyio.move_on_after(8):  # the one that meets the bound waits for room
                await ended(here.url, acked[-1])
        assert refused_properly(answer), answer
        assert answer.json()["code"] == "store_unavailable"
        for node in cluster.web:
            await until_answers(node, 503, 10)
            assert (await request(node.url, "GET", "/healthz")).status == 200
        await shard.tell("find 2", "end")
        await shard.until_gone()
        with anyio.fail_after(20):  # what is newest is known all the same: there is room left for barriers
            answer = await status(there.url, held)
            assert (answer.status, answer.json()["status"]) == (200, "scanning"), answer
        server.file.write_text(server.file.read_text().replace("max_file_store: 24MB", "max_file_store: 200MB"))
        await server.stop(30)
        await cluster.nats.start()
        for node in cluster.web:
            await until_answers(node, 200, 30)
        for scan_id in (held, *acked):
            assert (await ended(there.url, scan_id))["status"] == "complete"
        assert len(await ids_of(there.url, held)) == 2
        assert (await discover(there.url, quick())).status == 202
