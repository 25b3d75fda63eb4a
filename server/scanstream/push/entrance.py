"""Who may come in, and below which path: what the rules in the chain of routes.py say, asked once for equal headers."""

from typing import NamedTuple

from starlette.types import Scope

from scanstream.model import STATUS_PATH
from scanstream.push.confined import is_strict
from scanstream.push.forwarded import Forwarded
from scanstream.push.line import Client
from scanstream.push.origin import OriginCheck
from scanstream.push.question import Fields

OF_HOSTS = frozenset([b"host"])
OF_PROXIES = OF_HOSTS | {b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-prefix", b"x-forwarded-proto"}
"""Headers that say whom a request is for, where proxies are trusted."""
MOST_VERDICTS = 1024
LONGEST_VERDICT = 512
"""Bytes of such headers in one verdict that is kept."""


class Place(NamedTuple):
    """Where the server is for a caller."""

    prefix: bytes
    """The path that it stands below."""
    strict: bool
    """Whether its host is to be asked by TLS only from now on."""


Verdict = Place | None
"""None for a caller who is refused."""


class Entrance:
    """The verdicts for requests that only read, and come from no page of another origin."""

    def __init__(self, forwarded: Forwarded, check: OriginCheck, *, strict: bool = False) -> None:
        """:param strict: TLS ends here, so this server may say that it is to be asked by nothing else"""
        self._forwarded = forwarded
        self._check = check
        self._strict = strict
        self._looks_at = OF_PROXIES if forwarded.trusts else OF_HOSTS
        self._verdicts: dict[tuple[object, ...], Verdict] = {}

    def verdict(self, fields: Fields, client: Client) -> Verdict:
        """Of a request with these headers, from there."""
        of_host = tuple([field for field in fields if field[0] in self._looks_at])
        key = (of_host, client[0] if client else None) if self._forwarded.trusts else of_host
        try:
            return self._verdicts[key]
        except KeyError:
            verdict = self._judged(of_host, client)
        if sum(len(value) for _, value in of_host) <= LONGEST_VERDICT:
            if len(self._verdicts) >= MOST_VERDICTS:
                self._verdicts.clear()
            self._verdicts[key] = verdict
        return verdict

    def _judged(self, of_host: tuple[tuple[bytes, bytes], ...], client: Client) -> Verdict:
        scope: Scope = {"type": "http", "method": "GET", "http_version": "1.1", "path": STATUS_PATH, "client": client}
        scope["headers"] = list(of_host)
        try:
            self._forwarded.stand(scope)
        except ValueError:
            return None
        prefix: str = scope["root_path"]
        scope["path"] = prefix + STATUS_PATH
        return None if self._check.refusal(scope) else Place(prefix.encode(), self._strict and is_strict(of_host))
