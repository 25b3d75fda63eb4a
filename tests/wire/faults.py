"""What is wrong with a network, and what that does to the bytes that pass through it."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import anyio

HELD = 64 * 1024
"""Bytes of a stream that a buffering proxy keeps back."""
UNKNOWN_FIELDS: dict[str, Any] = {
    "x_unknown": [1, {"deep": None}],
    "x_none": None,
    "x_true": True,
    "x_number": -1.5e300,
    "x_empty": {},
    "": [[]],
    "from": 10**9,
    "to": "k-1.0",
    "zzz": "new in version 2",
}
TWICE = b', "x_twice": 1, "x_twice": {"x_twice": "\xc3\xa4\xf0\x9f\x98\x80"}}'
INJECTED = {*UNKNOWN_FIELDS, "x_twice"}
"""All names that are added to objects."""
FRAMES = ("snapshot", "update", "end")
SCANNING = "scanning"
UNKNOWN_EVENT = b"event: forecast\nid: zz-9.9\nx-unknown: 1\ndata: this is no JSON\n\n: nor is this an event\n\n"
TEXT = 1
CLOSE = 8

Through = Callable[[bytes], bytes]
"""Bytes as they come to bytes as they go on."""


@dataclass
class Faults:
    """What is wrong with the network; all at once if several are set. Connections look at it as they go on."""

    refuse_upgrade: int = field(default=0, metadata={"help": "answer WebSocket handshakes with this status"})
    refuse_streams: int = field(default=0, metadata={"help": "answer those who want event streams with this status"})
    close_at_once: bool = field(default=False, metadata={"help": "accept WebSockets, and close them at once"})
    hang_up: bool = field(default=False, metadata={"help": "accept every connection, and close it without a word"})
    mute: str = field(default="", metadata={"help": "let open sockets and streams fall silent: up, down or both"})
    mute_after: float = field(default=1.0, metadata={"help": "seconds after which they do"})
    drop_after: int = field(default=0, metadata={"help": "cut every connection after so many bytes to the client"})
    delay: float = field(default=0.0, metadata={"help": "seconds that every byte is late, each way"})
    reset_every: float = field(default=0.0, metadata={"help": "seconds after which all connections are reset"})
    buffer_streams: bool = field(default=False, metadata={"help": "keep event streams back until 64 KiB are there"})
    bad_gateway_every: int = field(default=0, metadata={"help": "answer every so many-th request with 502 and HTML"})
    bad_status: int = field(default=502, metadata={"help": "or with this status; of a redirect it is where one was"})
    bad_retry_after: str = field(default="", metadata={"help": "and with this in Retry-After"})
    swallow_acks: int = field(default=0, metadata={"help": "lose so many answers to discover, and the connection"})
    hold_acks: int = field(default=0, metadata={"help": "lose so many answers to discover, and keep the connection"})
    lose_acks: int = field(default=0, metadata={"help": "lose so many acks of WebSockets; their frames still come"})
    repeat_frames: bool = field(default=False, metadata={"help": "bring every frame twice"})
    swap_frames: int = field(default=0, metadata={"help": "bring every so many-th frame after the one behind it"})
    lose_updates: int = field(default=0, metadata={"help": "lose every so many-th update"})
    lose_ends: int = field(default=0, metadata={"help": "lose so many ends, each with the update that tells of it"})
    forge: bool = field(default=False, metadata={"help": "add frames of other scans and logs, and from beyond a gap"})
    odd: str = field(default="", metadata={"help": "what other makers do: see tests/wire/odd.py"})
    inject: bool = field(default=False, metadata={"help": "add message types and fields that nobody knows"})


class Head(NamedTuple):
    """The first line and the fields of a request or an answer."""

    first: str
    fields: list[tuple[str, str]]

    @classmethod
    def read(cls, raw: bytes) -> "Head":
        """As it came, without the empty line at its end."""
        first, *lines = raw.decode("latin-1").split("\r\n")
        return cls(first, [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)])

    def value(self, name: str) -> str:
        """Of a field; empty where there is none."""
        return next((value for known, value in self.fields if known.lower() == name), "")

    def having(self, **changed: str) -> bytes:
        """As bytes, with other values of some fields; an empty one leaves the field out."""
        names = {name.replace("_", "-"): value for name, value in changed.items()}
        kept = [(name, value) for name, value in self.fields if name.lower() not in names]
        lines = [self.first, *(f"{name}: {value}" for name, value in [*kept, *names.items()] if value)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def old(self) -> "Head":
        """The request in HTTP/1.0: its answer comes in one piece, or ends with the connection."""
        return self._replace(first=self.first.replace("HTTP/1.1", "HTTP/1.0"))


class Kept:
    """What a proxy that buffers has of an answer, and has not passed on: nothing, in the time that a scan takes."""

    def __init__(self) -> None:
        self.data = b""

    def through(self, data: bytes) -> bytes:
        """All that there is, once it is much."""
        self.data += data
        if len(self.data) < HELD:
            return b""
        passed, self.data = self.data, b""
        return passed


class Frames:
    """The frames of one connection as the faults have them: any number of messages for one."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._number = 0
        self._held: list[dict[str, Any]] = []
        self._ending = False
        """Whether an update that tells of an end was lost: the end is, too."""

    @property
    def harmed(self) -> bool:
        """Whether there is anything to do."""
        faults = self._faults
        harms = faults.repeat_frames, faults.swap_frames, faults.lose_updates, faults.lose_ends, faults.forge
        return any(harms) or self._ending

    def through(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        """What comes in its place."""
        if message.get("type") not in FRAMES:
            return [message]
        self._number += 1
        faults = self._faults
        if faults.lose_updates and message["type"] == "update" and self._number % faults.lose_updates == 0:
            return []
        if self._lost(message):
            return []
        told = [message] * (2 if faults.repeat_frames else 1)
        if faults.swap_frames and message["type"] == "update" and self._number % faults.swap_frames == 0:
            self._held += told
            return []
        late, self._held = self._held, []
        return [*(forged(message) if faults.forge else ()), *told, *late]

    def _lost(self, message: dict[str, Any]) -> bool:
        """Whether it is an end that is lost, or the update that tells of it."""
        if self._ending and message["type"] == "end":
            self._ending = False
            return True
        tells = message["type"] == "end" or message.get("patch", {}).get("status", SCANNING) != SCANNING
        if not tells or not self._faults.lose_ends:
            return False
        self._faults.lose_ends -= 1
        self._ending = message["type"] == "update"
        return True


class Events:
    """The events of one stream, on their way to the client, with some that nobody knows."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._frames = Frames(faults)
        self._held = b""

    def through(self, data: bytes) -> bytes:
        """Whole events only."""
        *events, self._held = (self._held + data).split(b"\n\n")
        return b"".join(map(self._event, events))

    def _event(self, event: bytes) -> bytes:
        lines = event.split(b"\n")
        told = [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: ")]
        if len(told) != 1:
            return event + b"\n\n"
        if self._frames.harmed:
            return b"".join(map(as_event, self._frames.through(json.loads(told[0]))))
        if not self._faults.inject:
            return event + b"\n\n"
        others = [line for line in lines if not line.startswith(b"data: ")]
        strange = b"event: weather\ndata: " + json.dumps(unknown(json.loads(told[0]))).encode()
        return UNKNOWN_EVENT + strange + b"\n\n" + b"\n".join([*others, b"data: " + with_fields(told[0])]) + b"\n\n"


class Messages:
    """The messages of one WebSocket, on their way to the client."""

    def __init__(self, faults: Faults, oddly: Callable[[bytes, bytes], bytes]) -> None:
        self._faults = faults
        self._frames = Frames(faults)
        self._oddly = oddly
        self._held = b""
        self.swallowed = False

    def through(self, data: bytes) -> bytes:
        """Whole frames only, changed as the faults have it; the end where an answer to discover is swallowed."""
        self._held += data
        out = b""
        while (size := _size(self._held)) is not None:
            whole, self._held = self._held[:size], self._held[size:]
            out += self._message(whole)
        return out

    def _message(self, whole: bytes) -> bytes:
        if whole[0] & 15 != TEXT:
            return whole
        body = whole[_header(whole) :]
        message = json.loads(body)
        if message["type"] == "ack" and self._faults.lose_acks > 0:
            self._faults.lose_acks -= 1
            return b""
        if message["type"] == "ack" and "poll_url" in message:
            if self._faults.hold_acks > 0:
                self._faults.hold_acks -= 1
                return b""
            if self._faults.swallow_acks > 0:
                self._faults.swallow_acks -= 1
                self.swallowed = True
                raise anyio.EndOfStream
        if self._frames.harmed:
            return b"".join(frame(TEXT, json.dumps(one).encode()) for one in self._frames.through(message))
        if not self._faults.inject:
            return self._oddly(whole, body)
        return frame(TEXT, json.dumps(unknown(message)).encode()) + frame(TEXT, with_fields(body))


def _header(data: bytes) -> int:
    """Bytes of a server's frame header (RFC 6455, section 5.2; never masked)."""
    return {126: 4, 127: 10}.get(data[1] & 127, 2)


def _size(data: bytes) -> int | None:
    """Bytes of the first frame, header and all; None while they are not all there."""
    if len(data) < 2 or len(data) < _header(data):
        return None
    header = _header(data)
    length = int.from_bytes(data[2:header]) if header > 2 else data[1] & 127
    return header + length if len(data) >= header + length else None


def frame(opcode: int, data: bytes) -> bytes:
    """A WebSocket frame of a server."""
    length = len(data)
    if length < 126:
        return bytes([128 | opcode, length]) + data
    return (
        bytes([128 | opcode, 126 if length < 1 << 16 else 127]) + length.to_bytes(2 if length < 1 << 16 else 8) + data
    )


def closing(code: int) -> bytes:
    """A WebSocket frame that closes."""
    return frame(CLOSE, struct.pack(">H", code))


def unknown(message: dict[str, Any]) -> dict[str, Any]:
    """A message of a type that nobody knows, about the same scan; what it says is true of nothing."""
    scan_id = message.get("scan_id", "scan_of_the_sky")
    return {"type": "weather", "scan_id": scan_id, "cursor": "zz-9.9", "state": {"status": "sunny"}, "patch": 1}


def forged(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Frames that nobody may believe, beside a true one: of another scan, of another log, from beyond a gap."""
    epoch, _, place = message["cursor"].partition("-")
    seq, _, n = place.partition(".")
    beyond = f"{epoch}-{int(seq) + 50}.{n}"
    lie = {"status": "failed", "phase": "forged"}
    found = [{"id": "forged"}]
    another = {
        "type": "snapshot",
        "scan_id": "scan_of_the_sky",
        "cursor": "zz-9.1",
        "state": lie,
        "opportunities": found,
    }
    if message["type"] != "update":
        return [another]
    return [another, {**message, "cursor": beyond, "patch": lie, "skipped": 3}]


def as_event(message: dict[str, Any]) -> bytes:
    """A message as it stands in a stream of events."""
    return f"event: {message['type']}\ndata: {json.dumps(message)}\n\n".encode()


def polled(body: bytes, frames: Frames) -> bytes:
    """The answer to a long poll as the faults have it."""
    told = json.loads(body)
    if isinstance(told, dict) and isinstance(told.get("frames"), list):
        told["frames"] = [one for message in told["frames"] for one in frames.through(message)]
        return json.dumps(told).encode()
    return body


def with_fields(body: bytes) -> bytes:
    """A JSON object with more fields than anybody knows, in all objects that may get more; with messages, too."""
    return json.dumps(_more(json.loads(body))).encode()[:-1] + TWICE


def _more(told: dict[str, Any]) -> dict[str, Any]:
    deeper = {key: _deeper(key, value) for key, value in told.items()}
    return {**deeper, **UNKNOWN_FIELDS}


def _deeper(key: str, value: Any) -> Any:
    if key in ("state", "patch", "progress") and isinstance(value, dict):
        return _more(value)
    if key in ("opportunities", "scans") and isinstance(value, list):
        return [_more(one) for one in value]
    if key == "frames" and isinstance(value, list):
        return [either for one in value for either in (unknown(one), _more(one))]
    return value
