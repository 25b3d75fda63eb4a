"""Who asks: found out before any door is reached, and looked at again whenever one answers.

A door asks its caller for the owner to look under (security/caller.py). Where nobody has said who asks, nobody is let
in: a door that is reached on a way past the rule here fails.
"""

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scanstream.errors import ScanstreamError, Unauthorized
from scanstream.push.credentials import in_address, shown, stranger, unauthorized
from scanstream.push.forwarded import route_path
from scanstream.push.problem import refuse
from scanstream.push.query import read_body
from scanstream.security.caller import EVERYBODY, Caller
from scanstream.security.guard import Guard

CALLER = "scanstream.caller"
"""In the scope: who asks, and the guard who knows them."""
PUBLIC = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json", "/asyncapi.json"})
"""For strangers, too."""
PUBLIC_BELOW = "/static/"


class CallerRule:
    """ASGI middleware: refuses those who may not come in. What is behind the door, and what not, no stranger learns."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self.inner = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with who asks."""
        if not self._guard.required:
            scope[CALLER] = EVERYBODY, self._guard
        elif scope["type"] != "lifespan" and not (scope["type"] == "http" and is_public(route_path(scope))):
            if in_address(scope):
                send = _untold(send)
            try:
                scope[CALLER] = await let_in(self._guard, scope), self._guard
            except ScanstreamError as error:
                await refuse(error, scope, receive, send)
                return
        await self.inner(scope, receive, send)


def is_public(path: str) -> bool:
    """Whether nobody is asked who they are there."""
    return path in PUBLIC or path.startswith(PUBLIC_BELOW)


async def let_in(guard: Guard, scope: Scope) -> Caller:
    """Who sends this request.

    :raises Unauthorized: if they show nothing, or nothing that is good
    :raises Overloaded: if nobody can say now
    """
    credential = shown(scope)
    if credential is None:
        raise stranger()
    return await known(guard, credential)


async def known(guard: Guard, credential: str) -> Caller:
    """Whose credential this is.

    :raises Unauthorized: if it is nobody's, in the same words whatever is wrong with it
    :raises Overloaded: if nobody can say now
    """
    try:
        return guard.known(credential) or await guard.caller(credential)
    except Unauthorized:
        raise unauthorized() from None


def caller_of(request: Request) -> Caller:
    """Who asks; what they have shown may have run out since, as of a request that has waited.

    :raises Unauthorized: if it has
    """
    caller: Caller
    guard: Guard
    caller, guard = request.scope[CALLER]
    if not guard.good(caller):
        raise unauthorized()
    return caller


async def body_of(request: Request, most_bytes: int, *, needed: int | None = None) -> bytes:
    """A request's body. Who sends it slowly may have lost meanwhile what they had shown with its head.

    :raises Unauthorized: if they have
    :raises RequestError: see `read_body`
    """
    body = await read_body(request, most_bytes, needed=needed)
    caller_of(request)
    return body


def _untold(send: Send) -> Send:
    """Have no other site told of an address that a token is in."""

    async def untold(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            headers["referrer-policy"] = "no-referrer"
            message = {**message, "headers": headers.raw}
        await send(message)

    return untold
