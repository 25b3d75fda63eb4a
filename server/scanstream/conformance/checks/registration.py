"""Promises 1 and 2: registered before acknowledged, acknowledged before started."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from scanstream.conformance.asking import JSON, MSGPACK, Server
from scanstream.conformance.copy import Copy
from scanstream.conformance.cursors import place
from scanstream.conformance.events import events, lines
from scanstream.conformance.promise import Broken, check, equal, expect
from scanstream.conformance.run import Run

Question = Callable[[Server, str], Awaitable[None]]


def _asked(path: str, *statuses: int, method: str = "GET", body: Callable[[str], Any] | None = None) -> Question:
    async def ask(server: Server, scan_id: str) -> None:
        answer = await server.ask(method, path.format(scan_id), body and body(scan_id))
        answer.being(*statuses)

    return ask


async def _events(server: Server, scan_id: str) -> None:
    async with server.answering("GET", f"/opportunities/events/{scan_id}") as response:
        expect(response.status_code == 200, "200 to an event stream", response.status_code)


async def _follow(server: Server, scan_id: str, accept: str) -> None:
    headers = {"accept": accept}
    async with server.answering("POST", "/opportunities/follow", _following(scan_id), headers) as response:
        expect(response.status_code == 200, "200 to follow", response.status_code)
        if "json" in accept:
            told = (await response.aread()).decode()
        else:
            told = (await anext(events(lines(response.aiter_bytes())))).data
        expect('"error"' not in told, "a frame of the scan", told)


def _following(scan_id: str) -> dict[str, Any]:
    return {"follow": [{"scan_id": scan_id}], "wait": 5}


async def _subscribed(server: Server, scan_id: str, subprotocol: str) -> None:
    async with server.socket(subprotocol) as socket:
        await socket.send(type="subscribe", id="q", scan_id=scan_id)
        message = await socket.receive()
        equal(message["type"], "ack", "the answer to a subscription")


QUESTIONS: dict[str, Question] = {
    "status": _asked("/opportunities/status/{}", 200),
    "status with since": _asked("/opportunities/status/{}?since=0", 200),
    "long poll": _asked("/opportunities/status/{}?wait=1", 200),
    "results": _asked("/opportunities/results/{}", 200, 202),
    "events": _events,
    "follow, JSON": lambda server, scan_id: _follow(server, scan_id, "application/json"),
    "follow, events": lambda server, scan_id: _follow(server, scan_id, "text/event-stream"),
    "subscribe, JSON": lambda server, scan_id: _subscribed(server, scan_id, JSON),
    "subscribe, MessagePack": lambda server, scan_id: _subscribed(server, scan_id, MSGPACK),
    "cancel": _asked("/opportunities/cancel/{}", 202, method="POST"),
}
"""All that can be asked of a scan; each must know it at once."""


@check(
    "answers-at-once",
    "1.1",
    "From the moment when a client has the scan_id every transport on every node answers it, never with not_found",
)
async def answers_at_once(run: Run) -> None:
    """A scan for each question: the first that is asked after the ack, as fast as can be."""
    names = [*QUESTIONS]
    run.random.shuffle(names)
    for name in names:
        started = await run.scans.start()
        try:
            await QUESTIONS[name](run.server, started.scan_id)
        except Broken as broken:
            raise Broken(f"{name} to know the scan at once: {broken.expected}", broken.seen) from broken


@check("answers-at-once-on-sockets", "1.1", "The same where the ack came over a WebSocket, which still goes on")
async def answers_at_once_on_sockets(run: Run) -> None:
    """Asked over other connections, with the ack just read."""
    for subprotocol in (JSON, MSGPACK):
        for name in run.random.sample([*QUESTIONS], 4):
            async with run.server.socket(subprotocol) as socket:
                ack = await run.scans.discover_on(socket, "d", run.scans.request())
                equal(ack["type"], "ack", "the answer to discover")
                try:
                    await QUESTIONS[name](run.server, run.scans.known(ack))
                except Broken as broken:
                    raise Broken(f"{name} to know the scan at once: {broken.expected}", broken.seen) from broken


@check("ack-first", "1.2", "No state frame of a scan precedes its ack; the placeholder comes right behind it")
async def ack_first(run: Run) -> None:
    """Read from the first message of a discover on, to the end."""
    for subprotocol in (JSON, MSGPACK):
        async with run.server.socket(subprotocol) as socket:
            ack = await run.scans.discover_on(socket, "first", run.scans.request())
            equal((ack["type"], ack.get("id")), ("ack", "first"), "the first message, and its id")
            scan_id = run.scans.known(ack)
            expect(str(ack.get("cursor")).endswith("-0.0"), "an ack with the cursor <epoch>-0.0", ack.get("cursor"))
            frame = await socket.receive()
            equal((frame["type"], frame.get("scan_id")), ("snapshot", scan_id), "the message right behind the ack")
            first, before = place(frame.get("cursor")), place(ack["cursor"])
            equal((first.seq, first.n), (1, 0), "the placeholder's place in the log: 1.0")
            equal(first.epoch, before.epoch, "the epoch of ack and frames")
            copy = Copy(scan_id)
            copy.take(frame)
            while not copy.ended:
                copy.take(await socket.receive())


@check("placeholder", "1.2, 2", "A placeholder says phase init and scanning, and the true number of strategies")
async def placeholder(run: Run) -> None:
    """Of a scan with one strategy, and of one with all that the long one has."""
    for kind in ("quick", "long"):
        wanted = run.scans.request(kind)
        async with run.server.socket(JSON) as socket:
            scan_id = run.scans.known(await run.scans.discover_on(socket, "p", wanted))
            state = (await socket.receive()).get("state", {})
        equal((state.get("phase"), state.get("status")), ("init", "scanning"), "phase and status")
        progress, strategies = state["progress"], state["strategies"]
        numbers = progress["percentage"], progress["total_shards"], progress["strategies_completed"]
        equal(numbers, (0, 0, 0), "percentage, shards and strategies done")
        selected = wanted.get("strategy_ids")
        if isinstance(selected, list):
            equal(sorted(strategies), sorted(set(selected)), "the strategies of the placeholder")
            equal(state["filters"].get("strategy_ids"), selected, "filters: what was given")
        equal(progress["total_strategies"], len(strategies), "total_strategies")
        expect(strategies, "the strategies, from the beginning", strategies)
        await run.scans.cancel(scan_id)


@check("ack", "3", "An ack is 202 with Location and Retry-After, and says where the scan can be asked for")
async def ack(run: Run) -> None:
    """Over HTTP."""
    started = await run.scans.start()
    told, headers = started.ack, started.answer.headers
    equal((told.get("success"), told.get("status")), (True, "initiated"), "success and status of a new scan")
    expect("reused" not in told, "no reused in the ack of a new scan", told.get("reused"))
    expect("location" in headers and "retry-after" in headers, "Location and Retry-After", dict(headers))
    expect(str(told.get("cursor")).endswith("-0.0"), "the cursor <epoch>-0.0", told.get("cursor"))
    expect(isinstance(told.get("progress"), dict), "progress in the ack", told.get("progress"))
    expect(isinstance(told.get("filters"), dict), "filters in the ack", told.get("filters"))
    expect(isinstance(told.get("message"), str), "a message in the ack", told.get("message"))
    interval = told.get("polling_interval_seconds")
    expect(isinstance(interval, int | float) and interval > 0, "polling_interval_seconds", interval)
    for name, path in (("poll_url", "status"), ("results_url", "results"), ("events_url", "events")):
        ending = f"/opportunities/{path}/{started.scan_id}"
        expect(str(told.get(name)).endswith(ending), f"{name}: …{ending}", told.get(name))
        await _leads_to_it(run, str(told[name]), name)
    expect(urlsplit(headers["location"]).path.endswith(started.scan_id), "the scan in Location", headers["location"])
    await _leads_to_it(run, headers["location"], "Location")


async def _leads_to_it(run: Run, named: str, what: str) -> None:
    """What is named is an address on the same server, below whatever path it is reached by."""
    parts, below = urlsplit(named), urlsplit(run.server.urls[0]).path
    expect(parts.path.startswith(f"{below}/opportunities/"), f"{what} below {below}/, where the server is", named)
    (await run.server.get(parts.path.removeprefix(below))).being(200, 202)
