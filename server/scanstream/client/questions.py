"""One question to a server over HTTP, one answer."""

from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import msgspec

from scanstream.client.connection import Lost, Refused, Unreachable
from scanstream.client.patience import Patience
from scanstream.model import RESULTS_PATH, STATUS_PATH

CANCEL_PATH = "/opportunities/cancel/"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0


class Silent(Unreachable):
    """The server took the question, and has said nothing in time."""


class Answer(NamedTuple):
    """What the server said."""

    status: int
    body: Any


async def ask(
    url: str,
    method: str,
    path: str,
    *,
    request: Any = None,
    query: dict[str, int] | None = None,
    seconds: float = ANSWER_SECONDS,
) -> Answer:
    """The answer to a request.

    :param request: the body
    :param seconds: how long the server may say nothing
    :raises Silent: if it says nothing for longer
    :raises Unreachable: if there is no scanstream server
    :raises Lost: if it went away in the middle, or is about to
    :raises Refused: if the answer is an error
    """
    content = None if request is None else msgspec.json.encode(request)
    headers = {"content-type": "application/json"} if content else {}
    timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
    try:
        async with httpx.AsyncClient(base_url=url, timeout=timeout, headers=headers) as client:
            response = await client.request(method, path, content=content, params=query)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        raise Unreachable(f"There is no scanstream server at {url} ({error})") from error
    except httpx.TimeoutException as error:
        raise Silent(f"The server at {url} has not answered within {seconds:g} s") from error
    except httpx.TransportError as error:
        raise Lost(str(error) or type(error).__name__) from error
    return _read(response, url)


def _read(response: httpx.Response, url: str) -> Answer:
    try:
        body = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        body = None
    if response.is_success and body is not None:
        return Answer(response.status_code, body)
    error = _error(body)
    if error is None:
        raise Unreachable(f"What answers at {url} is no scanstream server (HTTP {response.status_code})")
    if error["code"] == "restarting":
        raise Lost(error["detail"], float(response.headers.get("retry-after", 0)))
    raise Refused(error)


def _error(body: Any) -> dict[str, Any] | None:
    """A problem document, or the answer for an absent scan, in the shape of a WebSocket's error."""
    if isinstance(body, dict) and "code" in body:
        return {"detail": body.get("title", body["code"]), **body}
    if isinstance(body, dict) and body.get("status") in ("not_found", "expired"):
        return {"code": body["status"], "detail": body.get("message", ""), "scan_id": body.get("scan_id", "")}
    return None


async def discover(url: str, request: dict[str, Any], patience: Patience) -> dict[str, Any]:
    """Ask for a scan; its ack. Asked again if the server goes away before it has answered.

    A request that was taken already then meets its own scan. One that forces a new scan may leave one behind that
    nobody asked for: an idempotency key would prevent that, but a scan with a key never answers another request.

    :raises Silent: if the server says nothing for as long as it is waited for; the scan may have been registered
    :raises Unreachable: if there is no server, or it did not come back
    :raises Refused: if the server does not take the request
    """
    while True:
        try:
            answer = await ask(url, "POST", "/opportunities/discover", request=request, seconds=patience.seconds)
        except Silent:
            raise
        except (Lost, Unreachable) as error:
            await patience.wait(error)
        else:
            patience.back()
            ack: dict[str, Any] = answer.body
            return ack


async def ask_about(url: str, method: str, path: str, scan_id: str, *, query: dict[str, int] | None = None) -> Answer:
    """The answer to a question about a scan.

    :param path: what the scan's id follows
    :raises Unreachable, Lost, Refused: see `ask`; an id that is none, so that it leads nowhere, is one of no scan
    """
    try:
        return await ask(url, method, path + quote(scan_id, safe=""), query=query)
    except Refused as refused:
        if refused.code != "no_such_route":
            raise
        absent = {"code": "not_found", "detail": "No scan found. Please initiate a new scan.", "scan_id": scan_id}
        raise Refused(absent) from refused


async def status(url: str, scan_id: str) -> Answer:
    """How a scan is doing."""
    return await ask_about(url, "GET", STATUS_PATH, scan_id)


async def results(url: str, scan_id: str, limit: int | None) -> Answer:
    """What it has found, the best of it where there is a limit."""
    return await ask_about(url, "GET", RESULTS_PATH, scan_id, query=None if limit is None else {"limit": limit})


async def cancel(url: str, scan_id: str) -> Answer:
    """Ask for its end."""
    return await ask_about(url, "POST", CANCEL_PATH, scan_id)
