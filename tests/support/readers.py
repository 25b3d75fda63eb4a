"""One reader a transport, all with the same face: the contract suite reads a scan through each of them."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar

import anyio
import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from scanstream.client.mirror import Mirror
from scanstream.client.websocket import Dialled
from support.plain import NO_TLS

RENEWS = "renews"
"""The id of a message that shows another credential."""
ENVELOPE = {"cursor", "opportunities", "offset", "more", "skipped", "partial_results", "rank"}


class Dropped(Exception):
    """The transport has ended, and the scan has not: come back with the cursor."""


class Refused(Exception):
    """The server does not answer this now, and says when to come again."""


class Gone(Exception):
    """The scan has expired."""


class Denied(AssertionError):
    """Who asks may not have this scan, or is told that there is none."""


FOR_NOW = (429, 503)
"""What is refused for the moment: the server is short of something, or whoever asks has as much of it as one may have.
With few descriptors left that is little."""


def granted(response: httpx.Response) -> None:
    """An answer that follows a scan.

    :raises Refused: if it is a refusal for the moment
    :raises Gone: if there is no such scan any more
    :raises Denied: if who asks may not have it
    """
    if response.status_code in FOR_NOW and "retry-after" in response.headers:
        raise Refused(str(response.status_code))
    if response.status_code == 410:
        raise Gone
    if response.status_code in (401, 403, 404):
        raise Denied(str(response.status_code))
    assert response.status_code == 200, f"{response.status_code} {response.headers}"


def _refuse(message: dict[str, Any]) -> None:
    """The same on a socket."""
    if message["type"] == "error" and message["code"] == "expired":
        raise Gone
    if message["type"] == "error" and message["code"] in ("unauthorized", "forbidden", "not_found"):
        raise Denied(message["code"])
    if message["type"] == "error" and message.get("retry_after") and message["code"] != "restarting":
        raise Refused(message["code"])


class Reader(ABC):
    """Follows one scan over one transport into a mirror. Cut it any time; the next one goes on from its cursor."""

    name: ClassVar[str]

    def __init__(self, url: str, scan_id: str, mirror: Mirror, headers: Mapping[str, str] | None = None) -> None:
        """`headers`: go along with each request, as those that say who asks."""
        self.url = url
        self.scan_id = scan_id
        self.mirror = mirror
        self.headers = dict(headers or {})
        self.frames: list[dict[str, Any]] = []
        """What came, as messages of the protocol."""
        self.stack = AsyncExitStack()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, scan_id: str, mirror: Mirror | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator["Reader"]:
        """A reader from the mirror's cursor on."""
        reader = cls(url, scan_id, Mirror() if mirror is None else mirror, headers)
        async with reader.stack:
            await reader.connect()
            yield reader

    @abstractmethod
    async def connect(self) -> None:
        """Open the transport."""

    @abstractmethod
    async def step(self) -> None:
        """Take the next thing that comes.

        :raises Dropped: if nothing will
        """

    def take(self, message: dict[str, Any]) -> None:
        """A frame or the end."""
        self.frames.append(message)
        self.mirror.apply(message)

    async def until(self, holds: Callable[[Mirror], bool]) -> None:
        """Read until the mirror is as it should be."""
        while not holds(self.mirror):
            await self.step()

    async def until_end(self) -> None:
        """Read until the server has said that nothing more will come."""
        await self.until(lambda mirror: mirror.ended)


class SocketReader(Reader):
    """WebSocket, JSON."""

    name = "websocket-json"
    subprotocol = "scanstream.v1.json"
    format: Any = msgspec.json
    compression: str | None = None
    renewed = 0
    """How often another credential was taken."""

    async def connect(self) -> None:
        """Connect and subscribe."""
        await self.dial()
        ack = await self._acked({"type": "subscribe", "id": "s", "scan_id": self.scan_id, "since": self.mirror.cursor})
        assert ack["scan_id"] == self.scan_id, ack

    async def dial(self) -> None:
        """Connect."""
        address = "ws" + self.url.removeprefix("http") + "/ws"
        options: dict[str, Any] = {"max_size": None, "compression": self.compression, "max_queue": 1}
        options |= {"close_timeout": 0.2, **({"ssl": NO_TLS} if self.url.startswith("https") else {})}
        options["additional_headers"] = self.headers
        protocols = [Subprotocol(self.subprotocol)]
        socket = connect(address, subprotocols=protocols, create_connection=Dialled, **options)
        self.socket: ClientConnection = await self.stack.enter_async_context(socket)
        assert self.socket.subprotocol == self.subprotocol

    async def discover(self, request: dict[str, Any]) -> str:
        """Start the scan that is followed here; its id."""
        ack = await self._acked({"type": "discover", "id": "d", "request": request})
        self.scan_id, self.mirror.cursor = ack["scan_id"], ack["cursor"]
        self.token: str = ack.get("scan_token", "")
        return self.scan_id

    async def _acked(self, message: dict[str, Any]) -> dict[str, Any]:
        await self.send(message)
        ack = await self.receive()
        if ack.get("code") == "restarting":  # it came in while the server was on its way out
            raise Dropped
        _refuse(ack)
        assert (ack["type"], ack["id"]) == ("ack", message["id"]), ack
        return ack

    async def send(self, message: dict[str, Any]) -> None:
        """One message."""
        encoded = self.format.encode(message)
        await self.socket.send(encoded.decode() if self.format is msgspec.json else encoded)

    async def receive(self) -> dict[str, Any]:
        """One message."""
        payload = await self.socket.recv()
        assert isinstance(payload, str) == (self.format is msgspec.json)
        message: dict[str, Any] = self.format.decode(payload)
        return message

    async def renew(self, credential: str) -> None:
        """Show another credential on the open socket; that it is taken is said among what comes (`renewed`)."""
        await self.send({"type": "authenticate", "id": RENEWS, "token": credential})

    async def step(self) -> None:
        """See `Reader.step`."""
        try:
            message = await self.receive()
        except ConnectionClosed as closed:
            if self.socket.close_code != 1012:
                raise
            raise Dropped from closed
        _refuse(message)
        if message["type"] == "error":
            assert (message["code"], message["retry_after"]) == ("restarting", 1)
        elif message["type"] == "ack" and message["id"] == RENEWS:
            self.renewed += 1
        else:
            self.take(message)


class MessagePackReader(SocketReader):
    """WebSocket, MessagePack."""

    name = "websocket-msgpack"
    subprotocol = "scanstream.v1.msgpack"
    format = msgspec.msgpack


class CompressedReader(SocketReader):
    """WebSocket, JSON, compressed where the server does that: its frames are made for each, by the plain outlet."""

    name = "websocket-deflate"
    compression = "deflate"


class EventsReader(Reader):
    """Server-sent events."""

    name = "sse"

    async def connect(self) -> None:
        """Open the stream, with `Last-Event-ID` where there is one."""
        client = await self.stack.enter_async_context(
            httpx.AsyncClient(timeout=30, verify=NO_TLS, headers=self.headers)
        )
        response = await self.stack.enter_async_context(self.request(client))
        if response.status_code == 204:
            self.mirror.ended = True
            self.lines: AsyncIterator[str] = aiter_none()
            return
        granted(response)
        assert response.headers["content-type"].startswith("text/event-stream")
        self.lines = response.aiter_lines()

    def request(self, client: httpx.AsyncClient) -> AbstractAsyncContextManager[httpx.Response]:
        """Ask for the events."""
        headers = {"last-event-id": self.mirror.cursor} if self.mirror.cursor else {}
        return client.stream("GET", f"{self.url}/opportunities/events/{self.scan_id}", headers=headers)

    def check(self, fields: dict[str, str], message: dict[str, Any]) -> None:
        """The event's name, id and data agree."""
        assert (fields["event"], fields["id"]) == (message["type"], message["cursor"])

    async def step(self) -> None:
        """One event."""
        fields: dict[str, str] = {}
        try:
            async for line in self.lines:
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "data" in fields:
                    message = msgspec.json.decode(fields["data"])
                    _refuse(message)
                    self.check(fields, message)
                    self.take(message)
                    return
        except httpx.TransportError as error:
            raise Dropped from error
        raise Dropped


async def aiter_none() -> AsyncIterator[str]:
    """No lines."""
    lines: tuple[str, ...] = ()
    for line in lines:
        yield line


class PollReader(Reader):
    """Plain polling with `since`, a pause between two requests."""

    name = "poll"
    query = ""
    pause = 0.005

    async def connect(self) -> None:
        """A client that keeps its connection."""
        self.client = await self.stack.enter_async_context(
            httpx.AsyncClient(timeout=70, verify=NO_TLS, headers=self.headers)
        )

    async def step(self) -> None:
        """One request, as the message that a stream would have sent."""
        since = self.mirror.cursor or "none"
        address = f"{self.url}/opportunities/status/{self.scan_id}?since={since}{self.query}"
        try:
            response = await self.client.get(address)
        except httpx.TransportError as error:
            raise Dropped from error
        granted(response)
        assert "etag" not in response.headers
        body = msgspec.json.decode(response.content)
        state = {name: value for name, value in body.items() if name not in ENVELOPE}
        news = {name: body[name] for name in ("cursor", "opportunities", "offset")}
        more = {"more": True} if body.get("more") else {}
        if body["offset"] == 0 and not self._continues(since, body):
            self.take({"type": "snapshot", "state": state, **news, **more})
        else:
            self.take({"type": "update", "patch": state, **news, **more})
        if state["status"] != "scanning" and not more:
            self.take({"type": "end", "cursor": body["cursor"], "status": state["status"]})
        elif not more and self.pause:
            await anyio.sleep(self.pause)

    def _continues(self, since: str, body: dict[str, Any]) -> bool:
        """Whether the answer goes on from `since`: nothing held yet, and the same epoch."""
        same_epoch = since.partition("-")[0] == body["cursor"].partition("-")[0]
        return same_epoch and not self.mirror.opportunities


class LongPollReader(PollReader):
    """Long polling: the server answers when there is something new."""

    name = "long-poll"
    query = "&wait=30"
    pause = 0


def follow_body(reader: Reader) -> dict[str, Any]:
    """One scan, from where the reader is."""
    since = {"since": reader.mirror.cursor} if reader.mirror.cursor else {}
    return {"follow": [{"scan_id": reader.scan_id, **since}], "wait": 30}


class FollowEventsReader(EventsReader):
    """The same over `follow`, which takes many scans."""

    name = "follow-events"

    def request(self, client: httpx.AsyncClient) -> AbstractAsyncContextManager[httpx.Response]:
        """Ask for the events of one scan."""
        headers = {"accept": "text/event-stream"}
        return client.stream("POST", f"{self.url}/opportunities/follow", headers=headers, json=follow_body(self))

    def check(self, fields: dict[str, str], message: dict[str, Any]) -> None:
        """The data says all; there is no id."""
        assert (fields["event"], fields.get("id")) == (message["type"], None)
        assert message["scan_id"] == self.scan_id


class FollowPollReader(Reader):
    """The long poll of `follow`."""

    name = "follow-poll"

    async def connect(self) -> None:
        """A client that keeps its connection."""
        self.client = await self.stack.enter_async_context(
            httpx.AsyncClient(timeout=70, verify=NO_TLS, headers=self.headers)
        )

    async def step(self) -> None:
        """One request."""
        try:
            response = await self.client.post(f"{self.url}/opportunities/follow", json=follow_body(self))
        except httpx.TransportError as error:
            raise Dropped from error
        granted(response)
        frames = msgspec.json.decode(response.content)["frames"]
        assert len(frames) <= 1, "at most one frame a scan"
        for message in frames:
            _refuse(message)
            assert message["scan_id"] == self.scan_id
            self.take(message)


READERS: list[type[Reader]] = [
    SocketReader,
    MessagePackReader,
    CompressedReader,
    EventsReader,
    FollowEventsReader,
    FollowPollReader,
    LongPollReader,
    PollReader,
]
