"""Answers in pieces: whole for who takes them, at an end for who has left, and the results in their order."""

import json
from collections.abc import AsyncGenerator

import anyio
import msgspec
import pytest
from starlette.types import Message

from scanstream.log.packed import Packed
from scanstream.model import Opportunity, confidence_order
from scanstream.push.found import Found
from scanstream.push.refused import REFUSED
from scanstream.push.streaming import PiecewiseResponse
from support.histories import opportunity

pytestmark = pytest.mark.anyio

FOUND = [msgspec.structs.replace(opportunity(f"a:{n}"), confidence_score=float(n * 7 % 50)) for n in range(250)]


async def test_for_who_has_left_no_further_piece_is_made() -> None:
    """An ASGI server takes all that is sent to nobody, at once."""
    made = 0

    async def pieces() -> AsyncGenerator[bytes, None]:
        nonlocal made
        while made < 10_000:
            made += 1
            yield b"x"

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        pass

    with anyio.fail_after(20):
        await PiecewiseResponse(pieces(), {}, "text/plain")({"type": "http"}, receive, send)
    assert made < 10


async def test_who_may_have_it_no_longer_gets_no_further_piece_and_no_end() -> None:
    """Nobody is to take what has come for the whole."""
    pieces, told = 0, list[Message]()

    async def all_of_them() -> AsyncGenerator[bytes, None]:
        nonlocal pieces
        while True:
            pieces += 1
            yield b"x"

    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        told.append(message)

    answer = PiecewiseResponse(all_of_them(), {}, "text/plain", lambda: pieces < 3)
    before = REFUSED["unauthorized"]
    with anyio.fail_after(20):
        await answer({"type": "http"}, receive, send)
    assert [message.get("more_body") for message in told] == [None, True, True]
    assert REFUSED["unauthorized"] == before + 1


@pytest.mark.parametrize(("offset", "limit"), [(0, 1000), (0, 100), (0, 1), (90, 20), (249, 5), (250, 5), (1000, 1)])
async def test_a_page_is_that_part_of_the_results_and_as_long_as_it_says(offset: int, limit: int) -> None:
    wanted = sorted(FOUND, key=confidence_order)[offset : offset + limit]
    page = Found(Packed(FOUND), offset, limit)
    body = b"".join([piece async for piece in page.document(b'{"found":', b"}")])
    assert len(body) == len(b'{"found":}') + page.size
    assert json.loads(body)["found"] == json.loads(msgspec.json.encode(wanted))
    lines = b"".join([piece async for piece in page.lines()])
    assert [msgspec.json.decode(line, type=Opportunity) for line in lines.splitlines()] == wanted
