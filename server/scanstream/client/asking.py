"""Questions over HTTP: one answer each, over connections that are kept."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import anyio
import httpx
import msgspec

from scanstream.client.addresses import apart, shown
from scanstream.client.backoff import SHORTEST_SECONDS, Pace, pause
from scanstream.client.certificates import untaken
from scanstream.client.failures import Lost, Unreachable, decoded, of_http, seconds_in
from scanstream.client.token import Secret, Token, headers
from scanstream.errors import ScanstreamError
from scanstream.proxies import UnusableProxy, proxy_of

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 10.0
"""So long the server may say nothing where it has not been asked to wait."""
SHARE = 0.5
"""Of the time in all: an answer that has not come by then may be lost on the way, and is asked for once more."""
FOLLOW_PATH = "/opportunities/follow"
UNAUTHORIZED = 401
LOGINS = (401, 407)

T = TypeVar("T")


class Answer(NamedTuple):
    """What the server said."""

    status: int
    body: Any
    retry_after: float | None
    """Seconds after which the server wants to be asked again, where it said so."""


class Question(TypedDict, total=False):
    """What goes along with a method and a path."""

    request: Any
    """The body, as plain data."""
    query: Mapping[str, str | int] | None
    more: Mapping[str, str]
    """Headers."""
    silence: float
    """So many seconds the server may say nothing; `ANSWER_SECONDS` unless it is asked to wait."""


class Asking:
    """A server, and how it is talked to over HTTP.

    :param url: `http://…`, as `addresses.address` gives it
    :param measured: told how long the server took to answer
    """

    def __init__(self, url: str, secret: Secret = None, measured: Callable[[float], None] = lambda _: None) -> None:
        self.url = url
        self._measured = measured
        self.token = Token(secret)
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> "Asking":
        """Ready to ask."""
        base, login = apart(self.url)
        self._client = httpx.AsyncClient(
            base_url=base,
            auth=None if self.token else login,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            transport=transport(self.url),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Its connections are closed."""
        if self._client is not None:
            await self._client.aclose()

    async def ask(self, method: str, path: str, **question: Unpack[Question]) -> Answer:
        """The answer to one question; asked once more with another token where the first one is taken no more.

        :raises Lost: if there is no answer of a scanstream server now
        :raises ScanstreamError: if the server's answer is an error that does not pass
        """
        async with self.answering(method, path, **question) as response:
            with losses(self.url):
                content = await response.aread()
            return self._read(response, content)

    @asynccontextmanager
    async def answering(self, method: str, path: str, **question: Unpack[Question]) -> AsyncIterator[httpx.Response]:
        """The head of an answer, its body still to come; while it is read, each piece must come within the time.

        :raises Lost, ScanstreamError: see `ask`; of an answer that is an error the body is read here
        """
        sent = await self.token.now()
        response = await self._send(method, path, sent, **question)
        if response.status_code == UNAUTHORIZED and self.token.refused(sent):
            await response.aclose()
            await anyio.sleep(SHORTEST_SECONDS)
            sent = await self.token.now()
            response = await self._send(method, path, sent, **question)
        try:
            if not response.is_success:
                with losses(self.url):
                    raise self._what(response, await response.aread())
            yield response
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def _send(
        self,
        method: str,
        path: str,
        token: str | None,
        *,
        request: Any = None,
        query: Mapping[str, str | int] | None = None,
        more: Mapping[str, str] = MappingProxyType({}),
        silence: float = ANSWER_SECONDS,
    ) -> httpx.Response:
        assert self._client is not None, "ask inside of `async with`"
        content = None if request is None else msgspec.json.encode(request)
        plain = {**({} if content is None else {"content-type": "application/json"}), **headers(token), **more}
        sent = {name.encode(): value.encode() for name, value in plain.items()}
        timeout = httpx.Timeout(silence, connect=CONNECT_SECONDS)
        asked = self._client.build_request(method, path, content=content, params=query, headers=sent, timeout=timeout)
        began = anyio.current_time()
        with losses(self.url):
            response = await self._client.send(asked, stream=True)
        if silence == ANSWER_SECONDS:
            self._measured(anyio.current_time() - began)
        return response

    def _read(self, response: httpx.Response, content: bytes) -> Answer:
        try:
            return Answer(response.status_code, decoded(content), seconds_in(response.headers))
        except Lost:
            raise self._what(response, content) from None

    def _what(self, response: httpx.Response, content: bytes) -> Lost | ScanstreamError:
        """What an answer is that is not the one that was asked for."""
        status = response.status_code
        try:
            body = decoded(content)
        except Lost:
            body = None
        where = f"it sends to {response.headers['location']}" if response.has_redirect_location else f"HTTP {status}"
        if status in LOGINS:
            where += ", it asks for a login: NAME:PASSWORD@ before the host"
        words = f"What answers at {shown(self.url)} is no scanstream server, or a proxy in front of one ({where})"
        return of_http(status, body, seconds_in(response.headers), words)


async def persist(url: str, ask: Callable[[], Awaitable[T]], timeout: float | None, random: Callable[[], float]) -> T:
    """The answer, asked for again until there is one or the time is over; nothing goes on after that.

    :param timeout: seconds; None is as long as it takes
    :raises Unreachable: if the time is over, saying what was last in the way; an error of the server's, which passes
        and has not passed in time, is its cause
    :raises ScanstreamError: if the server's answer is an error that does not pass
    """
    failures, pace = 0, Pace()
    last = Lost("it does not answer")

    async def once() -> T:
        pace.began(anyio.current_time())
        return await ask()

    with anyio.move_on_after(timeout):
        while True:
            try:
                return await (once() if timeout is None else _soonest(once, max(SHORTEST_SECONDS, SHARE * timeout)))
            except Lost as lost:
                failures, last = failures + 1, lost
                wished = pause(failures, random, lost.retry_after or 0.0)
                await anyio.sleep_until(pace.due(anyio.current_time() + wished))
    refused = isinstance(last.__cause__, ScanstreamError)
    what = f"has refused this for {timeout:g} s" if refused else f"has not answered within {timeout:g} s"
    words = f"The server at {shown(url)} {what}: {last}"
    raise Unreachable(words, retry_after=last.retry_after) from last.__cause__ or last


async def _soonest(ask: Callable[[], Awaitable[T]], after: float) -> T:
    """The first answer to one question, or to the same asked once more beside it, after so many seconds.

    :raises Lost, ScanstreamError: what the last of them met, if neither is answered
    """
    answers: list[T] = []
    met: list[Exception] = []
    under_way = 0
    async with anyio.create_task_group() as tasks:

        async def once() -> None:
            nonlocal under_way
            under_way += 1
            try:
                answers.append(await ask())
            except Exception as error:  # raised below, not in a group
                met.append(error)
            under_way -= 1
            if answers or not under_way:
                tasks.cancel_scope.cancel()

        tasks.start_soon(once)
        await anyio.sleep(after)
        await once()
    if answers:
        return answers[0]
    raise met[-1]


@contextmanager
def losses(url: str) -> Iterator[None]:
    """What goes wrong below HTTP as a lost connection."""
    try:
        yield
    except (httpx.ConnectError, httpx.ProxyError, httpx.UnsupportedProtocol) as error:
        if why := untaken(error):
            raise Lost(f"The server at {shown(url)} is not trusted: its certificate {why.says}", "refused") from error
        raise Lost(f"There is no scanstream server at {shown(url)} ({error})", "refused") from error
    except httpx.TimeoutException as error:
        raise Lost(f"The server at {shown(url)} has not answered in time", "silent") from error
    except httpx.HTTPError as error:
        raise Lost(str(error) or type(error).__name__) from error


def about(path: str, scan_id: str) -> str:
    """A path with a scan's id, whatever that is."""
    return path + quote(scan_id.encode(errors="surrogateescape"), safe="")


def transport(url: str) -> httpx.AsyncHTTPTransport:
    """How to get there. Certificates are read only where they are needed: what names them may be wrong.

    :raises Unreachable: if they cannot be read, or the proxy not be used
    """
    try:
        return httpx.AsyncHTTPTransport(proxy=proxy_of(url), verify=url.startswith("https:"))
    except UnusableProxy as error:
        raise Unreachable(str(error)) from error
    except OSError as error:
        raise Unreachable(
            f"What SSL_CERT_FILE, SSL_CERT_DIR or SSLKEYLOGFILE names cannot be used ({error.strerror or error}): "
            "mend or unset it"
        ) from error
