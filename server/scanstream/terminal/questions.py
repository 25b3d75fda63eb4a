"""One question to a server, one answer; what is no answer is told apart for people, with what to do."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeVar

import httpx

from scanstream.client.addresses import shown
from scanstream.client.asking import LOGINS, Answer, Asking, about
from scanstream.client.client import CANCEL_PATH, DISCOVER_PATH, NOTIFY_PATH
from scanstream.client.failures import Lost, Unreachable
from scanstream.errors import NoSuchRoute, NotFound, Restarting, ScanstreamError
from scanstream.model import RESULTS_PATH, STATUS_PATH, Document
from scanstream.proxies import proxy_of
from scanstream.terminal.credential import token
from scanstream.terminal.patience import Nobody, Patience

ANSWER_SECONDS = 15.0
STATE = ("scan_id", "status", "message", "market", "progress", "strategies", "cursor")
"""What a status answer has at least."""
GATEWAY = (502, 503, 504, 520, 521, 522, 523, 524, 530)
"""What proxies say while the server behind them is away; from 520 on Cloudflare's."""

EXPLAIN_PATH = "/opportunities/explain/"
T = TypeVar("T")


class Silent(Unreachable):
    """The server took the question, and has said nothing in time."""


class Elsewhere(Unreachable):
    """There is a scanstream server, but not at this path."""


async def ask(
    url: str,
    method: str,
    path: str,
    *,
    request: Any = None,
    query: Mapping[str, int] | None = None,
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
    :raises ScanstreamError: if the answer is an error
    """
    try:
        async with Asking(url, token()) as asking:
            answer = await asking.ask(method, path, request=request, query=query, silence=seconds)
    except NoSuchRoute as error:
        raise Elsewhere(
            f"The server at {shown(url)} has nothing there ({error}): give --url the path that it is below, or none"
        ) from error
    except Lost as lost:
        raise _no_answer(lost, shown(url), seconds) from lost
    if not _has(answer.body, needs):
        raise Unreachable(f"What answers at {shown(url)} is no scanstream server: its answer lacks what ours has")
    return answer


def _has(body: Any, needs: Collection[str]) -> bool:
    return isinstance(body, dict) and all(name in body for name in needs) if needs else body is not None


def _no_answer(lost: Lost, told: str, seconds: float) -> Lost | ScanstreamError:
    """What became of a question that was not answered: the server was lost, or there is none of ours."""
    error = lost.__cause__
    match error:
        case Restarting():
            return lost
        case ScanstreamError():
            return error
        case httpx.ConnectTimeout():
            return Unreachable(f"There is no scanstream server at {told} (it does not answer)")
        case httpx.TimeoutException():
            return Silent(f"The server at {told} has not answered within {seconds:g} s")
        case httpx.HTTPError() if lost.why != "refused":
            cut_off = isinstance(error, httpx.NetworkError) or "disconnected" in str(error) or "closed" in str(error)
            return lost if cut_off else Unreachable(f"What answers at {told} is no scanstream server ({error})")
    return _another(lost, told)


def _refused(error: BaseException | None) -> bool:
    """Whether the machine is there, and says that nobody listens: at each of its addresses, where it has several."""
    while error is not None:
        if isinstance(error, BaseExceptionGroup):
            return all(_refused(one) for one in error.exceptions)
        if isinstance(error, ConnectionRefusedError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _another(lost: Lost, told: str) -> Lost | Unreachable:
    """What answers where it is no scanstream server: another one, or a proxy in front."""
    if lost.status in GATEWAY:
        words = f"the proxy at {told} has no server behind it now (HTTP {lost.status})"
        return Lost(words, retry_after=lost.retry_after)
    if lost.status in LOGINS:
        return Unreachable(f"What answers at {told} asks for a login: give it with --url http://NAME:PASSWORD@HOST")
    nobody = proxy_of(told) is None and _refused(lost)  # else it may be the proxy
    return Nobody(str(lost)) if nobody else Unreachable(str(lost))


async def _persisting(question: Callable[[], Awaitable[T]], patience: Patience) -> T:
    """The answer, asked for again while the server is away.

    :raises Silent: if it says nothing for as long as it is waited for
    :raises Unreachable: if there is no server, or it did not come back
    """
    while True:
        try:
            answer = await question()
        except Silent:
            raise
        except (Lost, Unreachable) as error:
            await patience.wait(error)
        else:
            patience.back()
            return answer


async def discover(url: str, request: Document, patience: Patience) -> Document:
    """Ask for a scan; its ack. Asked again if the server goes away before it has answered.

    A request that was taken already then meets its own scan. One that forces a new scan may leave one behind that
    nobody asked for: an idempotency key would prevent that, but a scan with a key never answers another request.

    :raises Silent: if the server says nothing for as long as it is waited for; the scan may have been registered
    :raises Unreachable: if there is no server, or it did not come back
    :raises ScanstreamError: if the server does not take the request
    """

    async def question() -> Answer:
        path = DISCOVER_PATH
        return await ask(url, "POST", path, request=request, seconds=patience.seconds, needs=("scan_id",))

    ack: Document = (await _persisting(question, patience)).body
    return ack


async def strategies(url: str) -> list[Document]:
    """The catalogue."""
    catalogue = (await ask(url, "GET", "/opportunities/strategies")).body
    needs = ("id", "opportunity_type", "description", "parameters")
    if not isinstance(catalogue, list) or not all(_has(strategy, needs) for strategy in catalogue):
        raise Unreachable(f"What answers at {shown(url)} is no scanstream server: it lists no strategies")
    return catalogue


async def _ask_about(url: str, method: str, path: str, scan_id: str, **more: Any) -> Document:
    """The answer to a question about a scan.

    :param path: what the scan's id follows
    :raises Unreachable, Lost, ScanstreamError: see `ask`; an id that leads nowhere, as none does, is one of no scan
    """
    try:
        body: Document = (await ask(url, method, about(path, scan_id), **more)).body
    except Elsewhere as elsewhere:
        if scan_id.replace("_", "").isalnum() and scan_id.isascii():
            raise
        raise NotFound("No scan found. Please initiate a new scan.", scan_id=scan_id) from elsewhere
    return body


async def status(url: str, scan_id: str) -> Document:
    """How a scan is doing."""
    return await _ask_about(url, "GET", STATUS_PATH, scan_id, needs=STATE)


async def explanation(url: str, scan_id: str) -> Document:
    """A scan's life as a timeline, and what it waits for."""
    return await _ask_about(url, "GET", EXPLAIN_PATH, scan_id, needs=("scan_id", "timeline", "waits_for", "strategies"))


async def found(url: str, scan_id: str, patience: Patience) -> Document:
    """The same; asked again if the server goes away before it has answered."""
    return await _persisting(lambda: status(url, scan_id), patience)


async def results(url: str, scan_id: str, limit: int | None) -> Document:
    """What it has found, the best of it where there is a limit; of a scan that runs its state."""
    query = None if limit is None else {"limit": limit}
    body = await _ask_about(url, "GET", RESULTS_PATH, scan_id, query=query, needs=("scan_id", "status"))
    if "opportunities" not in body and not _has(body, STATE):
        raise Unreachable(f"What answers at {shown(url)} is no scanstream server: its results have no opportunities")
    return body


async def cancel(url: str, scan_id: str) -> Document:
    """Ask for its end; its state."""
    return await _ask_about(url, "POST", CANCEL_PATH, scan_id, needs=("scan_id", "status"))


async def notify(url: str, scan_id: str, target: str, patience: Patience) -> Document:
    """Have an address told of its end; what it is told by. Asked again if the server goes away: it is the same then.

    :raises NoSuchRoute: if the server tells nobody
    """
    needs = ("notification_id", "signing_secret")
    try:
        return await _persisting(
            lambda: _ask_about(url, "POST", NOTIFY_PATH, scan_id, request={"url": target}, needs=needs), patience
        )
    except Elsewhere as elsewhere:  # it has answered for the scan: so it is no other server, nor at another path
        raise elsewhere.__cause__ or elsewhere from None
