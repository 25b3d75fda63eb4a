"""The scripts: what happens to a client, and what is promised of it all the same."""

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import NamedTuple

import anyio

from scanstream.conformance.stage.server import EXPIRED, RESTART, Stage
from scanstream.conformance.stage.tale import Tale
from scanstream.conformance.stage.weather import (
    Both,
    Buffers,
    Cuts,
    Freezes,
    Injects,
    Loses,
    LosesAck,
    LosesEnd,
    Refuses,
    Repeats,
    Rewrites,
    Sometimes,
    Weather,
    page,
    problem,
)

PACE = 0.06
AWAY_SECONDS = 1.0
SILENT_SECONDS = 60.0
"""For what a client notices after 15 s at the latest, and a busy machine."""

Drive = Callable[[Stage], Awaitable[None]]


class Script(NamedTuple):
    """One play."""

    name: str
    promise: str
    weather: Callable[[Random], Weather] = lambda _: Weather()
    drive: Drive | None = None
    """What happens; else the scan goes on to its end."""
    found: Sequence[int] = (2, 3, 0, 4, 1, 2)
    status: str = "complete"
    over: Sequence[str] = ()
    """The kinds of connection over which the frames must have come, if it matters: one of these."""
    tokens: Sequence[str] = ()
    """What the client has to show, one after the other; the server wants the last one."""
    watch: str = ""
    """`start`, or `middle`: the scan is watched from there, instead of being discovered."""
    error: str = ""
    """With which code the client must give up; empty where it must reach the end."""
    seconds: float = 30.0
    slow: bool = False


async def _restarts(stage: Stage) -> None:
    await stage.go_on(lambda head: head == 4)
    stage.away = True
    await stage.dismiss(
        RESTART, {"type": "error", "code": "restarting", "detail": "The server restarts", "retry_after": 0.5}
    )
    await anyio.sleep(AWAY_SECONDS)
    stage.away = False
    await stage.go_on()


async def _loses_its_store(stage: Stage) -> None:
    await stage.go_on(lambda head: head == 5)
    stage.tale = Tale((1, 1, 2), epoch="e2", name="b")
    stage.head = 2
    await stage.dismiss(RESTART)
    await stage.go_on()


async def _expires(stage: Stage) -> None:
    await stage.go_on(lambda head: head == 4)
    stage.absent = "expired"
    await stage.dismiss(1001)
    stage.stir()


async def _never_was(stage: Stage) -> None:
    stage.absent = "not_found"
    await stage.go_on()


async def _wants_another_token(stage: Stage) -> None:
    stage.token = "token-1"  # noqa: S105  # part of the play
    await stage.go_on(lambda head: head == 4)
    stage.token = "token-2"  # noqa: S105
    await stage.dismiss(EXPIRED)
    await stage.go_on()


async def _wants_a_newer_token(stage: Stage) -> None:
    stage.token = "token-2"  # noqa: S105
    await stage.go_on()


STREAMS = ("websocket", "stream")

SCRIPTS: dict[str, Script] = {
    script.name: script
    for script in (
        Script("clean", "What the server tells is what the user is told: each state, all opportunities, one end"),
        Script("failed", "A scan that fails is an end like all others, with its error", status="failed"),
        Script(
            "cut", "Connections that are cut at any frame cost nothing: nothing is lost, and nothing comes twice", Cuts
        ),
        Script(
            "cut-streams",
            "The same without WebSockets",
            lambda random: Both(Refuses("websocket"), Cuts(random)),
            over=("stream", "longpoll", "poll"),
        ),
        Script(
            "frozen",
            "An open connection that falls silent is noticed, and the scan goes on from the cursor",
            lambda _: Freezes("websocket"),
            seconds=SILENT_SECONDS,
            slow=True,
        ),
        Script(
            "frozen-stream",
            "The same of an event stream",
            lambda _: Both(Refuses("websocket"), Freezes("stream")),
            seconds=SILENT_SECONDS,
            slow=True,
        ),
        Script(
            "no-upgrade",
            "Where no WebSocket comes through there is another way",
            lambda _: Refuses("websocket"),
            over=("stream", "longpoll", "poll"),
        ),
        Script(
            "no-streams",
            "Where no event stream comes through either there is another way",
            lambda _: Refuses("websocket", "stream", status=406),
            over=("longpoll", "poll"),
        ),
        Script(
            "polls-only",
            "Where nothing comes through but plain questions, they are asked",
            lambda _: Refuses("websocket", "stream", "longpoll", status=404),
            over=("poll",),
        ),
        Script(
            "buffered",
            "A proxy that keeps event streams back is noticed, and gone around",
            lambda _: Buffers(),
            over=("longpoll", "poll"),
            seconds=90.0,
            slow=True,
        ),
        Script(
            "restarting",
            "A restart costs no transport: the client comes back with its cursor",
            drive=_restarts,
            over=("websocket",),
        ),
        Script("unknown", "Message types and fields that nobody knows are passed over", lambda _: Injects()),
        Script(
            "unknown-streams",
            "The same without WebSockets",
            lambda _: Both(Refuses("websocket"), Injects()),
            over=("stream", "longpoll", "poll"),
        ),
        Script(
            "rewritten",
            "An event stream may be written in other ways: other ends of lines, data on two lines, other comments",
            lambda _: Both(Refuses("websocket"), Rewrites()),
            over=("stream",),
        ),
        Script(
            "chunks",
            "More than 500 opportunities come in chunks, and the end behind the last one",
            found=(1300, 700, 3),
        ),
        Script("chunks-cut", "The same where connections are cut between chunks", Cuts, found=(1300, 700, 3)),
        Script("new-epoch", "A snapshot of another epoch takes the place of all that was held", drive=_loses_its_store),
        Script(
            "expired",
            "A scan that has expired is an error of its own, and is asked for no more",
            drive=_expires,
            error="expired",
        ),
        Script(
            "not-found",
            "A scan that never was is an error of its own",
            drive=_never_was,
            watch="start",
            error="not_found",
        ),
        Script("watched", "A scan that was started by others is followed from its beginning to its end", watch="start"),
        Script("watched-from", "From a cursor on only what is new is told", watch="middle"),
        Script(
            "stale-token",
            "A credential that is refused is asked for again",
            drive=_wants_a_newer_token,
            tokens=("token-1", "token-2"),
        ),
        Script(
            "token-runs-out",
            "One that runs out in mid-scan is renewed, and the scan goes on",
            drive=_wants_another_token,
            tokens=("token-1", "token-2"),
        ),
        Script(
            "lost-end",
            "An end that is lost on its way is asked for",
            lambda _: LosesEnd(),
            seconds=SILENT_SECONDS,
            slow=True,
        ),
        Script("repeated", "Frames that come twice are taken once", lambda _: Repeats()),
        Script("lost-update", "A frame that does not follow from what is held is asked for again", lambda _: Loses()),
        Script("lost-ack", "An ack that is lost starts no second scan: the key is the same", lambda _: LosesAck()),
        Script(
            "busy",
            "503 and 429 with Retry-After are waited out, with the same key",
            lambda _: Sometimes(problem(503, "overloaded", retry_after="1"), 1, "discover", most=2),
        ),
        Script(
            "pages",
            "A proxy's page in place of an answer is a lost connection, and no answer",
            lambda _: Sometimes(page(502), 2, *STREAMS, "longpoll", "poll", "discover", most=6),
        ),
    )
}
"""All of them, by name."""
