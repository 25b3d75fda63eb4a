"""One scan that a connection follows: where its reader is, and what comes next for it."""

from contextlib import ExitStack

from scanstream.log.cursor import Position
from scanstream.log.scanlog import ScanLog
from scanstream.model import Only
from scanstream.push.codec import Codec
from scanstream.push.fanout import Channel, Encoded, Fanout, Wake


class Subscription:
    """A position in a scan's log. The same on every transport that streams; a queue on none."""

    def __init__(self, log: ScanLog, position: Position, only: Only | None = None) -> None:
        self.log = log
        self.position = position
        self.only = only
        self._channel: Channel
        self._following = ExitStack()

    def open(self, fanout: Fanout, wake: Wake) -> None:
        """From now on `wake` is called when there may be news."""
        self._channel = self._following.enter_context(fanout.following(self.log.scan_id, wake))

    def close(self) -> None:
        """Let go of the scan."""
        self._following.close()

    @property
    def news(self) -> bool:
        """Whether its reader lacks anything of what it wants."""
        return self.log.news(self.position, self.only)

    @property
    def due(self) -> bool:
        """Whether there is a message for its reader: a frame, the end, or that the scan has expired."""
        return self.news or self.log.ended or self.log.expired

    def next(self, codec: Codec) -> Encoded | None:
        """The message that is to be sent now; None while there is none. Once it is taken, `position` is to move."""
        return self._channel.next(self.log, self.position, codec, self.only)
