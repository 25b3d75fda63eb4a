"""Heads of requests, whatever is in them: each reading of one gives a value or a refusal; two readings are equal."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from scanstream.errors import RequestError
from scanstream.log.cursor import parse
from scanstream.message import LONGEST_WAIT_SECONDS
from scanstream.push.forwarded import Forwarded, network_of, prefix_of
from scanstream.push.host import HostNames, host_of, origin_form
from scanstream.push.origin import OriginCheck, origin_of
from scanstream.push.query import (
    EVENTS_TYPE,
    JSON_TYPE,
    LINES_TYPE,
    accepted,
    entity_tags,
    idempotency_key,
    single,
    takes_gzip,
    text_of,
    wait_of,
    whole_number,
)
from scanstream.push.question import Question, order, question

SCAN = "scan_" + "0123456789abcdef" * 2 + "0123456789"
EPOCH = "k3f9" * 2

LATIN = st.text(st.characters(max_codepoint=255), max_size=40)
ODD = st.sampled_from(
    [
        *(
            "wait",
            "wait=5",
            "wait=60",
            "wait=61",
            "wait=05",
            "wait=+5",
            'wait="5"',
            "wait=5; a=b",
            "WAIT = 7",
            "wait=5.0",
        ),
        *("wait=5, wait=6", "respond-async, wait=9", "wait=" + "9" * 5000, "wait=\xb2", "wait=1e1", "wait=;", ",,,"),
        *(
            '"a"',
            'W/"a"',
            '"a", "b"',
            "*",
            '"',
            '"a',
            'w/"a"',
            '"a\xff"',
            '"", W/""',
            f'"{EPOCH}-7"',
            f'W/"{EPOCH}-7-3"',
        ),
        *("*/*", "application/x-ndjson", "text/event-stream;q=1.0001", "a/b;q=x", "application/json;q=0, */*;q=0.1"),
        *("gzip", "gzip;q=0", "identity;q=0", "*;q=0", "gzip;q=nan", "gzip;q=-1", ";q=1", "q=", '"', "a;b;c=d;e"),
        *(f"{EPOCH}-7.0", f"{EPOCH}-7.1", "0.0", f"{EPOCH}-{'9' * 400}.0", "x", ""),
        *(
            "127.0.0.1",
            "localhost:80",
            "[::1]:8000",
            "[::1",
            "[::%25]",
            "a" * 300,
            "a:65536",
            "%zz",
            "0x7f.1",
            ".",
            "a..b",
        ),
        *("https://a.example", "null", "http://[::1]:1", "http://\u00fc\xdf.example", "x://" + "a" * 300, "http://a/b"),
    ]
)
VALUES = ODD | LATIN | st.lists(ODD, max_size=3).map(", ".join)
NAMES = (
    *("accept", "accept-encoding", "prefer", "if-none-match", "last-event-id", "idempotency-key", "host", "origin"),
    *("x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-proto"),
    *("content-length", "expect", "authorization"),
)
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6)
QUERIES = st.lists(
    st.sampled_from(["wait=5", "wait=61", "wait=", "wait=x", f"since={EPOCH}-7.0", "since=x", "since=", "since"])
    | st.sampled_from(["limit=1", "limit=0", "limit=%00", "limit=%FF", "=", "&", "a=b=c", "wait=%35", "wait=5;x"])
    | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
    max_size=3,
).map("&".join)


def request_of(headers: list[tuple[str, str]], query: str = "", path: str = f"/opportunities/status/{SCAN}") -> Request:
    """As a server has it."""
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query.encode("latin-1"),
            "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers],
            "http_version": "1.1",
            "client": ("127.0.0.1", 5),
            "server": ("127.0.0.1", 80),
            "scheme": "http",
        }
    )


READINGS: list[Callable[[Request], Any]] = [
    lambda request: accepted(request, JSON_TYPE, LINES_TYPE),
    lambda request: accepted(request, JSON_TYPE, EVENTS_TYPE),
    takes_gzip,
    wait_of,
    lambda request: (entity_tags(request) or set()) and entity_tags(request).contains_weak("a"),  # type: ignore[union-attr]
    lambda request: single(request, "since"),
    lambda request: parse(single(request, "since") or ""),
    lambda request: parse(request.headers.get("last-event-id", "")),
    lambda request: whole_number(request, "limit", least=1, most=100, default=20),
    lambda request: idempotency_key("key", text_of(request.headers.get("idempotency-key", "").encode("latin-1"))),
    lambda request: host_of(request.headers.get("host", "")),
    lambda request: origin_of(request.headers.get("origin", "")),
]


@settings(max_examples=400)
@given(HEADERS, QUERIES)
def test_each_reading_gives_a_value_or_a_refusal(headers: list[tuple[str, str]], query: str) -> None:
    request = request_of(headers, query)
    for read in READINGS:
        with suppress(RequestError):
            read(request)


@settings(max_examples=300)
@given(HEADERS, st.sampled_from(["", "/tools/scan"]))
def test_what_proxies_and_pages_say_is_judged_and_never_a_defect(headers: list[tuple[str, str]], prefix: str) -> None:
    check = OriginCheck(_nowhere, origins=(), names=HostNames(["a.example"]))
    placed = Forwarded(check, prefix=prefix, trusted=[network_of("127.0.0.1")])
    scope = dict(request_of(headers).scope)
    try:
        placed.stand(scope)
    except ValueError:
        return
    assert prefix_of(scope["root_path"]) == scope["root_path"]
    check.refusal(scope)


async def _nowhere(*_: Any) -> None:
    """Whoever is let in."""


@given(LATIN, st.lists(st.tuples(st.sampled_from([b"host", b"x"]), st.binary(max_size=9)), max_size=3))
def test_a_target_has_no_host_in_it_afterwards(target: str, headers: list[tuple[bytes, bytes]]) -> None:
    for scheme in ("", "http://", "HTTPS://a.example:1"):
        told = origin_form(f"{scheme}{target}".encode("latin-1"), headers := list(headers))
        assert not told.lower().startswith((b"http://", b"https://"))
        assert sum(name == b"host" for name, _ in headers) <= 3


@settings(max_examples=500)
@given(HEADERS, QUERIES)
@example([("prefer", "wait=5")], "")
@example([("if-none-match", '"a"')], "wait=5")
def test_a_glance_reads_what_the_chain_reads(headers: list[tuple[str, str]], query: str) -> None:
    """What is taken for plain means the same either way (push/question.py)."""
    target = f"/opportunities/status/{SCAN}{'?' + query if query else ''}".encode("latin-1")
    fields = [(name.encode(), value.strip(" \t").encode("latin-1", "replace")) for name, value in headers]
    asked = question(target, fields)
    order(target, fields)
    if asked is None:
        return
    request = request_of([(name.decode(), value.decode("latin-1")) for name, value in fields], query)
    wait, tags, since = wait_of(request), entity_tags(request), single(request, "since")
    assert (asked.wait, asked.preferred) == (wait.seconds, "preference-applied" in wait.headers)
    assert 0 <= asked.wait <= LONGEST_WAIT_SECONDS
    assert asked.since == (None if since is None else parse(since))
    assert (asked.tag is None) == (tags is None)
    assert tags is None or (tags.contains_weak(str(asked.tag)) and not tags.star_tag)


@settings(max_examples=300)
@given(st.binary(max_size=60), st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=4))
def test_no_bytes_are_a_defect_at_a_glance(target: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    for path in (target, b"/opportunities/status/" + target, b"/opportunities/discover" + target):
        assert isinstance(question(path, fields), Question | None)
        order(path, fields)


@given(LATIN)
def test_a_prefix_is_one_or_a_value_error(text: str) -> None:
    for written in (text, f"/{text}", f"/tools/{text}"):
        with suppress(ValueError):
            assert prefix_of(prefix_of(written)) == prefix_of(written)
