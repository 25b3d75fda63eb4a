"""Servers that break one promise each in one place: on one transport, in one format, in one form of a question."""

import json
from typing import Any

from conformance.mutants import Told, answering, asking, mutant, saying, telling
from conformance.mutating import Answer, Mutation, Talk, plain

EVENTS = "text/event-stream"


def _wants_events(talk: Talk) -> bool:
    return EVENTS in talk.headers.get("accept", "")


@telling("nothing-left", "follow as events that says no end where nothing is left", "follow")
def _nothing_told(talk: Talk, message: dict[str, Any]) -> Told:
    talk.memory["frames"] = talk.memory.get("frames", 0) + (message["type"] != "end")
    return [] if _wants_events(talk) and message["type"] == "end" and not talk.memory["frames"] else [message]


@answering("results-at-the-end", "results with other values than the streams", "results", 200)
def _other_values(talk: Talk, answer: Answer) -> Answer:
    if "ndjson" in answer.headers["content-type"]:
        return answer
    found = [
        {**one, "expected_return": round(one["expected_return"], 1) + 1}
        for one in json.loads(answer.body)["opportunities"]
    ]
    return answer.having(opportunities=found)


@answering("status-while-running", "partial results with other values than the streams", "status", 200)
def _other_partial(talk: Talk, answer: Answer) -> Answer:
    partial = json.loads(answer.body).get("partial_results", [])
    return answer.having(partial_results=[{**one, "symbol": "?"} for one in partial]) if partial else answer


@answering("latest", "a list in which nothing ever ends", "scans", 200)
def _never_ends(talk: Talk, answer: Answer) -> Answer:
    return answer.having(scans=[{**one, "status": "scanning"} for one in json.loads(answer.body)["scans"]])


class _StopsAll(Mutation):
    """An unsubscribe from one scan is one from all."""

    def said(self, talk: Talk, message: dict[str, Any]) -> Told:
        followed = talk.memory.setdefault("followed", [])
        if message.get("type") == "subscribe":
            followed.append(message["scan_id"])
        if message.get("type") != "unsubscribe":
            return [message]
        return [message, *({"type": "unsubscribe", "id": "?", "scan_id": one} for one in followed)]

    def told(self, talk: Talk, message: dict[str, Any]) -> Told:
        return [] if message.get("id") == "?" else [message]


mutant("unsubscribe", "an unsubscribe that is one from all scans")(_StopsAll)


@asking("results-while-running", "results that pass a wait over")
def _no_wait_for_results(talk: Talk) -> Answer | None:
    if talk.about("results"):
        talk.query.pop("wait", None)
    return None


@telling("many-errors", "more errors than twenty on a socket", "websocket")
def _too_many_on_sockets(talk: Talk, message: dict[str, Any]) -> Told:
    return [{**message, "errors": message["errors"] * 30}] if message.get("errors") else [message]


@telling("replies", "a reply without the id in MessagePack", "msgpack")
def _anonymous_packed(talk: Talk, message: dict[str, Any]) -> Told:
    return [{key: value for key, value in message.items() if key != "id"}] if message["type"] == "pong" else [message]


@telling("replies", "an error without the id of its message", "websocket")
def _anonymous_error(talk: Talk, message: dict[str, Any]) -> Told:
    return [{key: value for key, value in message.items() if key != "id"}] if message["type"] == "error" else [message]


@asking("reuse", "a request that joins a scan of another one")
def _joins_any(talk: Talk) -> Answer | None:
    if talk.about("discover") and isinstance(talk.body, dict):
        talk.body.pop("capital_usd", None)
    return None


@asking("lawful", "a long poll of follow that does not wait")
def _follow_at_once(talk: Talk) -> Answer | None:
    if talk.about("follow") and isinstance(talk.body, dict) and talk.body.get("wait") not in (None, 61, -1, "soon"):
        talk.body["wait"] = 0
    return None


@asking("only-state", "opportunities in follow for who wants the state alone")
def _no_only_in_follow(talk: Talk) -> Answer | None:
    if talk.about("follow"):
        for one in talk.body["follow"]:
            one.pop("only", None)
    return None


@asking("only-state", "opportunities in follow as events for who wants the state alone")
def _no_only_in_events(talk: Talk) -> Answer | None:
    if talk.about("follow") and _wants_events(talk):
        for one in talk.body["follow"]:
            one.pop("only", None)
    return None


@answering("not-found", "a life of who never was", "explain", 404)
def _life_of_nobody(talk: Talk, answer: Answer) -> Answer:
    return plain(200, {"timeline": []})


@saying("idempotency", "a key on a socket that is passed over for another body")
def _any_body_on_sockets(talk: Talk, message: dict[str, Any]) -> Told:
    if message.get("type") == "discover" and message.get("request", {}).get("capital_usd") == 77.0:
        message.pop("idempotency_key", None)
    return [message]
