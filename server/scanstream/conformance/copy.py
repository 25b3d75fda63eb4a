"""A strict reader's copy of one scan: it takes frames as they come, and fails at the first that breaks a law.

The library's own mirror forgives (a frame that comes twice, an offset from before): this one does not.
"""

from typing import Any

from scanstream.conformance import laws
from scanstream.conformance.cursors import Place, place
from scanstream.conformance.promise import Broken, differing, equal, expect

MOST_IN_A_FRAME = 500
MESSAGES = ("snapshot", "update", "end")


class Copy:
    """State, opportunities and cursor of one scan, as its frames tell them."""

    def __init__(self, scan_id: str, *, only_state: bool = False) -> None:
        self.scan_id = scan_id
        self.state: dict[str, Any] = {}
        self.opportunities: list[dict[str, Any]] = []
        self.cursor: str | None = None
        self.ended = False
        self.states: dict[int, dict[str, Any]] = {}
        """By the entry that each is the state at: what all transports must agree on."""
        self.cursors: list[str] = []
        """Each that a frame brought."""
        self._only_state = only_state
        self._ids: set[str] = set()
        self._more = False
        self._at: Place | None = None

    def resumed(self) -> None:
        """It goes on over another connection, and wants to be told of the end again."""
        self.asked_anew()
        self.ended = False

    def asked_anew(self) -> None:
        """What comes is the answer to another question: a chunk that was announced may have been overtaken by news."""
        self._more = False

    def started_from(self, state: dict[str, Any], opportunities: list[dict[str, Any]], cursor: str) -> "Copy":
        """Begin as somebody who holds this."""
        self.state, self.opportunities, self.cursor, self._at = state, list(opportunities), cursor, place(cursor)
        self._ids = {one["id"] for one in opportunities}
        return self

    def take(self, frame: dict[str, Any]) -> None:
        """A snapshot, an update or the end.

        :raises Broken: naming the law that it breaks
        """
        expect(not self.ended, "nothing after the end", frame)
        equal(frame.get("scan_id", self.scan_id), self.scan_id, "the scan of the frame")
        at = place(frame.get("cursor"))
        match frame.get("type"):
            case "snapshot":
                self._begin(frame, at)
            case "update":
                self._go_on(frame, at)
            case "end":
                self._end(frame)
            case other:
                expect(False, "a snapshot, an update or an end", other)
        self.cursor, self._at = frame["cursor"], at

    def _begin(self, frame: dict[str, Any], at: Place) -> None:
        held = self._at
        fresh = held is None or held.seq == 0 or held.epoch != at.epoch or held.seq > at.seq
        expect(fresh, f"an update from {held}: a snapshot is for who holds nothing of this log", frame)
        equal(frame.get("offset", 0), 0, "the offset of a snapshot")
        state = an_object(frame.get("state"), "state")
        self.state, self.opportunities, self._ids, self._more = {}, [], set(), False
        self._append(frame.get("opportunities", []), at)
        self._settle(state, at, bool(frame.get("more", False)))

    def _go_on(self, frame: dict[str, Any], at: Place) -> None:
        held, patch = self._at, an_object(frame.get("patch"), "patch")
        expect(held is not None and held.seq > 0, "a snapshot for who holds nothing", frame)
        assert held is not None
        expect(held.epoch == at.epoch, f"a snapshot for a cursor of another log ({held})", frame)
        expect(at.seq >= held.seq, f"no way back from {held}", frame["cursor"])
        if self._more:
            expect(at.seq == held.seq and at.n > held.n, f"the next chunk at entry {held.seq}", frame["cursor"])
            equal(patch, {}, "the patch of a further chunk")
        self._skips(frame, held, at)
        found = frame.get("opportunities", [])
        if found:
            equal(frame.get("offset"), len(self.opportunities), "the offset: the length of the list held")
        news = at.seq > held.seq or bool(found)
        expect(news, "a frame that brings something", frame)
        self._append(found, at)
        self._settle(merged(self.state, patch), at, bool(frame.get("more", False)))

    def _skips(self, frame: dict[str, Any], held: Place, at: Place) -> None:
        if "skipped" in frame:
            equal(frame["skipped"], max(0, at.seq - held.seq - 1), f"skipped, from {held} to {at}")

    def _append(self, found: Any, at: Place) -> None:
        expect(isinstance(found, list), "a list of opportunities", found)
        expect(len(found) <= MOST_IN_A_FRAME, f"at most {MOST_IN_A_FRAME} opportunities in a frame", len(found))
        if self._only_state:
            expect(not found, "no opportunities for a reader of the state alone", found)
            return
        for one in found:
            laws.of_opportunity(one)
            expect(one["id"] not in self._ids, "each opportunity once", f"{one['id']} a second time, at {at}")
            self._ids.add(one["id"])
        self.opportunities += found
        equal(at.n, len(self.opportunities), "the cursor's count: all opportunities held")

    def _settle(self, state: dict[str, Any], at: Place, more: bool) -> None:
        laws.of_state(state)
        equal(state["scan_id"], self.scan_id, "scan_id in the state")
        if self.state:
            laws.of_two(self.state, state)
        if self._at is not None and self._at.epoch == at.epoch and self._at.seq == at.seq and self.state:
            expect(self.state == state, "one state at one entry", differing(state, self.state))
        if not self._only_state:
            whole = len(self.opportunities) == state["total_opportunities"]
            told = f"{len(self.opportunities)} of {state['total_opportunities']}, more: {more}"
            expect(whole != more, "more exactly where opportunities of this entry are still to come", told)
        self.state, self._more = state, more
        self.states[at.seq] = state
        self.cursors.append(str(at))

    def _end(self, frame: dict[str, Any]) -> None:
        expect(not self._more, "the end after the last chunk only", frame)
        expect(self.state, "a state before the end", frame)
        equal(frame["cursor"], self.cursor, "the cursor of the end")
        equal(frame.get("status"), self.state["status"], "the status of the end")
        expect(self.state["status"] in laws.TERMINAL, "the end of a terminal scan only", self.state["status"])
        self.ended = True


def merged(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """An RFC 7396 merge patch without nulls on a state; an own one, so that it judges the library's."""
    laws.no_null(patch, "a patch")
    result = dict(target)
    for key, value in patch.items():
        held = result.get(key)
        result[key] = merged(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return result


def an_object(value: Any, what: str) -> dict[str, Any]:
    """The value, if it is an object.

    :raises Broken: if it is none
    """
    if not isinstance(value, dict):
        raise Broken(f"{what} to be an object", value)
    return value
