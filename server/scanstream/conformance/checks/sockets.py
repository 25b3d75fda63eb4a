"""Section 4: what a WebSocket does beside frames."""

from base64 import urlsafe_b64encode

from websockets.utils import accept_key

from scanstream.conformance.asking import JSON, MSGPACK
from scanstream.conformance.copy import Copy
from scanstream.conformance.promise import check, equal, expect, says
from scanstream.conformance.run import Run
from scanstream.conformance.wire import wired

KEY = "c2NhbnN0cmVhbSBhc2tzIQ=="
UPGRADE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec_websocket_version": "13",
    "sec_websocket_key": KEY,
}
NO_TOKEN = "nobody"  # noqa: S105  # no secret
"""Shown where nobody is asked who they are, and nobody looks at it."""


@check("subprotocols", "4", "JSON is the default; MessagePack says the same, value for value")
async def subprotocols(run: Run) -> None:
    """The same subscription in both."""
    record = await run.recorded()
    async with run.server.socket() as socket:
        expect(socket.connection.subprotocol is None, "no subprotocol where none is offered", socket.name)
        await socket.send(type="ping")
        equal((await socket.receive())["type"], "pong", "the answer, in JSON")
    told = []
    for subprotocol in (JSON, MSGPACK):
        async with run.server.socket(subprotocol) as socket:
            equal(socket.connection.subprotocol, subprotocol, "the subprotocol that was offered")
            await socket.send(type="subscribe", id="s", scan_id=record.scan_id)
            messages = [await socket.receive()]
            while messages[-1]["type"] != "end":
                messages.append(await socket.receive())
            told.append(messages)
    equal(told[1], told[0], "the messages in MessagePack")


@check(
    "handshake",
    "3, 4, 8",
    "A handshake is answered with 101 and the format alone; what is none is 426, and no credential is told back",
)
async def handshake(run: Run) -> None:
    """Byte by byte: what a library would pass over."""
    shown = urlsafe_b64encode((run.options.token or NO_TOKEN).encode()).decode().rstrip("=")
    offers = {
        "": None,
        JSON: JSON,
        MSGPACK: MSGPACK,
        f"{MSGPACK}, {JSON}": JSON,
        f"{JSON}, scanstream.bearer.{shown}": JSON,
        f"something.else, {MSGPACK}": MSGPACK,
    }
    for offered, chosen in offers.items():
        status, headers = await _upgraded(run, **({"sec_websocket_protocol": offered} if offered else {}))
        equal(status, 101, f"the answer to a handshake that offers {offered.partition('bearer')[0] or 'nothing'}")
        told = {name: headers.get(name, "").lower() for name in ("upgrade", "connection", "sec-websocket-accept")}
        wanted = {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-accept": accept_key(KEY).lower()}
        equal(told, wanted, "the headers of a 101 (RFC 6455, section 4.2.2)")
        equal(headers.get("sec-websocket-protocol"), chosen, "the subprotocol, and no credential")
        expect("sec-websocket-extensions" not in headers, "no extension that was not offered", headers)
    status, _ = await _upgraded(run, sec_websocket_version="12")
    expect(status in (400, 426), "a refusal of a version that nobody speaks (RFC 6455, section 4.4)", status)
    (await run.server.get("/ws")).being(426)


async def _upgraded(run: Run, **changed: str) -> tuple[int, dict[str, str]]:
    async with wired(run.server) as wire:
        await wire.say(wire.head("GET", "/ws", **{**UPGRADE, **changed}))
        return await wire.answer()


@check("replies", "4", "Every reply repeats the id of its message; a message without one is answered without")
async def replies(run: Run) -> None:
    """Pings, errors, acks."""
    for subprotocol in (JSON, MSGPACK):
        async with run.server.socket(subprotocol) as socket:
            for message_id in ("1", "x" * 64, "é"):
                await socket.send(type="ping", id=message_id)
                says(await socket.receive(), "the answer to a ping", type="pong", id=message_id)
                await socket.send(type="cancel", id=message_id, scan_id="scan_1")
                says(await socket.receive(), "the answer to a cancel of nobody's", type="error", id=message_id)
            await socket.send(type="ping")
            says(await socket.receive(), "the answer to a ping without an id", type="pong")
            await socket.send(type="ping", id="x" * 65)
            message = await socket.receive()
            told = message["type"], message.get("code")
            equal(told, ("error", "invalid_message"), "the answer to an id of 65 letters")


@check("unknown-fields", "3, 4", "A receiver passes over fields that it does not know")
async def unknown_fields(run: Run) -> None:
    """In messages of every type; a discover's request is closed, and names them."""
    async with run.server.socket() as socket:
        await socket.send(type="ping", id="p", x_unknown={"deep": [None]})
        says(await socket.receive(), "the answer to a ping with more in it", type="pong", id="p")
        ack = await run.scans.discover_on(socket, "d", run.scans.request(), x_unknown=1)
        equal(ack["type"], "ack", "the answer to a discover with more in it")
        scan_id = run.scans.known(ack)
        for kind in ("subscribe", "unsubscribe", "cancel"):
            await socket.send(type=kind, id=kind, scan_id=scan_id, x_unknown="?", future=True)
            equal((await socket.until("ack", kind))["scan_id"], scan_id, f"the answer to {kind} with more in it")
    answer = await run.server.get(f"/opportunities/status/{scan_id}?x_unknown=1")
    answer.being(200)


@check("malformed-messages", "4", "What is no message is an error, and the socket stays open; ten in a row end it")
async def malformed_messages(run: Run) -> None:
    """No JSON, no object, no type, an unknown one, a field of a wrong type."""
    wrong = {
        "{": "invalid_json",
        "[]": "invalid_message",
        '{"id": "n"}': "invalid_message",
        '{"type": "no-such-type", "id": "n"}': "invalid_message",
        '{"type": "subscribe", "id": "n", "scan_id": 7}': "invalid_message",
        '{"type": "subscribe", "id": "n"}': "invalid_message",
    }
    async with run.server.socket() as socket:
        for text, code in wrong.items():
            await socket.raw(text)
            message = await socket.receive()
            equal((message["type"], message.get("code")), ("error", code), f"the answer to {text}")
        await socket.send(type="ping", id="still")
        says(await socket.receive(), "the answer of a socket that is open", type="pong", id="still")
    async with run.server.socket() as socket:
        for _ in range(10):
            await socket.raw("{")
        equal(await socket.closed(), 1008, "the close code after ten messages that are none")


@check("wrong-frames", "4", "The wrong kind of frame closes the socket with 1003, invalid UTF-8 with 1007")
async def wrong_frames(run: Run) -> None:
    """Binary on JSON, text on MessagePack."""
    for subprotocol, data in ((JSON, b"\x80"), (MSGPACK, "{}")):
        async with run.server.socket(subprotocol) as socket:
            await socket.raw(data)
            equal(await socket.closed(), 1003, f"the close code of {subprotocol}")
    async with run.server.socket() as socket:
        await socket.connection.send(b'{"type": "\xff"}', text=True)
        equal(await socket.closed(), 1007, "the close code")


@check("unsubscribe", "4", "After the ack of an unsubscribe no frame of the scan follows; the scan goes on")
async def unsubscribe(run: Run) -> None:
    """In mid-scan: what comes until the scan is over is of another one, which is followed to its end."""
    scan_id, other = [(await run.scans.start("long")).scan_id for _ in range(2)]
    copy, over = Copy(other), False
    async with run.server.socket() as socket:
        await socket.send(type="subscribe", id="s", scan_id=scan_id)
        await socket.until("snapshot")
        await socket.send(type="subscribe", id="o", scan_id=other)
        await socket.send(type="unsubscribe", id="u", scan_id=scan_id)
        while not (over and copy.ended):
            message = await socket.receive()
            if message["type"] == "ack":
                over = over or message.get("id") == "u"
            elif message.get("scan_id") == other:
                copy.take(message)
            else:
                expect(not over, "nothing of a scan behind the ack of its unsubscribe", message)
        await run.scans.until_terminal(scan_id)
        await socket.send(type="ping", id="p")
        says(await socket.receive(), "what comes after an unsubscribe", type="pong", id="p")


@check("subscribe-again", "4", "A second subscription replaces the position of the first: each frame comes once")
async def subscribe_again(run: Run) -> None:
    """From the beginning again, and from the cursor that is held."""
    record = await run.recorded()
    whole = record.whole
    async with run.server.socket() as socket:
        for since in (None, record.cursors()[0], None):
            copy = Copy(record.scan_id) if since is None else record.held_at(since)
            await socket.send(type="subscribe", id="s", scan_id=record.scan_id, since=since)
            await socket.until("ack", "s")
            while not copy.ended:
                copy.take(await socket.receive())
            equal(copy.opportunities, whole.opportunities, "the opportunities after a new subscription")
        await socket.send(type="ping", id="p")
        says(await socket.receive(), "nothing of the first subscription", type="pong", id="p")


@check("discover-twice", "4", "A discover of a scan that is followed on the socket is acknowledged; its stream goes on")
async def discover_twice(run: Run) -> None:
    """An identical request, in mid-scan."""
    wanted = run.scans.one_of_a_kind("long")
    async with run.server.socket() as socket:
        scan_id = run.scans.known(await run.scans.discover_on(socket, "1", wanted))
        copy, acks = Copy(scan_id), 0
        copy.take(await socket.receive())
        await socket.send(type="discover", id="2", request=wanted)
        while not copy.ended or not acks:
            message = await socket.receive()
            if message["type"] == "ack":
                acks += 1
                if message["scan_id"] != scan_id:  # it was over, and is not reused
                    await run.scans.cancel(run.scans.known(message))
                    return
            elif message.get("scan_id") == scan_id:
                if copy.ended:
                    return  # told anew, as to anybody who comes after the end
                copy.take(message)
    await run.matches(copy)
