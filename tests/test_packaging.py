"""What an installation holds: a client alone is light, the server is an extra, and the wheel has all that is served."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterable, Iterator
from email.parser import Parser
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

import msgspec
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from client.programs import QUICK, SECONDS, run
from conftest import ROOT
from docs.pages import DOCS
from scanstream.parts import OF_THE_SERVER
from support.process import server_process

pytestmark = pytest.mark.clients

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
LIGHT = ["anyio", "click", "httpx", "msgspec", "rich", "websockets"]
"""What a client and the command line need, and all that they may."""
SERVER_ONLY = ["serve", "worker", "demo", "market check ."]
SAYS = (
    r"scanstream: {} needs the server's part of scanstream, which is not installed here \(no [\w, ]+\); "
    r"install it with: pip install 'scanstream\[server\]'\n"
)
INSTALLING_SECONDS = 110


def names(requirements: Iterable[str]) -> set[str]:
    """The distributions that these lines name."""
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def brought(distributions: set[str]) -> set[str]:
    """These, and all that they require here."""
    found: set[str] = set()
    waiting = set(distributions)
    while waiting:
        name = waiting.pop()
        found.add(name)
        lines = [Requirement(line) for line in requires(name) or ()]
        needed = [line.name for line in lines if line.marker is None or line.marker.evaluate({"extra": ""})]
        waiting |= {canonicalize_name(name) for name in needed} - found
    return found


def test_a_client_alone_needs_little() -> None:
    assert names(PROJECT["dependencies"]) == set(LIGHT)
    of_both = {"httpcore"}  # httpx stands on it, and brings it to a client
    assert {name.replace("_", "-") for name in OF_THE_SERVER} == names(EXTRAS["server"]) - of_both


@pytest.mark.parametrize("extra", ["parquet", "live", "nats", "otel", "jwt", "dev"])
def test_an_extra_that_the_server_needs_brings_the_server(extra: str) -> None:
    assert "scanstream[server]" in EXTRAS[extra]


def test_the_lock_of_the_server_has_all_that_the_server_needs() -> None:
    needed = names([*PROJECT["dependencies"], *EXTRAS["server"]])

    assert needed <= locked("requirements.lock").keys()
    several = names([*EXTRAS["nats"], *EXTRAS["jwt"], *needed]) - {"scanstream"}
    assert several <= locked("requirements-nats.lock").keys()
    assert locked("requirements.lock").items() <= locked("requirements-nats.lock").items()
    assert names(line for line in EXTRAS["dev"] if "scanstream" not in line) <= locked("requirements-dev.lock").keys()


def test_a_platform_that_starts_the_procfile_installs_the_server() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()

    assert [line for line in lines if not line.startswith("#")] == [".[nats,jwt]"]
    assert "scanstream[server]" in EXTRAS["nats"]


def locked(name: str) -> dict[str, str]:
    """Distribution → version, as a lock pins it."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), re.M))


def only_there(distributions: Iterable[str], directory: Path) -> dict[str, str]:
    """The environment of a program to which these and what they bring are installed, and scanstream; nothing else."""
    there = {"scanstream", *brought(names(distributions))}
    hidden = [top for top, homes in packages_distributions().items() if not there & {*map(canonicalize_name, homes)}]
    assert {*OF_THE_SERVER} <= {*hidden}
    (directory / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({hidden!r}))\n")
    return {"PYTHONPATH": os.pathsep.join([str(directory), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}


@pytest.mark.parametrize(
    ("rooms", "needed"), [(["client"], {*LIGHT} - {"click", "rich"}), (["client", "terminal", "cli.py"], {*LIGHT})]
)
def test_what_a_client_imports_is_there_where_only_a_client_is(
    rooms: list[str], needed: set[str], tmp_path: Path
) -> None:
    """Every module of these; a program needs no click and no rich."""
    below = ROOT / "server" / "scanstream"
    paths = [path for room in rooms for path in [below / room, *(below / room).rglob("*.py")] if path.suffix]
    modules = [".".join(path.relative_to(below.parent).with_suffix("").parts) for path in paths]
    program = [sys.executable, "-c", f"import {', '.join(modules)}"]
    environment = {**os.environ, **only_there(needed, tmp_path)}
    done = subprocess.run(program, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment)

    assert len(modules) > len(rooms)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def client_only(tmp_path: Path) -> dict[str, str]:
    """The environment of a program to which only what a client needs is installed."""
    return only_there(LIGHT, tmp_path)


@pytest.mark.parametrize("command", SERVER_ONLY)
def test_a_command_that_needs_the_server_says_what_to_install(command: str, client_only: dict[str, str]) -> None:
    shown = run(*command.split(), **client_only)

    assert re.fullmatch(SAYS.format(command.removesuffix(" .")), shown.stderr)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert all(name in shown.stderr for name in OF_THE_SERVER)


def test_a_part_of_the_server_that_is_missing_is_named_alone(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['starlette'] = None\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    assert "(no starlette)" in run("serve", PYTHONPATH=path).stderr


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server."""
    with server_process(":memory:") as server:
        yield server.url


def test_a_client_s_commands_work_without_the_server_s_part(url: str, client_only: dict[str, str]) -> None:
    for words in (["discover", *QUICK], ["watch", "latest"], ["results", "latest", "--csv"], ["strategies", "--json"]):
        shown = run(*words, "--url", url, **client_only)
        assert (shown.returncode, shown.stderr) == (0, ""), words
        assert shown.stdout, words
    assert run("--help", **client_only).returncode == 0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built with what is installed here."""
    target = tmp_path_factory.mktemp("wheel")
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *offline, "-w", str(target), str(ROOT)], check=True)
    [built] = target.glob("scanstream-*.whl")
    return built


def test_the_wheel_holds_the_server_the_client_the_page_and_the_contracts(wheel: Path) -> None:
    """All that is below server/ and static/, the two documents of docs/, and nothing else."""
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    code = {path.relative_to(ROOT / "server").as_posix() for path in files(ROOT / "server" / "scanstream")}
    page = {f"scanstream/{path.relative_to(ROOT).as_posix()}" for path in files(ROOT / "static")}

    assert held == code | page | {"scanstream/openapi.json", "scanstream/asyncapi.json"}
    assert {"scanstream/static/index.html", "scanstream/py.typed", "scanstream/push/contract/documents.py"} <= held


def files(below: Path) -> Iterable[Path]:
    return (path for path in below.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def test_the_source_archive_holds_all_that_is_committed(tmp_path: Path) -> None:
    """So whoever packages it anew can run the tests, and lock and audit what they take."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout of git")
    committed = {name for name in listed.stdout.split("\0") if name}
    for name in committed:
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).hardlink_to(ROOT / name)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=tmp_path / "source", check=True, capture_output=True, timeout=SECONDS)
    [built] = tmp_path.glob("scanstream-*.tar.gz")
    with tarfile.open(built) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
        told = archive.extractfile(f"{built.name.removesuffix('.tar.gz')}/PKG-INFO")
        assert told is not None
        assert b"\nMetadata-Version: 2.4\n" in b"\n" + told.read()

    assert held - {"PKG-INFO"} == committed


def test_the_locks_agree() -> None:
    """One version of a package, whichever lock has it: what was tested is what is run, and what is audited."""
    found: dict[str, set[str]] = {}
    for lock in ROOT.glob("requirements*.lock"):
        for name, version in locked(lock.name).items():
            found.setdefault(name, set()).add(version)
    assert {name: versions for name, versions in found.items() if len(versions) > 1} == {}
    listed = re.findall(r"^\| (\S+) \| (\d\S*) \| .+ \| (.*) \|$", (DOCS / "licences.md").read_text(), re.M)
    assert {name: version for name, version, only in listed if not only} == locked("requirements.lock")
    with_nats = {name: version for name, version, only in listed if not only or {"jwt", "nats"} & set(only.split(", "))}
    assert with_nats == locked("requirements-nats.lock")
    assert {name: version for name, version, _ in listed}.items() <= locked("requirements-dev.lock").items()


def test_the_wheel_says_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        told = Parser().parsestr(archive.read(name).decode())
    lines = [Requirement(line) for line in told.get_all("Requires-Dist") or ()]

    assert {line.name for line in lines if not line.marker or line.marker.evaluate({"extra": ""})} == set(LIGHT)
    assert set(told.get_all("Provides-Extra") or ()) == set(EXTRAS)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment in which only the wheel is, with what pip finds that it needs."""
    place = tmp_path_factory.mktemp("installed")
    pinned = place / "constraints.txt"
    pinned.write_text("".join(f"{name}=={version}\n" for name, version in locked("requirements.lock").items()))
    venv.create(place / "environment", with_pip=False, symlinks=True)
    programs = place / "environment" / "bin"
    done = pip("--python", str(programs / "python"), "install", "--no-compile", "-c", str(pinned), str(wheel))
    if done.returncode and pip("download", "--no-deps", "--dest", str(place), "-c", str(pinned), "click").returncode:
        pytest.skip("pip can download nothing here")
    assert done.returncode == 0, done.stderr
    return programs


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    options = ["--disable-pip-version-check", "--retries", "1", "--timeout", "10"]
    command = [sys.executable, "-m", "pip", *options, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=INSTALLING_SECONDS, check=False, env=outside()
    )


def outside() -> dict[str, str]:
    """The environment of a program that is to see nothing of this checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def test_the_wheel_alone_is_a_client_and_says_how_it_becomes_a_server(installed: Path, url: str) -> None:
    listed = pip("--python", str(installed / "python"), "list", "--format", "json")
    came = {canonicalize_name(line["name"]) for line in msgspec.json.decode(listed.stdout)}

    def shown(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, env=outside())

    print("installed:", *sorted(came))
    assert came == {"scanstream", *brought(set(LIGHT))}
    where = shown(str(installed / "python"), "-c", "import scanstream.client; print(scanstream.client.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(installed.parent), where.stderr
    for command in SERVER_ONLY:
        told = shown(str(installed / "scanstream"), *command.split())
        assert re.fullmatch(SAYS.format(command.removesuffix(" .")), told.stderr), told
        assert told.returncode == 2
    told = shown(str(installed / "scanstream"), "discover", *QUICK, "--url", url)
    assert (told.returncode, told.stderr) == (0, "")
    assert "complete" in told.stdout.lower()
