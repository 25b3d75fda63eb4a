"""How late the loop is: whoever is due waits so long for its turn."""

import anyio

from scanstream.measure import QUICK_SECONDS, Histogram

PULSE_SECONDS = 0.2


class Pulse:
    """Due again and again, and looks at how late its turn comes."""

    def __init__(self) -> None:
        self.late = Histogram(QUICK_SECONDS)

    async def run(self) -> None:
        """Measure, for ever."""
        while True:
            due = anyio.current_time() + PULSE_SECONDS
            await anyio.sleep_until(due)
            self.late.add(max(0.0, anyio.current_time() - due))
