"""One reader for each transport, all with the same face: what comes over it goes into a strict `Copy`."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar
from urllib.parse import quote

import anyio
import httpx

from scanstream.conformance import strictly
from scanstream.conformance.asking import JSON, MSGPACK, Answer, Server
from scanstream.conformance.copy import Copy
from scanstream.conformance.cursors import place, read
from scanstream.conformance.events import MESSAGES, Event, events, lines
from scanstream.conformance.laws import ENVELOPE, TERMINAL
from scanstream.conformance.promise import Cut, equal, expect

WAIT_SECONDS = 20
EARLY_SECONDS = 1
"""What clocks may differ in, and more."""
PAUSE_SECONDS = 0.01
NO_CURSOR = "0"
"""What asks `?since=` for everything: a cursor of nobody's log."""


class Door(ABC):
    """Follows one scan over one transport. Cut it any time: the next one goes on from the copy's cursor."""

    name: ClassVar[str]
    polls: ClassVar[bool] = False
    """Whether it asks for states, so that answers bring the whole state and may bring nothing new."""

    def __init__(self, server: Server, copy: Copy) -> None:
        self.server = server
        self.copy = copy
        self.frames: list[dict[str, Any]] = []
        self.stack = AsyncExitStack()

    @classmethod
    @asynccontextmanager
    async def open(cls, server: Server, copy: Copy) -> AsyncIterator["Door"]:
        """A reader from the copy's cursor on."""
        copy.resumed()
        door = cls(server, copy)
        server.trace.noted(f"{cls.name} opens from {copy.cursor}")
        async with door.stack:
            await door.connect()
            yield door

    @abstractmethod
    async def connect(self) -> None:
        """Open the transport."""

    @abstractmethod
    async def step(self) -> None:
        """Take the next thing that comes."""

    def take(self, frame: dict[str, Any]) -> None:
        """A frame or the end."""
        self.frames.append(frame)
        self.copy.take(frame)

    async def until(self, holds: Callable[[Copy], bool]) -> None:
        """Read until the copy is as it should be, or the scan has ended."""
        while not self.copy.ended and not holds(self.copy):
            await self.step()

    async def until_end(self) -> None:
        """Read until the server has said that nothing more will come."""
        await self.until(lambda _: False)


def of_the_scan(message: Any) -> None:
    """Go on unless it is an error of the whole connection.

    :raises Cut: if it is
    """
    if isinstance(message, dict) and message.get("type") == "error" and "scan_id" not in message:
        raise Cut("a frame, or the end", f"an error of the connection: {message.get('code')}")


class SocketDoor(Door):
    """WebSocket, JSON."""

    name = "websocket"
    subprotocol = JSON

    async def connect(self) -> None:
        """Subscribe: the ack comes before any frame."""
        self.socket = await self.stack.enter_async_context(self.server.socket(self.subprotocol))
        equal(self.socket.connection.subprotocol, self.subprotocol, "the subprotocol")
        scan_id = self.copy.scan_id
        await self.socket.send(type="subscribe", id="s", scan_id=scan_id, since=self.copy.cursor)
        ack = await self.socket.receive()
        told = (ack["type"], ack.get("id"), ack.get("scan_id"))
        equal(told, ("ack", "s", scan_id), "the ack of a subscription, before any frame")

    async def step(self) -> None:
        """One message."""
        message = await self.socket.receive()
        of_the_scan(message)
        equal(message.get("scan_id"), self.copy.scan_id, "the scan_id of a message")
        self.take(message)


class PackedDoor(SocketDoor):
    """WebSocket, MessagePack."""

    name = "msgpack"
    subprotocol = MSGPACK


class EventsDoor(Door):
    """Server-sent events."""

    name = "sse"

    async def connect(self) -> None:
        """Open the stream, with `Last-Event-ID` where there is a cursor."""
        response = await self.stack.enter_async_context(self.request())
        self.server.trace.came(str(response.status_code))
        if response.status_code == 204:
            self.nothing_left()
            return
        expect(response.status_code == 200, f"200 of {self.name}", response.status_code)
        kind = response.headers.get("content-type", "")
        expect(kind.startswith("text/event-stream"), "text/event-stream", kind)
        self.events = events(lines(response.aiter_bytes()))

    def nothing_left(self) -> None:
        """204 is for a scan that has ended, to who holds its end."""
        status = self.copy.state.get("status")
        expect(status in TERMINAL, "204 only where nothing is left of a terminal scan", status)
        self.copy.ended = True

    def request(self) -> Any:
        """Ask for the events."""
        headers = {"last_event_id": self.copy.cursor} if self.copy.cursor else {}
        return self.server.answering("GET", f"/opportunities/events/{self.copy.scan_id}", headers=headers)

    def agrees(self, event: Event, message: dict[str, Any]) -> None:
        """The event's name and id say what its data says."""
        equal(event.name, message.get("type"), "the event's name")
        equal(event.id, message.get("cursor"), "the event's id")

    async def step(self) -> None:
        """One event."""
        try:
            async for event in self.events:
                self.server.trace.came(f"{self.name} {event.name} {event.id or ''}", event.data)
                if event.name in MESSAGES:
                    self._event(event)
                    return
        except httpx.HTTPError as error:
            raise Cut("an event, or the end", f"the stream broke off ({error!r})") from error
        raise Cut("the stream to go on until its end", "closed without an end")

    def _event(self, event: Event) -> None:
        message = strictly.from_json(event.data)
        of_the_scan(message)
        self.agrees(event, message)
        self.take(message)


class FollowEventsDoor(EventsDoor):
    """The same over `follow`, which takes many scans."""

    name = "follow-events"

    def request(self) -> Any:
        """Ask for the events of one scan."""
        headers = {"accept": "text/event-stream"}
        return self.server.answering("POST", "/opportunities/follow", follow_body(self.copy), headers)

    def agrees(self, event: Event, message: dict[str, Any]) -> None:
        """The data says all; there is no id."""
        equal(event.name, message.get("type"), "the event's name")
        equal(event.id, None, "the event's id in follow, where cursors are in the data")
        equal(message.get("scan_id"), self.copy.scan_id, "scan_id in the data")


class FollowPollDoor(Door):
    """The long poll of `follow`."""

    name = "follow-poll"

    async def connect(self) -> None:
        """Nothing is to be opened."""

    async def step(self) -> None:
        """One question."""
        self.copy.asked_anew()
        began = anyio.current_time()
        answer = await self.server.post("/opportunities/follow", follow_body(self.copy), accept="application/json")
        frames, took = frames_of(answer), anyio.current_time() - began
        expect(len(frames) <= 1, "at most one frame a scan", frames)
        waited = answer.object()["frames"] or took > WAIT_SECONDS - EARLY_SECONDS
        expect(
            waited, f"no empty list of frames before the wait of {WAIT_SECONDS} s is over", f"one after {took:.1f} s"
        )
        for frame in frames:
            equal(frame.get("scan_id"), self.copy.scan_id, "scan_id of a frame")
            self.take(frame)


def frames_of(answer: Answer) -> list[dict[str, Any]]:
    """What a long poll of `follow` has brought, of types that the protocol knows.

    :raises Broken: if it is no list of messages
    """
    frames = answer.being(200).object().get("frames")
    messages = isinstance(frames, list) and all(isinstance(one, dict) and "type" in one for one in frames)
    expect(messages, "frames: a list of messages", frames)
    return [one for one in frames or () if one["type"] in MESSAGES]


def follow_body(copy: Copy) -> dict[str, Any]:
    """One scan, from where its copy is."""
    since = {"since": copy.cursor} if copy.cursor else {}
    return {"follow": [{"scan_id": copy.scan_id, **since}], "wait": WAIT_SECONDS}


class PollDoor(Door):
    """Polling with `since`, with a pause between two questions."""

    name = "poll"
    polls = True
    query = ""
    pause = PAUSE_SECONDS

    async def connect(self) -> None:
        """Nothing is to be opened."""

    async def step(self) -> None:
        """One question, as the frame that a stream would have sent."""
        self.copy.asked_anew()
        since = self.copy.cursor or NO_CURSOR
        path = f"/opportunities/status/{self.copy.scan_id}?since={quote(since)}{self.query}"
        answer = (await self.server.get(path)).being(200)
        expect("etag" not in answer.headers, "no ETag with since", answer.headers.get("etag"))
        body = answer.object()
        for name in ("cursor", "opportunities", "offset"):
            expect(name in body, f"{name} in an answer with since", sorted(body))
        frame = as_frame(body, self.copy)
        if frame["cursor"] != self.copy.cursor:
            self.take(frame)
        elif self.copy.state:
            equal(frame.get("patch"), self.copy.state, "the state at the cursor that is held")
        ended = body.get("status") in TERMINAL and not body.get("more")
        if ended:
            self.take({"type": "end", "cursor": body["cursor"], "status": body["status"]})
        elif self.pause and not body.get("more"):
            await anyio.sleep(self.pause)


def as_frame(body: dict[str, Any], copy: Copy) -> dict[str, Any]:
    """A status answer with since as the message of a stream: an update where it goes on from the cursor held."""
    state = {name: value for name, value in body.items() if name not in ENVELOPE}
    news: dict[str, Any] = {name: body[name] for name in ("cursor", "opportunities", "offset", "more") if name in body}
    at, held = place(body["cursor"]), read(copy.cursor)
    goes_on = held is not None and held.seq > 0 and held.epoch == at.epoch and at.seq >= held.seq
    kind: dict[str, Any] = {"type": "update", "patch": state} if goes_on else {"type": "snapshot", "state": state}
    return {**kind, "scan_id": body.get("scan_id"), **news}


class LongPollDoor(PollDoor):
    """Long polling: the server answers when there is news."""

    name = "long-poll"
    query = f"&wait={WAIT_SECONDS}"
    pause = 0.0


DOORS: tuple[type[Door], ...] = (
    SocketDoor,
    PackedDoor,
    EventsDoor,
    FollowEventsDoor,
    FollowPollDoor,
    LongPollDoor,
    PollDoor,
)
"""All transports, the best first."""
