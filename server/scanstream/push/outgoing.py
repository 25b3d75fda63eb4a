"""A message as it leaves: made ready once, whoever and however many it is for."""

from websockets.frames import Opcode

from scanstream.push.codec import Payload

WHOLE = 0x80
"""The bit of a frame that is a whole message."""


class Outgoing:
    """A message with its WebSocket frame around it (RFC 6455, section 5.2): a server's frames are not masked, so one
    serves all readers."""

    __slots__ = ("_header_bytes", "frame", "text")

    def __init__(self, payload: Payload) -> None:
        self.text = isinstance(payload, str)
        """Whether its frame is one of text."""
        data = payload.encode() if isinstance(payload, str) else payload
        header = _header(WHOLE | (Opcode.TEXT if self.text else Opcode.BINARY), len(data))
        self.frame = header + data
        """Header and message."""
        self._header_bytes = len(header)

    @property
    def data(self) -> bytes:
        """The message alone."""
        return self.frame[self._header_bytes :]

    @property
    def payload(self) -> Payload:
        """The message as its format has it: text in JSON, bytes in MessagePack."""
        return self.data.decode() if self.text else self.data

    def __len__(self) -> int:
        """Bytes."""
        return len(self.frame)


def _header(first: int, size: int) -> bytes:
    """By hand: where each reader has a scan of its own, a frame is made for each delivery."""
    if size < 126:
        return bytes((first, size))
    if size < 65_536:
        return bytes((first, 126, size >> 8, size & 0xFF))
    return bytes((first, 127)) + size.to_bytes(8, "big")
