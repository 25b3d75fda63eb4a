"""What a run has found out, in words and as JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

from scanstream.client.addresses import shown
from scanstream.conformance.judging import BROKEN, HOLDS, NOT_TRIED, Verdict
from scanstream.conformance.promise import CHECKS
from scanstream.conformance.scans import Scans
from scanstream.conformance.stage.playing import Played
from scanstream.conformance.stage.scripts import SCRIPTS

MARKS = {HOLDS: "ok", BROKEN: "BROKEN", NOT_TRIED: "not tried"}


def listed() -> Iterator[str]:
    """All checks, one a line."""
    width = max(map(len, CHECKS))
    for check in CHECKS.values():
        yield f"{check.name:{width}}  {check.section:9}  {check.promise}{' (slow)' if check.slow else ''}"


def beginning(urls: Sequence[str], scans: Scans) -> Iterator[str]:
    """What will be done to the server."""
    told = ", ".join(map(shown, urls))
    yield f"Judges {told}. It starts scans there, some dozens, and cancels what still runs at the end:"
    for kind, request in scans.requests.items():
        yield f"  {kind:8} {_in_short(request)}"


def _in_short(request: dict[str, Any]) -> str:
    told = {name: f"{len(value)} of them" if _long(value) else value for name, value in request.items()}
    return ", ".join(f"{name}: {value}" for name, value in told.items())


def _long(value: object) -> bool:
    return isinstance(value, list) and len(value) > 4


def told(verdict: Verdict, again: str) -> Iterator[str]:
    """One verdict; of a promise that is broken all that helps to find out why.

    :param again: the command that makes this check alone
    """
    check = verdict.check
    yield f"{MARKS[verdict.outcome]:9} {check.section:9} {check.name}: {check.promise} ({verdict.seconds:.1f} s)"
    if verdict.outcome == NOT_TRIED:
        yield f"            {verdict.seen}"
    if verdict.outcome == BROKEN:
        yield f"            expected: {verdict.expected}"
        yield f"            seen:     {verdict.seen}"
        yield "            what went over the wire, the last lines:"
        yield from (f"              {line}" for line in verdict.trace)
        yield f"            again:    {again}"


def summary(verdicts: Sequence[Verdict], cancelled: int) -> str:
    """The last line."""
    count = {outcome: sum(one.outcome == outcome for one in verdicts) for outcome in MARKS}
    names = [one.check.name for one in verdicts if one.outcome == BROKEN]
    broken = f"{count[BROKEN]} broken ({', '.join(names)})" if names else "none is broken"
    ended = f"; {cancelled} scans that still ran were cancelled" if cancelled else ""
    hold = "1 promise holds" if count[HOLDS] == 1 else f"{count[HOLDS]} promises hold"
    return f"{hold}, {broken}, {count[NOT_TRIED]} not tried{ended}"


def plain(verdict: Verdict, again: str) -> dict[str, Any]:
    """One verdict as a JSON object."""
    more = {"expected": verdict.expected, "seen": verdict.seen, "trace": list(verdict.trace), "again": again}
    why = {"why": verdict.seen} if verdict.outcome == NOT_TRIED else {}
    return {
        "check": verdict.check.name,
        "section": verdict.check.section,
        "promise": verdict.check.promise,
        "outcome": verdict.outcome,
        "seconds": round(verdict.seconds, 3),
        **(more if verdict.outcome == BROKEN else why),
    }


def scripts() -> Iterator[str]:
    """All scripts for clients, one a line."""
    width = max(map(len, SCRIPTS))
    for script in SCRIPTS.values():
        yield f"{script.name:{width}}  {script.promise}{' (slow)' if script.slow else ''}"


def played(play: Played, again: str) -> Iterator[str]:
    """What has come of one script; where a promise is broken, all that helps to find out why."""
    mark = MARKS[BROKEN if play.broken else HOLDS]
    yield f"{mark:9} {play.script.name}: {play.script.promise} ({play.seconds:.1f} s)"
    if play.broken is not None:
        yield f"            expected: {play.broken.expected}"
        yield f"            seen:     {play.broken.seen}"
        yield "            what it asked for, and what it told, the last lines:"
        yield from (f"              {line}" for line in play.trace)
        yield f"            again:    {again}"


def plainly_played(play: Played, again: str) -> dict[str, Any]:
    """The same as a JSON object."""
    told = {"script": play.script.name, "promise": play.script.promise, "seconds": round(play.seconds, 3)}
    if play.broken is None:
        return {**told, "outcome": HOLDS}
    more = {"expected": play.broken.expected, "seen": str(play.broken.seen), "trace": list(play.trace), "again": again}
    return {**told, "outcome": BROKEN, **more}


def of_scripts(plays: Sequence[Played]) -> str:
    """The last line."""
    names = [play.script.name for play in plays if play.broken]
    broken = f"{len(names)} do not ({', '.join(names)})" if names else "none does not"
    return f"{len(plays) - len(names)} scripts end as promised, {broken}"
