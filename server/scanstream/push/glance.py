"""A glance: the plain poll, answered where its head was read.

Most requests are `GET /opportunities/status/{scan_id}` of somebody who polls. The answer is ready for all who ask
(push/answers.py), so a task, an ASGI scope and the rules in the chain of routes.py would cost many times what it does.
A transport that knows this place (push/transport/http.py) asks here first; nothing is waited for.

What is not plain (a wait, a query, an origin, `latest`, a scan that is not in memory, a host that is refused) is not
answered here but by the chain, which says the same of what is: tests/wire/test_glance.py compares the two.
"""

import logging
import re
from typing import Any, NamedTuple, TypeAlias

from starlette.types import Scope

from scanstream.model import ANYONE, STATUS_PATH
from scanstream.push.answers import StatusAnswers
from scanstream.push.desk import Desk
from scanstream.push.forwarded import Forwarded
from scanstream.push.origin import OriginCheck

logger = logging.getLogger("scanstream")

Fields: TypeAlias = list[tuple[bytes, bytes]]
"""Header lines, the names in lower case."""

NOT_PLAIN = frozenset(
    b"origin prefer expect upgrade content-length transfer-encoding access-control-request-method".split()
)
"""Headers by which the chain answers otherwise, or with which there may be a body."""
OF_HOSTS = frozenset([b"host"])
OF_PROXIES = OF_HOSTS | {b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-prefix", b"x-forwarded-proto"}
"""Headers that say whom a request is for, where proxies are trusted."""
MOST_VERDICTS = 1024
LONGEST_VERDICT = 512
"""Bytes of such headers in one verdict that is kept."""

_TARGET = re.compile(rb"(.*)%s(scan_[0-9a-f]{42})" % re.escape(STATUS_PATH.encode()), re.DOTALL)
_ONE_TAG = re.compile(rb'(?:W/)?"([\x21\x23-\x7e]*)"')


class Question(NamedTuple):
    """A plain poll."""

    scan_id: str
    tag: str | None
    """The one that the caller holds, without its quotes."""


class Told(NamedTuple):
    """An answer."""

    status: int
    head: bytes
    """Header lines behind those that every answer begins with, and the empty line."""
    body: bytes


class Glance:
    """Reads plain polls, and answers them."""

    def __init__(self, desk: Desk, answers: StatusAnswers, forwarded: Forwarded, check: OriginCheck) -> None:
        self._desk = desk
        self._answers = answers
        self._entrance = Entrance(forwarded, check)

    def question(self, target: bytes, fields: Fields, client: Any) -> Question | None:
        """What is asked, if it is a plain poll: of the head alone, so that equal heads are equal questions.

        :param target: of a GET of HTTP/1.1 that keeps its connection
        :param client: the caller's address as in an ASGI scope
        """
        match = _TARGET.fullmatch(target)
        if match is None:
            return None
        tag: str | None = None
        of_host: Fields = []
        for field in fields:
            name, value = field
            if name in NOT_PLAIN:
                return None
            if name in self._entrance.looks_at:
                of_host.append(field)
            elif name == b"if-none-match":
                held = _ONE_TAG.fullmatch(value)
                if held is None or tag is not None:
                    return None
                tag = held[1].decode("ascii")
        prefix = self._entrance.prefix(tuple(of_host), client)
        if prefix is None or match[1] not in (b"", prefix):
            return None
        return Question(match[2].decode("ascii"), tag)

    def answer(self, question: Question) -> Told | None:
        """What is to be said now; None where the chain is to say it."""
        try:
            log = self._desk.held(ANYONE, question.scan_id)
            if log is None:
                return None
            answer = self._answers.of(log)
            if answer.tag == question.tag:
                return Told(304, answer.unchanged, b"")
            return Told(200, *(answer.whole or self._answers.whole(log)))
        except Exception:  # the chain meets it, too, and knows what to say of it
            logger.exception("a poll cannot be answered at a glance")
            return None


class Entrance:
    """Who may come in, and below which path: what the rules of the chain say, asked once for equal headers."""

    def __init__(self, forwarded: Forwarded, check: OriginCheck) -> None:
        self._forwarded = forwarded
        self._check = check
        self.looks_at = OF_PROXIES if forwarded.trusts else OF_HOSTS
        """The headers that it depends on."""
        self._verdicts: dict[tuple[Any, ...], bytes | None] = {}

    def prefix(self, fields: tuple[tuple[bytes, bytes], ...], client: Any) -> bytes | None:
        """The path that the server stands below for the caller; None for one that is refused."""
        key = fields, client[0] if client and self._forwarded.trusts else None
        try:
            return self._verdicts[key]
        except KeyError:
            verdict = self._verdict(fields, client)
        if sum(len(value) for _, value in fields) <= LONGEST_VERDICT:
            if len(self._verdicts) >= MOST_VERDICTS:
                self._verdicts.clear()
            self._verdicts[key] = verdict
        return verdict

    def _verdict(self, fields: tuple[tuple[bytes, bytes], ...], client: Any) -> bytes | None:
        scope: Scope = {"type": "http", "method": "GET", "http_version": "1.1", "path": STATUS_PATH, "client": client}
        scope["headers"] = list(fields)
        try:
            self._forwarded.stand(scope)
        except ValueError:
            return None
        prefix: str = scope["root_path"]
        scope["path"] = prefix + STATUS_PATH
        return None if self._check.refusal(scope) else prefix.encode()
