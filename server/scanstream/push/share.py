"""What opens one scan for somebody else: the token in its ack, and links to hand on.

A token says what may be done with the scan, and until when. Nobody hands on more than they have.
"""

from urllib.parse import quote

from msgspec import UNSET
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scanstream.errors import NoSuchRoute
from scanstream.message import AckBody, Shared, SharedLinks
from scanstream.model import EVENTS_PATH, RESULTS_PATH, STATUS_PATH, Milliseconds, now, timestamp
from scanstream.push.callers import body_of, caller_of
from scanstream.push.codec import JSON
from scanstream.push.credentials import PARAMETER
from scanstream.push.desk import Desk
from scanstream.push.forwarded import prefix_here
from scanstream.push.problem import json_response
from scanstream.push.query import MOST_ORDER_BYTES
from scanstream.security.caller import Caller, Right
from scanstream.security.guard import Guard

OF_SCANS = frozenset({Right.READ, Right.CANCEL})
"""What a scan token may give."""


def with_token(ack: AckBody, caller: Caller, guard: Guard) -> AckBody:
    """The ack of a scan that this caller has opened, and what opens it for whoever they trust."""
    if not guard.required:
        return ack
    rights, until = _theirs(caller)
    return replace(ack, scan_token=guard.ticket(ack.scan_id, rights, until))


def _theirs(caller: Caller) -> tuple[frozenset[Right], Milliseconds | None]:
    """What a caller can do with a scan that they may open, and until when."""
    if caller.principal is None:
        return caller.rights & OF_SCANS, caller.expires_at
    return OF_SCANS, None


class ShareDoor:
    """`POST /opportunities/share/{scan_id}`."""

    def __init__(self, desk: Desk, guard: Guard, *, most_bytes: int) -> None:
        self._desk = desk
        self._guard = guard
        self._most_bytes = most_bytes

    def routes(self) -> list[Route]:
        """What this door answers."""
        return [Route("/opportunities/share/{scan_id}", self.share, methods=["POST"])]

    async def share(self, request: Request) -> Response:
        """A token for this one scan, and addresses with it."""
        caller = caller_of(request)
        if not self._guard.required:
            raise NoSuchRoute("This server asks nobody who they are: whoever has the id of a scan can open it as it is")
        asked = JSON.decode_share(await body_of(request, self._most_bytes, needed=MOST_ORDER_BYTES))
        scan_id = request.path_params["scan_id"]
        rights = [*dict.fromkeys(asked.rights)]
        [owner] = {caller.cancels(scan_id) if right == "cancel" else caller.reads(scan_id) for right in rights}
        log = await self._desk.find(owner, scan_id)
        _, last = _theirs(caller)
        wanted = now() + asked.expires_in_seconds * 1000
        until = wanted if last is None else min(wanted, last)
        token = self._guard.ticket(log.scan_id, map(Right, rights), until)
        shared = Shared(
            success=True,
            scan_id=log.scan_id,
            token=token,
            rights=rights,
            expires_at=timestamp(until),
            links=_links(prefix_here(request.scope), log.scan_id, token) if Right.READ in rights else UNSET,
        )
        return json_response(shared, headers={"cache-control": "no-store"})


def _links(prefix: str, scan_id: str, token: str) -> SharedLinks:
    """Of the page the token is in the fragment, which no browser sends anywhere."""
    told = f"{PARAMETER}={quote(token)}"
    status, results, events = (f"{prefix}{path}{scan_id}?{told}" for path in (STATUS_PATH, RESULTS_PATH, EVENTS_PATH))
    return SharedLinks(page=f"{prefix}/#{scan_id}&{told}", status=status, results=results, events=events)
