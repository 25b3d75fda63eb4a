"""One attempt: one request to a machine that may be reached, one answer, and what that means.

httpcore is what httpx stands on; here it is used without what httpx adds: no redirect is followed, no proxy of the
environment asked, no cookie kept, nothing unpacked. Each attempt has a connection of its own.
"""

import logging
import os
import ssl
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Literal, NamedTuple, TypeAlias, get_args

import anyio
import httpcore
import httpx
from anyio import to_thread

from scanstream import __version__
from scanstream.causes import causes
from scanstream.errors import SettingError
from scanstream.notify.addresses import Network, Resolver
from scanstream.notify.backoff import retry_after
from scanstream.notify.network import CheckedNetwork, ForbiddenError
from scanstream.notify.targets import Target
from scanstream.shortage import shortage

ATTEMPT_SECONDS = 10.0
"""What all of it may take: to look up the name, to connect, to send, and until the answer's head is there."""
BODY_SECONDS = 1.0
MOST_BODY_BYTES = 16 * 1024
"""What is read behind an answer's head, so that whoever sends a few words more is not cut off; none of it counts."""

Outcome: TypeAlias = Literal[
    "delivered", "gone", "busy", "refused", "timed_out", "unreachable", "untrusted", "forbidden", "shortage", "failed"
]
"""What came of one attempt; docs/webhooks.md has the table."""
OUTCOMES_OF_ATTEMPTS: tuple[Outcome, ...] = get_args(Outcome)

FIXED = {"Content-Type": "application/json", "User-Agent": f"scanstream/{__version__}", "Connection": "close"}


_sending: ContextVar[bool] = ContextVar("scanstream.notify.sending", default=False)
"""Whether what goes on now is one of our attempts."""


def _is_no_attempt(_: logging.LogRecord) -> bool:
    """A filter of httpcore's loggers: where somebody has them tell everything, a receiver's headers are in it."""
    return not _sending.get()


for _name in ("httpcore.connection", "httpcore.http11"):
    logging.getLogger(_name).addFilter(_is_no_attempt)


class Answer(NamedTuple):
    """What came of it, in words for the log of the server, and how long the receiver asks to be left alone."""

    outcome: Outcome
    why: str
    asked: float | None = None


class Sender:
    """Sends to whoever may be reached."""

    def __init__(self, resolver: Resolver, private: Sequence[Network], tls: ssl.SSLContext) -> None:
        self._resolver = resolver
        self._private = tuple(private)
        self._tls = tls

    async def send(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send this there; whatever comes of it is an answer."""
        token = _sending.set(True)
        try:
            with anyio.fail_after(ATTEMPT_SECONDS):
                return await self._sent(target, {"Host": target.authority, **FIXED, **headers}, body)
        except (TimeoutError, httpcore.TimeoutException):
            return Answer("timed_out", f"no answer within {ATTEMPT_SECONDS:g} s")
        except ForbiddenError:
            return Answer("forbidden", "none of its addresses may be reached (--notify-private)")
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            return _failed(error)
        finally:
            _sending.reset(token)

    async def _sent(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        host = target.host.encode()
        url = httpcore.URL(scheme=target.scheme.encode(), host=host, port=target.port, target=target.asked.encode())
        async with (
            CheckedNetwork(self._resolver, self._private) as network,
            httpcore.AsyncHTTPConnection(url.origin, ssl_context=self._tls, network_backend=network) as line,
            line.stream("POST", url, headers=list(headers.items()), content=body) as response,
        ):
            answer = _answered(response)
            await _heard_out(response)
            return answer


async def open_sender(resolver: Resolver, private: Sequence[Network]) -> Sender:
    """A sender that trusts the authorities that httpx does: certifi's, or those that `SSL_CERT_FILE` names.

    :raises SettingError: if these cannot be read
    """
    try:
        tls = await to_thread.run_sync(httpx.create_ssl_context, abandon_on_cancel=True)
    except (OSError, ssl.SSLError) as error:
        named = {name: os.environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)}
        where = ", ".join(f"{name}={value}" for name, value in named.items()) or "certifi"
        told = f"{where}: the authorities that receivers' certificates must come from cannot be read: {error}"
        raise SettingError(told) from error
    return Sender(resolver, private, tls)


async def _heard_out(response: httpcore.Response) -> None:
    """Read what comes behind the head, within bounds: what it says is settled, however this ends."""
    size = 0
    with anyio.move_on_after(BODY_SECONDS):
        try:
            async for piece in response.aiter_stream():
                size += len(piece)
                if size > MOST_BODY_BYTES:
                    return
        except (httpcore.NetworkError, httpcore.ProtocolError):
            return


def _answered(response: httpcore.Response) -> Answer:
    status = response.status
    told = f"it answers {status}"
    if 200 <= status < 300:
        return Answer("delivered", told)
    if status == 410:
        return Answer("gone", told)
    if status in (429, 503):
        named = (value.decode("latin-1") for name, value in response.headers if name.lower() == b"retry-after")
        return Answer("busy", told, retry_after(next(named, None)))
    return Answer("refused", told)


def _failed(error: Exception) -> Answer:
    """Why there was no answer, in words of ours: theirs may hold what a receiver, or an address, has in it."""
    if lacking := shortage(error):
        return Answer("shortage", f"this machine lacks {lacking}")
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Answer("untrusted", f"its certificate is not trusted ({cause.verify_message[:80]})")
        if isinstance(cause, ssl.SSLError):
            return Answer("untrusted", "TLS could not be agreed on")
    if isinstance(error, httpcore.ProtocolError):
        return Answer("unreachable", "what it answers is not HTTP, or it closed the connection")
    return Answer("unreachable", "there was no connection to it, or it broke off")
