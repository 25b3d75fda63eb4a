"""One scan that a connection follows: where its reader is, and what comes next for it."""

from scanstream.log.cursor import Position
from scanstream.log.scanlog import ScanLog
from scanstream.model import Only
from scanstream.push.codec import Codec
from scanstream.push.fanout import Channel, Encoded, Fanout, Wake
from scanstream.push.outlet import nothing


class Subscription:
    """A position in a scan's log. The same on every transport that streams; a queue on none."""

    __slots__ = ("_channel", "_fanout", "_wake", "log", "only", "position")

    def __init__(self, log: ScanLog, position: Position, only: Only | None = None) -> None:
        self.log = log
        self.position = position
        self.only = only
        self._channel: Channel | None = None
        self._fanout: Fanout
        self._wake: Wake = nothing

    def open(self, fanout: Fanout, wake: Wake) -> None:
        """From now on `wake` is called when there may be news."""
        self.close()
        self._fanout, self._wake = fanout, wake
        self._channel = fanout.channel(self.log.scan_id)
        self._channel.wakes.add(wake)

    def close(self) -> None:
        """Let go of the scan."""
        if self._channel is not None:
            self._channel.wakes.discard(self._wake)
            self._channel, self._wake = None, nothing  # who is called leads back here
            self._fanout.left(self.log.scan_id)

    @property
    def news(self) -> bool:
        """Whether its reader lacks anything of what it wants."""
        return self.log.news(self.position, self.only)

    @property
    def due(self) -> bool:
        """Whether there is a message for its reader: a frame, the end, or why nothing more comes."""
        return self.news or self.log.over or self.log.expired

    def next(self, codec: Codec) -> Encoded | None:
        """The message that is to be sent now; None while there is none. Once it is taken, `position` is to move."""
        assert self._channel is not None  # it is open
        return self._channel.next(self.log, self.position, codec, self.only)
