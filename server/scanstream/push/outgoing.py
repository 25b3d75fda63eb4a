"""A message as it leaves: made ready once, whoever and however many it is for."""

from websockets.frames import Frame, Opcode

from scanstream.push.codec import Payload


class Outgoing:
    """A message with its WebSocket frame around it (RFC 6455, section 5.2): a server's frames are not masked, so one
    serves all readers."""

    __slots__ = ("_header_bytes", "frame", "text")

    def __init__(self, payload: Payload) -> None:
        self.text = isinstance(payload, str)
        """Whether its frame is one of text."""
        data = payload.encode() if isinstance(payload, str) else payload
        self.frame = Frame(Opcode.TEXT if self.text else Opcode.BINARY, data).serialize(mask=False)
        """Header and message."""
        self._header_bytes = len(self.frame) - len(data)

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
