"""A script played to a client, and what it must have told its user by then."""

import math
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

import anyio

from scanstream.conformance.cursors import place
from scanstream.conformance.promise import Broken, differing, equal, expect
from scanstream.conformance.stage.adapter import Adapter, Heard, Unusable, adapter
from scanstream.conformance.stage.lines import leaf
from scanstream.conformance.stage.scripts import PACE, Drive, Script
from scanstream.conformance.stage.server import Stage, on_stage
from scanstream.conformance.stage.tale import Tale

SPAN_SECONDS = 0.49
"""In which a client makes two attempts at most on each transport: half a second, less what a clock is inexact by."""
MIDDLE = 3
"""The entry from which a scan is watched that others have followed until then."""
MOST_POLLS = 7
"""In a second: five, as docs/javascript.md has it, and what chunks and a clock add to that."""
MOST_AFTER = 6
"""Questions that a client may have under way about a scan that is no more."""


class Played(NamedTuple):
    """What has come of one script."""

    script: Script
    seconds: float
    broken: Broken | None
    trace: Sequence[str]


async def play(script: Script, command: Sequence[str], seed: int) -> Played:
    """Start the client, play the script to it, and judge what it has said.

    :raises Unusable: if the client cannot be started
    """
    began = time.monotonic()
    tale = Tale(script.found, status=script.status)
    weather = script.weather(Random(f"{seed} {script.name}"))  # noqa: S311  # repeatable on purpose
    stage = Stage(tale, weather, PACE, script.tokens[-1] if script.tokens else None)
    if script.watch == "middle":
        stage.head = MIDDLE + 1
    broken: Broken | None = None
    async with on_stage(stage) as url, adapter(command, _begin(script, url, tale)) as client:
        finished = False
        with anyio.move_on_after(script.seconds):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_driven, script.drive, stage)
                await client.run()
                tasks.cancel_scope.cancel()
            finished = True
        try:
            expect(finished, f"the last word within {script.seconds:g} s", _last(client))
            _judge(script, tale, stage, client)
        except Broken as error:
            broken = error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            broken = Broken("lines as docs/conformance.md has them", f"{type(error).__name__}: {error}")
    return Played(script, time.monotonic() - began, broken, _trace(stage, client) if broken else ())


async def _driven(drive: Drive | None, stage: Stage) -> None:
    await (stage.go_on() if drive is None else drive(stage))


async def play_all(
    scripts: Sequence[Script], command: Sequence[str], seed: int, jobs: int, tell: Callable[[Played], None]
) -> None:
    """Some at once, each to a client of its own.

    :param tell: is told each as soon as it is over
    :raises Unusable: if the client cannot be started
    """
    places = anyio.CapacityLimiter(jobs)
    unusable: list[BaseException] = []

    async def one(script: Script) -> None:
        async with places:
            try:
                tell(await play(script, command, seed))
            except* Unusable as group:
                unusable.append(leaf(group))
                tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for script in scripts:
            tasks.start_soon(one, script)
    if unusable:
        raise unusable[0]


def _begin(script: Script, url: str, tale: Tale) -> dict[str, Any]:
    told: dict[str, Any] = {"url": url}
    if script.tokens:
        told["tokens"] = list(script.tokens)
    if not script.watch:
        return {**told, "request": {"strategy_ids": ["told"]}}
    middle = {"since": f"{tale.epoch}-{MIDDLE}.{tale.counts[MIDDLE]}"} if script.watch == "middle" else {}
    return {**told, "watch": tale.scan_id, **middle}


def _last(client: Adapter) -> str:
    return str(client.heard[-1].told)[:300] if client.heard else "nothing at all"


def _trace(stage: Stage, client: Adapter) -> list[str]:
    """What was asked and what was told, by time."""
    asked = [(one.at, f"→ {one.kind}, since {one.since}") for one in stage.attempts]
    heard = [(one.at, f"· told: {str(one.told)[:200]}") for one in client.heard]
    wrong = [f"· no line of the adapter's protocol: {line[:200]}" for line in client.wrong[:5]]
    said = [f"· on standard error: {line[:200]}" for line in client.complaints]
    left = [] if client.exit_code in (0, None) else [f"· the adapter ended with exit code {client.exit_code}"]
    return wrong + [line for _, line in sorted([*asked, *heard])][-30:] + said + left


def _judge(script: Script, tale: Tale, stage: Stage, client: Adapter) -> None:
    expect(not stage.misheard, "requests and messages as the protocol has them", stage.misheard[:3])
    expect(not client.wrong, "lines of JSON with an event", [line[:200] for line in client.wrong[:3]])
    heard = client.heard
    expect(heard, "something to be told", "nothing" + (f"; exit code {client.exit_code}" if client.exit_code else ""))
    if script.error:
        _gave_up(script, stage, heard)
    else:
        _reached_the_end(script, tale, stage, heard)
    _asked_with_care(stage, heard)


def _gave_up(script: Script, stage: Stage, heard: list[Heard]) -> None:
    last = heard[-1]
    told = last.event, last.told.get("code")
    equal(told, ("error", script.error), "the last word")
    ends = [one.event for one in heard if one.event in ("end", "error")]
    equal(ends, ["error"], "one error, and no end")
    late = [one for one in stage.attempts if one.at > last.at + SPAN_SECONDS]
    expect(len(late) <= MOST_AFTER, "no more questions about a scan that is not there", len(late))


def _reached_the_end(script: Script, tale: Tale, stage: Stage, heard: list[Heard]) -> None:
    errors = [one.told for one in heard if one.event == "error"]
    expect(not errors, "no error", errors[:1])
    equal(heard[0].event, "started", "the first word")
    equal(heard[0].told.get("scan_id"), tale.scan_id, "the scan that was started")
    ends = [number for number, one in enumerate(heard) if one.event == "end"]
    equal(ends, [len(heard) - 1], "one end, as the last word")
    _told_the_tale(script, tale, stage, heard)
    last, end = stage.tale, heard[-1].told
    equal(end.get("status"), last.status, "the status at the end")
    state = end.get("state")
    expect(state is not None and _without_more(state) == last.states[-1], "the last state", _differing(state, last))
    ids = [one["id"] for one in last.opportunities]
    begin = place(_since(script, tale)).n if script.watch == "middle" else 0
    equal(end.get("ids"), ids[begin:], "the ids at the end, in their order")
    if script.over and any(one.kind in script.over for one in stage.attempts):
        expect(stage.ended_over in script.over, f"the end over {' or '.join(script.over)}", stage.ended_over)


def _since(script: Script, tale: Tale) -> str:
    return str(_begin(script, "", tale)["since"])


def _differing(state: Any, tale: Tale) -> str:
    return differing(_without_more(state), tale.states[-1]) if isinstance(state, dict) else repr(state)


def _without_more(state: Any) -> Any:
    """A state without fields that nobody knows: whether they are kept is a client's own matter."""
    if not isinstance(state, dict):
        return state
    return {key: _without_more(value) for key, value in state.items() if not key.startswith("x_") and key}


def _told_the_tale(script: Script, tale: Tale, stage: Stage, heard: list[Heard]) -> None:
    """Each update is true: its state is that of its cursor, and so many opportunities were told as it says."""
    begin = place(_since(script, tale)).n if script.watch == "middle" else 0
    earlier: set[str] = set()
    """Told of another epoch: nobody wants them again."""
    ids: list[str] = []
    before = 0
    for told in (one.told for one in heard if one.event == "update"):
        at = place(told.get("cursor"))
        if at.epoch != tale.epoch:
            tale, earlier, ids, before = stage.tale, earlier | {*ids}, [], 0
            equal(at.epoch, tale.epoch, "the epoch of an update")
        ids += [one["id"] for one in told.get("opportunities", ())]
        expect(before <= at.seq <= tale.last, f"no way back from entry {before}", told["cursor"])
        before = at.seq
        state = _without_more(told.get("state"))
        expect(state == tale.states[at.seq], f"the state at {told['cursor']}", differing(state, tale.states[at.seq]))
        wanted = [one["id"] for one in tale.opportunities[begin : at.n] if one["id"] not in earlier]
        equal(ids, wanted, f"what was told until {told['cursor']}: each opportunity once, in order")


def _asked_with_care(stage: Stage, heard: list[Heard]) -> None:
    """One scan, whatever happened; two attempts in half a second; the cursor with each that comes back."""
    keys = {*stage.keys}
    expect(len(stage.keys) <= 1 or (len(keys) == 1 and None not in keys), "one key for one scan", stage.keys)
    for kind in ("websocket", "stream", "longpoll"):
        times = [one.at for one in stage.attempts if one.kind == kind]
        crowded = [late - early for early, late in zip(times, times[2:], strict=False) if late - early < SPAN_SECONDS]
        expect(
            not crowded or kind == "longpoll", f"two attempts in half a second on {kind}", f"three in {crowded[:1]} s"
        )
    asked = [one.at for one in stage.attempts if one.kind == "poll" and not one.waits]
    crowded = [late - early for early, late in zip(asked, asked[MOST_POLLS:], strict=False) if late - early < 1]
    expect(not crowded, f"at most {MOST_POLLS} questions in a second from who polls", f"one more in {crowded[:1]} s")
    expect(not stage.cancels, "no cancel: who leaves a scan, or has its end, ends it for nobody", stage.cancels)
    expect(not stage.in_addresses, "no credential in an address", stage.in_addresses[:1])
    told = next((one.at for one in heard if one.event == "update"), math.inf)
    anew = [one.kind for one in stage.subscriptions if one.since is None and one.at > told + SPAN_SECONDS]
    expect(not anew, "the cursor with each subscription that comes back", f"none over {anew}")
