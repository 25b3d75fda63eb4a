"""Servers that break one promise each: of who is asking, and of web pages and names that are not the server's."""

from collections.abc import Callable
from functools import partial
from typing import Any

from conformance.mutants import Told, answering, asking, mutant, telling
from conformance.mutating import Answer, Mutation, Talk, plain

HEADER = "authorization"


def _scan_id(talk: Talk) -> str:
    return talk.path.rpartition("/")[2]


class Owners(Mutation):
    """Knows who has started what, by their credentials."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        """By scan."""
        self.first = ""

    def asked(self, talk: Talk) -> Answer | None:
        """See `Mutation`."""
        shown = talk.headers.get(HEADER, "")
        self.first = self.first or (shown if "ssk_" in shown else "")
        return None

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        """See `Mutation`."""
        if talk.about("discover") and answer.status == 202:
            location = answer.headers["location"]
            self.owners.setdefault(location.rpartition("/")[2], talk.headers[HEADER])
        return answer

    def by_token(self, talk: Talk) -> bool:
        """Whether somebody shows a scan token."""
        return "sst_" in talk.headers.get(HEADER, "")


@asking("strangers", "a market that strangers may look at")
def _open_market(talk: Talk) -> Answer | None:
    return plain(200, {}, cache_control="no-cache") if talk.about("market") and HEADER not in talk.headers else None


@answering("strangers", "a 401 without a challenge", "status", 401)
def _no_challenge(talk: Talk, answer: Answer) -> Answer:
    return answer.headed(www_authenticate="")


@telling("strangers", "a socket without a credential that is told nothing", "websocket")
def _no_word(talk: Talk, message: dict[str, Any]) -> Told:
    return [] if message["type"] == "error" else [message]


@mutant("not-yours", "a 403 for another's scan")
class Forbids(Owners):
    """It was started by somebody."""

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        """See `Mutation`."""
        known = _scan_id(talk) in self.owners and talk.about("status")
        return plain(403, {}) if known and answer.status == 404 else super().answered(talk, answer)


@mutant("not-yours", "a word more where an absent scan is somebody's")
class Hints(Owners):
    """In an answer that is else the same."""

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        """See `Mutation`."""
        known = _scan_id(talk) in self.owners and talk.about("explain")
        return answer.having(owned=True) if known and answer.status == 404 else super().answered(talk, answer)


@mutant("not-yours", "a cancel of another's scan")
class CancelsAnothers(Owners):
    """As its owner."""

    def asked(self, talk: Talk) -> Answer | None:
        """See `Mutation`."""
        if talk.about("cancel") and _scan_id(talk) in self.owners:
            talk.headers[HEADER] = self.owners[_scan_id(talk)]
        return None


@mutant("apart", "identical requests of two callers that are one scan")
class JoinsAnothers(Owners):
    """All discovers are the first caller's."""

    def asked(self, talk: Talk) -> Answer | None:
        """See `Mutation`."""
        super().asked(talk)
        if talk.about("discover"):
            talk.headers[HEADER] = self.first
        return None


@mutant("apart", "a latest that is somebody else's")
class LatestOfAll(Owners):
    """The first caller's, for everybody."""

    def asked(self, talk: Talk) -> Answer | None:
        """See `Mutation`."""
        super().asked(talk)
        if talk.path.endswith("/latest"):
            talk.headers[HEADER] = self.first
        return None


@answering("scan-token", "an ack without a scan_token", "discover", 202)
def _no_token(talk: Talk, answer: Answer) -> Answer:
    return answer.having(scan_token=None)


class Promotes(Owners):
    """A scan token is as good as its owner's key, for questions that begin like this."""

    def __init__(self, about: str) -> None:
        super().__init__()
        self.about = about

    def asked(self, talk: Talk) -> Answer | None:
        """See `Mutation`."""
        super().asked(talk)
        if self.by_token(talk) and talk.about(self.about):
            talk.headers[HEADER] = self.first
        return None


for check, wrong, what in (
    ("scan-token", "a scan token that opens another scan", "status/scan"),
    ("scan-token", "a scan token that starts scans", "discover"),
    ("share", "a link to read that cancels", "cancel"),
    ("share", "a link without an end", "status"),
    ("share", "a link that is handed on with more than it gives", "share"),
):
    mutant(check, wrong)(partial(Promotes, what))


@asking("scan-token", "a token in an address that opens nothing")
def _nothing_in_addresses(talk: Talk) -> Answer | None:
    talk.query.pop("token", None)
    return None


@asking("scan-token", "a key in an address that is passed over")
def _keys_in_addresses(talk: Talk) -> Answer | None:
    if talk.query.get("token", "").startswith("ssk_"):
        del talk.query["token"]
    return None


@telling("renewal", "a renewal that is refused", "websocket")
def _refused_renewal(talk: Talk, message: dict[str, Any]) -> Told:
    refused = {"type": "error", "id": message.get("id"), "code": "unauthorized", "detail": "no"}
    return [refused] if message["type"] == "ack" and message.get("id") == "own" else [message]


@telling("renewal", "another's credential that is taken on an open socket", "websocket")
def _anybody(talk: Talk, message: dict[str, Any]) -> Told:
    return [{"type": "ack", "id": "other"}] if message["type"] == "error" else [message]


@asking("foreign-pages", "a page of another origin that starts scans")
def _started_by_pages(talk: Talk) -> Answer | None:
    if talk.about("discover"):
        talk.headers.pop("origin", None)
    return None


@asking("foreign-pages", "a page of another origin that follows a scan")
def _followed_by_pages(talk: Talk) -> Answer | None:
    if talk.about("events"):
        talk.headers.pop("origin", None)
    return None


@answering("foreign-pages", "an answer that every page may read", "status", 200)
def _read_by_pages(talk: Talk, answer: Answer) -> Answer:
    return answer.headed(access_control_allow_origin="*")


@asking("foreign-hosts", "a server that answers to any name")
def _any_name(talk: Talk) -> Answer | None:
    talk.headers["host"] = "127.0.0.1"
    return None


@answering("foreign-hosts", "a 403 for what is no host", "scans", 400)
def _no_host(talk: Talk, answer: Answer) -> Answer:
    return answer._replace(status=403)


class Greets(Owners):
    """Sockets that are asked for like this are the first caller's."""

    def __init__(self, meant: Callable[[Talk], bool]) -> None:
        super().__init__()
        self.meant = meant

    def called(self, talk: Talk) -> None:
        """See `Mutation`."""
        shown = talk.headers.get(HEADER, "")
        self.first = self.first or (shown if "ssk_" in shown and "nobody" not in shown else "")
        if self.meant(talk):
            talk.headers[HEADER] = self.first


def _packed(talk: Talk) -> bool:
    return "msgpack" in talk.headers.get("sec-websocket-protocol", "")


def _nobodys(talk: Talk) -> bool:
    return "nobody" in talk.headers.get(HEADER, "")


def _tokens(talk: Talk) -> bool:
    return "sst_" in talk.headers.get(HEADER, "")


for check, wrong, meant in (
    ("strangers", "MessagePack for strangers", lambda talk: _packed(talk) and HEADER not in talk.headers),
    ("strangers", "a socket for a key that is nobody's", _nobodys),
    ("scan-token", "a socket on which a scan token is as good as a key", _tokens),
    ("share", "a socket on which a link is as good as a key", _tokens),
    ("apart", "a latest on sockets that is somebody else's", lambda talk: True),
):
    mutant(check, wrong)(partial(Greets, meant))


class NoSubprotocol(Mutation):
    """A credential among the subprotocols is passed over."""

    def called(self, talk: Talk) -> None:
        """See `Mutation`."""
        talk.headers["sec-websocket-protocol"] = talk.headers.get("sec-websocket-protocol", "").partition(",")[0]


mutant("bearer", "a credential of a browser's socket that opens nothing")(NoSubprotocol)
mutant("scan-token", "a scan token that opens other scans in follow")(partial(Promotes, "follow"))
mutant("share", "an event stream that outlives the link it was opened with")(partial(Promotes, "events"))


@asking("scan-token", "a token in an address that does not cancel")
def _no_cancel_in_addresses(talk: Talk) -> Answer | None:
    if talk.about("cancel"):
        talk.query.pop("token", None)
    return None


@telling("scan-token", "an ack on a socket without a scan_token", "websocket")
def _no_token_on_sockets(talk: Talk, message: dict[str, Any]) -> Told:
    return [{key: value for key, value in message.items() if key != "scan_token"}]


@answering("strangers", "a 401 that is no problem document", "market", 401)
def _plain_401(talk: Talk, answer: Answer) -> Answer:
    return answer._replace(headers={**answer.headers, "content-type": "text/plain"}, body=b"Unauthorized")


@answering("strangers", "a 401 that may be kept", "results", 401)
def _kept_401(talk: Talk, answer: Answer) -> Answer:
    return answer.headed(cache_control="max-age=60")


@answering("strangers", "a 401 that tells the credential back", "status", 401)
def _told_back(talk: Talk, answer: Answer) -> Answer:
    return answer.having(detail=f"no: {talk.headers.get(HEADER)}", message=f"no: {talk.headers.get(HEADER)}")


@answering("share", "a 403 that is no problem document", "cancel", 403)
def _plain_403(talk: Talk, answer: Answer) -> Answer:
    return answer._replace(body=b"Forbidden")


@mutant("apart", "latest results that are somebody else's")
class LatestResultsOfAll(LatestOfAll):
    """Of all that latest stands for, these only."""

    def asked(self, talk: Talk) -> Answer | None:
        """See `Mutation`."""
        Owners.asked(self, talk)
        if talk.path.endswith("results/latest"):
            talk.headers[HEADER] = self.first
        return None


@mutant("not-yours", "a 403 for another's scan where a cursor is shown")
class ForbidsCursors(Owners):
    """In one form of one question."""

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        """See `Mutation`."""
        known = _scan_id(talk) in self.owners and "since" in talk.query
        return plain(403, {}) if known and answer.status == 404 else super().answered(talk, answer)


@mutant("not-yours", "a page of a list that begins behind another's scan")
class ListsBehindAnothers(Owners):
    """What comes before an id that is somebody's is another list than what comes before one that is nobody's."""

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        """See `Mutation`."""
        behind = talk.about("scans") and talk.query.get("before") in self.owners
        foreign = behind and self.owners[talk.query["before"]] != talk.headers.get(HEADER)
        return answer.having(scans=[{"scan_id": "?"}]) if foreign else super().answered(talk, answer)


@mutant("not-yours", "another header where an absent scan is somebody's")
class HintsInHeaders(Owners):
    """Of the same names."""

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        """See `Mutation`."""
        known = _scan_id(talk) in self.owners and talk.about("results")
        return (
            answer.headed(cache_control="no-cache")
            if known and answer.status == 404
            else super().answered(talk, answer)
        )
