"""Promises that take time to be seen: readers that take nothing, connections that say nothing, restarts."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

import anyio
import pytest

from conformance.judged import REQUESTS, judged, scripted, told
from conformance.mutants import all_mutants
from conformance.mutating import mutated_server
from conformance.test_command import QUICK, beside
from conformance.test_server import assert_kept
from conftest import ROOT
from scanstream.conformance.judging import BROKEN, NOT_TRIED
from scanstream.server import serving
from scanstream.settings import Settings
from support.installing import PLUGINS
from support.proxy import free_port
from support.wire import request

pytestmark = [pytest.mark.anyio, pytest.mark.clients, pytest.mark.timeout(200)]

LONG = scripted(shards=16, found=2, pause=0.5)
"""It is under way while a server restarts."""
AGAIN = """
import os, signal, sys, time
number = int(open({pid!r}).read())
os.kill(number, signal.{signal})
while os.path.exists(f"/proc/{{number}}"):
    time.sleep(0.02)
"""
"""The command that an operator has for it: it ends the server, and whoever looks after it starts another one."""


def settings(**changed: Any) -> Settings:
    return Settings(**{"port": 0, "data": ":memory:", "workers": 1, "worker_priority": "low", **changed})


async def test_who_takes_nothing_is_cut_off_and_nobody_waits_for_them() -> None:
    async with serving(settings(stall=3.0)) as url:
        assert_kept(await judged(url, "stalled", stall=3.0))


@pytest.mark.usefixtures("breaking")
@pytest.mark.parametrize(
    ("stall", "said"), [(60.0, "it is answered"), (1.0, "it is closed")], ids=["never cut off", "cut off too soon"]
)
async def test_a_reader_that_is_cut_off_at_another_time_is_found_out(stall: float, said: str) -> None:
    async with serving(settings(stall=stall)) as url:
        [verdict] = await judged(url, "stalled", stall=4.0)
    assert (verdict.outcome, said in verdict.seen) == (BROKEN, True), told(verdict)


@pytest.mark.usefixtures("breaking")
async def test_a_server_where_everybody_waits_for_the_slowest_is_found_out() -> None:
    with pytest.MonkeyPatch.context() as patches:
        async with mutated_server(patches, stall=8.0) as (url, server):
            server.mutation = all_mutants()["everybody waits for who takes nothing"].make()
            words = ("--only", "stalled", "--stall", "8", "--request", f"long={json.dumps(REQUESTS['long'])}")
            done = await beside(url, *QUICK, *words)  # in a loop of its own
    assert (done.exit_code, "expected: an answer at once" in done.output) == (1, True), done.output


async def test_who_says_nothing_is_hung_up_on() -> None:
    async with serving(settings()) as url:
        assert_kept(await judged(url, "silent", "too-large"))


@pytest.mark.usefixtures("breaking")
@pytest.mark.parametrize(
    ("wrong", "check"),
    [({"silence": 60.0}, "silent"), ({"silence": 1.0}, "silent"), ({"max_message": 1 << 41}, "too-large")],
    ids=["waits for ever", "waits for no body", "takes anything"],
)
async def test_a_server_with_other_bounds_is_found_out(wrong: dict[str, Any], check: str) -> None:
    async with serving(settings(**wrong)) as url:
        [verdict] = await judged(url, check, seconds=8.0)
    assert verdict.outcome == BROKEN, told(verdict)


class Kept:
    """A server that is started again whenever it ends, as an operator's machine does it."""

    def __init__(self, directory: Path, data: Path | str) -> None:
        self._pid, port = directory / "pid", free_port()
        self.url = f"http://127.0.0.1:{port}"
        serve = f'"{sys.executable}" -m scanstream serve --port {port} --data "{data}" --workers 1'
        loop = f"while :; do sh -c 'echo $$ > \"{self._pid}\"; exec {serve}'; done"
        path = os.pathsep.join([str(PLUGINS), str(ROOT / "server"), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)}
        command = ["sh", "-c", loop]
        self._process = Popen(command, env=environment, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True)

    def command(self, signal: str) -> str:
        """Ends it with this signal."""
        program = AGAIN.format(pid=str(self._pid), signal=signal)
        (script := self._pid.with_name(f"{signal}.py")).write_text(program)
        return f'"{sys.executable}" "{script}"'

    def stop(self) -> None:
        """For good."""
        os.killpg(self._process.pid, 9)
        self._process.wait(timeout=30)


@contextmanager
def kept(directory: Path, data: Path | str) -> Iterator[Kept]:
    """One that serves."""
    server = Kept(directory, data)
    try:
        yield server
    finally:
        server.stop()


async def until_there(url: str) -> None:
    """It serves."""
    with anyio.fail_after(30):
        while True:
            with suppress(OSError):
                await request(url, "GET", "/healthz")
                return
            await anyio.sleep(0.05)


async def test_a_restart_costs_nothing(tmp_path: Path) -> None:
    with kept(tmp_path, tmp_path / "data") as server:
        await until_there(server.url)
        commands: dict[str, Any] = {"restart": server.command("SIGTERM"), "crash": server.command("SIGKILL")}
        assert_kept(await judged(server.url, "restart", "crash", long=LONG, **commands))


@pytest.mark.usefixtures("breaking")
async def test_a_server_that_forgets_or_goes_without_a_word_is_found_out(tmp_path: Path) -> None:
    with kept(tmp_path, ":memory:") as server:
        await until_there(server.url)
        commands: dict[str, Any] = {"restart": server.command("SIGKILL"), "crash": server.command("SIGTERM")}
        without, forgets = await judged(server.url, "restart", "crash", long=LONG, **commands)
    assert (without.outcome, without.expected[-29:]) == (BROKEN, "to be ('error', 'restarting')"), told(without)
    assert (forgets.outcome, forgets.expected[:7]) == (BROKEN, "200 to "), told(forgets)


async def test_without_a_command_nothing_is_restarted() -> None:
    async with serving(settings()) as url:
        restart, crash = await judged(url, "restart", "crash")
        [failed] = await judged(url, "restart", restart="exit 7", long=LONG)
    assert [restart.outcome, crash.outcome, failed.outcome] == [NOT_TRIED] * 3
    assert "--restart COMMAND" in restart.seen
    assert "exit code 7" in failed.seen
