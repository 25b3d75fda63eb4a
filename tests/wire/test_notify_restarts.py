"""Who is to be told is told, whatever the server dies of and when: `kill -9`, SIGTERM, between end and queue."""

from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from support.process import ServerProcess
from support.receiver import DYING, Receiver, answers, hangs, notify, verified
from support.script import scripting
from support.wire import discover, request, until_terminal

pytestmark = pytest.mark.anyio

AGAIN = "import scanstream.notify.backoff as backoff\nbackoff.FIRST_SECONDS, backoff.LONGEST_SECONDS = {}, {}\n"
"""How soon who failed is tried again."""
NEVER = AGAIN.format(36_000, 36_000)
NUMBERED = """
from scanstream.notify import courier
def pause(number, asked):
    with open({!r}, "a") as numbers:
        numbers.write(f"{{number}}\\n")
    return 0.1
courier.pause_after = pause
"""
"""What a server runs that tries again soon, and writes down the number of each attempt that came to nothing."""


async def started(data: Path, receiver: Receiver, before: str, *flags: str) -> ServerProcess:
    may = ("--notify", receiver.url("/"), "--notify-private", "127.0.0.0/8", "--workers", "1", "--log-format", "text")
    server = ServerProcess(data, *may, *flags, before=before)
    await to_thread.run_sync(server.until_serving)
    return server


async def scan(url: str) -> str:
    scan_id = str((await discover(url)).json()["scan_id"])
    await until_terminal(url, scan_id)
    return scan_id


async def test_the_count_and_the_message_go_on_where_the_server_is_killed(tmp_path: Path, receiver: Receiver) -> None:
    receiver.always = answers(500)
    numbers = tmp_path / "numbers"
    before = NUMBERED.format(str(numbers))
    server = await started(tmp_path / "data", receiver, before)
    try:
        accepted = await notify(server.url, await scan(server.url), receiver.url())
        for number in (3, 6):
            await receiver.until(number)
            await to_thread.run_sync(server.kill)
            server = await started(tmp_path / "data", receiver, before)
        await receiver.until(9)
        receiver.always = None
        failed = len(receiver.got)
        while 'outcome="delivered"} 1.0' not in (await request(server.url, "GET", "/metrics")).body.decode():  # noqa: ASYNC110
            await anyio.sleep(0.05)
    finally:
        await to_thread.run_sync(server.kill)
    told = [int(number) for number in numbers.read_text().split()]
    assert told[0] == 1
    assert told == sorted(set(told)), "the count never begins anew"
    assert told[-1] >= failed - 1, "nor is an attempt left out that a server died in the middle of"
    assert {got.id for got in receiver.got} == {accepted["notification_id"]}
    assert len({got.body for got in receiver.got}) == 1
    assert all(verified(accepted["signing_secret"], got) for got in receiver.got)


async def test_a_server_that_dies_in_the_middle_of_an_attempt_makes_another_at_once(
    tmp_path: Path, receiver: Receiver
) -> None:
    receiver.next.append(hangs)
    server = await started(tmp_path, receiver, NEVER)
    try:
        accepted = await notify(server.url, await scan(server.url), receiver.url())
        await receiver.until(1)
        await to_thread.run_sync(server.kill)
        server = await started(tmp_path, receiver, NEVER)
        first, second = await receiver.until(2)
    finally:
        await to_thread.run_sync(server.kill)
    assert first.id == second.id == accepted["notification_id"]
    assert first.body == second.body


async def test_a_server_that_stops_hands_back_what_is_under_way_in_time(tmp_path: Path, receiver: Receiver) -> None:
    receiver.next += [hangs, hangs]
    server = await started(tmp_path, receiver, NEVER)
    try:
        scan_id = await scan(server.url)
        for name in ("a", "b", "c"):  # the last one waits for a place
            await notify(server.url, scan_id, receiver.url(f"/{name}"))
        await receiver.until(2)
        code, seconds, errors = await to_thread.run_sync(server.ended)
        assert (code, errors) == (0, "")
        assert seconds < 6
        server = await started(tmp_path, receiver, NEVER)
        await receiver.until(5)
    finally:
        await to_thread.run_sync(server.kill)
    assert len({got.id for got in receiver.got}) == 3
    assert {got.line.split()[1] for got in receiver.got[2:]} == {"/a", "/b", "/c"}


async def test_a_server_that_dies_between_the_end_and_the_queue(tmp_path: Path, receiver: Receiver) -> None:
    server = await started(tmp_path, receiver, DYING)
    try:
        async with scripting() as script:
            scan_id = (await discover(server.url, script.request(shards=1))).json()["scan_id"]
            accepted = await notify(server.url, scan_id, receiver.url())
            with anyio.fail_after(30):
                await (await script.started()).tell("end")
        await to_thread.run_sync(server.process.communicate)
        assert server.process.returncode == -9
        assert receiver.connections == 0
        server = await started(tmp_path, receiver, NEVER)
        [got] = await receiver.until(1)
    finally:
        await to_thread.run_sync(server.kill)
    assert got.id == accepted["notification_id"]
    assert (got.json()["type"], got.json()["data"]["scan_id"]) == ("scan.complete", scan_id)


async def test_a_server_that_was_killed_before_the_end_remembers_who_is_to_be_told(
    tmp_path: Path, receiver: Receiver
) -> None:
    server = await started(tmp_path, receiver, NEVER)
    try:
        async with scripting() as script:
            scan_id = (await discover(server.url, script.request(shards=1))).json()["scan_id"]
            accepted = await notify(server.url, scan_id, receiver.url())
            await script.started()
            await to_thread.run_sync(server.kill)
            server = await started(tmp_path, receiver, NEVER)
            assert await notify(server.url, scan_id, receiver.url()) == accepted, "the same, and told once"
            with anyio.fail_after(30):
                await (await script.started()).tell("end")
            [got] = await receiver.until(1)
    finally:
        await to_thread.run_sync(server.kill)
    assert got.id == accepted["notification_id"]
    assert verified(accepted["signing_secret"], got)
