"""What a stranger may cost: what one connection can make the server hold, and how long it may keep it waiting.

Checked where the bytes come in (push/transport/http.py, push/transport/websocket.py), for all connections in one sweep
(push/transport/listener.py). docs/protocol.md, section 9, tells clients and operators the same numbers.
"""

import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

import uvicorn

from scanstream.push.confined import is_strict
from scanstream.push.line import Taker
from scanstream.push.transport.crowd import Crowd

MOST_HEAD_BYTES = 32 * 1024
"""Of a request's line and headers in all, unless the operator says otherwise; of its trailers as well; of what
surrounds the chunks of a body."""
MOST_HEADERS = 100
LONGEST_LINE_BYTES = 8 * 1024
"""Of one line in the head of a WebSocket's handshake: `websockets` reads no longer one."""
SLICE_BYTES = 1024
"""What the parsers are given at a time. Between two slices the bounds are looked at, so nothing passes them by much;
it also bounds how many tiny requests or messages are taken up at once."""
MOST_UNREAD_BYTES = 64 * 1024
"""Bytes kept of a connection whose earlier requests or messages are not done with; beyond that it is not read."""
HIGH_WATER_BYTES = 64 * 1024
"""Bytes in a transport's buffer from which on its connection waits."""
SLOWEST_BODY_BYTES_A_SECOND, BODY_PARTS = 1000, 4
"""A body, or a message, that goes on may take so many times as long as it may stand still, and longer as far as it has
come this fast. Else one byte each half a minute would make it wait for ever."""
MOST_REFUSED_AT_ONCE = 32
"""Connections beyond those that there may be which are told so; of more at once the rest is cut off."""
MOST_LINGER_BYTES = 64 * 1024
"""What is still taken, and thrown away, of a connection that was refused, so that the answer is not lost by a reset."""
STALL_PARTS, LONGEST_REST_SECONDS = 16, 1.0
"""A connection that is idle is looked at so often in the time that it may take no byte, and at least each second: ten
thousand looks in each sweep would be a tenth of a processor."""


class Patience(NamedTuple):
    """Seconds."""

    stall: float = 60.0
    """How long a reader may take no byte."""
    silence: float = 10.0
    """How long a new connection may say nothing, and a head that has begun may not go on."""
    head: float = 30.0
    """How long a head may take as a whole: one byte each nine seconds does not make it wait for ever."""
    body: float = 30.0
    """How long a request's body, or a message that has begun, may not go on: see `whole` for all of it."""
    linger: float = 2.0
    """How long a refused connection has to take its answer."""
    ping: float = 20.0
    """The time between two pings of a WebSocket."""
    pong: float = 60.0
    """How long its answer may take, where nothing else shows that the reader is alive."""
    sweep: float = 0.5
    """The time between two looks at all connections."""

    def whole(self, size: int) -> float:
        """How long a body or a message may take until so many bytes of it have come."""
        return BODY_PARTS * self.body + size / SLOWEST_BODY_BYTES_A_SECOND

    @property
    def rest(self) -> float:
        """How long a connection with nothing to take, or to say, is not looked at: a stall is noticed so much later."""
        return min(self.stall / STALL_PARTS, LONGEST_REST_SECONDS)


PATIENCE = Patience()


def unbounded() -> int:
    """As many as come."""
    return sys.maxsize


class DoorConfig(uvicorn.Config):
    """uvicorn's configuration, with what its transports lack."""

    patience: Patience = PATIENCE
    places: Callable[[], int] = staticmethod(unbounded)
    """How many connections there may be; asked at each."""
    crowd: Crowd | None = None
    """Who is connected; without it nobody makes room for anybody."""
    glance: Taker | None = None
    """Answers plain requests where their heads are read."""
    most_head_bytes: int = MOST_HEAD_BYTES
    strict: bool = False
    """Whether TLS ends here: then names are told to be asked by nothing else."""
    crowded: Callable[[], bool] = staticmethod(bool)
    """Whether there are as many WebSockets and streams as there may be."""


def places_of(config: uvicorn.Config) -> int:
    """How many connections there may be now; a plain uvicorn has no limit."""
    return config.places() if isinstance(config, DoorConfig) else unbounded()


def crowd_of(config: uvicorn.Config) -> Crowd:
    """Who is connected; on a plain uvicorn nobody knows."""
    return (config.crowd if isinstance(config, DoorConfig) else None) or Crowd()


def most_head_bytes_of(config: uvicorn.Config) -> int:
    """How large a head may be; a plain uvicorn has the usual."""
    return config.most_head_bytes if isinstance(config, DoorConfig) else MOST_HEAD_BYTES


def is_strict_here(config: uvicorn.Config, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether an answer to a request with these headers says that; on a plain uvicorn none does."""
    return isinstance(config, DoorConfig) and config.strict and is_strict(headers)


def is_crowded(config: uvicorn.Config) -> bool:
    """Whether one more WebSocket is refused before anything is made of it; a plain uvicorn has no limit."""
    return isinstance(config, DoorConfig) and config.crowded()


def glance_of(config: uvicorn.Config) -> Taker | None:
    """What answers plain requests; on a plain uvicorn the application answers them all."""
    return config.glance if isinstance(config, DoorConfig) else None


def patience_of(config: uvicorn.Config) -> Patience:
    """What a transport was configured with; a plain uvicorn gets the usual."""
    return config.patience if isinstance(config, DoorConfig) else PATIENCE
