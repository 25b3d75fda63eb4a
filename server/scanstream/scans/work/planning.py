"""What a worker process runs before a scan's shards: it asks strategies how much there is to do.

In a worker and not in the server, as a strategy may be anybody's: one that hangs can be killed there, and one that
exits ends nobody but its worker.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from scanstream.errors import FieldError, MarketError, Shortage
from scanstream.model import DiscoverRequest, Problem, ScanId
from scanstream.panel import Panel
from scanstream.scans.work.shard import of_market, prepare, universe
from scanstream.shortage import shortage
from scanstream.strategies import gate
from scanstream.strategies.gate import Refused
from scanstream.strategies.installed import GONE, Installed, parameter_errors, registry
from scanstream.strategies.strategy import NothingToScan

MOST_UNITS = 2**53 - 1
"""Units of work of one strategy: what every reader of JSON can count to."""


class PlanJob(Struct, frozen=True, kw_only=True):
    """Which strategies to ask, about what."""

    scan_id: ScanId
    digest: str
    """Which market data to look at."""
    request: DiscoverRequest
    strategy_ids: list[str]


class Part(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one strategy said: how many units there are in shards of how many, or why it could not say."""

    units: int = 0
    chunk: int = 1
    note: str | UnsetType = UNSET
    """Why there is nothing to do."""
    problem: Problem | UnsetType = UNSET
    lacking: str = ""
    """What the machine lacked when the strategy was asked; empty if nothing."""
    release: str = ""
    """Which release of its package has said so."""
    absent: bool = False
    """Whether it is not installed here."""


class Parts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answers, by strategy."""

    of: dict[str, Part] = {}
    problem: Problem | UnsetType = UNSET
    """Why nobody could be asked at all."""
    lacking: str = ""
    """What the machine lacked (see `tries.Answer`)."""
    begun: bool = True
    unmapped: bool = False


class JudgeJob(Struct, frozen=True, kw_only=True):
    """Parameters of a request for one strategy."""

    strategy_id: str
    given: dict[str, Any]


class Judgement(Struct, frozen=True, kw_only=True):
    """What is wrong with them; else how the strategy has them."""

    errors: list[FieldError] = []
    values: dict[str, Any] = {}


def judge(encoded: bytes, _: str, parent: int, idle: bool = True) -> bytes:
    """Have a plug-in's own code look at the parameters of an encoded `JudgeJob`; an encoded `Judgement`."""
    prepare(parent, idle)
    job = msgspec.msgpack.decode(encoded, type=JudgeJob)
    field = f"parameters.{job.strategy_id}"
    strategy = registry().get(job.strategy_id)
    if strategy is None:
        return msgspec.msgpack.encode(Judgement(errors=[FieldError(field, GONE)]))
    if errors := parameter_errors(strategy, job.given):
        return msgspec.msgpack.encode(Judgement(errors=errors))
    try:
        return msgspec.msgpack.encode(Judgement(values=strategy.canonical(job.given)))
    except Refused as error:  # it has changed its mind
        return msgspec.msgpack.encode(Judgement(errors=[FieldError(field, str(error))]))


def plan(encoded: bytes, panels: str, parent: int, idle: bool = True) -> bytes:
    """Ask the strategies of an encoded `PlanJob` about the panel below `panels`; encoded `Parts`, whatever they do."""
    prepare(parent, idle)
    job = msgspec.msgpack.decode(encoded, type=PlanJob)
    try:
        panel = universe(Path(panels) / job.digest, job.request)
    except Shortage as error:
        return msgspec.msgpack.encode(Parts(lacking=error.lacking, begun=False))
    except MarketError as error:
        return msgspec.msgpack.encode(Parts(problem=Problem(error.code, error.detail), unmapped=True))
    of = parts(job.request, job.strategy_ids, panel, registry())
    lacking = next((part.lacking for part in of.values() if part.lacking), "")
    return msgspec.msgpack.encode(Parts(of=of, lacking=lacking))


def parts(
    request: DiscoverRequest, strategy_ids: list[str], panel: Panel, strategies: Mapping[str, Installed]
) -> dict[str, Part]:
    """What each of these strategies says of its units on the panel."""
    return {name: _part(name, panel, request, strategies) for name in strategy_ids}


def _part(name: str, panel: Panel, request: DiscoverRequest, strategies: Mapping[str, Installed]) -> Part:
    installed = strategies.get(name)
    if installed is None:
        return Part(problem=Problem("strategy_error", GONE), absent=True)
    try:
        installed.strategy.require(panel)
        parameters = installed.parse((request.parameters or {}).get(name) or {})
        units = gate.whole(installed.strategy.units(panel, parameters), "units()", least=0, most=MOST_UNITS)
        return Part(units=units, chunk=installed.chunk, release=installed.release)
    except NothingToScan as reason:
        return Part(note=f"Nothing to scan: {name} {gate.told(reason)}")
    except MarketError as error:
        return Part(problem=of_market(error))
    except BaseException as error:  # whatever a plug-in raises is its own outcome, and no end of the worker
        problem = Problem("strategy_error", f"cannot be planned: {gate.reason(error, most=3900)}")
        return Part(problem=problem, lacking=shortage(error))
