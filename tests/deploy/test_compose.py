"""compose.yaml and what it mounts: commands, flags, variables and checks are those of the code; NATS and nginx run."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import click
import pytest
import yaml
from anyio import to_thread

from conftest import ROOT
from onemachine.nats import Nats, NatsServer
from onemachine.ports import free_ports
from onemachine.program import Program
from scanstream.cli import main
from scanstream.settings import Settings
from support.process import server_process
from support.proxy import balanced
from support.wire import ONE_QUICK_SCAN, discover, request, until_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "scanstream"}
NATS = {name: service for name, service in SERVICES.items() if service["image"].startswith("nats:")}


def test_the_shape_is_the_one_that_is_promised() -> None:
    assert len(NATS) == 3
    assert {name: service["deploy"]["replicas"] for name, service in OURS.items()} == {"web": 2, "worker": 2}
    published = {name for name, service in SERVICES.items() if "ports" in service}
    assert published == {"proxy"}
    for service in SERVICES.values():
        assert not re.search(r"[^/]*\.[^/]*/", service["image"]), "a registry's name"


@pytest.mark.parametrize("name", OURS)
def test_commands_and_variables_are_those_of_the_command_line(name: str) -> None:
    """Each is parsed as the process would parse it; what it says must make settings that work."""
    command, *words = OURS[name]["command"]
    given = {key: str(value) for key, value in OURS[name]["environment"].items()}
    subcommand = main.commands[command]
    variables = {
        variable
        for option in subcommand.params
        if isinstance(option, click.Option)
        for variable in ([option.envvar] if isinstance(option.envvar, str) else option.envvar or ())
    }
    assert given.keys() <= variables
    values = {key: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value) for key, value in given.items()}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in values.items():
            patch.setenv(key, value)
        context = subcommand.make_context(command, words, resilient_parsing=False)
    settings = Settings(**{key: value for key, value in context.params.items() if key in Settings.__dataclass_fields__})
    assert settings.nats is not None
    assert settings.nats.servers == tuple(f"nats://{name}:4222" for name in NATS)
    assert bool(settings.workers) == (name == "worker")


@pytest.mark.parametrize("name", OURS)
def test_a_node_has_no_root_and_writes_nowhere_but_to_its_data(name: str) -> None:
    service = OURS[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108  # the container's
    assert [volume.partition(":")[2] for volume in service["volumes"]] == ["/data"]
    assert "user" not in service


def test_everybody_waits_for_who_is_healthy() -> None:
    for service in OURS.values():
        assert service["depends_on"] == {key: {"condition": "service_healthy"} for key in NATS}
    assert SERVICES["proxy"]["depends_on"] == {"web": {"condition": "service_healthy"}}
    for name, service in SERVICES.items():
        assert "test" in service["healthcheck"], name


async def test_the_health_checks_ask_for_paths_that_are_answered() -> None:
    with server_process(":memory:", "--workers", "0") as server:
        for name in ("web", "proxy"):
            [path] = re.findall(r"http://127\.0\.0\.1:\d+(/\w+)", " ".join(SERVICES[name]["healthcheck"]["test"]))
            assert (await request(server.url, "GET", path)).status == 200


def test_what_is_mounted_is_there() -> None:
    files = {name: ROOT / config["file"] for name, config in COMPOSE["configs"].items()}

    assert all(path.is_file() for path in files.values())
    used = {config["source"] for service in SERVICES.values() for config in service.get("configs", ())}
    assert used == files.keys()
    named = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert named == COMPOSE["volumes"].keys()
    assert {net for service in SERVICES.values() for net in service["networks"]} == COMPOSE["networks"].keys()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Nats]:
    """The servers of NATS with the very file that is mounted; hosts, ports and directories are ours."""
    text = (ROOT / "deploy" / "nats.conf").read_text()
    ports = {name: free_ports(3) for name in NATS}
    for name, (_, _, route) in ports.items():
        text = text.replace(f"nats://{name}:6222", f"nats://127.0.0.1:{route}")
    started = []
    for name, (port, monitor, route) in ports.items():
        ours = text
        for there, here in (("4222", port), ("8222", monitor), ("6222", route)):
            ours = re.sub(rf'"0\.0\.0\.0:{there}"', f'"127.0.0.1:{here}"', ours)
        ours = ours.replace('"/data"', f'"{tmp_path / name}"')
        started.append(NatsServer(name, name, tmp_path, (port, monitor, route), ours, NATS[name]["environment"]))
    try:
        yield Nats(started)
    finally:
        for server in started:
            server.kill()


async def test_the_servers_of_nats_find_each_other(servers: Nats) -> None:
    await servers.start()
    leader = await servers.leader()

    assert leader is not None
    assert leader.name in NATS
    said = servers.servers[0].ask("/jsz?config=true")
    assert said["config"]["sync_always"] is True
    for server, service in zip(servers.servers, NATS.values(), strict=True):
        [path] = re.findall(r":8222(/\w+)", " ".join(service["healthcheck"]["test"]))
        assert server.ask(path)["status"] == "ok"
        assert service["stop_signal"] == "SIGTERM"


async def test_nginx_passes_on_to_whichever_node_is_there(tmp_path: Path) -> None:
    """Two servers of their own stand for the web nodes: the proxy asks the one that is left."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(_node()) for _ in range(2)]
        url = stack.enter_context(balanced([node.url for node in nodes], tmp_path))
        scan = (await discover(url, ONE_QUICK_SCAN)).json()
        assert scan["poll_url"].startswith("/opportunities/")
        for node in nodes:
            answers = [await request(url, "GET", "/readyz") for _ in range(4)]
            assert [answer.status for answer in answers] == [200] * 4
            assert node.stop() == 0
        assert (await request(url, "GET", "/readyz")).status == 502


class Service(Program):
    """One container of ours, without the container: its command, with its variables; where it is is ours to say."""

    def __init__(self, kind: str, number: int, nats: Nats, directory: Path) -> None:
        service = OURS[kind]
        [self._port] = free_ports(1)
        self.url = f"http://127.0.0.1:{self._port}"
        *_, check = service["healthcheck"]["test"]
        self._check = [sys.executable, "-c", check.replace("8000", str(self._port))]
        words = [str(self._port) if word == "8000" else word for word in service["command"]]
        given = {key: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", str(value)) for key, value in service["environment"].items()}
        for name, server in zip(NATS, nats.servers, strict=True):
            given["SCANSTREAM_ENGINE"] = given["SCANSTREAM_ENGINE"].replace(f"{name}:4222", f"127.0.0.1:{server.port}")
        ours = {"SCANSTREAM_DATA": str(directory / "data"), "SCANSTREAM_TRUSTED_PROXY": "127.0.0.1"}
        command = [sys.executable, "-m", "scanstream", *words]
        super().__init__(f"{kind}-{number}", command, directory, {**given, **ours})

    def is_healthy(self) -> bool:
        """What Docker would find."""
        return subprocess.run(self._check, capture_output=True, timeout=30, check=False).returncode == 0


async def test_all_of_it_runs_as_it_stands_there(servers: Nats, tmp_path: Path) -> None:
    """Each command with its variables, in a directory that all share, as the volume is; nginx in front."""
    await servers.start()
    nodes = [Service(kind, number, servers, tmp_path) for kind in OURS for number in (1, 2)]
    web = [node for node in nodes if node.name.startswith("web")]
    try:
        assert not nodes[0].is_healthy()
        for node in nodes:
            node.start()
        for node in nodes:
            with anyio.fail_after(60):
                while not await to_thread.run_sync(node.is_healthy):
                    assert node.runs, node.errors
        with balanced([node.url for node in web], tmp_path) as url:
            scans = [(await discover(url, ONE_QUICK_SCAN)).json()["scan_id"] for _ in range(3)]
            for scan_id in scans:
                assert (await until_terminal(url, scan_id))["status"] == "complete"
        grace = min(int(service["stop_grace_period"].removesuffix("s")) for service in OURS.values())
        for node in nodes:
            assert await node.stop(grace) == 0, node.errors
    finally:
        for node in nodes:
            if node.runs:
                node.kill()


def _node() -> Any:
    return server_process(":memory:", "--trusted-proxy", "127.0.0.1", "--workers", "1")
