"""The Dockerfile, as far as that goes without Docker: what it copies is there, and what it runs works."""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import ROOT
from onemachine.ports import free_ports
from support.process import server_process

pytestmark = pytest.mark.cluster

INSTALLING_SECONDS = 110


class Step(NamedTuple):
    """One instruction."""

    word: str
    rest: str


def steps() -> list[Step]:
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE))
    return [Step(*line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def stage(number: int) -> list[Step]:
    """Those of the stage that builds (0), or of the image itself (1)."""
    every = steps()
    second = [place for place, step in enumerate(every) if step.word == "FROM"][1]
    return every[:second] if number == 0 else every[second:]


def rest(number: int, word: str) -> list[str]:
    return [step.rest for step in stage(number) if step.word == word]


def sources() -> list[str]:
    """What is copied from the checkout."""
    return [source for line in rest(0, "COPY") for source in line.split()[:-1]]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    let_in = {line[1:] for line in ignored if line[0] == "!"}

    assert ignored[0] == "*"
    assert set(sources()) == let_in
    assert all((ROOT / source).exists() for source in sources())
    assert all(line.startswith(("!", "**/", "*")) for line in ignored)


def test_nothing_of_root_s_is_needed_when_it_runs() -> None:
    words = [step.word for step in stage(1)]

    assert rest(1, "USER") == ["scanstream"]
    assert words.index("USER") > words.index("RUN"), "what root does comes before"
    assert "--uid 10001" in rest(1, "RUN")[0]
    assert rest(1, "VOLUME") == ["/data"]
    assert "SCANSTREAM_DATA=/data" in rest(1, "ENV")[0]
    assert json.loads(rest(1, "ENTRYPOINT")[0]) == ["scanstream"]
    assert json.loads(rest(1, "CMD")[0]) == ["serve"]


def test_the_image_is_built_with_the_python_that_the_locks_are_for() -> None:
    lock = (ROOT / "requirements-nats.lock").read_text()
    [version] = {found[1] for step in steps() if (found := re.match(r"python:(\S+)-slim", step.rest))}

    assert f"with Python {version}\n" in lock


def health() -> list[str]:
    [line] = [step.rest for step in steps() if step.word == "HEALTHCHECK"]
    command: list[str] = json.loads(line.partition("CMD ")[2])
    return command


def test_the_health_check_tells_a_server_from_none() -> None:
    program, *arguments = health()
    assert program == "python"
    [nobody] = free_ports(1)
    with server_process(":memory:", "--workers", "0") as server:
        for port, healthy in ((server.url.rpartition(":")[2], True), (str(nobody), False)):
            command = [sys.executable, *(argument.replace("8000", port) for argument in arguments)]
            done = subprocess.run(command, capture_output=True, timeout=30, check=False)
            assert (done.returncode == 0) == healthy, done.stderr


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first stage leaves in /venv/bin, made by its own commands from its own copies."""
    place = tmp_path_factory.mktemp("image")
    build = place / "build"
    build.mkdir()
    venv.create(place / "venv", with_pip=True, symlinks=True)
    quick = {"PIP_RETRIES": "1", "PIP_TIMEOUT": "10"}
    environment = {**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, **quick}
    for step in stage(0):
        if step.word == "COPY":
            *froms, to = step.rest.split()
            for name in froms:
                _copy(ROOT / name, build / to / (name if to == "./" else ""))
        elif step.word == "RUN" and step.rest != "python -m venv /venv":
            command = step.rest.replace("/venv/bin/pip", f"{place}/venv/bin/python -m pip")
            done = subprocess.run(
                command.split(),
                cwd=build,
                env=environment,
                capture_output=True,
                text=True,
                timeout=INSTALLING_SECONDS,
                check=False,
            )
            if "--require-hashes" in command and done.returncode:
                pytest.skip(f"pip can download nothing here: {done.stderr[-300:]}")
            assert done.returncode == 0, done.stderr
    return place / "venv" / "bin"


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=lambda _, names: [n for n in names if _left_out(n)])
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _left_out(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in ("__pycache__", "*.egg-info"))


def test_what_the_image_holds_serves_and_works(programs: Path, tmp_path: Path) -> None:
    """From its own packages alone; on a directory of another's, as a read-only root is."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def shown(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(programs / "scanstream"), *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env=environment, cwd=tmp_path
        )

    assert shown("serve", "--help").returncode == 0
    assert not (programs / "pip").exists()
    refused = shown("serve", "--engine", "nats://:0")
    assert "write nats://HOST:PORT" in refused.stderr
    found = subprocess.run(
        [str(programs / "python"), "-c", "import nats, nkeys, numpy, uvloop, scanstream.server"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert (found.returncode, found.stderr) == (0, "")
