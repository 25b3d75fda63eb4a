"""A server that runs, asked over the network as any client asks it."""

import re
import time
from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import anyio
import httpx
import msgspec
from msgspec import Struct
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from scanstream.client.addresses import apart, shown
from scanstream.client.asking import transport
from scanstream.client.certificates import secure, untaken
from scanstream.client.failures import Unreachable
from scanstream.client.token import Secret, Token, headers, subprotocols
from scanstream.client.websocket import Dialled
from scanstream.doctor.finding import Finding, bad, good
from scanstream.errors import Forbidden, Unauthorized
from scanstream.proxies import UnusableProxy, proxy_of
from scanstream.undecodable import UNDECODABLE

SECONDS = 10.0
LATE_SECONDS = 5.0
SUBPROTOCOL = Subprotocol("scanstream.v1.json")

UPGRADES = "a proxy must pass upgrades on: docs/operations.md, What must stand in front"
CREDENTIAL = "give one that may scan with SCANSTREAM_TOKEN, to have it tried"
ERRORS = "docs/errors.md says what that means"
LACKS_SCAN = "lacks the right scan"
"""What is said to who looks after a server, and starts no scans: unlike a name that is not allowed, it is no fault."""
NOT_LET_IN = (4401, 4403)
"""What a WebSocket is closed with that has come through, by whom the server does not let in."""


class _Problem(Struct):
    """The same of what it answers where it refuses."""

    code: str
    detail: str


class _Strategy(Struct):
    """What is looked at of one that the server lists."""

    id: str


class _Contract(Struct):
    """The same of its OpenAPI document."""

    openapi: str


async def of_running(url: str, secret: Secret = None) -> AsyncIterator[Finding]:
    """Whether it lives, is ready, and passes on what its clients need."""
    told = shown(url)
    token = await Token(secret).now()
    try:
        proxy, way = proxy_of(url), transport(url)
    except (UnusableProxy, Unreachable) as error:
        yield bad("way", str(error), "mend the variable; docs/cli.md, Where the server is, has them")
        return
    if proxy is not None:
        yield good("way", f"it leads through the proxy {shown(proxy)}, as the environment has it")
    base, login = apart(url)
    async with httpx.AsyncClient(
        base_url=base,
        auth=None if token else login,
        timeout=SECONDS,
        headers=headers(token),
        trust_env=False,
        transport=way,
    ) as client:
        try:
            alive = await client.get("healthz")
        except httpx.HTTPError as error:
            yield _unanswered(error, told, proxy)
            return
        if alive.status_code != 200 or b"ok" not in alive.content:
            yield bad("server", f"what answers at {told} is no scanstream server", "give --url where it is")
            return
        yield good("server", f"it answers at {told}")
        yield _clock(alive.headers.get("date", ""))
        yield await _judged(client, "readyz", "ready", _ready)
        yield await _judged(client, "metrics", "metrics", _metrics)
        yield await _judged(client, "opportunities/strategies", "strategies", _strategies)
        yield await _judged(client, "openapi.json", "contract", _contract)
    yield await _socket(url, token, proxy)


def _unanswered(error: httpx.HTTPError, told: str, proxy: str | None) -> Finding:
    """Nobody is there; or somebody who is not to be trusted; or the proxy on the way is not."""
    if why := untaken(error):
        return bad("certificate", f"that of {told} {why.says}", why.do)
    if proxy is not None:
        says = f"nothing comes from {told} through the proxy {shown(proxy)} ({_words(error)})"
        return bad("server", says, "is the proxy there, and lets through? NO_PROXY names who is asked without it")
    return bad("server", f"nothing answers at {told} ({_words(error)})", "start it, or give --url where it is")


async def _judged(
    client: httpx.AsyncClient, path: str, check: str, judge: Callable[[httpx.Response], Finding]
) -> Finding:
    """What the answer there says; it may be missing, or be somebody else's."""
    try:
        with anyio.fail_after(SECONDS):
            return judge(await client.get(path))
    except (httpx.HTTPError, TimeoutError, *UNDECODABLE) as error:
        says = f"/{path} is not answered as ours answers it ({_words(error)})"
        return bad(check, says, "is something in front that does not pass all paths on?")


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _clock(date: str) -> Finding:
    try:
        apart = time.time() - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return good("clock", "the server does not say what time it is")
    if abs(apart) > LATE_SECONDS:
        return bad("clock", f"this machine's is {apart:+.0f} s from the server's", "have both set by NTP")
    return good("clock", "this machine's agrees with the server's")


def _ready(answer: httpx.Response) -> Finding:
    if answer.status_code == 200:
        return good("ready", "it takes new work")
    return bad("ready", f"it takes no new work: {_detail(answer)}", "docs/operations.md, Health, says what that means")


def _metrics(answer: httpx.Response) -> Finding:
    if answer.status_code in (401, 403):
        return good("metrics", "they want a credential with the right operate", "give one with SCANSTREAM_TOKEN")
    build = re.search(r"scanstream_build_info\{([^}]*)}", answer.text)
    lacks = re.search(r"^scanstream_shortages ([0-9.]+)", answer.text, re.M)
    if answer.status_code != 200 or lacks is None:
        return bad("metrics", f"HTTP {answer.status_code}", "is something in front that does not pass /metrics on?")
    if float(lacks[1]):
        return bad("metrics", "the machine or the store lacks something", "the server's log and /readyz name it")
    return good("metrics", build[1] if build else "they are there")


def _strategies(answer: httpx.Response) -> Finding:
    if answer.status_code == 401:
        return bad("credential", _detail(answer), "give an API key with SCANSTREAM_TOKEN")
    if answer.status_code == 403 and LACKS_SCAN in _detail(answer):
        return good("strategies", "they want a credential with the right scan", CREDENTIAL)
    if answer.status_code != 200:
        return bad("strategies", f"HTTP {answer.status_code}: {_detail(answer)}", ERRORS)
    return good("strategies", ", ".join(one.id for one in msgspec.json.decode(answer.content, type=list[_Strategy])))


def _contract(answer: httpx.Response) -> Finding:
    if answer.status_code != 200:
        return bad("contract", f"HTTP {answer.status_code}", "is something in front that does not pass all paths on?")
    return good("contract", f"OpenAPI {msgspec.json.decode(answer.content, type=_Contract).openapi}")


async def _socket(url: str, token: str | None, proxy: str | None) -> Finding:
    """Whether a WebSocket comes through; one that the server itself refuses has done so."""
    address = "ws" + url.removeprefix("http").rstrip("/") + "/ws"
    offered = subprotocols(SUBPROTOCOL, token)
    try:
        opening: dict[str, Any] = {"open_timeout": SECONDS, "proxy": proxy, **secure(url)}
        async with connect(address, create_connection=Dialled, subprotocols=offered, **opening) as socket:
            with anyio.fail_after(SECONDS):
                await socket.send(msgspec.json.encode({"type": "ping", "id": "doctor"}).decode())
                return _said(msgspec.json.decode(await socket.recv(), type=dict[str, Any]))
    except ConnectionClosed as closed:
        return _closed(closed)
    except InvalidStatus as refused:
        return _refused(refused)
    except (OSError, TimeoutError, WebSocketException, *UNDECODABLE) as error:
        return bad("websocket", _words(error), UPGRADES)


def _said(answer: dict[str, Any]) -> Finding:
    """The first message, to a ping."""
    if answer.get("type") == "pong":
        return good("websocket", "it is passed on")
    if answer.get("type") != "error":
        return bad("websocket", "it answers, and not as ours does", "is this a scanstream server?")
    if answer.get("code") in (Unauthorized.code, Forbidden.code):
        return good("websocket", f"it is passed on; {answer.get('detail')}", CREDENTIAL)
    return bad("websocket", f"it is passed on, and refused: {answer.get('detail')}", ERRORS)


def _closed(closed: ConnectionClosed) -> Finding:
    """It was opened, and closed before it has answered."""
    frame = closed.rcvd
    if frame is None:
        return bad("websocket", "it was opened, and then lost", UPGRADES)
    if frame.code in NOT_LET_IN:
        return good("websocket", f"it is passed on; {frame.reason}", CREDENTIAL)
    return bad("websocket", f"it is passed on, and closed with {frame.code}: {frame.reason}", ERRORS)


def _refused(refused: InvalidStatus) -> Finding:
    """The handshake was answered with a status: by the server, in its words, or by whatever is in front."""
    try:
        problem = msgspec.json.decode(refused.response.body, type=_Problem)
    except UNDECODABLE:
        return bad("websocket", _words(refused), UPGRADES)
    return bad("websocket", f"it is passed on, and refused ({problem.code}): {problem.detail}", ERRORS)


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"
