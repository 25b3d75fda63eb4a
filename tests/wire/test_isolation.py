"""The isolation matrix: two principals, an operator, strangers and bearers of tokens, at every route and with every
message. Each cell is a test; a route or a message without a row fails."""

import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import anyio
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from scanstream.core import open_core
from scanstream.errors import Overloaded
from scanstream.message import ClientMessage
from scanstream.model import Principal, ScanId, now
from scanstream.push.contract.documents import openapi
from scanstream.push.refusals import ANY_PATH
from scanstream.routes import application
from scanstream.scans.identity import new_scan_id
from scanstream.security.caller import Right
from scanstream.security.keychanges import revoke_key
from scanstream.server import serving
from scanstream.settings import Settings
from support.guards import LENIENT, Ring, bearer, guarded, key_in
from support.identity import SECRET, by_key, by_secret, claims, coded, jwk, jwks
from support.receiver import NOWHERE
from support.wire import ONE_QUICK_SCAN, Answer, request, websocket

pytestmark = pytest.mark.anyio

KEYS = ("ann", "ben", "operator")
JWTS = {"jwt": "ann", "jwt_by_key": "ann", "jwt_of_ben": "ben", "jwt_of_operator": "operator"}
"""Each gets what the key of the same principal gets."""
TOKENS = ("of_ack", "shared", "of_bens")
"""For a scan of Ann's: its ack's (read and cancel), and one that she shares (read). For a scan of Ben's: its ack's."""
GOOD = (*KEYS, *JWTS, *TOKENS, "jwt_without_right")
BAD_ON_SOCKET = (
    *("nothing", "basic", "two", "malformed"),
    *("unknown", "expired", "revoked"),
    *("jwt_over", "jwt_foreign", "jwt_unsigned"),
    *("expired_token", "altered_token"),
)
BAD = (*BAD_ON_SOCKET, "in_both")
IN_ADDRESS = ("?of_ack", "?shared", "?of_bens")
WRONG_IN_ADDRESS = ("?ann", "?jwt", "?expired_token", "?altered_token", "?twice", "?unknown")
KINDS = (*GOOD, *BAD, *IN_ADDRESS, *WRONG_IN_ADDRESS)


class World(NamedTuple):
    """A server, a scan of Ann's that has ended, and what everybody shows."""

    url: str
    scan_id: str
    credentials: dict[str, str]


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    settings, shown = parties(tmp_path_factory.mktemp("parties"))
    async with serving(Settings(**LENIENT, workers=1, **settings)) as url:
        await take_back(settings, shown, url)
        yield World(url, *(await scans_of(url, shown)))


def parties(directory: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """How a server knows who is who, and what each of them shows."""
    keys, secret, published = (directory / name for name in ("keys.toml", "secret", "jwks.json"))
    secret.write_text(SECRET)
    published.write_bytes(jwks(jwk("P-256", kid="ours")))
    shown = {
        "ann": key_in(keys, "ann"),
        "ben": key_in(keys, "ben"),
        "operator": key_in(keys, "olga", Right.OPERATE),
        "expired": key_in(keys, "ann", name="expired", expires=now() - 1000),
        "revoked": key_in(keys, "ann", name="revoked"),
        "unknown": key_in(directory / "others.toml", "ann"),
    }
    shown["malformed"] = f"{shown['ann']} {shown['ben']}"
    second = int(time.time())
    said = claims(iat=second, exp=second + 3600)
    shown |= {
        "jwt": by_secret(said),
        "jwt_by_key": by_key("P-256", "ES256", said, kid="ours"),
        "jwt_of_ben": by_secret(said | {"sub": "ben"}),
        "jwt_of_operator": by_secret(said | {"sub": "olga", "scope": "operate"}),
        "jwt_without_right": by_secret(said | {"scope": "openid"}),
        "jwt_over": by_secret(said | {"exp": second - 1}),
        "jwt_foreign": by_secret(said, SECRET[::-1]),
        "jwt_unsigned": f"{coded({'alg': 'none', 'typ': 'JWT'})}.{coded(said)}.",
    }
    settings = {"keys": keys, "jwt_secret_file": secret, "jwt_keys": published}
    return {"auth": "required", "notify": (NOWHERE,), **{name: str(file) for name, file in settings.items()}}, shown


async def take_back(settings: dict[str, Any], shown: dict[str, str], *urls: str) -> None:
    """Revoke a key that was good until then, and wait until every node knows."""
    for url in urls:
        assert (await request(url, "GET", "/opportunities/scans", None, bearer(shown["revoked"]))).status == 200
    revoke_key(Path(settings["keys"]), "revoked")
    for url in urls:
        while (await request(url, "GET", "/opportunities/scans", None, bearer(shown["revoked"]))).status != 401:  # noqa: ASYNC110
            await anyio.sleep(0.05)


async def scans_of(url: str, shown: dict[str, str]) -> tuple[str, dict[str, str]]:
    """A scan of Ann's, once it has ended, and the credentials with its tokens, and one of a scan of Ben's."""
    ann = bearer(shown["ann"])
    wanted = msgspec.json.encode(ONE_QUICK_SCAN)
    ack = (await request(url, "POST", "/opportunities/discover", wanted, ann)).json()
    bens = (await request(url, "POST", "/opportunities/discover", wanted, bearer(shown["ben"]))).json()
    scan_id, token = ack["scan_id"], ack["scan_token"]
    await request(url, "GET", f"/opportunities/results/{scan_id}?wait=30", None, ann)
    share = f"/opportunities/share/{scan_id}"
    shared = (await request(url, "POST", share, b"", ann)).json()
    short = (await request(url, "POST", share, b'{"expires_in_seconds":1}', ann)).json()
    tokens = {
        "of_ack": token,
        "shared": shared["token"],
        "of_bens": bens["scan_token"],
        "expired_token": short["token"],
        "altered_token": token[:20] + ("B" if token[20] == "A" else "A") + token[21:],
    }
    while (await request(url, "GET", f"/opportunities/status/{scan_id}", None, bearer(short["token"]))).status != 401:
        pass
    return scan_id, {**shown, **tokens}


def everybody(status: int) -> dict[str, int]:
    """The same for all."""
    return dict.fromkeys(KINDS, status)


def strangers_out(**others: int) -> dict[str, int]:
    """401, but for those who have something good. A JWT gets what the key of its principal gets."""
    row = {**everybody(401), "jwt_without_right": 403, **others}
    return row | {kind: row[key] for kind, key in JWTS.items()}


def of_scan(status: int, *, shared: int, lenient: bool = True) -> dict[str, int]:
    """A route of one scan. `lenient`: it takes a token in its address."""
    tokens = {"of_ack": status, "shared": shared, "of_bens": 404}
    in_address = {f"?{name}": told for name, told in tokens.items()} if lenient else {}
    return strangers_out(ann=status, ben=404, operator=403, **tokens, **in_address)


OF_PRINCIPALS = dict.fromkeys(("operator", *TOKENS), 403)
SCAN = "/{scan_id}"
MATRIX: dict[str, dict[str, int]] = {
    "POST /opportunities/discover": strangers_out(ann=202, ben=202, **OF_PRINCIPALS),
    "GET /opportunities/scans": strangers_out(ann=200, ben=200, **OF_PRINCIPALS),
    "GET /opportunities/market": strangers_out(ann=200, ben=200, **OF_PRINCIPALS),
    "GET /opportunities/market/candles": strangers_out(ann=200, ben=200, **OF_PRINCIPALS),
    "GET /opportunities/strategies": strangers_out(ann=200, ben=200, **OF_PRINCIPALS),
    f"GET /opportunities/status{SCAN}": of_scan(200, shared=200),
    f"GET /opportunities/results{SCAN}": of_scan(200, shared=200),
    f"GET /opportunities/events{SCAN}": of_scan(200, shared=200),
    f"POST /opportunities/cancel{SCAN}": of_scan(202, shared=403),
    f"POST /opportunities/share{SCAN}": of_scan(200, shared=200, lenient=False),
    f"POST /opportunities/notify{SCAN}": strangers_out(ann=202, ben=404, **OF_PRINCIPALS),
    f"GET /opportunities/explain{SCAN}": strangers_out(**of_scan(200, shared=200, lenient=False) | {"operator": 200}),
    "POST /opportunities/follow": strangers_out(
        **of_scan(200, shared=200) | {"ben": 200, "of_bens": 200, "?of_bens": 200}
    ),
    "GET /metrics": strangers_out(**dict.fromkeys(("ann", "ben", *TOKENS), 403), operator=200),
    "GET /ws": strangers_out(**dict.fromkeys(GOOD, 426)),
    "GET /nothing": strangers_out(**dict.fromkeys(GOOD, 404)),
    "DELETE /opportunities/scans": strangers_out(**dict.fromkeys(GOOD, 405)),
    "OPTIONS /opportunities/scans": strangers_out(**dict.fromkeys(GOOD, 204)),
    "GET /healthz": everybody(200),
    "GET /readyz": everybody(200),
    "GET /openapi.json": everybody(200),
    "GET /asyncapi.json": everybody(200),
    "GET /": everybody(200),
    "GET /docs": everybody(200),
    "GET /static/{path}": everybody(200),
}
"""Method and path → kind of caller → status."""
NOT_SERVED = {"GET /nothing", "DELETE /opportunities/scans", "OPTIONS /opportunities/scans"}


async def test_every_route_has_a_row() -> None:
    settings = Settings(port=0, data=":memory:", workers=0)
    async with open_core(settings) as core:
        app: Any = application(settings, core)
    while not isinstance(app, Starlette):
        app = app.inner
    served = set[str]()
    for route in app.routes:
        if isinstance(route, Mount):
            served.add(f"GET {route.path}/{{path}}")
        elif isinstance(route, Route) and route.path != ANY_PATH:
            served |= {f"{method} {route.path}" for method in (route.methods or {"GET"}) - {"HEAD"}}
    assert served == MATRIX.keys() - NOT_SERVED, "say here what everybody is answered on a new route"


def shows(world: World, kind: str) -> tuple[dict[str, str], str]:
    """Headers, and what is behind the path."""
    shown = world.credentials
    match kind:
        case "nothing":
            return {}, ""
        case "basic":
            return {"authorization": "Basic YW5uOnNlY3JldA=="}, ""
        case "two":
            return {"authorization": f"Bearer {shown['ann']}", "Authorization": f"Bearer {shown['ann']}"}, ""
        case "in_both":
            return bearer(shown["of_ack"]), f"?token={shown['of_ack']}"
        case "?twice":
            return {}, f"?token={shown['of_ack']}&token={shown['of_ack']}"
        case _:
            named = shown[kind.removeprefix("?")]
            return ({}, f"?token={named}") if kind.startswith("?") else (bearer(named), "")


async def answer_to(world: World, route: str, kind: str, scan_id: str) -> Answer:
    method, path = route.split(" ")
    headers, query = shows(world, kind)
    if path.endswith("candles"):
        query += ("&" if query else "?") + "symbol=BTC/USDT"
    body = None
    if method == "POST":
        bodies: dict[str, Any] = {
            "discover": ONE_QUICK_SCAN,
            "follow": {"follow": [{"scan_id": scan_id}], "wait": 0},
            "notify": {"url": NOWHERE},
        }
        body = msgspec.json.encode(bodies.get(path.split("/")[2], {}))
    there = path.replace("{scan_id}", scan_id).replace("{path}", "scanstream.js")
    return await request(world.url, method, there + query, body, headers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("route", MATRIX)
async def test_a_cell(world: World, route: str, kind: str) -> None:
    answer = await answer_to(world, route, kind, world.scan_id)
    assert answer.status == MATRIX[route][kind], answer
    if answer.status == 401:
        assert answer.headers["www-authenticate"] == ("Bearer" if kind == "nothing" else 'Bearer error="invalid_token"')
        assert answer.json()["code"] == "unauthorized"
    if kind.startswith("?") and not route.endswith((" /", "docs", "json", "z", "{path}")):
        assert answer.headers["referrer-policy"] == "no-referrer"
    for credential in world.credentials.values():
        told = answer.body.decode() + str(answer.headers)
        assert credential not in told or (route.startswith("POST /opp") and answer.status in (200, 202)), "it leaks"


@pytest.mark.parametrize("kind", ["ben", "jwt_of_ben", "of_bens", "of_ack"])
@pytest.mark.parametrize("route", [route for route in MATRIX if route.endswith(SCAN)] + ["POST /opportunities/follow"])
async def test_what_is_anothers_is_as_what_never_was(world: World, route: str, kind: str) -> None:
    """Byte for byte, but for the id that was asked for. For Ben, and with a token of his, that is Ann's scan; for a
    token of hers any but its own."""
    other = world.scan_id
    if kind == "of_ack":
        shown = bearer(world.credentials["ann"])
        body = msgspec.json.encode({**ONE_QUICK_SCAN, "force_refresh": True})
        other = (await request(world.url, "POST", "/opportunities/discover", body, shown)).json()["scan_id"]
    unknown = new_scan_id(b"a key of another store", Principal("ann"), now())
    answers = [await answer_to(world, route, kind, scan_id) for scan_id in (other, unknown)]
    told = [
        (answer.status, answer.body.replace(scan_id.encode(), b"ID"))
        for answer, scan_id in zip(answers, (other, unknown), strict=True)
    ]
    assert told[0] == told[1]
    assert (b"forbidden" if MATRIX[route][kind] == 403 else b"not_found") in told[0][1]
    assert {name: value for name, value in answers[0].headers.items() if name != "date"} == {
        name: value for name, value in answers[1].headers.items() if name != "date"
    }


# Over a WebSocket

FORBIDDEN_ON_SOCKET = ("operator", "jwt_of_operator", "jwt_without_right")
ON_SOCKET = tuple(kind for kind in GOOD if kind not in FORBIDDEN_ON_SOCKET)
MESSAGES: dict[str, dict[str, str]] = {
    "discover": {"ann": "ack", "ben": "ack", **dict.fromkeys(TOKENS, "forbidden")},
    "subscribe": {"ann": "ack", "ben": "not_found", "of_ack": "ack", "shared": "ack", "of_bens": "not_found"},
    "unsubscribe": {"ann": "ack", "ben": "not_found", "of_ack": "ack", "shared": "ack", "of_bens": "not_found"},
    "cancel": {"ann": "ack", "ben": "not_found", "of_ack": "ack", "shared": "forbidden", "of_bens": "not_found"},
    "authenticate": dict.fromkeys(("ann", "ben", *TOKENS), "ack"),
    "ping": dict.fromkeys(("ann", "ben", *TOKENS), "pong"),
}
"""Type → kind of caller → the type of the answer, or the code of its error."""
INTRODUCED = ("header", "subprotocol")
"""How a WebSocket says who asks."""
TAKES_OVER = {"ann": "ack", "jwt": "ack", "jwt_by_key": "ack"}
"""What answers `authenticate` on a socket of Ann's: of all others that are good, `forbidden`; else `unauthorized`."""


def test_every_message_has_a_row() -> None:
    assert {kind.__struct_config__.tag for kind in get_args(ClientMessage)} == MESSAGES.keys()


def message(world: World, kind: str, type: str) -> dict[str, Any]:
    """One of them, as this caller would send it about Ann's scan."""
    fields: dict[str, dict[str, Any]] = {
        "discover": {"request": ONE_QUICK_SCAN},
        "authenticate": {"token": world.credentials[kind]},
        "ping": {},
    }
    return {"type": type, "id": "1", **fields.get(type, {"scan_id": world.scan_id})}


def opened(world: World, kind: str, way: str) -> dict[str, Any]:
    """Options of a WebSocket of this caller's."""
    if way == "header":
        headers, query = shows(world, kind)
        return {"additional_headers": list(headers.items()), "path": f"/ws{query}"}
    credential = urlsafe_b64encode(world.credentials[kind].encode()).decode().rstrip("=")
    return {"subprotocols": [Subprotocol("scanstream.v1.json"), Subprotocol(f"scanstream.bearer.{credential}")]}


@pytest.mark.parametrize("way", INTRODUCED)
@pytest.mark.parametrize("kind", ON_SOCKET)
@pytest.mark.parametrize("type", MESSAGES)
async def test_a_message(world: World, type: str, kind: str, way: str) -> None:
    async with websocket(world.url, **opened(world, kind, way)) as socket:
        assert socket.connection.subprotocol == "scanstream.v1.json"
        await socket.send(**message(world, kind, type))
        answer = await socket.receive()
    assert answer.get("code", answer["type"]) == MESSAGES[type][JWTS.get(kind, kind)], answer
    assert answer["id"] == "1"


NO_TEXT = ("nothing", "basic", "two", "?of_ack")
"""What can be in no subprotocol and in no message."""


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        (kind, way)
        for kind in (*BAD_ON_SOCKET, *FORBIDDEN_ON_SOCKET, "?of_ack")
        for way in INTRODUCED
        if way == "header" or kind not in NO_TEXT
    ],
)
async def test_a_socket_is_closed_to_them(world: World, kind: str, way: str) -> None:
    async with websocket(world.url, **opened(world, kind, way)) as socket:
        assert socket.connection.subprotocol == "scanstream.v1.json"
        answer = await socket.receive()
        with pytest.raises(ConnectionClosed) as closed:
            await socket.receive()
    told = ("forbidden", 4403) if kind in FORBIDDEN_ON_SOCKET else ("unauthorized", 4401)
    assert closed.value.rcvd is not None
    assert (answer["type"], answer["code"], closed.value.rcvd.code) == ("error", *told)
    assert closed.value.rcvd.reason


@pytest.mark.parametrize("kind", [*GOOD, *(kind for kind in BAD_ON_SOCKET if kind not in NO_TEXT)])
async def test_nobody_takes_over_a_socket(world: World, kind: str) -> None:
    async with websocket(world.url, additional_headers=bearer(world.credentials["ann"])) as socket:
        await socket.send(type="authenticate", id="1", token=world.credentials[kind])
        answer = await socket.receive()
        assert answer.get("code", answer["type"]) == TAKES_OVER.get(
            kind, "forbidden" if kind in GOOD else "unauthorized"
        )
        await socket.send(type="subscribe", id="2", scan_id=world.scan_id)
        assert (await socket.receive())["type"] == "ack", "who it is has not changed"


async def test_lists_and_latest_are_ones_own(world: World) -> None:
    for name in ("ben", "ann", "jwt_of_ben", "jwt"):
        shown = bearer(world.credentials[name])
        started = await request(
            world.url, "POST", "/opportunities/discover", msgspec.json.encode(ONE_QUICK_SCAN), shown
        )
        scan_id = started.json()["scan_id"]
        assert (await request(world.url, "GET", "/opportunities/status/latest", None, shown)).json()[
            "scan_id"
        ] == scan_id
        listed = (await request(world.url, "GET", "/opportunities/scans", None, shown)).json()["scans"]
        assert listed[0]["scan_id"] == scan_id
        assert (world.scan_id in {scan["scan_id"] for scan in listed}) == (JWTS.get(name, name) == "ann")


async def test_reuse_and_keys_are_ones_own(world: World) -> None:
    wanted = msgspec.json.encode({**ONE_QUICK_SCAN, "force_refresh": False})
    for more in ({}, {"idempotency-key": "the same"}):
        scans = list[ScanId]()
        for name in ("ann", "ben", "jwt", "jwt_of_ben"):
            headers = {**bearer(world.credentials[name]), **more}
            answer = await request(world.url, "POST", "/opportunities/discover", wanted, headers)
            scans.append(answer.json()["scan_id"])
        assert scans[0] == scans[2] != scans[1] == scans[3]


# Beside the matrix

PAGE = "https://page.example"


@pytest.fixture(scope="module")
async def friendly() -> AsyncIterator[tuple[str, Ring]]:
    """A server that pages of another origin may use, and who knows its callers."""
    ring = Ring()
    async with guarded(ring, workers=0, allow_origin=(PAGE,)) as url:
        yield url, ring


async def test_a_preflight_needs_no_credential_and_a_page_may_read_why_it_is_refused(
    friendly: tuple[str, Ring],
) -> None:
    url, ring = friendly
    asks = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    answer = await request(url, "OPTIONS", "/opportunities/discover", None, asks)
    assert answer.status == 200
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    for shown, status in (({}, 401), (bearer(ring.key("ann")), 200)):
        answer = await request(url, "GET", "/opportunities/scans", None, {"origin": PAGE, **shown})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, PAGE)
    foreign = {"origin": "https://evil.example", **bearer(ring.key("ann"))}
    assert (await request(url, "POST", "/opportunities/discover", b"{}", foreign)).status == 403


async def test_any_name_will_do_where_who_asks_has_to_say_who_they_are(friendly: tuple[str, Ring]) -> None:
    """A page whose name was made to point here has no key (DNS rebinding)."""
    url, ring = friendly
    for shown, status in (({}, 401), (bearer(ring.key("ann")), 200)):
        answer = await request(url, "GET", "/opportunities/scans", None, {"host": "scans.example.org", **shown})
        assert answer.status == status
    assert (await request(url, "GET", "/opportunities/scans", None, {"host": "a b"})).status == 400


async def test_a_socket_where_there_is_none(friendly: tuple[str, Ring]) -> None:
    url, ring = friendly
    for headers, status in (({}, 401), (bearer(ring.key("ann")), 404)):
        with pytest.raises(InvalidStatus) as refused:
            async with websocket(url, "/nothing", additional_headers=headers):
                pass
        assert refused.value.response.status_code == status


async def test_a_head_is_refused_as_a_get_is(friendly: tuple[str, Ring]) -> None:
    url, _ = friendly
    for path in ("/opportunities/scans", "/nothing", f"/opportunities/events/{'scan_' + '0' * 42}"):
        told = [await request(url, method, path) for method in ("GET", "HEAD")]
        assert [answer.status for answer in told] == [401, 401]
        assert told[1].body == b""
        assert told[0].headers["www-authenticate"] == told[1].headers["www-authenticate"] == "Bearer"


async def test_nobody_can_say_now(friendly: tuple[str, Ring]) -> None:
    """As where the keys of JWTs cannot be had: that is no refusal, and passes."""
    url, ring = friendly
    ring.trouble = Overloaded("The keys cannot be had", retry_after=7)
    try:
        answer = await request(url, "GET", "/opportunities/scans", None, bearer("unknown"))
        assert (answer.status, answer.headers["retry-after"]) == (503, "7")
        async with websocket(url, additional_headers=bearer("unknown")) as socket:
            assert (await socket.receive())["code"] == "overloaded"
            with pytest.raises(ConnectionClosed) as closed:
                await socket.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        ring.trouble = LookupError("a defect")
        answer = await request(url, "GET", "/opportunities/scans", None, bearer("unknown"))
        assert (answer.status, answer.json()["code"]) == (500, "internal")
    finally:
        ring.trouble = None


def test_the_contract_says_where_a_credential_is_needed() -> None:
    public = {route for route, row in MATRIX.items() if set(row.values()) == {200}}
    for path, methods in openapi()["paths"].items():
        for method, operation in methods.items():
            route = f"{method.upper()} {path}"
            if route not in MATRIX:  # OPTIONS of each path
                continue
            assert (operation["security"] == []) == (route in public), route
            assert ("401" in operation["responses"]) == (route not in public), route
            tokens = any("scanToken" in way for way in operation["security"])
            assert tokens == (MATRIX[route]["nothing"] == 401 and MATRIX[route]["?of_ack"] != 401), route
