"""Servers that are not like ours, and break no promise: no check may say that they do."""

import json
from typing import Any

from conformance.mutants import Told
from conformance.mutating import FRAMES, Answer, Mutation, Talk

MARK = "of-my.own_"
"""What cursors begin with."""
STRANGE = {"type": "weather", "scan_id": "?", "cursor": "?", "degrees": -3}
PIECES = 4


def _marked(told: dict[str, Any]) -> dict[str, Any]:
    return {**told, "cursor": MARK + told["cursor"]} if isinstance(told.get("cursor"), str) else told


def _unmarked(cursor: Any) -> Any:
    """As the server knows it; what is somebody else's stays so."""
    return cursor.removeprefix(MARK) if isinstance(cursor, str) else cursor


class OtherCursors(Mutation):
    """Epochs have hyphens and points in them."""

    def asked(self, talk: Talk) -> Answer | None:
        """See `Mutation`."""
        for given, name in ((talk.query, "since"), (talk.headers, "last-event-id")):
            if name in given:
                given[name] = _unmarked(given[name])
        if talk.about("follow") and isinstance(talk.body, dict):
            for one in talk.body.get("follow", ()):
                if "since" in one:
                    one["since"] = _unmarked(one["since"])
        return None

    def said(self, talk: Talk, message: dict[str, Any]) -> Told:
        """See `Mutation`."""
        return [{**message, "since": _unmarked(message["since"])}] if "since" in message else [message]

    def told(self, talk: Talk, message: dict[str, Any]) -> Told:
        """See `Mutation`."""
        return [_marked(message)]

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        """See `Mutation`."""
        if "json" not in answer.headers.get("content-type", "") or talk.about("follow") or not answer.body:
            return answer
        if "ndjson" in answer.headers["content-type"] or not answer.body.startswith(b"{"):
            return answer
        told = json.loads(answer.body)
        if "scans" in told:
            told["scans"] = [_marked(one) for one in told["scans"]]
        return answer._replace(body=json.dumps(_marked(told)).encode())


class MoreThanAsked(Mutation):
    """Messages and fields that nobody knows, and words in place of silence where both mean the same."""

    def told(self, talk: Talk, message: dict[str, Any]) -> Told:
        """See `Mutation`."""
        more = {**message, "x_server": {"node": "n1"}}
        if message["type"] in FRAMES[:2]:
            more = {"more": False, "opportunities": [], **more}
        if message["type"] == "update":
            more = {"skipped": 0, **more}
        return [STRANGE, more, STRANGE] if talk.door != "follow" else [STRANGE, more]

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        """See `Mutation`."""
        kind = answer.headers.get("content-type", "")
        if not kind.endswith("json") or "ndjson" in kind or not answer.body.startswith(b"{"):
            return answer
        told = json.loads(answer.body)
        if "phase" not in told and "scans" not in told:  # in a state it would be a part of the state
            told["x_server"] = 1
        spaced = json.dumps(told, indent=2, ensure_ascii=True)
        return answer._replace(body=spaced.encode()).headed(content_type=f"{kind}; charset=utf-8", x_server="1")


class OtherTags(Mutation):
    """Tags are weak, and caches are told more than the least."""

    def asked(self, talk: Talk) -> Answer | None:
        """See `Mutation`."""
        if "if-none-match" in talk.headers:
            talk.headers["if-none-match"] = talk.headers["if-none-match"].replace('W/"', '"')
        return None

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        """See `Mutation`."""
        etag, control = answer.headers.get("etag"), answer.headers.get("cache-control")
        if etag:
            answer = answer.headed(etag=f"W/{etag}")
        if control:
            answer = answer.headed(cache_control=f"private, {control}")
        location = answer.headers.get("location")
        return answer.headed(location=f"http://{talk.headers['host']}{location}") if location else answer


class SmallFrames(Mutation):
    """Opportunities come in more frames than ours; a long poll of `follow` has one frame as well."""

    def told(self, talk: Talk, message: dict[str, Any]) -> Told:
        """See `Mutation`."""
        found = message.get("opportunities", [])
        if len(found) <= 1:
            return [message]
        few = max(1, len(found) // PIECES)
        place = message["cursor"].rpartition(".")[0]
        pieces: Told = []
        for at in range(0, len(found), few):
            offset = message["offset"] + at
            piece = {**message, "opportunities": found[at : at + few], "offset": offset, "more": True}
            piece["cursor"] = f"{place}.{offset + len(piece['opportunities'])}"
            if at:
                piece = {**piece, "type": "update", "patch": {}, "skipped": 0}
                piece.pop("state", None)
            pieces.append(piece)
        pieces[-1].pop("more")
        if message.get("more"):
            pieces[-1]["more"] = True
        long_poll = talk.door == "follow" and "event-stream" not in talk.headers.get("accept", "")
        return pieces[:1] if long_poll else pieces


class OtherStreams(Mutation):
    """Event streams are written otherwise: lines end with a return as well, data is on two lines, comments of other
    kinds come between, and spaces are left out.
    """

    def written(self, events: bytes) -> bytes:
        """See `Mutation`."""
        more = b"\n:\n: still here\nretry:700\nunknown: 1\ndata:{\ndata:"
        lines = events.replace(b"\ndata: {", more).replace(b"event: ", b"event:").replace(b"\nid: ", b"\nid:")
        return lines.replace(b"\n", b"\r\n")


ONE_BY_ONE: dict[str, type[Mutation]] = {
    "other cursors": OtherCursors,
    "more than asked": MoreThanAsked,
    "other tags": OtherTags,
    "small frames": SmallFrames,
    "other streams": OtherStreams,
}


class AllAtOnce(Mutation):
    """What is told passes through all of them, and cursors last; what is asked the other way round."""

    def __init__(self) -> None:
        self._others = [SmallFrames(), MoreThanAsked(), OtherTags(), OtherStreams(), OtherCursors()]

    def asked(self, talk: Talk) -> Answer | None:
        """See `Mutation`."""
        for one in reversed(self._others):
            one.asked(talk)
        return None

    def said(self, talk: Talk, message: dict[str, Any]) -> Told:
        """See `Mutation`."""
        return self._others[-1].said(talk, message)

    def told(self, talk: Talk, message: dict[str, Any]) -> Told:
        """See `Mutation`."""
        told = [message]
        for one in self._others:
            told = [more for each in told for more in one.told(talk, each)]
        return told

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        """See `Mutation`."""
        for one in self._others:
            answer = one.answered(talk, answer)
        return answer

    def written(self, events: bytes) -> bytes:
        """See `Mutation`."""
        for one in self._others:
            events = one.written(events)
        return events
