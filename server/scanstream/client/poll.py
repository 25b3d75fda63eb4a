"""The last rung: the status of each scan, asked for at the server's interval. It goes through everything."""

import math
from typing import Any

import anyio

from scanstream.client.asking import Asking, about
from scanstream.client.backoff import Pace, Turn
from scanstream.client.failures import Lost
from scanstream.client.feeds import Feed
from scanstream.client.mirror import state_in
from scanstream.client.run import Run
from scanstream.errors import ScanstreamError
from scanstream.log.cursor import parse
from scanstream.message import POLLING_INTERVAL_SECONDS
from scanstream.model import STATUS_PATH, Document

NOWHERE = "0-0.0"
"""A cursor that is foreign to every scan: whoever has it is told all."""
OF_ALL = ("unauthorized", "forbidden")
"""Errors that are not about the scan that was asked for."""


class PollRung:
    """See above."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._pace = Pace()

    async def carry(self, run: Run) -> None:
        """Bring frames: of one scan after the other, whichever is due, less than five a second.

        :raises Lost: if an answer does not come
        :raises ScanstreamError: if the server does not let this caller in
        """
        due: dict[str, float] = {}
        while True:
            await run.some()
            feed = min(run.feeds, key=lambda feed: due.get(feed.scan_id, -math.inf))
            at = self._pace.due(due.get(feed.scan_id, -math.inf))
            if at > (now := anyio.current_time()):
                with anyio.CancelScope(deadline=at):
                    await run.feeds.bell.rung()
                continue
            due[feed.scan_id] = now + await self._ask(run, feed, self._pace.began(now))

    async def _ask(self, run: Run, feed: Feed, turn: Turn) -> float:
        """One question; the seconds until the next about this scan."""
        since = run.asked(feed).get("since")
        query = {"since": since or NOWHERE} if feed.only is None else None
        try:
            with self._pace.under_way(turn):
                answer = await self._asking.ask("GET", about(STATUS_PATH, feed.scan_id), query=query)
        except ScanstreamError as error:
            if error.code in OF_ALL:
                raise
            run.end(feed, error)
            return math.inf
        if isinstance(answer.body, dict) and answer.body.get("scan_id") != feed.scan_id:
            raise Lost("what answers is no scanstream server: it tells of another scan")  # somebody's cache
        for message in messages(answer.body, since):
            run.take(message)
        return 0.0 if answer.body.get("more") else answer.retry_after or POLLING_INTERVAL_SECONDS


def messages(body: Any, since: str | None) -> list[Document]:
    """A status answer as the messages that would have brought the same.

    :param since: where the reader was
    :raises Lost: if it is none
    """
    if not isinstance(body, dict) or not isinstance(body.get("cursor"), str) or "status" not in body:
        raise Lost("what answers is no scanstream server: it tells no state")
    before, after = parse(since or ""), parse(body["cursor"])
    leads_on = (
        before and after and before.epoch == after.epoch and body.get("offset", before.position.n) == before.position.n
    )
    common = {"scan_id": body.get("scan_id"), "cursor": body["cursor"]}
    brought = {name: body[name] for name in ("opportunities", "offset", "more") if name in body}
    frame = {
        **common,
        **brought,
        "type": "update" if leads_on else "snapshot",
        "patch" if leads_on else "state": state_in(body),
    }
    if body["status"] == "scanning" or body.get("more"):
        return [frame]
    return [frame, {**common, "type": "end", "status": body["status"]}]
