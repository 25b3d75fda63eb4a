"""One question to a server over HTTP, one answer."""

from collections.abc import Collection
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import msgspec

from scanstream.client.addresses import shown
from scanstream.client.connection import GATEWAY, Lost, Refused, Unreachable, is_problem
from scanstream.client.patience import Patience
from scanstream.client.proxies import UnusableProxy, proxy_of
from scanstream.model import RESULTS_PATH, STATUS_PATH

CANCEL_PATH = "/opportunities/cancel/"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0
LONGEST_RETRY_AFTER = 9
"""Digits."""
STATE = ("scan_id", "status", "message", "market", "progress", "strategies")
"""What the state of a scan has at least."""


class Silent(Unreachable):
    """The server took the question, and has said nothing in time."""


class Elsewhere(Unreachable):
    """There is a scanstream server, but not at this path."""


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
    needs: Collection[str] = (),
) -> Answer:
    """The answer to a request.

    :param request: the body
    :param seconds: how long the server may say nothing
    :param needs: the fields without which it is no answer of a scanstream server
    :raises Silent: if it says nothing for longer
    :raises Unreachable: if there is no scanstream server
    :raises Lost: if it went away in the middle, or is about to
    :raises Refused: if the answer is an error
    """
    content = None if request is None else msgspec.json.encode(request)
    headers = {"content-type": "application/json"} if content else {}
    try:
        async with httpx.AsyncClient(
            base_url=url,
            timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS),
            headers=headers,
            transport=_transport(url),
        ) as client:
            response = await client.request(method, path, content=content, params=query)
    except httpx.HTTPError as error:
        raise _no_answer(error, url, seconds) from error
    except UnusableProxy as error:
        raise Unreachable(str(error)) from error
    return _read(response, url, needs)


def _transport(url: str) -> httpx.AsyncHTTPTransport:
    """How to get there. Certificates are read only where they are needed: what names them may be wrong.

    :raises Unreachable: if they cannot be read
    """
    try:
        return httpx.AsyncHTTPTransport(proxy=proxy_of(url), verify=url.startswith("https:"))
    except OSError as error:
        raise Unreachable(
            f"What SSL_CERT_FILE, SSL_CERT_DIR or SSLKEYLOGFILE names cannot be used ({error.strerror or error}): "
            "mend or unset it"
        ) from error


def _no_answer(error: httpx.HTTPError, url: str, seconds: float) -> Lost | Unreachable:
    """What became of a question that was not answered."""
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.ProxyError() | httpx.UnsupportedProtocol():
            return Unreachable(f"There is no scanstream server at {shown(url)} ({str(error) or 'it does not answer'})")
        case httpx.TimeoutException():
            return Silent(f"The server at {shown(url)} has not answered within {seconds:g} s")
        case httpx.NetworkError():
            return Lost(str(error) or type(error).__name__)
        case httpx.RemoteProtocolError() if "disconnected" in str(error) or "closed" in str(error):
            return Lost(str(error))
        case _:
            return Unreachable(f"What answers at {shown(url)} is no scanstream server ({error})")


def _read(response: httpx.Response, url: str, needs: Collection[str]) -> Answer:
    try:
        body = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        body = None
    if response.is_success and _has(body, needs):
        return Answer(response.status_code, body)
    error = _error(body)
    if error is None:
        raise _another(response, url)
    if error["code"] == "no_such_route":
        raise Elsewhere(
            f"The server at {shown(url)} has nothing there ({error['detail']}): give --url the path that it is below, "
            "or none"
        )
    if error["code"] == "restarting":
        raise Lost(error["detail"], _retry_after(response))
    raise Refused(error)


def _has(body: Any, needs: Collection[str]) -> bool:
    return isinstance(body, dict) and all(name in body for name in needs) if needs else body is not None


def _another(response: httpx.Response, url: str) -> Lost | Unreachable:
    """What answers where it is no scanstream server: another one, or a proxy in front."""
    status, told = response.status_code, shown(url)
    if status in GATEWAY:
        words = f"the proxy at {told} has no server behind it now (HTTP {status})"
        return Lost(words, _retry_after(response))
    if response.has_redirect_location:
        return Unreachable(
            f"What answers at {told} sends to {response.headers['location']}: give --url where that leads"
        )
    if status in (401, 407):
        return Unreachable(f"What answers at {told} asks for a login: give it with --url http://NAME:PASSWORD@HOST")
    return Unreachable(f"What answers at {told} is no scanstream server, or a proxy in front of one (HTTP {status})")


def _retry_after(response: httpx.Response) -> float:
    """Seconds; a date there, or none, is none."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < LONGEST_RETRY_AFTER else 0.0


def _error(body: Any) -> dict[str, Any] | None:
    """A problem document, or the answer for an absent scan, in the shape of a WebSocket's error."""
    if is_problem(body):
        return {"detail": body.get("title", body["code"]), **body}
    if isinstance(body, dict) and body.get("status") in ("not_found", "expired") and "scan_id" in body:
        return {"code": body["status"], "detail": str(body.get("message", "")), "scan_id": body["scan_id"]}
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
            answer = await ask(
                url, "POST", "/opportunities/discover", request=request, seconds=patience.seconds, needs=("scan_id",)
            )
        except Silent:
            raise
        except (Lost, Unreachable) as error:
            await patience.wait(error)
        else:
            patience.back()
            ack: dict[str, Any] = answer.body
            return ack


async def strategies(url: str) -> list[dict[str, Any]]:
    """The catalogue."""
    answer = await ask(url, "GET", "/opportunities/strategies")
    needs = ("id", "opportunity_type", "description", "parameters")
    if not isinstance(answer.body, list) or not all(_has(strategy, needs) for strategy in answer.body):
        raise Unreachable(f"What answers at {shown(url)} is no scanstream server: it lists no strategies")
    return answer.body


async def ask_about(
    url: str, method: str, path: str, scan_id: str, *, query: dict[str, int] | None = None, needs: Collection[str]
) -> Answer:
    """The answer to a question about a scan.

    :param path: what the scan's id follows
    :raises Unreachable, Lost, Refused: see `ask`; an id that is none, so that it leads nowhere, is one of no scan
    """
    written = quote(scan_id.encode(errors="surrogateescape"), safe="")
    try:
        return await ask(url, method, path + written, query=query, needs=needs)
    except Elsewhere as elsewhere:
        if scan_id.replace("_", "").isalnum() and scan_id.isascii():
            raise
        absent = {"code": "not_found", "detail": "No scan found. Please initiate a new scan.", "scan_id": scan_id}
        raise Refused(absent) from elsewhere


async def status(url: str, scan_id: str) -> Answer:
    """How a scan is doing."""
    return await ask_about(url, "GET", STATUS_PATH, scan_id, needs=STATE)


async def results(url: str, scan_id: str, limit: int | None) -> Answer:
    """What it has found, the best of it where there is a limit."""
    query = None if limit is None else {"limit": limit}
    answer = await ask_about(url, "GET", RESULTS_PATH, scan_id, query=query, needs=("scan_id", "status"))
    if "opportunities" not in answer.body and not _has(answer.body, STATE):
        raise Unreachable(f"What answers at {shown(url)} is no scanstream server: its results have no opportunities")
    return answer


async def cancel(url: str, scan_id: str) -> Answer:
    """Ask for its end."""
    return await ask_about(url, "POST", CANCEL_PATH, scan_id, needs=("scan_id", "status"))
