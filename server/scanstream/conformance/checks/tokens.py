"""Section 8: what tokens open that are given out: for one scan, for a link, and on an open socket."""

from urllib.parse import quote

import anyio

from scanstream.conformance.asking import JSON, Server, Socket
from scanstream.conformance.checks.callers import NOBODYS, READS, following, required, shut
from scanstream.conformance.checks.refusals import problem
from scanstream.conformance.doors import frames_of
from scanstream.conformance.events import MESSAGES, Event, events, lines
from scanstream.conformance.promise import check, equal, expect
from scanstream.conformance.run import Run

LINK_SECONDS = 3
"""A link is shared for."""
FOLLOW = "/opportunities/follow"
EXPELLED_SECONDS = 2 + 1
"""After which a connection is closed whose credential has run out, and what a busy machine may be late."""


@check("scan-token", "8", "The scan_token of an ack opens this one scan, on every transport, and nothing else")
async def scan_token(run: Run) -> None:
    """Reads, follows and cancels it; lists, latest, discover and other scans stay closed."""
    await required(run)
    started, another = await run.scans.start("long"), await run.scans.start()
    token = started.ack.get("scan_token")
    expect(isinstance(token, str) and token.startswith("sst_"), "a scan_token in the ack", started.ack)
    async with run.server.shown(str(token)).open() as bearer:
        await _opens(run, bearer, started.scan_id, str(token))
        await _stays_closed(run, bearer, another.scan_id, str(token))
        cancel = f"/opportunities/cancel/{started.scan_id}"
        (await bearer.post(cancel)).being(202)
        (await run.stranger.post(f"{cancel}?token={quote(str(token))}")).being(202)
    (await run.server.get(f"/opportunities/status/{started.scan_id}?token={quote(NOBODYS)}")).being(401)
    async with run.server.socket() as socket:
        ack = await run.scans.discover_on(socket, "d", run.scans.request())
        run.scans.known(ack)
        given = ack.get("scan_token")
        expect(isinstance(given, str) and given.startswith("sst_"), "a scan_token in the ack on a socket", ack)


async def _stays_closed(run: Run, bearer: Server, another: str, token: str) -> None:
    """To who shows the token in a header, in an address, on a socket."""
    for method, path in (("POST", "discover"), ("GET", "scans"), ("GET", "status/latest")):
        body = run.scans.request() if method == "POST" else None
        problem(await bearer.ask(method, f"/opportunities/{path}", body), 403)
    (await bearer.get(f"/opportunities/status/{another}")).being(404)
    (await run.stranger.get(f"/opportunities/status/{another}?token={quote(token)}")).being(404)
    told = [(one["type"], one.get("code")) for one in frames_of(await bearer.post(FOLLOW, following(another)))]
    equal(told, [("error", "not_found")], "what follow says of another scan to a scan token")
    async with bearer.socket() as socket:
        for kind in ("subscribe", "cancel"):
            await socket.send(type=kind, id=kind, scan_id=another)
            message = await socket.receive()
            seen = message["type"], message.get("code")
            equal(seen, ("error", "not_found"), f"the answer to {kind} of another scan to a scan token")
        await _is_refused(socket, "discover", request=run.scans.request())
        await _is_refused(socket, "subscribe", scan_id="latest")


async def _is_refused(socket: Socket, kind: str, **more: object) -> None:
    """What a token gives no right to; the socket may be closed behind it."""
    await socket.send(type=kind, id="refused", **more)
    message = await socket.receive()
    while message["type"] in ("snapshot", "update", "end"):
        message = await socket.receive()
    equal(message["type"], "error", f"the answer to {kind}, which the token gives no right to")


async def _opens(run: Run, bearer: Server, scan_id: str, token: str) -> None:
    """Shown in a header, in an address, and to a socket."""
    for path in READS:
        where = f"/opportunities/{path.format(scan_id)}"
        async with bearer.answering("GET", where) as answer:
            expect(answer.status_code in (200, 202), f"an answer to GET {where}", answer.status_code)
        async with run.stranger.answering("GET", f"{where}?token={quote(token)}") as answer:
            expect(answer.status_code in (200, 202), f"an answer to GET {where}?token=…", answer.status_code)
    for asked, path in ((bearer, ""), (run.stranger, f"?token={quote(token)}")):
        frames = frames_of(await asked.post(f"{FOLLOW}{path}", following(scan_id)))
        expect(frames and frames[0]["type"] != "error", "frames of the scan from follow", frames)
    async with bearer.socket() as socket:
        await socket.send(type="subscribe", id="1", scan_id=scan_id)
        equal((await socket.receive())["type"], "ack", "the answer to subscribe")


@check("share", "8", "A token that was shared gives what it says, until it ends: to read is not to cancel")
async def share(run: Run) -> None:
    """For some seconds."""
    await required(run)
    scan_id = (await run.scans.start("long")).scan_id
    wanted = {"rights": ["read"], "expires_in_seconds": LINK_SECONDS}
    shared = (await run.server.post(f"/opportunities/share/{scan_id}", wanted)).being(200).object()
    over = anyio.current_time() + LINK_SECONDS
    async with run.server.shown(shared["token"]).open() as bearer, anyio.create_task_group() as tasks:
        tasks.start_soon(_stream_ends, bearer, scan_id, over)
        tasks.start_soon(_socket_ends, bearer, scan_id, over)
        status = f"/opportunities/status/{scan_id}"
        (await bearer.get(status)).being(200)
        problem(await bearer.post(f"/opportunities/cancel/{scan_id}"), 403)
        problem(await bearer.post(f"/opportunities/share/{scan_id}", {"rights": ["cancel"]}), 403)
        await anyio.sleep_until(over)
        problem(await bearer.get(status), 401)
    equal((await run.scans.until_terminal(scan_id))["status"], "complete", "how the scan ends")


async def _socket_ends(bearer: Server, scan_id: str, over: float) -> None:
    """It reads, cancels nothing, and is closed when the link has ended."""
    async with bearer.socket(JSON) as socket:
        await socket.send(type="subscribe", id="s", scan_id=scan_id)
        await socket.until("ack", "s")
        await _is_refused(socket, "cancel", scan_id=scan_id)
        with anyio.CancelScope(deadline=over + EXPELLED_SECONDS) as scope:
            await shut(socket, "a socket whose credential has run out")
        expect(not scope.cancelled_caught, "a socket to be closed when its credential runs out", "it is open")


async def _stream_ends(bearer: Server, scan_id: str, over: float) -> None:
    """With an error, unless the scan has ended before."""
    last: Event | None = None
    with anyio.CancelScope(deadline=over + EXPELLED_SECONDS) as scope:
        async with bearer.answering("GET", f"/opportunities/events/{scan_id}") as response:
            async for event in events(lines(response.aiter_bytes())):
                last = event if event.name in MESSAGES else last
    expect(not scope.cancelled_caught, "an event stream to end when its credential runs out", "it goes on")
    late = anyio.current_time() > over  # the scan may end in the seconds in which the link's end is found out
    names, words = (("end", "error"), "an error, or the scan's end,") if late else (("end",), "the scan's end")
    expect(last and last.name in names, f"{words} as the last event of such a stream", last)


@check("renewal", "4, 8", "authenticate puts another credential of the caller in place of the first, and nobody else's")
async def renewal(run: Run) -> None:
    """A socket goes on, whatever was shown on it."""
    await required(run)
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
