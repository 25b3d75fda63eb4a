"""Whatever a server, a proxy or a person says to the client: an error of the documented kind, or what was meant."""

import math
from collections.abc import Sequence
from typing import Any

import httpx
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.odd_bytes import DEEP, json_bytes, objects, said, texts, values
from scanstream.client import poll
from scanstream.client.addresses import address, shown
from scanstream.client.failures import Lost, decoded, of_close, of_http, of_message, seconds_in
from scanstream.client.mirror import Mirror, ProtocolError
from scanstream.client.stream import Events
from scanstream.client.token import expiry, text_of
from scanstream.errors import ScanstreamError

frames = st.builds(
    lambda kind, more: {"cursor": "e1-1.0", **more, "type": kind},
    st.sampled_from(["snapshot", "update", "end", "error", "ack", "?"]),
    st.fixed_dictionaries(
        {},
        optional={
            "cursor": st.sampled_from(["e1-1.0", "e1-2.1", "e2-1.0", "what?", "e1-99999999999999999999.1"]) | values,
            "state": st.dictionaries(st.sampled_from("abc"), values, max_size=3) | values,
            "patch": st.dictionaries(st.sampled_from("abc"), values, max_size=3) | values,
            "opportunities": st.lists(st.fixed_dictionaries({"id": st.sampled_from("xyz")}), max_size=3) | values,
            "offset": st.integers(-2, 5) | values,
            "skipped": st.integers(-2, 5) | values,
            "more": values,
            "status": values,
            "code": values,
            "retry_after": values,
            "errors": values,
        },
    ),
)


@given(json_bytes)
def test_what_is_no_json_is_a_lost_connection(content: bytes) -> None:
    try:
        decoded(content)
    except Lost:
        return


@given(st.lists(json_bytes | st.sampled_from([b"event: update\ndata: ", b"\n\n", b"\r", b":"]), max_size=6))
def test_a_stream_of_anything_brings_messages_or_is_lost(pieces: list[bytes]) -> None:
    events = Events()
    try:
        for piece in pieces:
            for message in events.messages(piece):
                assert isinstance(message["type"], str)
    except Lost:
        return


@given(st.lists(frames, max_size=6))
def test_a_mirror_of_anything_holds_a_state_and_a_list(told: Sequence[dict[str, Any]]) -> None:
    mirror = Mirror()
    for message in told:
        if message["type"] in ("snapshot", "update", "end"):
            try:
                mirror.apply(message)
            except ProtocolError:
                continue
            finally:
                assert isinstance(mirror.state, dict)
                assert all(isinstance(one, dict) for one in mirror.opportunities)


@given(frames | objects, st.integers(100, 599), values)
def test_errors_of_anything_are_errors_of_the_tree(message: dict[str, Any], status: int, body: Any) -> None:
    assert isinstance(of_message(message), Lost | ScanstreamError)
    assert isinstance(of_http(status, body, None, "words"), Lost | ScanstreamError)
    assert isinstance(of_http(status, message, 1.0, "words"), Lost | ScanstreamError)
    assert isinstance(of_close(status * 10, "words"), Lost | ScanstreamError)


@given(frames | objects | values, st.none() | st.sampled_from(["e1-1.0", "0"]))
def test_a_status_of_anything_is_messages_or_lost(body: Any, since: str | None) -> None:
    try:
        told = poll.messages(body, since)
    except Lost:
        return
    assert all(isinstance(message, dict) for message in told)


@given(texts)
def test_when_to_come_back_is_seconds_or_nothing(text: str) -> None:
    seconds = seconds_in(httpx.Headers([(b"retry-after", text.encode(errors="surrogateescape"))]))
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


@given(texts)
@example("a." + "W1tb" * DEEP + ".c")
def test_the_end_of_any_token_is_a_number(text: str) -> None:
    assert isinstance(expiry(text), float)
    refused = said(lambda: text_of(text), ValueError)
    assert refused is None or len(text.strip()) < 8 or text.strip() not in refused


@given(texts | texts.map(lambda text: f"http://{text}"))
def test_an_address_is_one_or_said_to_be_none(text: str) -> None:
    shown(text)
    try:
        assert address(text).startswith("http")
    except ValueError:
        return
