"""What section 2 of docs/protocol.md says of every state, of two states in a row, and of an opportunity.

Each function raises `Broken` with the law that does not hold; it changes nothing.
"""

import math
import re
from typing import Any

from scanstream.conformance.promise import Broken, differing, expect

TERMINAL = ("complete", "failed", "cancelled")
PHASES = ("init", "queued", "running", "cancelling", "done")
OUTCOMES = ("complete", "failed", "timed_out", "cancelled")
STRATEGY = ("pending", "running", *OUTCOMES)
ENVELOPE = ("cursor", "opportunities", "offset", "more", "skipped", "partial_results", "rank")
FIXED = ("success", "scan_id", "market", "filters", "created_at", "poll_url", "results_url")
ONCE = ("started_at", "finished_at", "expires_at", "error")
"""What does not change any more once it is there."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)

TEXTS = ("scan_id", "status", "phase", "message", "market", "created_at", "poll_url", "results_url")
COUNTS = (
    "strategies_completed",
    "total_strategies",
    "shards_completed",
    "total_shards",
    "opportunities_found_so_far",
    "percentage",
)
STRATEGY_COUNTS = ("shards_completed", "total_shards", "opportunities_found", "elapsed_ms")
FOUND_TEXTS = (
    "id",
    "strategy_id",
    "strategy_name",
    "opportunity_type",
    "symbol",
    "exchange",
    "side",
    "risk_level",
    "estimated_timeframe",
    "discovered_at",
)
FOUND_NUMBERS = ("expected_return", "profit_potential_usd", "required_capital_usd", "confidence_score")
SIDES = ("long", "short", "neutral")
RISKS = ("low", "medium", "high", "very_high")


def of_state(state: dict[str, Any]) -> None:
    """One state, as it may be at any time."""
    no_null(state, "the state")
    expect(not set(ENVELOPE) & state.keys(), "nothing of the envelope inside of a state", sorted(state))
    expect(state.get("success") is True, "success true in a state", state.get("success"))
    _texts(state, TEXTS)
    expect(state["status"] in ("scanning", *TERMINAL), "a known status", state["status"])
    expect(state["phase"] in PHASES, "a known phase", state["phase"])
    ended = state["status"] in TERMINAL
    expect(ended == (state["phase"] == "done"), "phase done with a terminal status only", _in(state, "status", "phase"))
    for name in ("filters", "progress", "strategies"):
        expect(isinstance(state.get(name), dict), f"{name} to be an object", state.get(name))
    _counted(state["progress"], COUNTS, "progress")
    for strategy_id, strategy in state["strategies"].items():
        _of_strategy(strategy_id, strategy)
    _sums(state)
    _percentage(state)
    _times(state)
    if ended:
        _of_end(state)


def _of_strategy(name: str, strategy: Any) -> None:
    expect(isinstance(strategy, dict), f"strategy {name} to be an object", strategy)
    expect(strategy.get("status") in STRATEGY, f"a known status of strategy {name}", strategy.get("status"))
    _counted(strategy, STRATEGY_COUNTS, f"strategy {name}")
    done, total = strategy["shards_completed"], strategy["total_shards"]
    expect(done <= total, f"strategy {name} to have no more outcomes than shards", strategy)


def _sums(state: dict[str, Any]) -> None:
    progress, strategies = state["progress"], state["strategies"].values()
    sums = {
        "strategies_completed": sum(one["status"] in OUTCOMES for one in strategies),
        "total_strategies": len(strategies),
        "shards_completed": sum(one["shards_completed"] for one in strategies),
        "total_shards": sum(one["total_shards"] for one in strategies),
        "opportunities_found_so_far": sum(one["opportunities_found"] for one in strategies),
    }
    told = {name: progress[name] for name in sums}
    expect(told == sums, "progress to be the sum over the strategies", differing(told, sums))
    total = state.get("total_opportunities")
    expect(total == sums["opportunities_found_so_far"], "total_opportunities to be what the strategies found", total)


def _percentage(state: dict[str, Any]) -> None:
    """min(99, floor(100·done/total)), 0 while the total is 0, 100 exactly on `complete`."""
    progress = state["progress"]
    done, total = progress["shards_completed"], progress["total_shards"]
    wanted = 100 if state["status"] == "complete" else min(99, 100 * done // total) if total else 0
    expect(progress["percentage"] == wanted, f"percentage {wanted} at {done} of {total} shards", progress)


def _times(state: dict[str, Any]) -> None:
    told = [state[name] for name in ("created_at", "started_at", "finished_at", "expires_at") if name in state]
    for time in told:
        expect(isinstance(time, str) and _TIME.fullmatch(time), "a time like 2026-11-23T14:00:00.000Z", time)
    expect(told == sorted(told), "created, started, finished, expires in this order", told)
    left = state.get("estimated_time_remaining_seconds", 0)
    expect(_number(left) and left >= 0, "an estimate of seconds, at least 0", left)


def _of_end(state: dict[str, Any]) -> None:
    """`complete` where one strategy at least is; `failed` where all have failed or timed out."""
    status = state["status"]
    missing = {"finished_at", "expires_at", "estimated_time_remaining_seconds"} - state.keys()
    expect(not missing, "finished_at, expires_at and an estimate in a terminal state", sorted(missing))
    left = state["estimated_time_remaining_seconds"]
    expect(left == 0, "an estimate of 0 in a terminal state", left)
    outcomes = [one["status"] for one in state["strategies"].values()]
    open_ones = [one for one in outcomes if one not in OUTCOMES]
    expect(not open_ones, "every strategy to have an outcome at the end", open_ones)
    if status == "complete":
        expect("complete" in outcomes, "a strategy that is complete in a scan that is", outcomes)
    if status == "failed":
        expect("complete" not in outcomes, "no strategy that is complete in a scan that failed", outcomes)
        _problem(state)
    expect(status == "failed" or "error" not in state, "an error where the scan failed only", state.get("error"))


def _problem(state: dict[str, Any]) -> None:
    error = state.get("error")
    told = isinstance(error, dict) and isinstance(error.get("code"), str) and isinstance(error.get("detail"), str)
    expect(told, "error {code, detail} where it failed", error)


def of_two(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Two states of one scan, the second from the same entry or a later one: no state goes back."""
    vanished = _vanished(before, after)
    expect(not vanished, "no field to vanish, and objects to stay objects", vanished)
    for name in FIXED:
        expect(after[name] == before[name], f"{name} to stay as it is", _two(before, after, name))
    for name in ONCE:
        expect(before.get(name, after.get(name)) == after.get(name), f"{name} not to change", _two(before, after, name))
    old, new = PHASES.index(before["phase"]), PHASES.index(after["phase"])
    expect(old <= new, f"no phase before {before['phase']}", after["phase"])
    if before["status"] in TERMINAL:
        expect(before == after, "a terminal state to be the last one", differing(after, before))
    _forward(before["progress"], after["progress"], COUNTS, "progress")
    total = before["progress"]["total_shards"]
    expect(total in (0, after["progress"]["total_shards"]), "one plan, once", _two(before, after, "progress"))
    same = before["strategies"].keys() == after["strategies"].keys()
    expect(same, "the same strategies from the registration on", sorted(after["strategies"]))
    for name, strategy in before["strategies"].items():
        later = after["strategies"][name]
        _forward(strategy, later, STRATEGY_COUNTS, f"strategy {name}")
        was, now = strategy["status"], later["status"]
        stays = was not in OUTCOMES or now == was
        expect(stays and min(STRATEGY.index(was), 2) <= min(STRATEGY.index(now), 2), f"{name} not to go back", now)


def _vanished(before: dict[str, Any], after: dict[str, Any], path: str = "") -> list[str]:
    lost: list[str] = []
    for key, value in before.items():
        if key not in after or isinstance(value, dict) != isinstance(after[key], dict):
            lost.append(f"{path}{key}")
        elif isinstance(value, dict):
            lost += _vanished(value, after[key], f"{path}{key}.")
    return lost


def _forward(before: dict[str, Any], after: dict[str, Any], names: tuple[str, ...], what: str) -> None:
    for name in names:
        told = f"{before[name]}, then {after[name]}"
        expect(before[name] <= after[name], f"{what}.{name} never to go back", told)


def of_opportunity(found: Any) -> None:
    """One opportunity."""
    expect(isinstance(found, dict), "an opportunity to be an object", found)
    no_null({name: value for name, value in found.items() if name != "metadata"}, "an opportunity")
    _texts(found, FOUND_TEXTS)
    expect(found["side"] in SIDES and found["risk_level"] in RISKS, f"a side of {SIDES}, a risk of {RISKS}", found)
    for name in FOUND_NUMBERS:
        expect(_number(found.get(name)), f"{name} to be a number", found.get(name))
    expect(0 <= found["confidence_score"] <= 100, "a confidence of 0 to 100", found["confidence_score"])
    rate = found.get("hit_rate", 0)
    expect(_number(rate) and 0 <= rate <= 1, "a hit rate of 0 to 1", rate)
    symbols = found.get("symbols")
    expect(isinstance(symbols, list) and symbols and all(isinstance(one, str) for one in symbols), "symbols", symbols)
    expect(isinstance(found.get("metadata"), dict), "metadata to be an object", found.get("metadata"))
    expect(found["id"].startswith(f"{found['strategy_id']}:"), "an id that begins with the strategy's", found["id"])
    expect(_TIME.fullmatch(found["discovered_at"]), "a time like 2026-11-23T14:00:00.000Z", found["discovered_at"])


def no_null(value: Any, what: str) -> None:
    """Absent is absent, never null; every number is finite.

    :raises Broken: naming where
    """
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        if inner is None:
            raise Broken(f"no null in {what}", f"{key}: null")
        if isinstance(inner, float) and not math.isfinite(inner):
            raise Broken(f"finite numbers in {what}", f"{key}: {inner}")
        no_null(inner, f"{what}, {key}")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _counted(told: dict[str, Any], names: tuple[str, ...], what: str) -> None:
    for name in names:
        count = told.get(name)
        whole = isinstance(count, int) and not isinstance(count, bool) and count >= 0
        expect(whole, f"{what}.{name} to be a whole number, at least 0", count)


def _texts(told: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        expect(isinstance(told.get(name), str), f"{name} to be a text", told.get(name))


def _in(told: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: told.get(name) for name in names}


def _two(before: dict[str, Any], after: dict[str, Any], name: str) -> str:
    return f"{before.get(name)!r}, then {after.get(name)!r}"
