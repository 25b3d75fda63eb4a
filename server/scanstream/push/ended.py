"""Scans that have ended and are not told to their end yet: of each the place of its reader, of one at a time the log.

256 of them may be large, and none of them changes: so one is told to its end before the next is taken up.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

from scanstream.errors import Damaged, Expired, NotFound, ScanstreamError
from scanstream.log.cursor import START, Position
from scanstream.log.scanlog import ScanLog
from scanstream.model import Only, ScanId
from scanstream.push.codec import Codec, error_message
from scanstream.push.fanout import Encoded, Fanout
from scanstream.push.subscription import Subscription

ABSENT = (NotFound, Expired, Damaged)
"""What is said of one scan, while the others go on."""


class Place(NamedTuple):
    """Where the reader of a scan is."""

    position: Position
    only: Only | None


class Ended:
    """The places of one connection's reader, and the one scan that is taken up."""

    def __init__(self, find: Callable[[ScanId], Awaitable[ScanLog]], fanout: Fanout, codec: Codec) -> None:
        self._find = find
        self._fanout = fanout
        self._codec = codec
        self._places: dict[ScanId, Place] = {}
        self._taken: ScanId | None = None
        self._held: Subscription | None = None
        self._refusal: Encoded | None = None
        """What there is to say of the one that is taken up, if it cannot be read."""

    def __contains__(self, scan_id: ScanId) -> bool:
        return scan_id in self._places

    def __iter__(self) -> Iterator[ScanId]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def park(self, scan_id: ScanId, place: Place) -> None:
        """One more, whose turn comes after that of the others."""
        self._places[scan_id] = place

    def place(self, scan_id: ScanId) -> Place:
        """Where the reader of this one is."""
        return self._places[scan_id]

    def drop(self, scan_id: ScanId) -> None:
        """Nothing more is to be told of this one."""
        self._places.pop(scan_id, None)
        if self._taken == scan_id:
            self.let_go()

    async def take_up(self, scan_id: ScanId) -> None:
        """Hold the log of this one, in place of the one before; it may be dropped meanwhile.

        :raises StoreUnavailable: if it cannot be read now
        """
        if self._taken == scan_id:
            return
        self.let_go()
        try:
            held = Subscription(await self._find(scan_id), START)
        except ABSENT as error:
            self._refusal = refused(error, self._codec)
        else:
            self._held = held
            held.open(self._fanout, self._ignore)
        self._taken = scan_id
        if scan_id not in self._places:
            self.let_go()

    def next(self, scan_id: ScanId) -> Encoded | None:
        """The message of it that is to be sent now; None if it is not taken up, or was dropped since."""
        place = self._places.get(scan_id)
        if place is None or self._taken != scan_id:
            return None
        message = self._refusal or self._of_held(place)
        if message is not None:
            self._fanout.told.add(message)
        if message is None or message.last:
            self.drop(scan_id)
        else:
            self._places[scan_id] = place._replace(position=message.position)
        return message

    def _of_held(self, place: Place) -> Encoded | None:
        if self._held is None:
            return None
        self._held.position, self._held.only = place
        return self._held.next(self._codec)

    def let_go(self) -> None:
        """Hold no log."""
        if self._held is not None:
            self._held.close()
        self._taken = self._held = self._refusal = None

    def close(self) -> None:
        """Nothing more is to be told of any."""
        self._places.clear()
        self.let_go()

    def _ignore(self) -> None:
        """Its reader comes back anyway, until it is told to its end."""


def refused(error: ScanstreamError, codec: Codec) -> Encoded:
    """What is said of a scan that cannot be followed."""
    return Encoded("error", codec.encode(error_message(error)), START)
