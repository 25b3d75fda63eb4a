"""What is in files, headers, flags and messages of other nodes is read, or an error of the documented kind."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from fuzz.odd_bytes import json_bytes, said, texts
from scanstream.engines.nats import answers
from scanstream.engines.nats.credentials import read_credentials
from scanstream.engines.nats.decoding import entries_of
from scanstream.engines.nats.index import Index
from scanstream.engines.nats.names import Names
from scanstream.engines.nats.tail import Message
from scanstream.errors import InvalidRequest, MarketError, Unauthorized
from scanstream.log.entry import NewerError, ScanFailed
from scanstream.market.copies import Issue, issued
from scanstream.market.reading import csvfiles
from scanstream.model import ScanId
from scanstream.push import credentials, query
from scanstream.push.forwarded import Forwarded, network_of
from scanstream.push.host import host_of
from scanstream.push.origin import origin_of
from scanstream.terminal import flags

SCAN = ScanId("scan_" + "0" * 42)
headers = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"authorization",
                b"host",
                b"origin",
                b"prefer",
                b"if-none-match",
                b"accept",
                b"accept-encoding",
                b"idempotency-key",
                b"x-forwarded-for",
                b"x-forwarded-host",
                b"x-forwarded-port",
                b"x-forwarded-prefix",
                b"x-forwarded-proto",
            ]
        ),
        st.binary(max_size=30)
        | st.sampled_from(
            [b"Bearer ", b"wait=", b"wait=61", b'W/"a", *', b"/..", b"/a", b"[::1]:8", b"*;q=\xff", b"\xb2"]
        ),
    ),
    max_size=5,
)
BARS = [
    b"time,open,high,low,close,volume\n",
    b"2026-11-23T14:00:00Z,1,1,1,1,1\n",
    b"1700000000,1,2,3,nan,1e400\n",
    b'"',
    b",",
    b"\xff",
]


def scope(fields: list[tuple[bytes, bytes]], query_string: bytes = b"", kind: str = "http") -> dict[str, Any]:
    """Of a request from a proxy that is trusted."""
    return {
        "type": kind,
        "method": "GET",
        "path": "/opportunities/status/x",
        "root_path": "",
        "query_string": query_string,
        "headers": fields,
        "subprotocols": [value.decode("latin-1") for _, value in fields],
        "client": ("127.0.0.1", 1),
    }


@given(headers, st.binary(max_size=30) | st.binary(max_size=20).map(lambda data: b"token=" + data))
def test_a_credential_is_one_or_none_is_let_in(fields: list[tuple[bytes, bytes]], query_string: bytes) -> None:
    for kind in ("http", "websocket"):
        try:
            told = credentials.shown(scope(fields, query_string, kind))
        except Unauthorized:
            continue
        assert told is None or told.isascii()


@given(headers)
def test_proxies_say_where_we_are_or_that_is_refused(fields: list[tuple[bytes, bytes]]) -> None:
    async def nobody(*_: Any) -> None: ...

    told = scope(fields)
    try:
        Forwarded(nobody, prefix="", trusted=[network_of("127.0.0.1")]).stand(told)
    except ValueError:
        return
    assert told["root_path"] == "" or told["root_path"].startswith("/")


@given(texts)
def test_hosts_origins_and_networks_are_such_or_none(text: str) -> None:
    host_of(text)
    origin_of(text)
    try:
        network_of(text)
    except ValueError:
        return


@given(headers, st.binary(max_size=30) | st.sampled_from([b"wait=9&wait=9", b"limit=%B2", b"limit=-0", b"wait=%ff"]))
def test_questions_are_read_or_refused(fields: list[tuple[bytes, bytes]], query_string: bytes) -> None:
    request = Request(scope(fields, query_string))
    query.accepted(request, "application/json", "text/event-stream")
    query.takes_gzip(request)
    query.entity_tags(request)
    for read in (
        lambda: query.wait_of(request),
        lambda: query.whole_number(request, "limit", least=1, most=100, default=20),
        lambda: query.idempotency_key("Idempotency-Key", request.headers.get("idempotency-key")),
    ):
        try:
            read()
        except InvalidRequest:
            continue


@given(st.lists(json_bytes, max_size=3))
def test_a_message_is_entries_damaged_or_of_a_later_version(messages: list[bytes]) -> None:
    try:
        told = entries_of(SCAN, messages)
    except NewerError:
        return
    assert all(not isinstance(entry, ScanFailed) or entry.code for entry in told)


@given(json_bytes, st.sampled_from([b"", b"NATS/1.0 503\r\n\r\n"]) | st.binary(max_size=20))
def test_an_answer_of_jetstream_is_an_object(data: bytes, fields: bytes) -> None:
    assert isinstance(answers.read(answers.Answer(data, fields)), dict)


@given(json_bytes, json_bytes)
def test_a_registration_or_an_end_is_one_or_damaged(registration: bytes, end: bytes) -> None:
    damaged: list[str] = []
    index = Index(Names(), damaged.append)
    known = index.take("reg", "slot", "token", Message(1, "subject", registration, 0))
    index.take("end", "slot", "token", Message(2, "subject", end, 0))
    assert known is not None or damaged


@given(json_bytes | st.none())
def test_what_is_announced_of_a_market_is_understood_or_nothing(told: bytes | None) -> None:
    assert isinstance(issued(told), Issue | None)


@given(st.binary(max_size=80) | st.lists(st.sampled_from(BARS) | st.binary(max_size=12), max_size=6).map(b"".join))
def test_a_file_of_bars_is_a_table_or_named_in_an_error(content: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        Path(file.name).write_bytes(content)
        words = said(lambda: csvfiles.read_text(Path(file.name), "BTC/USDT", lambda _: None), MarketError)
        assert words is None or file.name in words


@given(st.binary(max_size=80) | st.binary(max_size=30).map(lambda data: b"-----BEGIN NATS USER JWT-----\n" + data))
def test_credentials_of_nats_are_such_or_none(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        with pytest.raises(ValueError, match="this is no file of credentials"):
            read_credentials(Path(file.name))


@given(
    texts.map(lambda text: f"tsmom.a={text}")
    | json_bytes.map(lambda data: f"tsmom.a={data.decode(errors='replace')}")
    | texts
)
def test_a_parameter_is_read_or_named_in_an_error(text: str) -> None:
    assert "STRATEGY.NAME=VALUE" in (said(lambda: flags.parameters([text]), ValueError) or "STRATEGY.NAME=VALUE")


@given(texts)
def test_a_span_is_read_or_named_in_an_error(text: str) -> None:
    assert "span" in (said(lambda: flags.span(text), ValueError) or "a span")
