"""A message of a WebSocket that has begun and has not come wholly: whether it goes on, and fast enough."""

from scanstream.push.transport.bounds import Patience


class Partial:
    """The newest message of one connection, as far as it has come."""

    __slots__ = ("_began_at", "_bytes", "_went_on_at")

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._went_on_at = 0.0
        self._bytes = 0

    def see(self, *, begun: bool, size: int, now: float) -> None:
        """So many bytes have come.

        :param begun: whether they leave a message, or a frame, that is not whole
        """
        if not begun:
            self._began_at = None
            return
        if self._began_at is None:
            self._began_at, self._bytes = now, 0
        self._bytes += size
        self._went_on_at = now

    def unread(self, now: float) -> None:
        """It is ours to go on: nothing is read just now."""
        if self._began_at is not None:
            self._began_at = self._went_on_at = now

    def is_late(self, patience: Patience, now: float) -> bool:
        """Whether it does not go on, or would take for ever."""
        if self._began_at is None:
            return False
        return now - self._went_on_at >= patience.body or now - self._began_at >= patience.whole(self._bytes)
