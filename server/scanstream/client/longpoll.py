"""The third rung: one long poll for all scans, again and again, where streams do not come through."""

import anyio

from scanstream.client.asking import FOLLOW_PATH, Asking
from scanstream.client.backoff import Pace, Turn
from scanstream.client.failures import Lost
from scanstream.client.run import Run

WAIT_SECONDS = 10
"""So long the server waits for news."""
GRACE_SECONDS = 4.75
"""So long after that the connection is taken for dead: within 15 s, though timers are late."""
AS_JSON = {"accept": "application/json"}


class LongPollRung:
    """See above; its times may be shorter in tests."""

    def __init__(self, asking: Asking, *, wait: int = WAIT_SECONDS, grace: float = GRACE_SECONDS) -> None:
        self._asking = asking
        self._wait = wait
        self._grace = grace
        self._pace = Pace()

    async def carry(self, run: Run) -> None:
        """Bring frames, at once where there are more to be had; what is asked changes when other scans are wanted.

        :raises Lost: if an answer does not come
        :raises ScanstreamError: if the server does not take what is asked
        """
        more = False

        async def ask() -> None:
            nonlocal more
            more = await self._ask(run, turn)

        while True:
            await run.some()
            turn = self._pace.began(anyio.current_time()) if more else await self._pace.turn()
            more = False
            if run.feeds:
                await run.until_changed(ask)

    async def _ask(self, run: Run, turn: Turn) -> bool:
        """One question, and whether there is more to be had at once."""
        request = {"follow": run.all_asked(), "wait": self._wait}
        silence = self._wait + self._grace
        with self._pace.under_way(turn):
            answer = await self._asking.ask("POST", FOLLOW_PATH, request=request, more=AS_JSON, silence=silence)
        frames = answer.body.get("frames") if isinstance(answer.body, dict) else None
        if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
            raise Lost("what answers is no scanstream server: it brings no frames")
        run.alive()
        for frame in frames:
            run.take(frame)
        return any(frame.get("more") for frame in frames)
