"""What was promised to whom, what each client saw of it, and the judgement: nothing lost, nothing twice, all ended.

No client judges for itself; it says what it was told. So each rule is in one place, and a test can break it on
purpose.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from wire.faults import INJECTED

SPARE_SECONDS = 2.0
"""By which clocks may be apart where an expiry is judged."""
MOST_TOLD = 20


@dataclass
class Seen:
    """What one client holds of a scan that it has followed to its end."""

    client: str
    ids: list[str]
    state: dict[str, Any]
    part: bool = False
    """Whether that is what it shows of the state, and no more."""


@dataclass
class Promised:
    """One acknowledged scan."""

    scan_id: str
    kind: str
    owner: str = ""
    """Whose it is, where that is asked."""
    token: str = ""
    """What its ack gives to whoever may see it."""
    at: float = field(default_factory=time.monotonic)
    alive_at: float = field(default_factory=time.monotonic)
    """When it was last seen to go on."""
    cancelled: bool = False
    """Whether somebody has asked for that."""
    state: dict[str, Any] = field(default_factory=dict)
    """The terminal one, as polled by somebody who has no part in this."""
    ids: list[str] = field(default_factory=list)
    """Of its results."""
    expired: bool = False
    """Whether it was gone before anybody had polled its end, and that may be."""
    seen: list[Seen] = field(default_factory=list)


class Ledger:
    """All that was promised in one run."""

    def __init__(self, expected: Mapping[str, set[str]], retention: float) -> None:
        """`expected`: what scans of each kind find where nothing goes wrong; `retention`: in seconds."""
        self.expected = expected
        self.retention = retention
        self.scans: dict[str, Promised] = {}
        self.keys: dict[tuple[str, str], str] = {}
        """Owners and their idempotency keys, each with the scan that it was answered with first."""
        self.told: Counter[str] = Counter()
        """Refusals by code, lost connections, clients by their kind."""
        self.wrong: list[str] = []
        """What clients met that nobody may meet."""
        self._jumps: list[float] = []
        """When the server's clock came to be further ahead than it was: what has ended may be over at once."""

    def acked(self, scan_id: str, kind: str, owner: str = "", key: str = "", token: str = "") -> bool:
        """Somebody was promised a scan; whether it is one that nobody knew."""
        first = self.keys.setdefault((owner, key), scan_id) if key else scan_id
        if first != scan_id:
            self.wrong.append(f"the key {key} was answered with {scan_id}, and before with {first}")
        new = scan_id not in self.scans
        promised = self.scans.setdefault(scan_id, Promised(scan_id, kind, owner))
        promised.token = token or promised.token
        if promised.owner != owner:
            self.given(scan_id, owner, f"it is {promised.owner}'s")
        if promised.kind != kind:
            self.wrong.append(f"{scan_id} was asked for as {promised.kind}, and answers a request for {kind}")
        return new

    def cancelled(self, scan_id: str) -> None:
        """Somebody is about to ask for that."""
        self.scans[scan_id].cancelled = True

    def ended(self, scan_id: str, state: dict[str, Any], ids: list[str]) -> None:
        """Its terminal state and its results were polled."""
        promised = self.scans[scan_id]
        if promised.state and (promised.state["status"], sorted(promised.ids)) != (state["status"], sorted(ids)):
            self.wrong.append(f"{scan_id} has ended as {promised.state['status']}, and later as {state['status']}")
        promised.state, promised.ids = state, ids

    def saw(self, scan_id: str, client: str, ids: list[str], state: dict[str, Any], *, part: bool = False) -> None:
        """A client has followed it to its end. `part`: of its state that is what it shows."""
        self.told[client] += 1
        self.scans[scan_id].seen.append(Seen(client, ids, state, part))

    def jumped(self) -> None:
        """The server's clock is ahead of what it was."""
        self._jumps.append(time.monotonic())

    def gone(self, scan_id: str, client: str) -> None:
        """Somebody was told that it has expired."""
        promised = self.scans[scan_id]
        if self._may_be_over(promised) or any(at >= promised.at for at in self._jumps):
            promised.expired = promised.expired or not promised.state
            self.told["too late"] += 1
        else:
            self.wrong.append(f"{scan_id} was lost: {client} was told that it has expired, before its time")

    def _may_be_over(self, promised: Promised) -> bool:
        """By when it expires, or, of one that nobody saw the end of, by when it was last seen to go on."""
        if promised.state:
            return time.time() >= _moment(promised.state["expires_at"]) - SPARE_SECONDS
        return time.monotonic() >= promised.alive_at + self.retention - SPARE_SECONDS

    def over_by(self, promised: Promised, at: float) -> bool:
        """Whether it had expired at a time, in seconds since 1970.

        Of one whose end nobody saw: whether somebody was told that it has, when that might be.
        """
        if not promised.state:
            return promised.expired
        return at >= _moment(promised.state["expires_at"]) - SPARE_SECONDS

    def tells(self, promised: Promised, ids: list[str], state: Mapping[str, Any], *, more: bool) -> Iterator[str]:
        """What is wrong with what somebody was told of its end. `more`: these are the best of it, others are there."""
        if more:
            yield from self._held("it", ids, promised)
            if len(ids) >= state["total_opportunities"]:
                yield f"it tells {len(ids)} opportunities of {state['total_opportunities']}, and that there are more"
            return
        yield from self._of("it", ids, state, promised)
        if promised.state and sorted(set(ids)) != sorted(set(promised.ids)):
            yield "it tells other opportunities than the results"

    def alive(self, scan_id: str, at: float) -> None:
        """It was seen to go on."""
        self.scans[scan_id].alive_at = at

    def absent(self, scan_id: str, client: str) -> None:
        """Somebody was told that there never was such a scan."""
        self.wrong.append(f"{scan_id} was lost: {client} was told that it is not there")

    def given(self, scan_id: str, client: str, said: object) -> None:
        """Somebody was given, or told of, what is another's."""
        self.wrong.append(f"{scan_id} was given to {client}, who may not have it: {said}")

    def refused(self, scan_id: str, client: str, said: object) -> None:
        """Somebody was refused what they may have, and not for the moment."""
        self.wrong.append(f"{scan_id or 'a scan'} was refused to {client}, who may have it: {said}")

    def missed(self, clients: Iterable[str]) -> list[str]:
        """Those of whom not one has come to an end: a crowd without them shows nothing of them."""
        return [
            f"the crowd was to have {client}, and not one came to an end" for client in clients if not self.told[client]
        ]

    def stuck(self, scan_id: str, client: str, said: object) -> None:
        """A client did not come to its end."""
        self.wrong.append(f"{client} has not come to the end of {scan_id}: {said}")

    def faults(self) -> list[str]:
        """All that was broken; of each kind of fault so many at most."""
        found = [*self.wrong, *(fault for promised in self.scans.values() for fault in self._faults(promised))]
        return found if len(found) <= MOST_TOLD else [*found[:MOST_TOLD], f"and {len(found) - MOST_TOLD} more"]

    def _faults(self, promised: Promised) -> Iterator[str]:
        name = f"{promised.scan_id} ({promised.kind})"
        if promised.expired and not promised.state:
            for seen in promised.seen:
                yield from self._of(f"{name}: {seen.client}", seen.ids, seen.state, promised)
            return
        if not promised.state or promised.state["status"] == "scanning":
            yield f"{name} has no end: {promised.state or 'it was never seen to end'}"
            return
        yield from self._of(f"{name}: its results", promised.ids, promised.state, promised)
        for seen in promised.seen:
            yield from self._of(f"{name}: {seen.client}", seen.ids, seen.state, promised)
            if sorted(set(seen.ids)) != sorted(set(promised.ids)):
                yield f"{name}: {seen.client} holds other opportunities than the results"
            if not _agree(seen.state, promised.state, part=seen.part):
                yield f"{name}: {seen.client} holds another state: {seen.state} and not {promised.state}"

    def _of(self, whose: str, ids: list[str], state: Mapping[str, Any], promised: Promised) -> Iterator[str]:
        """What is wrong with opportunities that belong to this state."""
        expected, held = self.expected[promised.kind], set(ids)
        yield from self._held(whose, ids, promised)
        match state["status"]:
            case "complete" if expected - held:
                yield f"{whose}: {len(expected - held)} opportunities are lost: {sorted(expected - held)[:3]}"
            case "cancelled" if not promised.cancelled:
                yield f"{whose}: cancelled, and nobody has asked for that"
            case "complete" | "cancelled":
                if state["total_opportunities"] != len(held):
                    yield f"{whose}: {len(held)} opportunities, and the state says {state['total_opportunities']}"
            case other:
                yield f"{whose}: {other}: {state.get('error') or state.get('strategies')}"

    def _held(self, whose: str, ids: list[str], promised: Promised) -> Iterator[str]:
        """What is wrong with opportunities, however many of them there are."""
        held = set(ids)
        if len(ids) != len(held):
            twice = [one for one, count in Counter(ids).items() if count > 1]
            yield f"{whose}: {len(twice)} opportunities are there twice: {twice[:3]}"
        if alien := held - self.expected[promised.kind]:
            yield f"{whose}: {len(alien)} opportunities that no such scan finds: {sorted(alien)[:3]}"


def _agree(held: Any, told: Any, *, part: bool) -> bool:
    """Whether a client's copy is what the server says, but for what a hostile network has added to objects.

    :param part: whether it need not be all of that
    """
    if not isinstance(held, dict) or not isinstance(told, dict):
        return bool(held == told)
    names = held.keys() - INJECTED
    whole = names <= told.keys() if part else names == told.keys()
    return whole and all(_agree(held[name], told[name], part=part) for name in names)


def _moment(text: str) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()
