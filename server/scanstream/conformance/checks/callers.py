"""Section 8: who is asking. Where a server asks nobody, or one credential is given, some of it cannot be tried."""

from base64 import urlsafe_b64encode
from random import Random
from typing import Any

import anyio

from scanstream.conformance.asking import JSON, MSGPACK, Answer, Server, Socket
from scanstream.conformance.checks.refusals import problem
from scanstream.conformance.doors import frames_of
from scanstream.conformance.events import of_body
from scanstream.conformance.promise import NotTried, check, equal, expect
from scanstream.conformance.run import Run
from scanstream.conformance.scans import Scans, nearly

NOBODYS = "ssk_nobody"
"""A key of nobody's making."""
EVERYBODYS = ("/", "/docs", "/healthz", "/openapi.json", "/asyncapi.json")
READS = ("status/{}", "results/{}", "events/{}")
ABOUT_ONE = (*READS, "explain/{}", "status/{}?since=0", "status/{}?wait=5", "results/{}?wait=5")
CLOSED = (
    *(("GET", path) for path in (*ABOUT_ONE, "scans", "market", "strategies")),
    *(("POST", path) for path in ("discover", "follow", "cancel/{}", "share/{}")),
)
"""Below `/opportunities/`."""
TOLD_SECONDS = 10
"""In which a socket without a good credential is told so and closed, on a busy machine as well."""
TELLING = ("allow", "cache-control", "content-type", "etag", "location", "retry-after", "vary", "www-authenticate")
"""Headers of which the values are compared, too; what counts answers, or tells the time, differs in each."""


async def required(run: Run) -> None:
    """:raises NotTried: where nobody is asked who they are"""
    if (await run.stranger.get("/opportunities/scans")).status == 200:
        raise NotTried("this server asks nobody who they are; try one with --auth required")


def _other(run: Run) -> Server:
    """:raises NotTried: where there is no second caller"""
    if run.other is None:
        raise NotTried("needs a credential of another principal: --other-token")
    return run.other


@check(
    "strangers",
    "8",
    "Without a good credential all but what is everybody's is 401, with a challenge",
)
async def strangers(run: Run) -> None:
    """A socket is told, and closed with 4401."""
    await required(run)
    scan_id = (await run.scans.start()).scan_id
    for shown in ({}, {"authorization": f"Bearer {NOBODYS}"}):
        for method, path in CLOSED:
            body: dict[str, Any] | None = {} if method == "POST" else None
            answer = await run.stranger.ask(method, f"/opportunities/{path.format(scan_id)}", body, shown)
            _turned_away(answer)
        (await run.stranger.ask("GET", "/metrics", headers=shown)).being(401)
    for path in EVERYBODYS:
        (await run.stranger.get(path)).being(200)
    async with run.stranger.shown(NOBODYS).open() as nobody:
        for server, more in ((run.stranger, ()), (nobody, ()), (run.stranger, (as_subprotocol(NOBODYS),))):
            for subprotocol in (JSON, MSGPACK):
                async with server.socket(subprotocol, *more) as socket:
                    with anyio.move_on_after(TOLD_SECONDS) as scope:
                        await shut(socket, "a socket without a good credential")
                    expect(not scope.cancelled_caught, "a socket without a good credential to be closed", "it is open")


def _turned_away(answer: Answer) -> None:
    """As every error is told, with a challenge; and what was shown is not told back."""
    told = problem(answer, 401)
    equal(told["code"], "unauthorized", f"the code on {answer.asked}")
    challenge = answer.headers.get("www-authenticate", "")
    expect(challenge.lower().startswith("bearer"), f"WWW-Authenticate: Bearer on {answer.asked}", challenge)
    control = answer.headers.get("cache-control", "")
    expect("no-store" in control, f"Cache-Control: no-store on {answer.asked}", control)
    said = f"{dict(answer.headers)} {answer.body.decode(errors='replace')}"
    expect(NOBODYS not in said, "a credential to be told back nowhere", said)


async def shut(socket: Socket, what: str) -> None:
    """It is told why, and closed; what comes before does not matter."""
    message = await socket.until("error")
    equal(message.get("code"), "unauthorized", f"what {what} is told")
    equal(await socket.closed(), 4401, f"the code that {what} is closed with")


def as_subprotocol(token: str) -> str:
    """A credential as a browser shows it to a WebSocket."""
    return f"scanstream.bearer.{urlsafe_b64encode(token.encode()).decode().rstrip('=')}"


@check("bearer", "8", "A credential among the subprotocols of a handshake opens a socket as one in a header does")
async def bearer(run: Run) -> None:
    """A browser can show one in no other way."""
    await required(run)
    for subprotocol in (JSON, MSGPACK):
        async with run.stranger.socket(subprotocol, as_subprotocol(str(run.options.token))) as socket:
            equal(socket.connection.subprotocol, subprotocol, "the subprotocol, and no credential")
            ack = await run.scans.discover_on(socket, "d", run.scans.request())
            equal(ack["type"], "ack", "the answer to discover, where the credential is among the subprotocols")
            run.scans.known(ack)


@check("not-yours", "1.6, 8", "Another's scan cannot be told from one that never was, on any transport, and goes on")
async def not_yours(run: Run) -> None:
    """Every answer is the same but for the id."""
    await required(run)
    other = _other(run)
    scan_id = (await run.scans.start("long")).scan_id
    never = nearly(scan_id)
    for path in ABOUT_ONE:
        told = [await other.get(f"/opportunities/{path.format(one)}") for one in (scan_id, never)]
        _alike(told, scan_id, never)
    for path in ("cancel/{}", "share/{}"):
        told = [await other.post(f"/opportunities/{path.format(one)}", {}) for one in (scan_id, never)]
        _alike(told, scan_id, never)
    for subprotocol in (JSON, MSGPACK):
        async with other.socket(subprotocol) as socket:
            await _told_nothing(socket, scan_id)
    await _follows_nothing(other, scan_id)
    listed = (await other.get("/opportunities/scans")).being(200).body
    expect(scan_id.encode() not in listed, "a list of the caller's own scans", "another's among them")
    pages = [(await other.get(f"/opportunities/scans?before={one}")) for one in (scan_id, never)]
    equal(_ids(pages[0]), _ids(pages[1]), "what a list has before another's scan: what it has before nobody's")
    equal((await run.scans.until_terminal(scan_id))["status"], "complete", "how a scan ends that others asked for")


def _alike(told: list[Answer], scan_id: str, never: str) -> None:
    theirs, nobodys = (answer.being(404) for answer in told)
    same = theirs.body.replace(scan_id.encode(), never.encode())
    equal(same, nobodys.body, f"the answer to {theirs.asked}: that of an id that never was")
    equal({*theirs.headers}, {*nobodys.headers}, f"the headers of the answer to {theirs.asked}")
    values = [{name: answer.headers.get(name) for name in TELLING} for answer in (theirs, nobodys)]
    equal(values[0], values[1], f"the headers of the answer to {theirs.asked}")


def _ids(page: Answer) -> tuple[int, list[str]]:
    """Of the scans in a list; whatever status it has."""
    return page.status, [one["scan_id"] for one in page.object().get("scans", ())]


async def _follows_nothing(other: Server, scan_id: str) -> None:
    frames = frames_of(await other.post("/opportunities/follow", following(scan_id)))
    equal([(one["type"], one.get("code")) for one in frames], [("error", "not_found")], "what follow says to others")
    stream = await other.post("/opportunities/follow", following(scan_id), accept="text/event-stream")
    names = [event.name for event in await of_body(stream.being(200).body)]
    equal(names, ["error"], "what follow says to others as events")


async def _told_nothing(socket: Socket, scan_id: str) -> None:
    for kind in ("subscribe", "cancel"):
        await socket.send(type=kind, id=kind, scan_id=scan_id)
        message = await socket.receive()
        told = message["type"], message.get("id"), message.get("code")
        equal(told, ("error", kind, "not_found"), f"the answer to {kind} of another's scan")


def following(scan_id: str) -> dict[str, Any]:
    """One scan, in `follow`."""
    return {"follow": [{"scan_id": scan_id}], "wait": 5}


@check("apart", "8", "Identical requests, and idempotency keys, of two callers are two scans; latest is one's own")
async def apart(run: Run) -> None:
    """Nobody joins another's scan."""
    await required(run)
    others = Scans(_other(run), run.scans.requests, Random(), run.patience)  # noqa: S311  # nothing secret
    try:
        wanted, key = run.scans.one_of_a_kind("long"), f"key-{run.scans.one_of_a_kind()['capital_usd']}"
        for headers in ({}, {"idempotency_key": key}):
            ours = await run.scans.discover(wanted, **headers)
            theirs = await others.discover(wanted, **headers)
            expect(ours.scan_id != theirs.scan_id, "two scans for two callers", f"{theirs.scan_id} for both")
            expect("reused" not in theirs.ack, "a new scan of another caller", theirs.ack)
        for server, scan_id in ((run.server, ours.scan_id), (_other(run), theirs.scan_id)):
            await _newest(server, scan_id)
    finally:
        with anyio.move_on_after(run.options.seconds, shield=True):
            await others.clean_up()


async def _newest(server: Server, scan_id: str) -> None:
    """What `latest` stands for, wherever it may stand."""
    for path in ("status/latest", "results/latest", "explain/latest"):
        told = (await server.get(f"/opportunities/{path}")).being(200, 202).object().get("scan_id")
        equal(told, scan_id, f"{path}, which is the caller's own")
    for frame in frames_of(await server.post("/opportunities/follow", following("latest")))[:1]:
        equal(frame.get("scan_id"), scan_id, "latest in follow, which is the caller's own")
    async with server.socket() as socket:
        await socket.send(type="subscribe", id="l", scan_id="latest", only="state")
        message = await socket.receive()
        equal((message["type"], message.get("scan_id")), ("ack", scan_id), "latest on a socket, the caller's own")
