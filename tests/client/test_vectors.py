"""What every client decides alike: the vectors of tests/vectors, which the browser's library passes too."""

import json
import math
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from scanstream.client.condition import Connection
from scanstream.client.failures import Lost, of_close, of_http, of_message, seconds_in
from scanstream.client.ladder import RUNGS, Due, Ladder
from scanstream.client.mirror import Mirror, ProtocolError, skipped
from scanstream.client.stream import Events
from scanstream.client.token import expiry
from scanstream.errors import ScanstreamError
from scanstream.log.cursor import parse
from scanstream.log.patch import diff, merge

VECTORS = Path(__file__).parent.parent / "vectors"


def vectors(name: str) -> Any:
    """What a file holds."""
    return json.loads((VECTORS / f"{name}.json").read_text())


def named(cases: list[dict[str, Any]]) -> list[Any]:
    """Each as a test of its own."""
    return [pytest.param(case, id=case["name"]) for case in cases]


def several(told: int | list[int]) -> list[int]:
    """One index or more."""
    return [told] if isinstance(told, int) else told


@pytest.mark.parametrize("case", named(vectors("patches")))
def test_patches(case: dict[str, Any]) -> None:
    before, patch, after = case["before"], case["patch"], case["after"]

    assert merge(before, patch) == after
    assert merge(before, diff(before, after)) == after


@pytest.mark.parametrize("case", named(vectors("cursors")["parsed"]))
def test_cursors(case: dict[str, Any]) -> None:
    cursor = parse(case["text"])

    assert cursor is not None
    assert (cursor.epoch, cursor.position.seq, cursor.position.n) == (case["epoch"], case["seq"], case["n"])


@pytest.mark.parametrize("text", vectors("cursors")["none"])
def test_what_is_no_cursor(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize("case", named(vectors("cursors")["skipped"]))
def test_revisions_folded_together(case: dict[str, Any]) -> None:
    assert skipped(case["from"], case["to"]) == case["skipped"]


@pytest.mark.parametrize("case", named(vectors("frames")))
def test_frames(case: dict[str, Any]) -> None:
    mirror = Mirror.since(case["since"]) if "since" in case else Mirror()

    taken = 0
    for number, frame in enumerate(case["frames"]):
        if number in several(case.get("refused", [])):
            with pytest.raises(ProtocolError):
                mirror.apply(frame)
        else:
            taken += mirror.apply(frame)

    assert {name: getattr(mirror, name) for name in case["then"]} == case["then"]
    assert taken == case.get("frames_taken", taken)


def verdict(case: dict[str, Any]) -> Lost | ScanstreamError:
    """What an answer means."""
    if "http" in case:
        answer = case["http"]
        return of_http(answer["status"], answer["body"], answer.get("retry_after"), "somebody else")
    return of_close(case["close"], "closed") if "close" in case else of_message(case["message"])


@pytest.mark.parametrize("case", named([case for case in vectors("answers") if "handshake" not in case]))
def test_answers(case: dict[str, Any]) -> None:
    """Handshakes are in test_ladder.py: they are answered by a proxy there."""
    error = verdict(case)

    if "final" in case:
        assert isinstance(error, ScanstreamError)
        assert error.code == case["final"]
    else:
        assert isinstance(error, Lost)
        assert (error.why, error.retry_after) == (case["why"], case.get("retry_after"))


@pytest.mark.parametrize("case", named(vectors("retry_after")))
def test_when_to_come_back(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if "now" in case:
        now = datetime.fromisoformat(case["now"]).timestamp()
        monkeypatch.setattr(time, "time", lambda: now)

    assert seconds_in(httpx.Headers(case["headers"])) == case["seconds"]


@pytest.mark.parametrize("case", named(vectors("tokens")))
def test_when_a_token_runs_out(case: dict[str, Any]) -> None:
    assert expiry(case["token"]) == (math.inf if case["expires"] is None else case["expires"])


@pytest.mark.parametrize("case", named(vectors("events")))
@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_events_in_pieces_of_any_size(case: dict[str, Any], size: int) -> None:
    stream, events = case["stream"].encode(), Events()
    pieces = [stream[begin : begin + size] for begin in range(0, len(stream), size)]

    assert [message for piece in pieces for message in events.messages(piece)] == case["then"]


@pytest.mark.anyio
@pytest.mark.parametrize("case", named(vectors("connection")))
async def test_the_connection(case: dict[str, Any]) -> None:
    connection = Connection()

    for number, step in enumerate(case["steps"]):
        match step["event"]:
            case "attempt":
                connection.attempt(step["attempts"])
            case "frame":
                connection.live(step["rung"], best=step["best"])
            case "alive":
                connection.alive(step["rung"], best=step["best"])
            case "wait":
                connection.wait(step["reason"], 1.0, left=step.get("left", False))
            case event:
                raise AssertionError(event)
        then = step.get("then", {})
        assert {name: getattr(connection, name) or None for name in then} == {
            name: value or None for name, value in then.items()
        }, f"step {number}"


class Told:
    """A ladder as the vectors talk to it, in milliseconds."""

    def __init__(self, case: dict[str, Any]) -> None:
        self._chances = list(case.get("random", [0.5]))
        self.ladder = Ladder(self._chance, case.get("rungs", RUNGS))

    def _chance(self) -> float:
        return float(self._chances.pop(0) if len(self._chances) > 1 else self._chances[0])

    def tell(self, step: dict[str, Any]) -> None:
        """One event."""
        at, ladder = step.get("at", 0) / 1000, self.ladder
        match step["event"]:
            case "start":
                ladder.start(at)
            case "stop":
                ladder.stop()
            case "began":
                ladder.began(step["rung"], at)
            case "frame":
                ladder.frame(step["rung"], at)
            case "lost":
                ladder.lost(step["rung"], step["why"], at, step.get("retry_after", 0))
            case "online":
                ladder.online(at)
            case event:
                raise AssertionError(event)

    def read(self, name: str) -> Any:
        """What it says."""
        value = getattr(self.ladder, name)
        return {"rung": value.rung, "at": round(value.at * 1000, 6)} if isinstance(value, Due) else value


@pytest.mark.parametrize("case", named([case for case in vectors("ladder") if "crowded" not in json.dumps(case)]))
def test_the_ladder(case: dict[str, Any]) -> None:
    """`crowded` is of browsers only: they have six connections to a server."""
    told = Told(case)

    for number, step in enumerate(case["steps"]):
        told.tell(step)
        then = step.get("then", {})
        assert {name: told.read(name) for name in then} == then, f"step {number}"
