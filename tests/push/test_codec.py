"""Decoding is validation, the same in both formats, and bounded whatever comes in."""

import json
from codecs import BOM_UTF8
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from scanstream.errors import (
    MOST_ERRORS,
    Expired,
    FieldError,
    InvalidJson,
    InvalidRequest,
    NotFound,
    RequestError,
    ScanstreamError,
)
from scanstream.message import Ping
from scanstream.model import DiscoverRequest
from scanstream.push.codec import CODECS, JSON, MESSAGEPACK, MOST_PARAMETER_BYTES, Codec, error_message
from scanstream.push.plain import MOST_NESTING
from scanstream.push.problem import problem

LARGEST_ERROR = 32 * 1024
"""Bytes of an answer or a frame, as docs/protocol.md has it."""
MB = 1024 * 1024


def written(codec: Codec, value: Any) -> bytes:
    """A value in this format."""
    return msgspec.json.encode(value) if codec is JSON else msgspec.msgpack.encode(value)


def refusal(codec: Codec, request: bytes) -> ScanstreamError:
    """Why a request is refused."""
    with pytest.raises(RequestError) as caught:
        codec.decode_request(Raw(request))
    return caught.value


def each(field: str, *values: Any) -> list[Any]:
    """Requests with one field."""
    return [{field: value} for value in values]


WRONG: list[Any] = [
    *(32, 0, 9, 13, -1, 1.5, True, False, None, "", " ", "{}", [], [{}], [1]),
    *each("symbols", 5, 1.5, True, {}, [5], [None], [["A"]], [True], [{}], ["x" * 101], ["x"] * 10_001),
    *each("preferred_timeframes", ["x" * 101]),
    *each("filter_by_risk_level", 5, True, [], {}, ["low"]),
    *each("capital_usd", "5", True, [], {}, 0, -1, 2e15, 1e308),
    *each("force_refresh", 1, 0, "yes", [], 1.0),
    *each("parameters", 5, [], "x", {"tsmom": 5}, {"tsmom": []}),
    *each("parameters", {"x" * 101: {}}, {"tsmom": {"y" * 101: 1}}),
    *each("colour", "red"),
]


@pytest.mark.parametrize("value", WRONG)
def test_a_wrong_type_is_refused_alike_in_both_formats(value: Any) -> None:
    first, second = (refusal(codec, written(codec, value)) for codec in CODECS)
    assert isinstance(first, InvalidRequest)
    assert (first.code, [error.field for error in first.errors]) == (second.code, [e.field for e in second.errors])


RIGHT: list[dict[str, Any]] = [
    {},
    {"symbols": "A,B", "strategy_ids": ["x", "y"], "capital_usd": 5, "min_profit_potential": -2},
    {"filter_by_risk_level": "Low", "force_refresh": False, "symbols": None},
    {"parameters": {"tsmom": None, "pairs": {"a": None, "b": 1}}},
    {"parameters": {"tsmom": {"a": [1, 2.5, "x", None, {"deep": [True]}], "b": 2**64 - 1, "c": -(2**63)}}},
]


@pytest.mark.parametrize("value", RIGHT)
def test_a_right_request_is_the_same_in_both_formats(value: dict[str, Any]) -> None:
    first, second = (codec.decode_request(Raw(written(codec, value))) for codec in CODECS)
    assert first == second


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=5), inside, max_size=4),
    max_leaves=10,
)
FIELDS = st.sampled_from(DiscoverRequest.__struct_fields__)


@settings(max_examples=300)
@given(PLAIN | st.dictionaries(FIELDS, PLAIN | st.dictionaries(st.text(max_size=5), PLAIN), max_size=3))
def test_whatever_comes_both_formats_take_it_alike(value: Any) -> None:
    def taken(codec: Codec) -> Any:
        try:
            return codec.decode_request(Raw(written(codec, value)))
        except RequestError as error:
            return error.code, error.errors[0].field

    assert taken(JSON) == taken(MESSAGEPACK)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from(CODECS))
def test_no_bytes_are_a_defect(payload: bytes, codec: Codec) -> None:
    for decode in (lambda: codec.decode_request(Raw(payload)), lambda: codec.decode_message(payload)):
        with suppress(RequestError):
            decode()
    codec.id_of(payload)


ONLY_MESSAGEPACK: list[tuple[Any, str]] = [
    (float("inf"), "finite"),
    (float("-inf"), "finite"),
    (float("nan"), "finite"),
    ([1.0, {"a": float("nan")}], "finite"),
    (b"bytes", "bytes"),
    ({"a": b""}, "bytes"),
    ({1: 2}, "key that is no string"),
    ({"a": [{None: 2}]}, "key that is no string"),
    (msgspec.msgpack.Ext(5, b"x"), "Ext"),
]


@pytest.mark.parametrize(("value", "reason"), ONLY_MESSAGEPACK)
def test_what_json_cannot_say_is_refused_where_it_is(value: Any, reason: str) -> None:
    ((field, told),) = refusal(MESSAGEPACK, written(MESSAGEPACK, {"parameters": {"tsmom": {"x": value}}})).errors
    assert field.startswith("parameters.tsmom.x")
    assert reason in told


TIMESTAMP = b"\xd6\xff\x00\x00\x00\x00"


@pytest.mark.parametrize(
    "payload",
    [
        b"\x81\xaaparameters\x81\xa5tsmom\x81\xa1x" + TIMESTAMP,
        b"\x81\xa7symbols" + TIMESTAMP,
        b"\x81\xa7symbols\xc4\x01A",  # bytes for a text
        b"\x81\xa7symbols\xa1\xff",  # no UTF-8
        b"\x81\x01\x02",  # a key that is no string
        b"\x81\x91\x01\x02",  # nor could it be one
        b"\xc1",  # never used
        b"\x80\x80",  # something after the end
        b"",
        TIMESTAMP,
    ],
)
def test_what_messagepack_alone_has_is_no_request(payload: bytes) -> None:
    assert refusal(MESSAGEPACK, payload).code in ("invalid_request", "invalid_json")


@pytest.mark.parametrize("text", ["1e999", "-1e999", "1" * 30, "-" + "1" * 30, "1" * 5000, "NaN", "Infinity"])
@pytest.mark.parametrize("where", ['{"capital_usd":%s}', '{"parameters":{"tsmom":{"x":%s}}}'])
def test_a_number_that_messagepack_has_not_is_refused(where: str, text: str) -> None:
    assert refusal(JSON, (where % text).encode()).code in ("invalid_request", "invalid_json")


@pytest.mark.parametrize("levels", [MOST_NESTING + 1, 500, 900, 2000, 8000])
@pytest.mark.parametrize("codec", CODECS, ids=["json", "messagepack"])
def test_deep_nesting_is_refused(codec: Codec, levels: int) -> None:
    opened, closed, ends = (b"[", b"]", b"}}}") if codec is JSON else (b"\x91", b"", b"\xc0")
    start = written(codec, {"parameters": {"tsmom": {"x": None}}})
    start = start[: -len(b"null}}}")] if codec is JSON else start[:-1]
    last = b"" if codec is JSON else ends
    payload = start + opened * levels + last + closed * levels + (ends if codec is JSON else b"")
    assert refusal(codec, payload).code in ("invalid_request", "invalid_json")


@pytest.mark.parametrize("codec", CODECS, ids=["json", "messagepack"])
def test_parameters_have_a_size(codec: Codec) -> None:
    fits = {"parameters": {"tsmom": {"x": "y" * (MOST_PARAMETER_BYTES - 100)}}}
    assert codec.decode_request(Raw(written(codec, fits))).parameters == fits["parameters"]
    for large in each("x", "y" * MOST_PARAMETER_BYTES, [{}] * MOST_PARAMETER_BYTES, [0] * MOST_PARAMETER_BYTES):
        ((field, _),) = refusal(codec, written(codec, {"parameters": {"tsmom": large}})).errors
        assert field == "parameters"


def test_an_absent_request_and_an_empty_body_ask_for_everything() -> None:
    assert JSON.decode_request(UNSET) == DiscoverRequest()
    for body in (b"", b"  \r\n", BOM_UTF8, BOM_UTF8 + b"{}", b" {} "):
        assert JSON.decode_body(body) == DiscoverRequest()


def test_a_byte_order_mark_is_taken_and_other_encodings_are_named() -> None:
    assert JSON.decode_body(BOM_UTF8 + b'{"symbols":"A"}').symbols == "A"
    assert JSON.decode_message('\ufeff{"type":"ping","id":"x"}') == Ping(id="x")
    assert JSON.id_of('\ufeff{"type":"dance","id":"x"}') == "x"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"):
        with pytest.raises(InvalidJson, match="send UTF-8"):
            JSON.decode_body(json.dumps({"symbols": "A"}).encode(encoding))


@pytest.mark.parametrize("codec", CODECS, ids=["json", "messagepack"])
def test_the_id_of_a_message_that_is_none(codec: Codec) -> None:
    def id_of(value: Any) -> Any:
        payload = written(codec, value)
        return codec.id_of(payload.decode() if codec.text else payload)

    assert id_of({"type": "dance", "id": "mine"}) == "mine"
    for value in [*each("id", 5, "x" * 65, ["x"], [{}] * 100_000), [], 5, {}]:
        assert id_of(value) is UNSET


WIDEST = "\U00010000"
"""Four bytes of UTF-8, and of JSON."""
NASTY: list[str] = [WIDEST, "\x01", '"', "\\", "\ud800", "\u2028", "\n", "x"]


@pytest.mark.parametrize("sign", NASTY, ids=repr)
@pytest.mark.parametrize(
    "make",
    [
        lambda text: InvalidRequest.naming([FieldError(text, text)] * 1000),
        lambda text: InvalidRequest.of(text, text),
        lambda text: NotFound(text, scan_id=text),
        lambda text: Expired(text, scan_id=text),
        InvalidJson,
    ],
)
def test_the_largest_error_is_within_its_bound(sign: str, make: Callable[[str], ScanstreamError]) -> None:
    error = make(sign * MB)
    assert len(problem(error).body) <= LARGEST_ERROR
    assert len(error.errors) <= MOST_ERRORS
    for codec in CODECS:
        frame = codec.encode(error_message(error, WIDEST * 64))
        assert len(frame.encode() if isinstance(frame, str) else frame) <= LARGEST_ERROR
    json.loads(bytes(problem(error).body))


MEGABYTES: list[dict[str, Any]] = [
    {"symbols": [f"S{number}" for number in range(95_000)]},
    {"symbols": ",".join(f"S{number}" for number in range(95_000))},
    {"preferred_timeframes": [f"{number}m" for number in range(95_000)]},
    {"symbols": ["x" * MB]},
    {"x" * MB: 1},
    {"filter_by_risk_level": "x" * MB},
    {"parameters": {"x" * MB: {}}},
    {"parameters": {"tsmom": {"x" * MB: 1}}},
    {"parameters": {f"s{number}": {} for number in range(60_000)}},
    {"parameters": {"tsmom": {f"p{number}": 1 for number in range(60_000)}}},
]


@pytest.mark.parametrize("value", MEGABYTES)
@pytest.mark.parametrize("codec", CODECS, ids=["json", "messagepack"])
def test_a_megabyte_of_anything_is_refused_in_a_few_words(codec: Codec, value: dict[str, Any]) -> None:
    payload = written(codec, value)
    if isinstance(value.get("symbols"), str):  # that is for the selection to refuse: tests/scans/test_selection.py
        assert codec.decode_request(Raw(payload)).symbols
        return
    assert len(problem(refusal(codec, payload)).body) < 2000
