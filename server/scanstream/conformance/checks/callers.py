"""Section 8: who is asking. Where a server asks nobody, or one credential is given, some of it cannot be tried."""

from random import Random
from typing import Any
from urllib.parse import quote

import anyio

from scanstream.conformance.asking import JSON, MSGPACK, Answer, Server, Socket
from scanstream.conformance.promise import NotTried, check, equal, expect
from scanstream.conformance.run import Run
from scanstream.conformance.scans import Scans, nearly

NOBODYS = "ssk_nobody"
"""A key of nobody's making."""
EVERYBODYS = ("/", "/docs", "/healthz", "/openapi.json", "/asyncapi.json")
READS = ("status/{}", "results/{}", "events/{}")
ABOUT_ONE = (*READS, "explain/{}", "status/{}?wait=5", "results/{}?wait=5")
CLOSED = (
    *(("GET", path) for path in (*ABOUT_ONE, "scans", "market", "strategies")),
    *(("POST", path) for path in ("discover", "follow", "cancel/{}", "share/{}")),
)
"""Below `/opportunities/`."""
LINK_SECONDS = 2
"""A link is shared for."""


async def _required(run: Run) -> None:
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
    await _required(run)
    scan_id = (await run.scans.start()).scan_id
    for shown in ({}, {"authorization": f"Bearer {NOBODYS}"}):
        for method, path in CLOSED:
            body: dict[str, Any] | None = {} if method == "POST" else None
            answer = await run.stranger.ask(method, f"/opportunities/{path.format(scan_id)}", body, shown)
            challenge = answer.being(401).headers.get("www-authenticate", "")
            expect(challenge.lower().startswith("bearer"), f"WWW-Authenticate: Bearer on {answer.asked}", challenge)
        (await run.stranger.ask("GET", "/metrics", headers=shown)).being(401)
    for path in EVERYBODYS:
        (await run.stranger.get(path)).being(200)
    async with run.stranger.socket() as socket:
        message = await socket.receive()
        equal((message["type"], message.get("code")), ("error", "unauthorized"), "what a socket without one is told")
        equal(await socket.closed(), 4401, "the code that it is closed with")


@check("not-yours", "1.6, 8", "Another's scan cannot be told from one that never was, on any transport, and goes on")
async def not_yours(run: Run) -> None:
    """Every answer is the same but for the id."""
    await _required(run)
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
    frames = (await other.post("/opportunities/follow", _follow(scan_id))).being(200).object()["frames"]
    equal([(one["type"], one.get("code")) for one in frames], [("error", "not_found")], "what follow says to others")
    listed = (await other.get("/opportunities/scans")).being(200).body
    expect(scan_id.encode() not in listed, "a list of the caller's own scans", "another's among them")
    equal((await run.scans.until_terminal(scan_id))["status"], "complete", "how a scan ends that others asked for")


def _alike(told: list[Answer], scan_id: str, never: str) -> None:
    theirs, nobodys = (answer.being(404) for answer in told)
    same = theirs.body.replace(scan_id.encode(), never.encode())
    equal(same, nobodys.body, f"the answer to {theirs.asked}: that of an id that never was")
    equal({*theirs.headers}, {*nobodys.headers}, f"the headers of the answer to {theirs.asked}")


async def _told_nothing(socket: Socket, scan_id: str) -> None:
    for kind in ("subscribe", "cancel"):
        await socket.send(type=kind, id=kind, scan_id=scan_id)
        message = await socket.receive()
        told = message["type"], message.get("id"), message.get("code")
        equal(told, ("error", kind, "not_found"), f"the answer to {kind} of another's scan")


def _follow(scan_id: str) -> dict[str, Any]:
    return {"follow": [{"scan_id": scan_id}], "wait": 5}


@check("apart", "8", "Identical requests, and idempotency keys, of two callers are two scans; latest is one's own")
async def apart(run: Run) -> None:
    """Nobody joins another's scan."""
    await _required(run)
    others = Scans(_other(run), run.scans.requests, Random(), run.patience)  # noqa: S311  # nothing secret
    try:
        wanted, key = run.scans.one_of_a_kind("long"), f"key-{run.scans.one_of_a_kind()['capital_usd']}"
        for headers in ({}, {"idempotency_key": key}):
            ours = await run.scans.discover(wanted, **headers)
            theirs = await others.discover(wanted, **headers)
            expect(ours.scan_id != theirs.scan_id, "two scans for two callers", f"{theirs.scan_id} for both")
            expect("reused" not in theirs.ack, "a new scan of another caller", theirs.ack)
        for server, scan_id in ((run.server, ours.scan_id), (_other(run), theirs.scan_id)):
            latest = (await server.get("/opportunities/status/latest")).being(200).object()["scan_id"]
            equal(latest, scan_id, "latest, which is the caller's own")
    finally:
        with anyio.move_on_after(run.options.seconds, shield=True):
            await others.clean_up()


@check("scan-token", "8", "The scan_token of an ack opens this one scan, on every transport, and nothing else")
async def scan_token(run: Run) -> None:
    """Reads, follows and cancels it; lists, latest, discover and other scans stay closed."""
    await _required(run)
    started, another = await run.scans.start("long"), await run.scans.start()
    token = started.ack.get("scan_token")
    expect(isinstance(token, str) and token.startswith("sst_"), "a scan_token in the ack", started.ack)
    async with run.server.shown(str(token)).open() as bearer:
        await _opens(run, bearer, started.scan_id, str(token))
        for method, path in (("POST", "discover"), ("GET", "scans"), ("GET", "status/latest")):
            body = run.scans.request() if method == "POST" else None
            (await bearer.ask(method, f"/opportunities/{path}", body)).being(403)
        (await bearer.get(f"/opportunities/status/{another.scan_id}")).being(404)
        (await bearer.post(f"/opportunities/cancel/{started.scan_id}")).being(202)
    (await run.server.get(f"/opportunities/status/{started.scan_id}?token={quote(NOBODYS)}")).being(401)


async def _opens(run: Run, bearer: Server, scan_id: str, token: str) -> None:
    """Shown in a header, in an address, and to a socket."""
    for path in READS:
        where = f"/opportunities/{path.format(scan_id)}"
        async with bearer.answering("GET", where) as answer:
            expect(answer.status_code in (200, 202), f"an answer to GET {where}", answer.status_code)
        async with run.stranger.answering("GET", f"{where}?token={quote(token)}") as answer:
            expect(answer.status_code in (200, 202), f"an answer to GET {where}?token=…", answer.status_code)
    for asked, path in ((bearer, ""), (run.stranger, f"?token={quote(token)}")):
        frames = (await asked.post(f"/opportunities/follow{path}", _follow(scan_id))).being(200).object()["frames"]
        expect(frames and frames[0]["type"] != "error", "frames of the scan from follow", frames)
    async with bearer.socket() as socket:
        await socket.send(type="subscribe", id="1", scan_id=scan_id)
        equal((await socket.receive())["type"], "ack", "the answer to subscribe")


@check("share", "8", "A token that was shared gives what it says, until it ends: to read is not to cancel")
async def share(run: Run) -> None:
    """For some seconds."""
    await _required(run)
    scan_id = (await run.scans.start("long")).scan_id
    wanted = {"rights": ["read"], "expires_in_seconds": LINK_SECONDS}
    shared = (await run.server.post(f"/opportunities/share/{scan_id}", wanted)).being(200).object()
    async with run.server.shown(shared["token"]).open() as bearer:
        status = f"/opportunities/status/{scan_id}"
        (await bearer.get(status)).being(200)
        (await bearer.post(f"/opportunities/cancel/{scan_id}")).being(403)
        (await bearer.post(f"/opportunities/share/{scan_id}", {"rights": ["cancel"]})).being(403)
        await anyio.sleep(LINK_SECONDS)
        (await bearer.get(status)).being(401)
    equal((await run.scans.until_terminal(scan_id))["status"], "complete", "how the scan ends")


@check("renewal", "4, 8", "authenticate puts another credential of the caller in place of the first, and nobody else's")
async def renewal(run: Run) -> None:
    """A socket goes on, whatever was shown on it."""
    await _required(run)
    async with run.server.socket() as socket:
        await socket.send(type="authenticate", id="own", token=run.options.token)
        message = await socket.receive()
        equal((message["type"], message.get("id")), ("ack", "own"), "the answer to authenticate")
        for token in (NOBODYS, run.options.other_token):
            if token is None:
                continue
            await socket.send(type="authenticate", id="other", token=token)
            message = await socket.receive()
            equal((message["type"], message.get("id")), ("error", "other"), "the answer to another's credential")
        await socket.send(type="ping", id="2")
        equal((await socket.receive())["type"], "pong", "the answer to a ping afterwards")
        await run.scans.discover_on(socket, "3", run.scans.request())
