"""Who is told when a scan has ended: the door where it is asked for. What becomes of it is the room notify's."""

from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scanstream.log.scanlog import ScanLog
from scanstream.message import NotifyAccepted
from scanstream.push.callers import body_of, caller_of
from scanstream.push.codec import JSON
from scanstream.push.desk import Desk
from scanstream.push.problem import json_response
from scanstream.push.query import MOST_ORDER_BYTES

Target = TypeVar("Target")


class Notices(Protocol[Target]):
    """The port: takes who is to be told. `notify.notices` fits it."""

    def read(self, url: str) -> Target:
        """:raises ScanstreamError: NoSuchRoute, where nobody is told; InvalidRequest"""
        ...

    async def ask(self, log: ScanLog, target: Target) -> NotifyAccepted:
        """:raises ScanstreamError: InvalidRequest, Expired, StoreUnavailable"""
        ...


class NotifyDoor:
    """`POST /opportunities/notify/{scan_id}`."""

    def __init__(self, desk: Desk, notices: Notices[Any], *, most_bytes: int) -> None:
        self._desk = desk
        self._notices = notices
        self._most_bytes = most_bytes

    def routes(self) -> list[Route]:
        """What this door answers."""
        return [Route("/opportunities/notify/{scan_id}", self.notify, methods=["POST"])]

    async def notify(self, request: Request) -> Response:
        """Have an address told of the scan's end, while it runs and afterwards; for whoever may start scans only.

        Whether the address may be told is found out before the scan is looked for, so it says nothing of that.
        """
        principal, scan_id = caller_of(request).starts(), request.path_params["scan_id"]
        asked = JSON.decode_notify(await body_of(request, self._most_bytes, needed=MOST_ORDER_BYTES))
        target = self._notices.read(asked.url)
        log = await self._desk.find(principal, scan_id)
        accepted = await self._notices.ask(log, target)
        return json_response(accepted, status=202, headers={"cache-control": "no-store"})
