"""Whatever comes over a WebSocket is answered as the contract says, or ends the connection, and costs nothing."""

import asyncio
import gc
import logging
import time
import weakref
from collections.abc import Iterator
from functools import partial
from itertools import count, product
from typing import Any

import anyio
import pytest
from anyio import to_thread

from conftest import Serve
from fuzz.odd_frames import BINARY, CLOSE, CLOSE_CODES, DEFLATED, MOVES, RESERVED, Speaker, masked
from fuzz.speaking import MOST_GROWTH, OPENED_LATER, SOAK_SECONDS, descriptors, seeds, told
from scanstream.push.codec import CODECS, JSON, MESSAGEPACK, Codec
from scanstream.push.contract.channels import CLOSES
from scanstream.push.transport.websocket import WebSocketTransport
from support.judge import judge
from support.process import ServerProcess, server_process
from support.raw import CONTINUATION, PING, TEXT, UPGRADE, resident
from support.traffic import Answered, Asked, Closed, Line, Message, exchanges
from support.until import until

pytestmark = pytest.mark.anyio

SPEECHES = 24
"""Of each kind of connection, in the normal run."""
AT_ONCE = 8
KINDS = list(product(CODECS, (False, True)))
"""Each format, on the fast outlet and, where messages are compressed, on the plain one."""


def handshake(codec: Codec, *, deflates: bool) -> bytes:
    """Ask for a WebSocket."""
    offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" if deflates else b""
    return UPGRADE + f"Sec-WebSocket-Protocol: {codec.subprotocol}\r\n".encode() + offer + b"\r\n"


def heard(url: str, codec: Codec, frames: bytes, *, deflates: bool) -> list[Message | Closed]:
    """What comes back for these frames; all of it is as the contract says."""
    line = Line()
    line.asked.append(Asked("GET", "/ws", []))
    line.said += told(url, handshake(codec, deflates=deflates) + frames)
    first, *rest = exchanges(line)
    assert isinstance(first, Answered)
    assert first.status == 101
    messages = [one for one in rest if not isinstance(one, Answered)]
    faults = [fault for one in messages if isinstance(one, Message) for fault in judge().faults(one)]
    assert faults == []
    assert {one.code for one in messages if isinstance(one, Closed)} <= {*CLOSES, *CLOSE_CODES}  # a close is repeated
    assert not [one for one in messages if isinstance(one, Message) and "internal" in str(one.data)]
    return messages


def speak(url: str, seed: int, codec: Codec, *, deflates: bool) -> None:
    """One connection from its seed."""
    try:
        heard(url, codec, Speaker(seed, codec, deflates=deflates).speech(), deflates=deflates)
    except Exception as error:
        raise AssertionError(f"seed {seed}, {codec.name}, deflates: {deflates}") from error


async def test_speeches_leave_nothing_behind(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """No task, no descriptor, no word in the log; some at a time, so that they meet each other."""
    caplog.set_level(logging.WARNING)
    async with serve(workers=0) as url:
        await to_thread.run_sync(partial(speak, url, 0, JSON, deflates=False))
        tasks, files = len(asyncio.all_tasks()), descriptors()
        for number, (codec, deflates) in enumerate(KINDS):
            for first in range(number * SPEECHES, (number + 1) * SPEECHES, AT_ONCE):
                async with anyio.create_task_group() as crowd:
                    for seed in range(first, first + AT_ONCE):
                        crowd.start_soon(to_thread.run_sync, partial(speak, url, seed, codec, deflates=deflates))
        await until(lambda: len(asyncio.all_tasks()) <= tasks and descriptors() <= files + OPENED_LATER)
    said = [record.getMessage() for record in caplog.records if record.name != "asyncio"]
    assert [message for message in said if not message.startswith("removed ")] == []  # what other tests' servers left


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """A server of its own, which is there at the end and has said nothing."""
    with server_process(":memory:", "--workers", "0", "--compression", "deflate") as server:
        yield server
        code, _, errors = server.ended()
        assert (code, "Traceback" in errors) == (0, False), errors


def test_the_heaviest_cost_no_memory(server: ServerProcess) -> None:
    """Each kind of frame on its own, again and again."""
    every(server)
    before = resident(server)
    every(server)
    assert resident(server) - before < MOST_GROWTH


def every(server: ServerProcess) -> None:
    """Say each thing that there is to say."""
    for codec, deflates in KINDS:
        one = Speaker(7, codec, deflates=deflates)
        for name, move in [*MOVES.items(), *(DEFLATED.items() if deflates else ())]:
            close = one.frame(CLOSE, b"\x03\xe8")
            assert heard(server.url, codec, move(one) + close, deflates=deflates) is not None, name


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS * 4)
def test_speeches_for_minutes(server: ServerProcess) -> None:
    every(server)
    before, end, first = resident(server), time.monotonic() + SOAK_SECONDS, seeds()
    for seed in count(first):
        codec, deflates = KINDS[seed % len(KINDS)]
        speak(server.url, seed, codec, deflates=deflates)
        if time.monotonic() > end:
            break
    print(f"{seed - first} speeches from seed {first}")
    assert resident(server) - before < MOST_GROWTH


R = Speaker(0, JSON, deflates=False).random
VIOLATIONS = {
    "no mask": (masked(R, TEXT, b"{}", mask=False), 1002),
    **{f"opcode {code}": (masked(R, code, b""), 1002) for code in RESERVED},
    **{f"reserved bits {bits}": (masked(R, TEXT, b"{}", reserved=bits), 1002) for bits in (1, 2, 4, 7)},
    "a long control frame": (masked(R, PING, b"x" * 126), 1002),
    "a control frame in pieces": (masked(R, PING, b"x", last=False), 1002),
    "an end without a beginning": (masked(R, CONTINUATION, b"x"), 1002),
    "a message within another": (masked(R, TEXT, b"{", last=False) + masked(R, TEXT, b"}"), 1002),
    "half a close code": (masked(R, CLOSE, b"\x03"), 1002),
    **{f"close code {code}": (masked(R, CLOSE, code.to_bytes(2, "big")), 1002) for code in (0, 999, 1005, 1006, 5000)},
    "a close reason that is no text": (masked(R, CLOSE, b"\x03\xe8\xff"), 1007),
    "no text": (masked(R, TEXT, b"\xff"), 1007),
    "no text across frames": (masked(R, TEXT, b"\xe2\x82", last=False) + masked(R, CONTINUATION, b"\xff"), 1007),
    "too long": (masked(R, TEXT, b"", said=2**31), 1009),
    "the longest": (masked(R, TEXT, b"", said=2**63 - 1), 1009),
    "longer than there is": (masked(R, TEXT, b"", said=2**63), 1009),
    "the other kind": (masked(R, BINARY, b"\x80"), 1003),
    "good, and a close": (masked(R, TEXT, b'{"type":"ping"}') + masked(R, CLOSE, b"\x03\xe8"), 1000),
    "a close": (masked(R, CLOSE, b"\x03\xe8"), 1000),
    "a close without a code": (masked(R, CLOSE, b""), 1005),
}
"""What is wrong, and the code that the server closes with (RFC 6455, sections 5 and 7.4)."""


async def test_what_breaks_the_protocol_has_the_close_code_that_it_says(serve: Serve) -> None:
    async with serve(workers=0) as url:
        found = {}
        for name, (frames, code) in VIOLATIONS.items():
            for deflates in (False, True):
                if deflates and name == "reserved bits 4":
                    continue  # then it is the extension's
                one = partial(heard, url, JSON, frames, deflates=deflates)
                closes = [said.code for said in await to_thread.run_sync(one) if isinstance(said, Closed)]
                if closes != [code]:
                    found[name, deflates] = closes
        bomb = Speaker(1, MESSAGEPACK, deflates=True).packed(b"\x00" * 64 * 1024 * 1024)
        one = partial(heard, url, MESSAGEPACK, bomb, deflates=True)
        assert [said.code for said in await to_thread.run_sync(one) if isinstance(said, Closed)] == [1009]
    assert found == {}


async def test_what_breaks_the_protocol_leaves_no_circle(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for the collector, which comes late to what was there for long."""
    made: list[weakref.ref[WebSocketTransport]] = []
    begun = WebSocketTransport.begin

    def begin(self: WebSocketTransport, *told: Any) -> None:
        made.append(weakref.ref(self))
        begun(self, *told)

    monkeypatch.setattr(WebSocketTransport, "begin", begin)
    async with serve(workers=0) as url:
        gc.disable()
        try:
            for name in ("no mask", "too long", "no text", "half a close code", "a close"):
                for deflates in (False, True):
                    one = partial(heard, url, JSON, VIOLATIONS[name][0], deflates=deflates)
                    await to_thread.run_sync(one)
            await until(lambda: not [one for one in made if one() is not None])
        finally:
            gc.enable()
    assert len(made) == 10
