"""One question to a server over HTTP, one answer."""

from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import msgspec

from scanstream.client.connection import Lost, Refused, Unreachable
from scanstream.client.patience import Patience
from scanstream.model import RESULTS_PATH, STATUS_PATH

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0


class Answer(NamedTuple):
    """What the server said."""

    status: int
    body: Any


async def ask(url: str, method: str, path: str, *, request: Any = None, query: dict[str, int] | None = None) -> Answer:
    """The answer to a request.

    :param request: the body
    :raises Unreachable: if there is no scanstream server
    :raises Lost: if it went away in the middle, or is about to
    :raises Refused: if the answer is an error
    """
    content = None if request is None else msgspec.json.encode(request)
    headers = {"content-type": "application/json"} if content else {}
    timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    try:
        async with httpx.AsyncClient(base_url=url, timeout=timeout, headers=headers) as client:
            response = await client.request(method, path, content=content, params=query)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        raise Unreachable(f"There is no scanstream server at {url} ({error})") from error
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
    if isinstance(body, dict) and {"code", "detail"} <= body.keys():
        return body
    if isinstance(body, dict) and body.get("status") in ("not_found", "expired"):
        return {"code": body["status"], "detail": body.get("message", ""), "scan_id": body.get("scan_id", "")}
    return None


async def discover(url: str, request: dict[str, Any], patience: Patience) -> dict[str, Any]:
    """Ask for a scan; its ack. Asked again if the server goes away before it has answered.

    A request that was taken already then meets its own scan. One that forces a new scan may leave one behind that
    nobody asked for: an idempotency key would prevent that, but a scan with a key never answers another request.

    :raises Unreachable: if there is no server, or it did not come back
    :raises Refused: if the server does not take the request
    """
    while True:
        try:
            answer = await ask(url, "POST", "/opportunities/discover", request=request)
        except (Lost, Unreachable) as error:
            await patience.wait(error)
        else:
            patience.back()
            ack: dict[str, Any] = answer.body
            return ack


def status_path(scan_id: str) -> str:
    """Where to ask how a scan is doing."""
    return STATUS_PATH + quote(scan_id, safe="")


def results_path(scan_id: str) -> str:
    """Where to ask what it found."""
    return RESULTS_PATH + quote(scan_id, safe="")


def cancel_path(scan_id: str) -> str:
    """Where to ask for its end."""
    return "/opportunities/cancel/" + quote(scan_id, safe="")
