"""What of a request says who asks: in one of the ways that there are, once, and in the letters that it may have."""

from base64 import urlsafe_b64encode

import pytest
from starlette.types import Scope

from scanstream.errors import Unauthorized
from scanstream.push.credentials import in_fields, shown

KEY = "ssk_AZaz09-_"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"
TOKEN = "sst_" + "aA0-_" * 20
PATH = "/opportunities/status/scan_1"


def scope(*headers: bytes, query: str = "", path: str = PATH, prefix: str = "") -> Scope:
    """Of a request with these `Authorization`s."""
    fields = [(b"host", b"localhost"), *((b"authorization", header) for header in headers)]
    whole = {"path": prefix + path, "root_path": prefix, "query_string": query.encode("latin-1")}
    return {"type": "http", "headers": fields, **whole}


def coded(token: str) -> str:
    """As a subprotocol has it."""
    return "scanstream.bearer." + urlsafe_b64encode(token.encode()).decode().rstrip("=")


def socket(*protocols: str, query: str = "", headers: tuple[bytes, ...] = ()) -> Scope:
    """Of a handshake that offers these."""
    return {**scope(*headers, query=query, path="/ws"), "type": "websocket", "subprotocols": list(protocols)}


@pytest.mark.parametrize("credential", [KEY, JWT, TOKEN, "a", "a+b/c~d==", "x" * 8000])
@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "bEaReR    "])
def test_a_header(credential: str, scheme: str) -> None:
    assert shown(scope(f"{scheme}{credential}".encode())) == credential
    assert in_fields(scope(f"{scheme}{credential}".encode())["headers"]) == credential


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer\tabc",
        b" Bearer abc",
        b"Bearer abc ",
        b"Bearer abc def",
        b"Bearer abc, Bearer def",
        b"Bearer abc,def",
        b'Bearer "abc"',
        b"Bearer =abc",
        b"Bearer ab=c",
        b"Bearer \xe4bc",
        b"Bearer abc\x00",
        b"Bearer: abc",
        b"Bearerabc",
        b"Basic YTpi",
        b"Token abc",
        b"ssk_abc",
    ],
)
def test_a_header_that_is_none(header: bytes) -> None:
    with pytest.raises(Unauthorized) as refused:
        shown(scope(header))
    assert refused.value.challenge == 'Bearer error="invalid_token"'
    with pytest.raises(Unauthorized):
        in_fields(scope(header)["headers"])


def test_nothing_is_nothing() -> None:
    for nothing in (scope(), scope(query="a=b&tokens=1&Token=2"), socket(), socket("scanstream.v1.json", "graphql-ws")):
        assert shown(nothing) is None


@pytest.mark.parametrize(
    "path",
    [f"/opportunities/{name}/scan_1" for name in ("status", "results", "events", "cancel")] + ["/opportunities/follow"],
)
def test_a_scan_token_in_an_address(path: str) -> None:
    assert shown(scope(query=f"since=1-1.0&token={TOKEN}", path=path)) == TOKEN
    assert shown(scope(query=f"t%6Fken={TOKEN}", path=path, prefix="/tools/scan")) == TOKEN


@pytest.mark.parametrize(
    "query",
    [
        "token=",
        "token",
        f"token={KEY}",
        f"token={JWT}",
        f"token=%20{TOKEN}",
        f"token={TOKEN}%00",
        f"token={TOKEN}&token={TOKEN}",
        f"token={TOKEN}&token=",
        f"token={TOKEN},{TOKEN}",
        f"token={TOKEN}ä",
        f"token={TOKEN.upper()}",
        "&".join([f"token={TOKEN}", *(f"a{number}=1" for number in range(100))]),
        "%&" * 10_000,
    ],
)
def test_what_is_no_scan_token_there(query: str) -> None:
    with pytest.raises(Unauthorized):
        shown(scope(query=query))


@pytest.mark.parametrize(
    "path",
    [
        *(f"/opportunities/{name}" for name in ("discover", "scans", "market", "market/candles", "strategies")),
        *("/opportunities/share/scan_1", "/opportunities/followers", "/opportunities/follow/", "/metrics", "/nothing"),
        "/opportunities/status",
    ],
)
def test_where_an_address_may_have_none(path: str) -> None:
    with pytest.raises(Unauthorized):
        shown(scope(query=f"token={TOKEN}", path=path))


@pytest.mark.parametrize("credential", [KEY, JWT, TOKEN, "a", "ab", "abc", "a+b/c~d=="])
def test_a_subprotocol(credential: str) -> None:
    assert shown(socket("scanstream.v1.json", coded(credential))) == credential
    assert shown(socket(coded(credential), "scanstream.v1.msgpack")) == credential
    assert shown(socket(headers=(f"Bearer {credential}".encode(),))) == credential


@pytest.mark.parametrize(
    "protocol",
    [
        "scanstream.bearer.",
        "scanstream.bearer.a",
        "scanstream.bearer.YQ==",
        "scanstream.bearer.Y!Q",
        "scanstream.bearer.Y Q",
        "scanstream.bearer." + urlsafe_b64encode("schlüssel".encode()).decode(),
        coded("two words"),
        coded(""),
    ],
)
def test_a_subprotocol_that_is_none(protocol: str) -> None:
    with pytest.raises(Unauthorized):
        shown(socket("scanstream.v1.json", protocol))


def test_two_are_refused_also_where_they_are_equal() -> None:
    header = f"Bearer {TOKEN}".encode()
    for twice in (
        scope(header, header),
        scope(header, b"Basic YTpi"),
        scope(header, query=f"token={TOKEN}"),
        socket(coded(TOKEN), coded(TOKEN)),
        socket(coded(TOKEN), headers=(header,)),
        socket(coded(TOKEN), query=f"token={TOKEN}"),
        socket(query=f"token={TOKEN}"),
    ):
        with pytest.raises(Unauthorized):
            shown(twice)
