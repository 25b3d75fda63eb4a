"""`scanstream discover --notify`: who is told, and what is said where nobody is."""

import pytest
from anyio import to_thread

from client.programs import QUICK, run
from support.process import server_process
from support.receiver import Receiver, verified

pytestmark = [pytest.mark.anyio, pytest.mark.clients]

HOOKS = "https://hooks.example.com/scans"


async def test_addresses_are_told_and_the_secret_is_on_standard_error(receiver: Receiver) -> None:
    flags = ("--notify", receiver.url("/"), "--notify-private", "127.0.0.0/8")
    with server_process(":memory:", *flags) as server:
        words = ("--notify", receiver.url("/a"), "--notify", receiver.url("/b"))
        done = await to_thread.run_sync(lambda: run("discover", "--url", server.url, "--detach", *words, *QUICK))
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("scan_")
        assert len(done.stdout.split()) == 1, "as scripts take it"
        first, second = done.stderr.splitlines()
        secret = first.rpartition(" ")[2]
        assert first == f"scanstream: {receiver.url('/a')} is told of the end, and verifies that with {secret}"
        assert second == f"scanstream: {receiver.url('/b')} is told of the end, and verifies that with {secret}"
        got = await receiver.until(2)
    assert {one.line.split()[1] for one in got} == {"/a", "/b"}
    assert all(verified(secret, one) and one.json()["data"]["scan_id"] == done.stdout.strip() for one in got)


def test_what_is_refused_is_told_and_the_scan_goes_on() -> None:
    with server_process(":memory:", "--notify", HOOKS) as may, server_process(":memory:") as may_not:
        for server, code, told in (
            (may, 2, "  url (--notify): this server may not tell"),
            (may_not, 1, "--notify who"),
        ):
            done = run("discover", "--url", server.url, "--notify", "https://evil.example/", *QUICK)
            assert done.returncode == code, done.stderr
            scan_id = done.stdout.partition(":")[0]
            assert (
                f"Nobody is told of the end; the scan goes on: scanstream watch {scan_id} --url {server.url}"
                in done.stderr
            )
            assert told in done.stderr
            assert run("watch", scan_id, "--url", server.url).returncode == 0
