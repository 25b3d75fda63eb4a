"""A reader is judged by the bytes that it takes: on a real connection, with a clock that the test moves."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from scanstream.push.transport import outflow as outflow_module
from scanstream.push.transport.listener import listen
from scanstream.push.transport.neighbour import NEIGHBOURS
from scanstream.push.transport.outflow import (
    LENIENCE_SECONDS,
    MOST_EXTRA_SECONDS,
    MOST_HELD_BYTES,
    SLOW_BYTES_A_SECOND,
    Outflow,
)

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def flowing(
    address: str = "127.0.0.1", *, receive_buffer: int | None = 4096
) -> AsyncIterator[tuple[asyncio.Transport, Outflow, socket.socket]]:
    """A connection of the server, what it sees of the reader, and the reader, which has a small buffer."""
    accepted: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

    class Accepting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.set_result(
                cast("asyncio.Transport", transport)
            )  # as it is of uvloop, which derives it from nothing

    with listen(address, 0) as listener, socket.socket(listener.family) as reader:
        server = await asyncio.get_running_loop().create_server(Accepting, sock=listener)
        if receive_buffer is not None:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        reader.settimeout(10)
        reader.connect(listener.getsockname())
        with anyio.fail_after(20):
            transport = await accepted
        try:
            yield transport, Outflow(transport, 0), reader
        finally:
            transport.abort()
            server.close()


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not holds():  # noqa: ASYNC110  # the kernel tells nobody
            await anyio.sleep(0.01)


async def steady(outflow: Outflow) -> None:
    """Wait until the kernel of the reader takes no more."""
    taken = -1
    while taken != (taken := outflow.acknowledged()):  # noqa: ASYNC110  # the kernel tells nobody
        await anyio.sleep(0.3)


async def test_one_with_nothing_to_take_is_never_idle() -> None:
    async with flowing() as (transport, outflow, reader):
        outflow.look(1000)
        assert outflow.idle_seconds(1000) == 0
        transport.write(b"x" * 1000)
        assert len(await to_thread.run_sync(reader.recv, 1000)) == 1000
        await until(outflow.empty)
        outflow.look(2000)
        assert outflow.idle_seconds(2000) == 0


@pytest.fixture
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the reader were on another machine: of its own queue nothing is known."""
    monkeypatch.setattr(outflow_module, "NEIGHBOURS", None)


@pytest.mark.usefixtures("_elsewhere")
async def test_one_that_takes_nothing_is_idle_since_its_last_byte_and_one_that_takes_a_little_is_not() -> None:
    async with flowing() as (transport, outflow, reader):
        transport.write(b"x" * 1_000_000)
        await steady(outflow)
        outflow.look(100)
        for now in (101, 102, 103):
            outflow.look(now)
            assert outflow.idle_seconds(now) == now - 100
        before = outflow.acknowledged()
        for now in (200, 300, 400):
            await to_thread.run_sync(reader.recv, 8192)
            await until(lambda known=before: outflow.acknowledged() > known)  # type: ignore[misc]  # bound at once
            before = outflow.acknowledged()
            outflow.look(now)
            assert outflow.idle_seconds(now) == 0, "it took something, however little of the message that is"
        await steady(outflow)
        outflow.look(500)
        transport.write(b"and more")
        outflow.look(510)
        assert outflow.idle_seconds(510) == 10, "what is written is no sign of life"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_of_a_reader_on_this_machine_each_byte_is_seen_and_none_that_only_its_system_took(address: str) -> None:
    async with flowing(address, receive_buffer=None) as (transport, outflow, reader):
        transport.write(b"x" * 4_000_000)
        await steady(outflow)
        assert outflow.acknowledged() > 0, "its system has taken some"
        outflow.look(100)
        assert outflow.idle_seconds(100) == 100, "it has read nothing of that"
        for now in (200, 300, 400):
            await to_thread.run_sync(reader.recv, 1)
            outflow.look(now)
            assert outflow.idle_seconds(now) == 0
            outflow.look(now + 50)
            assert outflow.idle_seconds(now + 50) == 50
        outflow.taken = 10_000_000
        assert outflow.patience(3) == 3 + LENIENCE_SECONDS, "there is nothing to be lenient for"


async def test_of_an_address_that_nobody_here_has_nothing_is_known() -> None:
    assert NEIGHBOURS is not None
    for family, nobody in (
        (socket.AF_INET, ("127.0.0.1", 1)),
        (socket.AF_INET6, ("::1", 1)),
        (socket.AF_INET, ("", 1)),
    ):
        assert NEIGHBOURS.unread(family, nobody, nobody) is None


async def test_a_cut_is_a_reset_and_not_a_farewell_that_waits_for_the_reader() -> None:
    async with flowing() as (transport, outflow, reader):
        transport.write(b"x" * 1_000_000)
        await steady(outflow)
        outflow.cut()

        def take_all() -> None:
            while reader.recv(65536):
                pass

        with pytest.raises(ConnectionResetError):
            await to_thread.run_sync(take_all)


async def test_that_the_other_side_has_left_is_seen_behind_what_is_not_read() -> None:
    async with flowing() as (transport, outflow, reader):
        transport.pause_reading()
        reader.sendall(b"x" * 1000)
        assert not outflow.other_side_left()
        reader.close()
        await until(outflow.other_side_left)


@pytest.mark.usefixtures("_elsewhere")
async def test_patience_is_the_stall_and_the_time_to_read_what_the_readers_system_holds() -> None:
    async with flowing() as (_, outflow, _):
        assert outflow.patience(3) == 3 + LENIENCE_SECONDS
        outflow.taken = 10_000_000
        held = MOST_HELD_BYTES / SLOW_BYTES_A_SECOND
        assert held < outflow.patience(3) <= 3 + MOST_EXTRA_SECONDS + 0.25
        assert outflow.patience(3, flooding=True) == 3 + LENIENCE_SECONDS
        for stall in (1, 60):
            assert outflow.patience(stall) == stall + LENIENCE_SECONDS


async def test_a_reader_that_rested_has_its_whole_time_for_what_was_written_meanwhile() -> None:
    async with flowing() as (transport, outflow, _):
        outflow.look(0)
        cleared = outflow.clear
        transport.write(bytes(4_000_000))
        await anyio.lowlevel.checkpoint()
        outflow.look(50)  # the first look since then: nobody knows when it was written
        assert (cleared, outflow.clear) == (True, False)
        assert outflow.idle_seconds(50) == 0
