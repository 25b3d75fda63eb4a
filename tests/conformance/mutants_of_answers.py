"""Servers that break one promise each: of ends, absence, questions, refusals, reuse, sockets and follow."""

import json
import time
from collections.abc import Callable
from typing import Any

from starlette.types import Message

from conformance.mutants import (
    Told,
    _absent,
    _since,
    answering,
    asking,
    mutant,
    saying,
    telling,
)
from conformance.mutating import FRAMES, Answer, Mutation, Talk, plain

# Promise 5: an end, once, and last


@telling("one-end", "an end that comes twice", "websocket", "msgpack")
def _two_ends(talk: Talk, message: dict[str, Any]) -> Told:
    return [message, message] if message["type"] == "end" else [message]


@telling("one-end", "a frame after the end", "sse")
def _after_end(talk: Talk, message: dict[str, Any]) -> Told:
    if message["type"] in FRAMES[:2]:
        talk.memory["last"] = message
    return [message, talk.memory["last"]] if message["type"] == "end" else [message]


@telling("one-end", "no end at all", "follow")
def _no_end(talk: Talk, message: dict[str, Any]) -> Told:
    return [] if message["type"] == "end" else [message]


@telling("one-end", "an end with another status", "sse")
def _other_status(talk: Talk, message: dict[str, Any]) -> Told:
    return [{**message, "status": "cancelled"}] if message["type"] == "end" else [message]


@answering("nothing-left", "an event stream that never says that nothing is left", "events", 204)
def _an_empty_stream(talk: Talk, answer: Answer) -> Answer:
    return Answer(200, {"content-type": "text/event-stream"}, b": nothing\n\n")


@telling("nothing-left", "a subscription to an end that says nothing", "websocket")
def _silent_end(talk: Talk, message: dict[str, Any]) -> Told:
    talk.memory["frames"] = talk.memory.get("frames", 0) + (message["type"] in FRAMES[:2])
    return [] if message["type"] == "end" and not talk.memory["frames"] else [message]


@asking("results-at-the-end", "a 404 after complete")
def _forgotten(talk: Talk) -> Answer | None:
    return _absent(talk.path.rpartition("/")[2]) if talk.about("results") else None


class _NotYet(Mutation):
    """Results are 202 for two questions after the end."""

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        if not talk.about("results") or answer.status != 200:
            return answer
        self._asked[talk.path] = self._asked.get(talk.path, 0) + 1
        return plain(202, {"status": "scanning"}, retry_after="1") if self._asked[talk.path] < 3 else answer


mutant("results-at-the-end", "results that come a moment after the end")(_NotYet)


@answering("results-at-the-end", "results in no order", "results", 200)
def _unsorted(talk: Talk, answer: Answer) -> Answer:
    return answer.having(opportunities=json.loads(answer.body)["opportunities"][::-1])


@answering("results-at-the-end", "results that lack one", "results", 200)
def _lacking(talk: Talk, answer: Answer) -> Answer:
    return answer.having(opportunities=json.loads(answer.body)["opportunities"][1:])


@answering("results-forms", "a line of results that is missing", "results", 200)
def _short_lines(talk: Talk, answer: Answer) -> Answer:
    lines = "ndjson" in answer.headers["content-type"]
    return answer._replace(body=b"\n".join(answer.body.splitlines()[:-1])) if lines else answer


@asking("results-forms", "an offset that is passed over")
def _no_offset(talk: Talk) -> Answer | None:
    talk.query.pop("offset", None)
    return None


@answering("results-while-running", "results of a scan that runs", "results", 202)
def _too_soon(talk: Talk, answer: Answer) -> Answer:
    told = {"status": "complete", "opportunities": [], "total_opportunities": 0}
    return plain(200, told)


@answering("results-while-running", "no Retry-After while it runs", "results", 202)
def _no_hurry(talk: Talk, answer: Answer) -> Answer:
    return answer.headed(retry_after="")


class _NoCancel(Mutation):
    """A cancel does nothing."""

    def asked(self, talk: Talk) -> Answer | None:
        if talk.about("cancel"):
            talk.method, talk.path = "GET", talk.path.replace("cancel", "status")
            talk.memory["cancel"] = True
        return None

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        return answer._replace(status=202) if "cancel" in talk.memory else answer


mutant("cancel", "a cancel that does nothing")(_NoCancel)


class _Deaf(Mutation):
    """A cancel is taken, and the scan ends as complete."""

    def told(self, talk: Talk, message: dict[str, Any]) -> Told:
        for name in ("state", "patch"):
            part = message.get(name, {})
            if part.get("status") == "cancelled":
                part["status"] = "complete"
        return [{**message, "status": "complete"}] if message.get("status") == "cancelled" else [message]


mutant("cancel", "a cancelled scan that says it is complete")(_Deaf)


@answering("cancel", "a cancel that loses what was found", "results", 200)
def _lost_by_cancel(talk: Talk, answer: Answer) -> Answer:
    cancelled = json.loads(answer.body)["status"] == "cancelled"
    return answer.having(opportunities=[], total_opportunities=0) if cancelled else answer


@saying("cancel-on-a-socket", "a cancel on a socket that is not acknowledged")
def _no_ack(talk: Talk, message: dict[str, Any]) -> Told:
    return [{**message, "type": "ping"}] if message.get("type") == "cancel" else [message]


@telling("failed", "a scan that failed without an error", "sse")
def _no_error(talk: Talk, message: dict[str, Any]) -> Told:
    for part in ("state", "patch"):
        message.get(part, {}).pop("error", None)
    return [message]


# Promise 6: honest absence


class _Gone(Mutation):
    """What never existed is said to be no more."""

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        absent = answer.status == 404 and talk.about("status")
        return answer.having(status="expired")._replace(status=410) if absent else answer


mutant("not-found", "a 410 for what never existed")(_Gone)


@answering("not-found", "a 404 in another shape", "results", 404)
def _other_shape(talk: Talk, answer: Answer) -> Answer:
    return plain(404, {"detail": "Not Found"}, cache_control="no-store")


@answering("not-found", "an absence that may be stored", "status", 404)
def _stored(talk: Talk, answer: Answer) -> Answer:
    return answer.headed(cache_control="max-age=60")


@telling("not-found", "follow that is silent about who is absent", "follow")
def _silent_follow(talk: Talk, message: dict[str, Any]) -> Told:
    return [] if message["type"] == "error" else [message]


@answering("expired", "a 404 for what has expired", "status", 410)
def _never_was(talk: Talk, answer: Answer) -> Answer:
    return answer.having(status="not_found")._replace(status=404)


# Section 3: questions


@asking("etag", "a tag that is never looked at")
def _no_304(talk: Talk) -> Answer | None:
    talk.headers.pop("if-none-match", None)
    return None


class _Sticky(Mutation):
    """The tag stays while the state changes: what is asked with it is never told."""

    def __init__(self) -> None:
        self._tags: dict[str, str] = {}

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        if not talk.about("status") or "etag" not in answer.headers:
            return answer
        tag = self._tags.setdefault(talk.path, answer.headers["etag"])
        terminal = answer.status == 200 and json.loads(answer.body)["status"] != "scanning"
        return answer if terminal else answer.headed(etag=tag)


mutant("etag", "one tag for two states")(_Sticky)


class _NoRank(Mutation):
    """The tag leaves the rank out."""

    def __init__(self) -> None:
        self._tags: dict[str, str] = {}

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        if not talk.about("status") or answer.status != 200 or "etag" not in answer.headers:
            return answer
        told = json.loads(answer.body)
        return answer.headed(etag=f'"{told["cursor"]}"') if "rank" in told else answer


mutant("etag-of-the-queue", "a tag that stays while the rank changes")(_NoRank)


@asking("wait", "a wait that brings no news")
def _no_wait(talk: Talk) -> Answer | None:
    talk.query.pop("wait", None)
    talk.headers.pop("prefer", None)
    return None


@asking("wait-bounds", "a wait of more than a minute")
def _long_wait(talk: Talk) -> Answer | None:
    if talk.query.get("wait") == "61":
        talk.query["wait"] = "60"
    return None


@asking("wait-bounds", "a preference of more than a minute")
def _long_preference(talk: Talk) -> Answer | None:
    talk.headers.pop("prefer", None)
    return None


@answering("retry-after", "no word of when to ask again", "status", 200)
def _no_interval(talk: Talk, answer: Answer) -> Answer:
    return answer.headed(retry_after="")


@answering("caching", "a status that may be kept", "status", 200)
def _kept(talk: Talk, answer: Answer) -> Answer:
    return answer.headed(cache_control="max-age=5")


@answering("caching", "a refusal that may be kept", "discover", 422)
def _kept_refusal(talk: Talk, answer: Answer) -> Answer:
    return answer.headed(cache_control="")


@answering("latest", "a list with the oldest first", "scans", 200)
def _oldest_first(talk: Talk, answer: Answer) -> Answer:
    return answer.having(scans=json.loads(answer.body)["scans"][::-1])


@asking("latest", "a list that begins anew on each page")
def _first_page(talk: Talk) -> Answer | None:
    talk.query.pop("before", None)
    return None


@answering("routes", "a market without its timeframe", "market", 200)
def _no_timeframe(talk: Talk, answer: Answer) -> Answer:
    return answer.having(timeframe=None)


# Refusals


@answering("invalid-requests", "a refusal that names no field", "discover", 422)
def _no_field(talk: Talk, answer: Answer) -> Answer:
    return answer.having(errors=None)


@asking("invalid-requests", "an unknown field in a request that is passed over")
def _forgiving(talk: Talk) -> Answer | None:
    if talk.about("discover") and isinstance(talk.body, dict):
        talk.body.pop("symbolz", None)
    return None


@answering("many-errors", "more errors than twenty", "discover", 422)
def _too_many(talk: Talk, answer: Answer) -> Answer:
    return answer.having(errors=json.loads(answer.body)["errors"] * 3)


@answering("refusals", "an error that is no problem document", "discover", 400)
def _html(talk: Talk, answer: Answer) -> Answer:
    return Answer(400, {"content-type": "text/html"}, b"<h1>Bad Request</h1>")


@answering("refusals", "a defect where no JSON comes", "discover", 400)
def _defect(talk: Talk, answer: Answer) -> Answer:
    return answer.having(status=500, code="internal")._replace(status=500)


@asking("follow-refusals", "follow that takes a scan twice")
def _taken_twice(talk: Talk) -> Answer | None:
    if talk.about("follow") and isinstance(talk.body, dict):
        follow = {one["scan_id"]: one for one in talk.body.get("follow", [])}
        talk.body = {**talk.body, "follow": [*follow.values()]} if follow else talk.body
    return None


# Reuse


@asking("reuse", "an identical request that starts a scan of its own")
def _no_reuse(talk: Talk) -> Answer | None:
    if talk.about("discover") and isinstance(talk.body, dict):
        talk.body["force_refresh"] = True
    return None


@answering("fresh", "a finished scan that answers without a word of it", "discover", 202)
def _unsaid(talk: Talk, answer: Answer) -> Answer:
    return answer.having(reused=None)


@asking("force-refresh", "force_refresh that is passed over")
def _no_refresh(talk: Talk) -> Answer | None:
    if talk.about("discover") and isinstance(talk.body, dict):
        talk.body.pop("force_refresh", None)
    return None


@asking("idempotency", "a key that is passed over")
def _no_key(talk: Talk) -> Answer | None:
    talk.headers.pop("idempotency-key", None)
    return None


class _AnyBody(Mutation):
    """A key answers with its scan whatever the body is."""

    def __init__(self) -> None:
        self._bodies: dict[str, Any] = {}

    def asked(self, talk: Talk) -> Answer | None:
        key = talk.headers.get("idempotency-key")
        if key:
            talk.body = self._bodies.setdefault(key, talk.body)
        return None


mutant("idempotency", "a key that answers whatever the body is")(_AnyBody)


@asking("filters", "a filter that is passed over")
def _no_filter(talk: Talk) -> Answer | None:
    if talk.about("discover") and isinstance(talk.body, dict):
        talk.body.pop("min_profit_potential", None)
    return None


# Section 4


@telling("subprotocols", "rounded numbers in MessagePack", "msgpack")
def _rounded(talk: Talk, message: dict[str, Any]) -> Told:
    for one in message.get("opportunities", ()):
        one["expected_return"] = round(one["expected_return"], 1)
    return [message]


@telling("replies", "a reply without the id", "websocket")
def _anonymous(talk: Talk, message: dict[str, Any]) -> Told:
    if message["type"] == "pong":
        message.pop("id", None)
    return [message]


@saying("unknown-fields", "fields that nobody knows are refused")
def _closed(talk: Talk, message: dict[str, Any]) -> Told:
    return [{"type": "?", "id": message.get("id", "")}] if "x_unknown" in message else [message]


@telling("malformed-messages", "another code for what is no message", "websocket")
def _other_code(talk: Talk, message: dict[str, Any]) -> Told:
    return [{**message, "code": "internal"}] if message.get("code") == "invalid_message" else [message]


class _GoesOn(Mutation):
    """An unsubscribe is acknowledged, and the frames come all the same."""

    def said(self, talk: Talk, message: dict[str, Any]) -> Told:
        return [{**message, "type": "ping"}] if message.get("type") == "unsubscribe" else [message]

    def told(self, talk: Talk, message: dict[str, Any]) -> Told:
        if message["type"] == "pong" and message.get("id") == "u":
            return [{"type": "ack", "id": "u", "scan_id": "?"}]
        return [message]


mutant("unsubscribe", "frames after an unsubscribe")(_GoesOn)
mutant("subscribe-again", "a second subscription that begins anew")(_since(lambda _: None, "websocket"))


@telling("discover-twice", "a stream that begins anew with a second discover", "websocket")
def _anew(talk: Talk, message: dict[str, Any]) -> Told:
    if message["type"] == "snapshot":
        talk.memory["first"] = message
    again = message["type"] == "ack" and message.get("id") == "2"
    return [message, talk.memory["first"]] if again else [message]


# Sections 4 and 5: many scans, event streams


@telling("many-scans", "an error of one scan that names another", "websocket")
def _other_name(talk: Talk, message: dict[str, Any]) -> Told:
    return [{**message, "id": "somebody"}] if message["type"] == "error" else [message]


@telling("many-scans", "frames of one scan under the name of another", "msgpack")
def _mixed_up(talk: Talk, message: dict[str, Any]) -> Told:
    first = talk.memory.setdefault("first", message.get("scan_id"))
    return [{**message, "scan_id": first}] if message["type"] == "update" else [message]


@telling("follow-many", "two frames of one scan in a long poll", "follow")
def _two_frames(talk: Talk, message: dict[str, Any]) -> Told:
    return (
        [message, message]
        if message["type"] == "snapshot" and "event" not in talk.headers.get("accept", "")
        else [message]
    )


@telling("follow-many", "a stream of many that closes before all have ended", "follow")
def _one_end_less(talk: Talk, message: dict[str, Any]) -> Told:
    stream = "event" in talk.headers.get("accept", "")
    return [] if stream and message["type"] == "end" else [message]


@asking("follow-in-json", "a long poll without Accept that is a stream")
def _streams(talk: Talk) -> Answer | None:
    if talk.about("follow") and "json" not in talk.headers.get("accept", ""):
        talk.headers["accept"] = "text/event-stream"
    return None


@asking("last-event-id", "since that wins over Last-Event-ID")
def _since_wins(talk: Talk) -> Answer | None:
    if "since" in talk.query:
        talk.headers.pop("last-event-id", None)
    return None


@telling("last-event-id", "an event whose id is not its cursor", "sse")
def _other_id(talk: Talk, message: dict[str, Any]) -> Told:
    return [{**message, "_id": "1"}] if message["type"] == "end" else [message]


@answering("heads", "HEAD of results that is not answered", "results", 200, 202)
def _no_head(talk: Talk, answer: Answer) -> Answer:
    return plain(405, {}) if talk.method == "HEAD" else answer


class _Taken(Mutation):
    """A handshake is taken with another subprotocol."""

    def __init__(self, subprotocol: Callable[[Talk], str | None]) -> None:
        self._subprotocol = subprotocol

    def accepted(self, talk: Talk, event: Message) -> Message:
        return {**event, "subprotocol": self._subprotocol(talk)}


def _offered(talk: Talk) -> str | None:
    """The last of those that were offered."""
    return talk.headers.get("sec-websocket-protocol", "").rpartition(",")[2].strip() or None


mutant("handshake", "a credential that is told back as the subprotocol")(lambda: _Taken(_offered))
mutant("handshake", "a subprotocol that nobody has offered")(lambda: _Taken(lambda _: "scanstream.v1.json"))
mutant("handshake", "no subprotocol where one was offered")(lambda: _Taken(lambda _: None))


@answering("ack", "addresses that lead nowhere", "status", 200)
def _nowhere(talk: Talk, answer: Answer) -> Answer:
    return plain(404, {}) if "since" not in talk.query else answer


@answering("ack", "addresses that leave the path below which the server is", "discover", 202)
def _elsewhere(talk: Talk, answer: Answer) -> Answer:
    return answer.having(poll_url="/elsewhere" + json.loads(answer.body)["poll_url"])


@asking("spellings", "a list as text that is refused")
def _no_text(talk: Talk) -> Answer | None:
    refused = talk.about("discover") and isinstance(talk.body.get("symbols"), str)
    return plain(422, {}, content_type="application/problem+json") if refused else None


@answering("spellings", "filters as they were written, and not as they are meant", "status", 200)
def _as_written(talk: Talk, answer: Answer) -> Answer:
    filters = json.loads(answer.body)["filters"]
    return answer.having(filters={**filters, "symbols": filters["symbols"] * 2})


@answering("explain", "a life without its end", "explain", 200)
def _endless(talk: Talk, answer: Answer) -> Answer:
    timeline = [moment for moment in json.loads(answer.body)["timeline"] if moment["what"] != "ended"]
    return answer.having(timeline=timeline)


@answering("explain", "a life in no order", "explain", 200)
def _backwards(talk: Talk, answer: Answer) -> Answer:
    return answer.having(timeline=json.loads(answer.body)["timeline"][::-1])


@answering("explain", "a scan that has ended, and waits", "explain", 200)
def _waits_on(talk: Talk, answer: Answer) -> Answer:
    return answer.having(waits_for=[{"what": "place", "why": "others are before it"}])


@saying("stalled", "everybody waits for who takes nothing")
def _held_up(talk: Talk, message: dict[str, Any]) -> Told:
    if message.get("type") == "subscribe" and message.get("id") == "more" and "held" not in talk.memory:
        talk.memory["held"] = True
        time.sleep(7)  # the loop, as a write that blocks would
    return [message]
