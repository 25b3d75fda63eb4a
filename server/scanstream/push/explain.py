"""The door that explains: a scan's life as a timeline, one's own, or any for those who look after the server."""

from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scanstream.about import SCAN_ID
from scanstream.errors import Expired, Forbidden, NotFound
from scanstream.explanation import Explanation
from scanstream.log.scanlog import ScanLog
from scanstream.model import ScanId
from scanstream.push.callers import caller_of
from scanstream.push.desk import Desk
from scanstream.push.problem import json_response
from scanstream.security.caller import Caller, Right, Ticket


class Explains(Protocol):
    """Explains a scan; with `who` nodes are named."""

    async def __call__(self, log: ScanLog, *, who: bool) -> Explanation:
        """:raises ScanstreamError: Expired, Damaged, StoreUnavailable"""
        ...


class ExplainDoor:
    """`GET /opportunities/explain/{scan_id}`."""

    def __init__(self, desk: Desk, explain: Explains) -> None:
        self._desk = desk
        self._explain = explain

    def routes(self) -> list[Route]:
        """What this door answers."""
        return [Route("/opportunities/explain/{scan_id}", self.explain)]

    async def explain(self, request: Request) -> Response:
        """The scan's life until now."""
        caller, scan_id = caller_of(request), request.path_params["scan_id"]
        operates = Right.OPERATE in caller.rights
        log = await self._found(caller, scan_id, operates)
        return json_response(await self._explain(log, who=operates))

    async def _found(self, caller: Caller, scan_id: str, operates: bool) -> ScanLog:
        """The caller's own; of others only for those who look after the server.

        :raises NotFound: if it never was, or is not theirs; to others than its owner one that has expired is, too
        """
        try:
            return await self._desk.find(caller.reads(scan_id), scan_id)
        except (Forbidden, NotFound):
            if not operates or SCAN_ID.fullmatch(scan_id) is None:
                raise
        try:
            return await self._desk.find(Ticket(ScanId(scan_id)), scan_id)
        except Expired as error:  # or an id that never was: whose it would be is not known
            raise NotFound("No scan found. Please initiate a new scan.", scan_id=scan_id) from error
