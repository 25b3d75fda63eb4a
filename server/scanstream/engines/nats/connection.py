"""The connection to NATS: every server that is named, for ever, and requests that are repeated until they are answered.

A request without an answer is sent again after half a second: of what was in flight when a server stopped nobody
answers, and what was lost in a change of leaders nobody sends again. So all that is asked here may happen twice.
"""

import asyncio
import base64
import json
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import anyio
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.js import JetStreamContext

from scanstream.engines.nats.answers import (
    CONFLICTS,
    FULL,
    IN_PROCESS,
    NO_ANSWER,
    NO_MESSAGE,
    RETRY_AFTER,
    TOO_LARGE,
    UNAVAILABLE,
    Answer,
    ApiError,
    ConflictError,
    RefusedError,
    Stored,
    forbidden,
    milliseconds,
    no_room,
    read,
    unavailable,
)
from scanstream.engines.nats.link import Link
from scanstream.engines.nats.names import Names
from scanstream.engines.nats.options import NatsOptions
from scanstream.errors import EngineUnusable, StoreUnavailable

START_SECONDS = 15.0
"""How long a start waits for servers that are on their way up."""
TRY_SECONDS = 0.5
"""In which a request is answered; then it is sent again."""
PATIENCE_SECONDS = 10.0
"""How long one is repeated: a new leader is elected in four to eight seconds."""
PAUSE_SECONDS = 0.1
"""Between two tries where somebody said that it will not be now; with a random part, as many wait for the same."""
OLDEST = (2, 12)
LEAST_PAYLOAD = 1024 * 1024
"""In bytes: what one message holds (`max_payload`), by default and here at least."""

ELECTED = "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.>"
"""What JetStream tells all of its account when a stream has another leader …"""
UPDATED = "$JS.EVENT.ADVISORY.STREAM.UPDATED.>"
"""… or other settings."""

logger = logging.getLogger("scanstream")


class Connection:
    """One node's connection. All that it does may be done by many at once."""

    def __init__(self, client: Link, options: NatsOptions) -> None:
        self.client = client
        self.jetstream: JetStreamContext = client.jetstream()
        self.options = options
        self.names = Names(options.namespace)
        self.node = secrets.token_hex(6)
        """Names this process, and no other one."""
        self._numbers = count(1)
        self._inbox = client.new_inbox()
        self._hears = f"{self._inbox}.*"
        self._answers: dict[str, asyncio.Future[Answer | None]] = {}
        self._full = ""
        """What NATS said last, as long as that is that it has no room: of several servers then none may lead."""
        self._troubled_at = float("-inf")
        self._lacks = self._lacking()
        """Why the server that we are connected to cannot be used: another one may have taken its place."""
        self._changed: list[Callable[[], None]] = []
        self.when_back(self._come_back)

    def fresh(self) -> str:
        """A word that nobody has used: for one message, or one consumer."""
        return f"{self.node}-{next(self._numbers)}"

    def trouble(self) -> str:
        """What is wrong with the connection; nothing, if it is there."""
        if self.client.is_connected:
            return self._lacks
        return f"there is no connection to NATS: {self.client.why or 'it is lost'}"

    def troubled(self, seconds: float) -> bool:
        """Whether NATS is in trouble, or was within so many seconds: it may not have heard what was said to it then."""
        return bool(self.trouble()) or anyio.current_time() - self._troubled_at < seconds

    def note_trouble(self) -> None:
        """It is in trouble now."""
        self._troubled_at = anyio.current_time()

    def when_back(self, call: Callable[[], None]) -> None:
        """Have it called whenever the connection was lost and is back."""
        self.client.back.append(call)

    def when_changed(self, call: Callable[[], None]) -> None:
        """Have it called whenever the settings of a stream were changed."""
        self._changed.append(call)

    async def publish(
        self,
        subject: str,
        body: bytes,
        *,
        headers: dict[str, str] | None = None,
        stream: str,
        patience: float = PATIENCE_SECONDS,
    ) -> int:
        """Publish into a stream; its place there. Repeated until it is acknowledged.

        With `Nats-Msg-Id` the repetitions are one message; without it there may be several.

        :raises ConflictError: if it is not as the headers expect; an earlier try of this call may be why
        :raises StoreUnavailable: if nobody has acknowledged it in time, or there is no room
        """
        try:
            ack = await self._asked(subject, body, headers, patience)
        except ApiError as error:
            raise RefusedError(f"NATS: {error}", retry_after=RETRY_AFTER) from error
        if ack.get("stream") != stream:
            raise RefusedError(f"NATS keeps {subject} in {ack.get('stream')}, not in {stream}", retry_after=RETRY_AFTER)
        return int(ack["seq"])

    async def request_api(
        self, name: str, body: Mapping[str, Any] | None = None, *, patience: float = PATIENCE_SECONDS
    ) -> dict[str, Any]:
        """What JetStream answers, as to `STREAM.INFO.SCANS`. Repeated until it does.

        :raises ApiError: if it says no
        :raises StoreUnavailable: if nobody has answered in time
        """
        return await self._asked(f"$JS.API.{name}", b"" if body is None else json.dumps(body).encode(), None, patience)

    async def last(self, stream: str, subject: str, *, patience: float = PATIENCE_SECONDS) -> Stored | None:
        """The last message of a subject, as whoever leads the stream says, and they may be behind; None: there is none.

        :raises StoreUnavailable: if nobody says
        """
        return await self._stored(stream, {"last_by_subj": subject}, patience)

    async def at(self, stream: str, seq: int, *, patience: float = PATIENCE_SECONDS) -> Stored | None:
        """What stands at this place of a stream, as whoever leads it says; None: nothing (any more, or yet).

        :raises StoreUnavailable: if nobody says
        """
        return await self._stored(stream, {"seq": seq}, patience)

    async def _stored(self, stream: str, which: dict[str, Any], patience: float) -> Stored | None:
        try:
            answer = await self.request_api(f"STREAM.MSG.GET.{stream}", which, patience=patience)
        except ApiError as error:
            if error.code == NO_MESSAGE:
                return None
            raise StoreUnavailable(f"NATS: {error}", retry_after=RETRY_AFTER) from error
        message = answer["message"]
        data, headers = (base64.b64decode(message.get(part, "")) for part in ("data", "hdrs"))
        return Stored(int(message["seq"]), data, milliseconds(message["time"]), headers)

    async def _asked(
        self, subject: str, body: bytes, headers: dict[str, str] | None, patience: float
    ) -> dict[str, Any]:
        until = anyio.current_time() + patience
        while True:
            answer = await self.asked_once(subject, body, headers)
            if (error := answer.get("error")) is None:
                return answer
            why, code = str(error.get("description", error)), error.get("err_code")
            if code in CONFLICTS:
                raise ConflictError(why)
            if code in FULL:
                raise no_room(answer)
            if error.get("code") != UNAVAILABLE and code != IN_PROCESS:
                raise ApiError(error)
            if anyio.current_time() >= until:
                raise StoreUnavailable(f"NATS has not answered for {patience:g} s: {why}", retry_after=RETRY_AFTER)
            if not error.get("late"):
                await anyio.sleep(PAUSE_SECONDS * (1 + random.random()))  # noqa: S311  # no secret

    async def asked_once(
        self, subject: str, body: bytes, headers: dict[str, str] | None = None, *, seconds: float = TRY_SECONDS
    ) -> dict[str, Any]:
        """What JetStream answers to one request; an `error` of 503 where nothing comes in time."""
        if why := self.trouble():  # nothing is left to be sent later: it would be sent again and again
            return unavailable(why)
        loop = asyncio.get_running_loop()
        word = str(next(self._numbers))
        answer = self._answers[word] = loop.create_future()
        late = loop.call_later(seconds, _give_up, answer)  # a cancel scope would cost more than all else that is here
        try:
            await self.client.publish(subject, body, reply=f"{self._inbox}.{word}", headers=headers)
            heard = await answer
        except MaxPayloadError:
            return {"error": {"err_code": TOO_LARGE, "description": f"{len(body)} bytes are more than a message holds"}}
        except NatsError as error:
            return unavailable(str(error))
        finally:
            late.cancel()
            del self._answers[word]
        return self._heeded(self._unanswered(subject) if heard is None else read(heard))

    def _heeded(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer, with what is known of why there is none."""
        error = answer.get("error")
        if "seq" in answer and error is None:
            self._full = ""
        elif error is not None and error.get("err_code") in FULL:
            self._full = no_room(answer).detail
        elif error is not None and error.get("code") == UNAVAILABLE:
            if not error.get("late"):
                self.note_trouble()
            if self._full:
                error["description"] = f"{error.get('description')}; the last it said: {self._full}"
        return answer

    def _unanswered(self, subject: str) -> dict[str, Any]:
        """Why nothing came: a server that forbids something says so beside, and never answers."""
        if self.client.forbidden(subject):
            return forbidden(f"publish to {subject}")
        if self.client.forbidden(self._hears):
            return forbidden("subscribe to _INBOX.>, where all answers come to")
        return unavailable(self.trouble() or NO_ANSWER, late=True)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """In here answers are heard."""
        async with self.client.hearing(self._hears, self._answered):
            await self.client.subscribe(ELECTED, cb=self._elected)
            await self.client.subscribe(UPDATED, cb=self._updated)
            yield

    async def _answered(self, subject: str, _: str, data: bytes, headers: bytes | None) -> None:
        answer = self._answers.get(subject.rpartition(".")[2])
        if answer is not None and not answer.done():
            answer.set_result(Answer(data, headers or b""))

    async def _elected(self, _: Msg) -> None:
        """What the former leader had in flight, as it stopped, nobody answers either."""
        self._ask_again()

    async def _updated(self, _: Msg) -> None:
        for call in self._changed:
            call()

    def _come_back(self) -> None:
        self.note_trouble()
        if why := self._lacking():
            logger.error("%s; nothing is asked of it", why)
        self._lacks = why
        self._ask_again()

    def _ask_again(self) -> None:
        """Of what was in flight when the connection was lost nobody answers."""
        for answer in self._answers.values():
            _give_up(answer)

    def require(self) -> None:
        """The server is one that can be used.

        :raises EngineUnusable: saying what it lacks
        """
        if self._lacks:
            raise EngineUnusable(self._lacks)

    def _lacking(self) -> str:
        version = self.client.connected_server_version
        if (version.major, version.minor) < OLDEST:
            told = ".".join(map(str, OLDEST))
            found = self.client.version_told
            return f"NATS is {found} at {self.client.where()}, and must be {told} or newer"
        if self.client.max_payload < LEAST_PAYLOAD:
            return (
                f"NATS takes messages of {self.client.max_payload} bytes, and must take {LEAST_PAYLOAD} (max_payload)"
            )
        return ""


def _give_up(answer: asyncio.Future[Answer | None]) -> None:
    if not answer.done():
        answer.set_result(None)


@asynccontextmanager
async def connected(options: NatsOptions, *, patience: float = START_SECONDS) -> AsyncIterator[Connection]:
    """A connection to these servers, which comes back whenever it is lost; closed at the end.

    :param patience: seconds that a start waits for a server to answer
    :raises EngineUnusable: if none does, if we are not let in, or if it is too old
    """
    client = Link(options)
    try:
        await client.open(patience)
        connection = Connection(client, options)
        connection.require()
        async with connection.listening():
            yield connection
    finally:
        await client.leave()
