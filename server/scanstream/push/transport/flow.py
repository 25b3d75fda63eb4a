"""Whether a connection is read and written to: uvicorn's flow control, in less room, and with a hold."""

import asyncio
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl


class Flow(FlowControl):
    """uvicorn's, which the application resumes whenever it listens; it does not while the connection is held."""

    __slots__ = ("_is_writable_event", "_transport", "held", "read_paused", "write_paused")
    _is_writable_event: asyncio.Event | None  # type: ignore[assignment]

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = self.write_paused = self.held = False
        self._is_writable_event = None
        """There is one while somebody has to wait: it weighs as much as all the rest of an idle connection's flow."""

    async def drain(self) -> None:
        """See `FlowControl.drain`."""
        if self._is_writable_event is not None:
            await self._is_writable_event.wait()

    def pause_writing(self) -> None:
        """See `FlowControl.pause_writing`."""
        if not self.write_paused:
            self.write_paused = True
            self._is_writable_event = asyncio.Event()

    def resume_writing(self) -> None:
        """See `FlowControl.resume_writing`."""
        if self._is_writable_event is not None:
            self._is_writable_event.set()
        self.write_paused = False
        self._is_writable_event = None

    def hold(self, held: bool) -> None:
        """Read no more, whoever asks; or again."""
        if held == self.held:
            return
        if held:
            self.pause_reading()
        self.held = held
        if not held and not self._transport.is_closing():
            self.resume_reading()

    def resume_reading(self) -> None:
        """See `FlowControl.resume_reading`."""
        if not self.held:
            super().resume_reading()


class Pipeline(list[Any]):
    """The requests that wait behind another one: uvicorn's `deque`, which weighs much while it is empty."""

    __slots__ = ()

    def appendleft(self, request: Any) -> None:
        """One more behind the others."""
        self.insert(0, request)
