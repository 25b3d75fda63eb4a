"""One reading of a scan's history, for all who ask while it lasts."""

from types import TracebackType

import anyio

from scanstream.errors import ScanstreamError
from scanstream.log.scanlog import ScanLog


class Fetch:
    """Comes to an end with a log, with an error, or with neither: whoever read was cancelled."""

    def __init__(self) -> None:
        self.log: ScanLog | None = None
        self._error: ScanstreamError | None = None
        self._done = False
        self._over = anyio.Event()

    def __enter__(self) -> "Fetch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """The reading is over."""
        self._error = error if isinstance(error, ScanstreamError) else None
        self._done = error is None or self._error is not None
        self._over.set()

    async def over(self) -> bool:
        """Wait for the end; False if somebody else has to read."""
        await self._over.wait()
        return self._done

    def result(self) -> ScanLog | None:
        """What came of it.

        :raises ScanstreamError: what the one who read met
        """
        if self._error is not None:
            raise self._error
        return self.log
