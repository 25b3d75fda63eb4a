"""The scan that is told: its states, entry by entry, and what it finds; made up, and the same for the same numbers."""

from collections.abc import Sequence
from typing import Any

from scanstream.conformance.cursors import Place

MOST_IN_A_FRAME = 500
AT = "2026-11-23T14:00:00.000Z"
STRATEGY = "told"
SCAN_ID = f"scan_{'0198c1a7' * 5}ab"


class Tale:
    """One scan from its registration to its end. Entries are numbered from 1."""

    def __init__(self, found: Sequence[int], *, status: str = "complete", epoch: str = "e1", name: str = "a") -> None:
        """:param found: how many opportunities each shard finds; a shard that finds some has an entry for that
        :param name: what the names of these begin with
        """
        self.scan_id = SCAN_ID
        self.epoch = epoch
        self.status = status
        self.states: list[dict[str, Any]] = [{}]
        """By the number of their entry; there is none at 0."""
        self.counts = [0]
        """How many opportunities there are at each entry."""
        self.opportunities = [opportunity(name, number) for number in range(sum(found))]
        self._tell(found)

    @property
    def last(self) -> int:
        """The number of the last entry."""
        return len(self.states) - 1

    @property
    def end(self) -> dict[str, Any]:
        """What is said when nothing more will come."""
        cursor = str(Place(self.epoch, self.last, self.counts[-1]))
        return {"type": "end", "scan_id": self.scan_id, "cursor": cursor, "status": self.status}

    def ack(self, head: int, status: str = "initiated") -> dict[str, Any]:
        """The answer to a discover, or to a subscription, at the entry `head`."""
        state = self.states[head]
        return {
            "success": True,
            "scan_id": self.scan_id,
            "status": status,
            "cursor": f"{self.epoch}-0.0",
            "message": "Scan registered",
            "poll_url": state["poll_url"],
            "results_url": state["results_url"],
            "events_url": f"/opportunities/events/{self.scan_id}",
            "polling_interval_seconds": 1,
            "progress": state["progress"],
            "filters": {},
        }

    def _tell(self, found: Sequence[int]) -> None:
        state = placeholder(self.scan_id)
        self._entry(state, 0)
        state = {**state, "phase": "running", "message": "Scanning", "started_at": AT}
        done, count, total = 0, 0, len(found)
        self._entry(progressed(state, done, total, count, "running"), count)
        for number in found:
            if number:
                count += number
                self._entry(progressed(state, done, total, count, "running"), count)
            done += 1
            if done < total:
                self._entry(progressed(state, done, total, count, "running"), count)
        self._entry(self._ended(progressed(state, done, total, count, self.status)), count)

    def _ended(self, state: dict[str, Any]) -> dict[str, Any]:
        times = {"finished_at": AT, "expires_at": "2026-11-23T15:00:00.000Z", "estimated_time_remaining_seconds": 0}
        error = {"error": {"code": "internal", "detail": "as told"}} if self.status == "failed" else {}
        percentage = 100 if self.status == "complete" else state["progress"]["percentage"]
        progress = {**state["progress"], "percentage": percentage}
        return {
            **state,
            **times,
            **error,
            "status": self.status,
            "phase": "done",
            "message": "Done",
            "progress": progress,
        }

    def _entry(self, state: dict[str, Any], count: int) -> None:
        self.states.append(state)
        self.counts.append(count)

    def frame(self, held: Place | None, head: int, *, only_state: bool = False) -> dict[str, Any] | None:
        """What leads from what a reader holds to the entry `head`: a snapshot, an update, or nothing."""
        known = held is not None and held.epoch == self.epoch and 0 < held.seq <= head
        begin = held.n if known and held is not None else 0
        count = begin if only_state else min(self.counts[head], begin + MOST_IN_A_FRAME)
        cursor = str(Place(self.epoch, head, count))
        news = self.opportunities[begin:count]
        message: dict[str, Any] = {"scan_id": self.scan_id, "cursor": cursor}
        if news or not known:
            message |= {"opportunities": news, "offset": begin}
        if count < self.counts[head] and not only_state:
            message["more"] = True
        if not known or held is None:
            return {"type": "snapshot", **message, "state": self.states[head]}
        if held.seq == head and not news:
            return None
        skipped = max(0, head - held.seq - 1)
        return {
            "type": "update",
            **message,
            "patch": difference(self.states[held.seq], self.states[head]),
            "skipped": skipped,
        }


def placeholder(scan_id: str) -> dict[str, Any]:
    """The state of a scan that was just registered."""
    return {
        "success": True,
        "scan_id": scan_id,
        "status": "scanning",
        "phase": "init",
        "message": "Scan registered",
        "market": "told",
        "filters": {},
        "progress": {
            "strategies_completed": 0,
            "total_strategies": 1,
            "shards_completed": 0,
            "total_shards": 0,
            "opportunities_found_so_far": 0,
            "percentage": 0,
        },
        "strategies": {
            STRATEGY: {
                "status": "pending",
                "shards_completed": 0,
                "total_shards": 0,
                "opportunities_found": 0,
                "elapsed_ms": 0,
            }
        },
        "total_opportunities": 0,
        "created_at": AT,
        "poll_url": f"/opportunities/status/{scan_id}",
        "results_url": f"/opportunities/results/{scan_id}",
    }


def progressed(state: dict[str, Any], done: int, total: int, count: int, status: str) -> dict[str, Any]:
    """The state with so much done and found."""
    strategy = {
        "status": status,
        "shards_completed": done,
        "total_shards": total,
        "opportunities_found": count,
        "elapsed_ms": 10 * done,
    }
    progress = {
        "strategies_completed": int(status != "running"),
        "total_strategies": 1,
        "shards_completed": done,
        "total_shards": total,
        "opportunities_found_so_far": count,
        "percentage": min(99, 100 * done // total),
    }
    return {**state, "progress": progress, "strategies": {STRATEGY: strategy}, "total_opportunities": count}


def opportunity(name: str, number: int) -> dict[str, Any]:
    """The `number`-th thing found."""
    symbol = f"{name.upper()}{number}/USDT"
    return {
        "id": f"{STRATEGY}:{symbol}:{AT}",
        "strategy_id": STRATEGY,
        "strategy_name": "Told",
        "opportunity_type": "told",
        "symbol": symbol,
        "symbols": [symbol],
        "exchange": "told",
        "side": "long",
        "entry_price": 100.0 + number,
        "expected_return": 0.01,
        "profit_potential_usd": 10.0,
        "required_capital_usd": 1000.0,
        "confidence_score": float(number % 100),
        "risk_level": "medium",
        "estimated_timeframe": "1h",
        "metadata": {"number": number},
        "discovered_at": AT,
    }


def difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The patch from one state to a later one, without nulls."""
    patch: dict[str, Any] = {}
    for key, value in after.items():
        held = before.get(key)
        if isinstance(held, dict) and isinstance(value, dict):
            inner = difference(held, value)
            if inner:
                patch[key] = inner
        elif key not in before or held != value:
            patch[key] = value
    return patch
