"""Whether a connection is read: never while it is held, whoever asks for more."""

from uvicorn.protocols.http.flow_control import FlowControl


class Flow(FlowControl):
    """uvicorn's, which the application resumes whenever it listens; it does not while the connection is held."""

    held = False

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
