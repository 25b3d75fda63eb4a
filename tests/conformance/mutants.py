"""Servers that break one promise each, and the check that must find it out.

A mutant is a function that makes a fresh `Mutation`; `all_mutants` has them by the words of what is wrong. These here
are of how a scan is told; the others are in files called by what they are of.
"""

import json
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from conformance.mutating import FRAMES, Answer, Mutation, Talk, plain

Told: TypeAlias = list[dict[str, Any]]
Teller: TypeAlias = Callable[[Talk, dict[str, Any]], Told]
Asker: TypeAlias = Callable[[Talk], Answer | None]
Answerer: TypeAlias = Callable[[Talk, Answer], Answer]

STREAMS = ("websocket", "msgpack", "sse", "follow")


class Mutant(NamedTuple):
    """One server with one thing wrong."""

    check: str
    make: Callable[[], Mutation]


MUTANTS: dict[str, Mutant] = {}


def all_mutants() -> dict[str, Mutant]:
    """Those of all files beside this one, too: each enters its own as it is imported."""
    for file in sorted(Path(__file__).parent.glob("mutants_of_*.py")):
        import_module(f"conformance.{file.stem}")
    return MUTANTS


def mutant(check: str, wrong: str) -> Callable[[Callable[[], Mutation]], Callable[[], Mutation]]:
    """The function below makes a server of which this check must say that the promise is broken."""

    def register(make: Callable[[], Mutation]) -> Callable[[], Mutation]:
        assert wrong not in MUTANTS
        MUTANTS[wrong] = Mutant(check, make)
        return make

    return register


def telling(check: str, wrong: str, *doors: str) -> Callable[[Teller], Teller]:
    """The function below says what clients are told instead of a message, on these transports."""

    def register(tell: Teller) -> Teller:
        class Telling(Mutation):
            def told(self, talk: Talk, message: dict[str, Any]) -> Told:
                return tell(talk, message) if talk.door in (doors or STREAMS) else [message]

        mutant(check, wrong)(Telling)
        return tell

    return register


def saying(check: str, wrong: str) -> Callable[[Teller], Teller]:
    """The function below says what the server is told instead of a client's message on a socket."""

    def register(say: Teller) -> Teller:
        class Saying(Mutation):
            def said(self, talk: Talk, message: dict[str, Any]) -> Told:
                return say(talk, message)

        mutant(check, wrong)(Saying)
        return say

    return register


def asking(check: str, wrong: str) -> Callable[[Asker], Asker]:
    """The function below changes a request, or answers it."""

    def register(ask: Asker) -> Asker:
        class Asking(Mutation):
            def asked(self, talk: Talk) -> Answer | None:
                return ask(talk)

        mutant(check, wrong)(Asking)
        return ask

    return register


def answering(check: str, wrong: str, about: str, *statuses: int) -> Callable[[Answerer], Answerer]:
    """The function below says what is answered instead, to questions below `/opportunities/` that begin like this."""

    def register(answer: Answerer) -> Answerer:
        class Answering(Mutation):
            def answered(self, talk: Talk, given: Answer) -> Answer:
                meant = talk.about(about) and (not statuses or given.status in statuses)
                return answer(talk, given) if meant else given

        mutant(check, wrong)(Answering)
        return answer

    return register


# Promise 1: registered before acknowledged


def _absent(scan_id: str) -> Answer:
    body = {
        "success": False,
        "status": "not_found",
        "scan_id": scan_id,
        "message": "No scan found. Please initiate a new scan.",
    }
    return plain(404, body, cache_control="no-store")


class _Late(Mutation):
    """Scans are known a moment after their ack only, to questions below this path."""

    def __init__(self, about: str, seconds: float = 0.5) -> None:
        self._about = about
        self._seconds = seconds
        self._known: dict[str, float] = {}

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        if talk.about("discover") and answer.status == 202:
            self._known.setdefault(json.loads(answer.body)["scan_id"], time.monotonic() + self._seconds)
        return answer

    def told(self, talk: Talk, message: dict[str, Any]) -> Told:
        if message["type"] == "ack" and "poll_url" in message:
            self._known.setdefault(message["scan_id"], time.monotonic() + self._seconds)
        return [message]

    def asked(self, talk: Talk) -> Answer | None:
        scan_id = talk.path.rpartition("/")[2]
        if talk.about("follow") and self._about == "follow" and talk.body:
            scan_id = talk.body["follow"][0]["scan_id"]
            if time.monotonic() < self._known.get(scan_id, 0):
                talk.body["follow"][0]["scan_id"] = "scan_nobody"
        elif talk.about(self._about) and time.monotonic() < self._known.get(scan_id, 0):
            return _absent(scan_id)
        return None


for _path in ("status", "results", "events", "follow", "cancel"):
    mutant("answers-at-once", f"{_path}: an ack before the scan is registered")(lambda path=_path: _Late(path))  # type: ignore[misc]
mutant("answers-at-once-on-sockets", "an ack on a socket before the scan is registered")(lambda: _Late(""))


@saying("answers-at-once", "subscribe: an ack before the scan is registered")
def _subscribe_nobody(talk: Talk, message: dict[str, Any]) -> Told:
    return [{**message, "scan_id": "scan_nobody"}] if message.get("type") == "subscribe" else [message]


# Promise 2: acknowledged before started


@telling("ack-first", "a frame before its ack", "websocket")
def _frame_first(talk: Talk, message: dict[str, Any]) -> Told:
    if message["type"] == "ack" and message.get("status") == "initiated":
        talk.memory["ack"] = message
        return []
    ack = talk.memory.pop("ack", None)
    return [message, ack] if ack else [message]


@telling("ack-first", "a snapshot of what runs already behind the ack", "msgpack")
def _no_placeholder(talk: Talk, message: dict[str, Any]) -> Told:
    if message["type"] == "snapshot" and message["state"]["phase"] == "init":
        talk.memory["held"] = message
        return []
    held = talk.memory.pop("held", None)
    if held and message["type"] == "update":
        return [{**held, "cursor": message["cursor"], "state": _merged(held["state"], message["patch"])}]
    return [message]


@telling("placeholder", "a placeholder of no strategies", "websocket")
def _nothing_yet(talk: Talk, message: dict[str, Any]) -> Told:
    if message["type"] == "snapshot":
        message["state"]["progress"]["total_strategies"] = 0
    return [message]


@answering("ack", "an ack without Location", "discover", 202)
def _no_location(talk: Talk, answer: Answer) -> Answer:
    return answer.headed(location="")


@answering("ack", "an ack at a cursor that holds something", "discover", 202)
def _wrong_start(talk: Talk, answer: Answer) -> Answer:
    return answer.having(cursor=json.loads(answer.body)["cursor"].replace("-0.0", "-1.0"))


# Promise 3 and section 2: one state, one cursor; what patches do


def _merged(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    result = dict(target)
    for key, value in patch.items():
        held = result.get(key)
        result[key] = _merged(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return result


def _count(talk: Talk, message: dict[str, Any]) -> int:
    """Which update this is, on its connection."""
    talk.memory["updates"] = talk.memory.get("updates", 0) + (message["type"] == "update")
    return int(talk.memory["updates"]) if message["type"] == "update" else 0


@telling("lawful", "a lost update", "websocket")
def _lost(talk: Talk, message: dict[str, Any]) -> Told:
    return [] if _count(talk, message) == 3 else [message]


@telling("lawful", "a lost update that no count betrays", "sse")
def _quietly_lost(talk: Talk, message: dict[str, Any]) -> Told:
    if _count(talk, message) == 3:
        message["patch"] = {}
    return [message]


@telling("lawful", "an update that comes twice", "follow")
def _twice(talk: Talk, message: dict[str, Any]) -> Told:
    return [message, message] if message["type"] == "update" else [message]


@telling("lawful", "an opportunity that comes twice")
def _doubled(talk: Talk, message: dict[str, Any]) -> Told:
    found = message.get("opportunities")
    if message["type"] == "update" and found and message.get("offset"):
        message["opportunities"] = [talk.memory.get("last", found[0]), *found[1:]]
    talk.memory["last"] = found[-1] if found else talk.memory.get("last")
    return [message]


@telling("lawful", "an opportunity that never comes")
def _dropped(talk: Talk, message: dict[str, Any]) -> Told:
    if message["type"] == "update" and message.get("opportunities"):
        message["opportunities"] = message["opportunities"][1:]
    return [message]


@telling("lawful", "a percentage that goes back")
def _back(talk: Talk, message: dict[str, Any]) -> Told:
    if _count(talk, message) > 2 and message.get("patch", {}).get("status") is None:
        message["patch"] = _merged(message["patch"], {"progress": {"percentage": 0}})
    return [message]


@telling("lawful", "a phase that goes back", "msgpack")
def _phase_back(talk: Talk, message: dict[str, Any]) -> Told:
    if _count(talk, message) == 4:
        message["patch"]["phase"] = "queued"
    return [message]


@telling("lawful", "a null in a patch", "sse")
def _null(talk: Talk, message: dict[str, Any]) -> Told:
    if message["type"] == "update" and not message.get("more"):
        message["patch"]["estimated_time_remaining_seconds"] = None
    return [message]


@telling("lawful", "a wrong count of what was folded together", "websocket")
def _miscounted(talk: Talk, message: dict[str, Any]) -> Told:
    if message["type"] == "update":
        message["skipped"] = message.get("skipped", 0) + 1
    return [message]


@telling("lawful", "100 % before it is complete", "follow")
def _done_early(talk: Talk, message: dict[str, Any]) -> Told:
    if message.get("patch", {}).get("phase") == "running":
        message["patch"] = _merged(message["patch"], {"progress": {"percentage": 100}})
    return [message]


@telling("one-state", "another message over MessagePack", "msgpack")
def _other_words(talk: Talk, message: dict[str, Any]) -> Told:
    for part in ("state", "patch"):
        if message.get(part, {}).get("status") == "complete":
            message[part]["message"] += "!"
    return [message]


@telling("one-state", "another order of opportunities over event streams", "sse")
def _other_order(talk: Talk, message: dict[str, Any]) -> Told:
    if len(message.get("opportunities", ())) > 1:
        message["opportunities"].reverse()
    return [message]


@answering("status-agrees", "a status that disagrees with the streams", "status", 200)
def _disagrees(talk: Talk, answer: Answer) -> Answer:
    told = json.loads(answer.body)
    return answer if "since" in talk.query else answer.having(total_opportunities=told["total_opportunities"] + 1)


@answering("status-while-running", "a status that is not the state at its cursor", "status", 200)
def _ahead(talk: Talk, answer: Answer) -> Answer:
    told = json.loads(answer.body)
    return answer if "since" in talk.query else answer.having(message=f"As of {told['cursor']}")


@answering("status-while-running", "partial results in no order", "status", 200)
def _no_order(talk: Talk, answer: Answer) -> Answer:
    partial = json.loads(answer.body).get("partial_results")
    return answer.having(partial_results=partial[::-1]) if partial else answer


@telling("snapshot-agrees", "a snapshot that is not what the patches give", "sse", "websocket")
def _late_snapshot(talk: Talk, message: dict[str, Any]) -> Told:
    if message["type"] == "snapshot" and message["state"]["status"] == "complete":
        message["state"]["message"] = "Complete"
    return [message]


# Promise 3 and 4: resuming


def _since(change: Callable[[str], str | None], *doors: str) -> Callable[[], Mutation]:
    """The cursor that a client comes back with is taken for another."""

    def changed(cursor: str | None) -> str | None:
        return cursor if not cursor or "-" not in cursor else change(cursor)

    class Since(Mutation):
        def asked(self, talk: Talk) -> Answer | None:
            if "poll" in doors and "since" in talk.query:
                talk.query["since"] = changed(talk.query["since"]) or "0"
            if "sse" in doors and "last-event-id" in talk.headers:
                talk.headers["last-event-id"] = changed(talk.headers["last-event-id"]) or "0"
            if "follow" in doors and talk.about("follow"):
                for one in talk.body["follow"]:
                    one["since"] = changed(one.get("since")) or "0"
            return None

        def said(self, talk: Talk, message: dict[str, Any]) -> Told:
            if "websocket" in doors and message.get("type") == "subscribe":
                since = changed(message.get("since"))
                message = {
                    **{key: value for key, value in message.items() if key != "since"},
                    **({"since": since} if since else {}),
                }
            return [message]

    return Since


def _shifted(by: int) -> Callable[[str], str]:
    def shift(cursor: str) -> str:
        place, _, n = cursor.rpartition(".")
        return f"{place}.{max(0, int(n) + by)}" if int(n) else cursor

    return shift


def _seq_shifted(by: int) -> Callable[[str], str]:
    def shift(cursor: str) -> str:
        epoch, _, place = cursor.rpartition("-")
        seq, _, n = place.partition(".")
        return f"{epoch}-{int(seq) + by if int(seq) > 1 else seq}.{n}"

    return shift


ALL = ("websocket", "sse", "follow", "poll")
for _door in ALL:
    mutant("resume", f"{_door}: an opportunity comes again after a cut")(_since(_shifted(-1), _door))
    mutant("every-cursor", f"{_door}: an opportunity is lost after a cut")(_since(_shifted(1), _door))
    mutant("every-cursor", f"{_door}: everything begins anew after a cut")(_since(lambda _: None, _door))
mutant("switch", "a cursor of one transport is unknown on the others")(_since(lambda _: None, "sse", "poll"))
mutant("switch", "a transport doubles what another has told")(_since(_shifted(-2), "follow"))
mutant("resume", "an update is lost after a cut")(_since(_seq_shifted(1), "websocket"))


class _Adopts(Mutation):
    """A cursor of another log is taken for one of this scan's, at its end or where it says."""

    def __init__(self) -> None:
        self._epochs: dict[str, str] = {}

    def answered(self, talk: Talk, answer: Answer) -> Answer:
        if talk.about("discover") and answer.status == 202:
            told = json.loads(answer.body)
            self._epochs[told["scan_id"]] = told["cursor"].partition("-")[0]
        return answer

    def told(self, talk: Talk, message: dict[str, Any]) -> Told:
        if "cursor" in message:
            self._epochs[message["scan_id"]] = message["cursor"].partition("-")[0]
        return [message]

    def said(self, talk: Talk, message: dict[str, Any]) -> Told:
        epoch, since = self._epochs.get(message.get("scan_id", "")), message.get("since")
        return [{**message, "since": f"{epoch}-{since.partition('-')[2]}"}] if epoch and since else [message]

    def asked(self, talk: Talk) -> Answer | None:
        epoch, since = self._epochs.get(talk.path.rpartition("/")[2]), talk.query.get("since", "")
        if epoch and "-" in since:
            talk.query["since"] = f"{epoch}-{since.partition('-')[2]}"
        return None


mutant("foreign-cursor", "a cursor of another epoch is accepted")(_Adopts)


@asking("foreign-cursor", "a cursor that is none is an error")
def _refuses(talk: Talk) -> Answer | None:
    return plain(422, {}) if talk.query.get("since") == "what?" else None


@telling("slow-reader", "a slow reader gets the newest opportunities only")
def _newest_only(talk: Talk, message: dict[str, Any]) -> Told:
    if _count(talk, message) > 4 and len(message.get("opportunities", ())) > 1:
        message["opportunities"] = message["opportunities"][-1:]
    return [message]


@telling("chunks", "an end before the last chunk", "websocket")
def _early_end(talk: Talk, message: dict[str, Any]) -> Told:
    if message.get("more"):
        end = {"type": "end", "scan_id": message["scan_id"], "cursor": message["cursor"], "status": "complete"}
        return [message, end]
    return [message]


@telling("chunks", "no more where more is to come", "sse")
def _no_more(talk: Talk, message: dict[str, Any]) -> Told:
    message.pop("more", None)
    return [message]


@telling("chunks", "a last chunk with more", "msgpack")
def _too_much_more(talk: Talk, message: dict[str, Any]) -> Told:
    return [{**message, "more": True}] if message["type"] in FRAMES[:2] else [message]


@saying("only-state", "opportunities for who wants the state alone")
def _no_only(talk: Talk, message: dict[str, Any]) -> Told:
    message.pop("only", None)
    return [message]
