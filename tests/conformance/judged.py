"""How tests judge a server: with scans of the scripted strategy, which are as long as a test wants them."""

from collections.abc import Sequence
from typing import Any

from scanstream.conformance.judging import Verdict, judge
from scanstream.conformance.promise import CHECKS
from scanstream.conformance.run import Options
from scanstream.conformance.stage.playing import Played

SECONDS = 60.0
CALLERS = {"strangers", "bearer", "not-yours", "apart", "scan-token", "share", "renewal"}
"""Checks that need a server that asks who is there …"""
SLOW = {name for name, check in CHECKS.items() if check.slow} | {"restart", "crash"}
"""… that need seconds, or a server that forgets soon, or may be restarted …"""
APART = {*SLOW, *CALLERS}
"""… and all that need a server of their own."""


def scripted(**parameters: Any) -> dict[str, Any]:
    """A request for the scripted strategy."""
    return {"strategy_ids": ["scripted"], "parameters": {"scripted": parameters}}


REQUESTS = {
    "quick": scripted(shards=1, found=3),
    "long": scripted(shards=16, found=2, pause=0.03),
    "many": scripted(shards=2, found=601),
    "failing": scripted(shards=1, control="/nobody/listens"),
}


async def judged(
    urls: str | Sequence[str],
    *only: str,
    seed: int = 1,
    seconds: float = SECONDS,
    slow: bool = False,
    tokens: tuple[str | None, str | None] = (None, None),
    stall: float = 60.0,
    restart: str = "",
    crash: str = "",
    **requests: dict[str, Any],
) -> list[Verdict]:
    """The verdicts of a run.

    :param tokens: of who asks, and of another principal
    """
    verdicts: list[Verdict] = []
    several = [urls] if isinstance(urls, str) else urls
    token, other = tokens
    kinds = {**REQUESTS, **requests}
    options = Options(several, token, seed, only, kinds, seconds, slow, other, stall, restart, crash)
    await judge(options, verdicts.append, lambda _: None)
    return verdicts


def told(*verdicts: Verdict) -> str:
    """Why, for whoever reads the test's failure."""
    lines = [
        [one.check.name, one.outcome, f"expected: {one.expected}", f"seen: {one.seen}", *one.trace, ""]
        for one in verdicts
    ]
    return "\n".join(line for told in lines for line in told)


def told_of(*plays: Played) -> str:
    """The same of scripts."""
    lines = [[one.script.name, str(one.broken), *one.trace, ""] for one in plays]
    return "\n".join(line for told in lines for line in told)
