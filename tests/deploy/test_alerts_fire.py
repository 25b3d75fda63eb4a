"""deploy/alerts.yaml in Prometheus' own judgement: each alert fires on the fault that it names, and no other does."""

import math
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from conftest import ROOT
from scanstream.measure import LONG_SECONDS, QUICK_SECONDS

ALERTS = ROOT / "deploy" / "alerts.yaml"
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
}
INSTANCE = "a:8000"
MINUTES = 90
AT = "80m"
"""When it is asked which alerts fire: the fault has lasted since the beginning, unless its values say otherwise."""

Series = dict[str, str]
"""A series as /metrics has it, and its values minute by minute, as promtool writes them."""


def series(name: str, values: str, **labels: str) -> Series:
    """One, of our instance."""
    told = ",".join(f'{key}="{value}"' for key, value in {**labels, "instance": INSTANCE, "job": "scanstream"}.items())
    return {f"{name}{{{told}}}": values}


def still(value: float) -> str:
    """The same all the time."""
    return f"{value:g}x{MINUTES}"


def growing(by: float) -> str:
    """By so much a minute."""
    return f"0+{by:g}x{MINUTES}"


def once(value: float, minute: int = 70) -> str:
    """A counter that stands still but for one moment."""
    return f"0x{minute} {value:g}x{MINUTES}"


def lasting(name: str, seconds: float, by: float = 60, **labels: str) -> Series:
    """A histogram of things that take this long, so many a minute, in the server's own buckets."""
    told: Series = {}
    for bound in (*(LONG_SECONDS if name == "scanstream_scan_wait_seconds" else QUICK_SECONDS), math.inf):
        of_bound = {**labels, "le": "+Inf" if math.isinf(bound) else str(bound)}
        told |= series(f"{name}_bucket", growing(by if seconds <= bound else 0), **of_bound)
    return told


def shards(outcome: str, by: float, strategy: str = "pairs") -> Series:
    """So many with this outcome a minute."""
    return series("scanstream_shards_total", growing(by), strategy=strategy, outcome=outcome)


def follows(transport: str, outcome: str, by: float) -> Series:
    """So many readers a minute."""
    return series("scanstream_follows_total", growing(by), transport=transport, outcome=outcome)


HEALTHY: Series = {
    **series("up", still(1)),
    **series("process_start_time_seconds", still(1000)),
    **series("process_open_fds", still(60)),
    **series("process_max_fds", still(1000)),
    **series("scanstream_shortages", still(0)),
    **lasting("scanstream_ack_seconds", 0.01, answer="new"),
    **lasting("scanstream_commit_seconds", 0.005),
    **lasting("scanstream_loop_lag_seconds", 0.0005, by=300),
    **lasting("scanstream_entry_to_frame_seconds", 0.02),
    **lasting("scanstream_scan_wait_seconds", 0.5),
    **series("scanstream_loop_held_up_total", still(0), strategy="watch"),
    **series("scanstream_worker_deaths_total", still(0), pool="shards"),
    **series("scanstream_worker_deaths_total", still(0), pool="plans"),
    **shards("done", 100),
    **shards("failed", 0),
    **shards("timed_out", 0),
    **series("scanstream_shards_waiting", still(3)),
    **series("scanstream_scans_ended_total", growing(10), status="complete"),
    **series("scanstream_scans_ended_total", still(0), status="failed"),
    **follows("websocket", "new", 30),
    **follows("websocket", "resumed", 5),
    **follows("stream", "new", 1),
    **follows("websocket", "foreign", 0),
    **series("scanstream_refused_total", still(0), code="overloaded"),
    **series("scanstream_refused_total", still(0), code="internal"),
    **series("scanstream_deliveries_total", growing(10), outcome="told"),
    **series("scanstream_deliveries_total", still(0), outcome="expired"),
}
"""An hour and a half of a server that does well."""

IDLE: Series = {
    **{name: still(0) if "_total" in name or "_bucket" in name else values for name, values in HEALTHY.items()},
    **series("scanstream_shards_waiting", still(0)),
}
"""Nobody wants anything of it."""

BUSY: Series = {
    **HEALTHY,
    **series("process_start_time_seconds", "1000x60 5000x60"),
    **series("process_open_fds", still(850)),
    **series("scanstream_worker_deaths_total", once(1), pool="shards"),
    **shards("failed", 5),
    **series("scanstream_scans_ended_total", growing(1), status="failed"),
    **lasting("scanstream_scan_wait_seconds", 50.0),
    **series("scanstream_shards_waiting", still(4000)),
    **series("scanstream_refused_total", "0x70 0+600x5 3000x20", code="overloaded"),
    **follows("websocket", "foreign", 1),
    **series("scanstream_shortages", "0x75 1x0 0x20"),
    **series("up", "1x75 0x0 1x20"),
}
"""Much at once, and nothing that somebody must be woken up for."""


class Fault(NamedTuple):
    """What is wrong, and who is told so."""

    alert: str
    changed: Series
    labels: dict[str, str]
    summary: str


OURS = {"instance": INSTANCE}
WITH_JOB = {**OURS, "job": "scanstream"}
FAULTS = [
    Fault("ScanstreamDown", series("up", still(0)), WITH_JOB, f"{INSTANCE} does not answer Prometheus."),
    Fault(
        "ScanstreamRestarts",
        series("process_start_time_seconds", " ".join(f"{1000 * number}x5" for number in range(1, 20))),
        WITH_JOB,
        f"{INSTANCE} was started 5 times in half an hour.",
    ),
    Fault(
        "ScanstreamLacks",
        series("scanstream_shortages", still(1)),
        WITH_JOB,
        f"{INSTANCE} lacks what scans need: new ones are refused, running ones wait.",
    ),
    Fault(
        "ScanstreamDescriptors",
        series("process_open_fds", still(950)),
        WITH_JOB,
        f"{INSTANCE} has 95% of its descriptors open.",
    ),
    Fault(
        "ScanstreamAcksLate",
        lasting("scanstream_ack_seconds", 5.0, answer="new"),
        OURS,
        f"One in a hundred acks of {INSTANCE} takes over 4.975s.",
    ),
    Fault(
        "ScanstreamCommitsSlow",
        lasting("scanstream_commit_seconds", 0.9),
        OURS,
        f"One in a hundred durable writes of {INSTANCE} takes over 995ms.",
    ),
    Fault(
        "ScanstreamLoopLate",
        lasting("scanstream_loop_lag_seconds", 0.9, by=300),
        OURS,
        f"The loop of {INSTANCE} is late by 995ms: all its clients wait.",
    ),
    Fault(
        "ScanstreamLoopHeldUp",
        series("scanstream_loop_held_up_total", once(1), strategy="watch"),
        {**WITH_JOB, "strategy": "watch"},
        f"The strategy watch holds up the loop of {INSTANCE}.",
    ),
    Fault(
        "ScanstreamWorkersDie",
        series("scanstream_worker_deaths_total", once(4), pool="shards"),
        {**OURS, "pool": "shards"},
        f"4 worker processes (shards) of {INSTANCE} died in 15 minutes.",
    ),
    Fault(
        "ScanstreamShardsFail",
        shards("timed_out", 100),
        {"strategy": "pairs"},
        "50% of the shards of pairs fail.",
    ),
    Fault(
        "ScanstreamScansFail",
        series("scanstream_scans_ended_total", growing(10), status="failed"),
        {},
        "50% of all scans fail.",
    ),
    Fault("ScanstreamNothingDone", shards("done", 0), {}, "Shards wait, and none was done for ten minutes."),
    Fault(
        "ScanstreamQueueLong",
        lasting("scanstream_scan_wait_seconds", 200.0),
        {},
        "One in ten scans waits for over 4m 42s until it begins.",
    ),
    Fault(
        "ScanstreamFramesLate",
        lasting("scanstream_entry_to_frame_seconds", 0.9),
        OURS,
        f"Readers of {INSTANCE} are told 995ms late.",
    ),
    Fault(
        "ScanstreamReadersFallBack",
        follows("stream", "new", 50),
        {},
        "More readers come over event streams than over WebSockets.",
    ),
    Fault(
        "ScanstreamRefuses",
        series("scanstream_refused_total", growing(120), code="overloaded"),
        {"code": "overloaded"},
        "2 requests a second are refused with overloaded.",
    ),
    Fault(
        "ScanstreamNotTold",
        series("scanstream_deliveries_total", once(2), outcome="expired"),
        {},
        "2 ends of scans were not told to those who asked for it.",
    ),
    Fault(
        "ScanstreamDefects",
        series("scanstream_refused_total", once(1), code="internal"),
        {**OURS, "code": "internal"},
        f"{INSTANCE} has answered 1 requests with internal.",
    ),
    Fault(
        "ScanstreamCursorsForeign",
        follows("websocket", "foreign", 3),
        {},
        "Readers come with cursors that this store has not given out.",
    ),
]


def expected(alert: str, labels: dict[str, str], summary: str) -> dict[str, Any]:
    """How it must fire."""
    rule = RULES[alert]
    return {
        "exp_labels": {**labels, "severity": rule["labels"]["severity"]},
        "exp_annotations": {**rule["annotations"], "summary": summary},
    }


def asked(told: Series, firing: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What promtool is to find out: these alerts fire, so, and no others."""
    wanted = [
        {"eval_time": AT, "alertname": alert, "exp_alerts": [firing[alert]] if alert in firing else []}
        for alert in RULES
    ]
    inputs = [{"series": name, "values": values} for name, values in told.items()]
    test = {"interval": "1m", "input_series": inputs, "alert_rule_test": wanted}
    return {"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [test]}


def test_alerts_fire_on_their_faults_and_nobody_is_woken_up_for_nothing(tmp_path: Path) -> None:
    """One run for all: to start promtool takes longer than what it has to do."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on this machine: apt-get install prometheus")
    files = {name: asked(told, {}) for name, told in (("well", HEALTHY), ("idle", IDLE), ("busy", BUSY))}
    for fault in FAULTS:
        firing = {fault.alert: expected(fault.alert, fault.labels, fault.summary)}
        files[fault.alert] = asked({**HEALTHY, **fault.changed}, firing)
    for name, told in files.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.dump(told, Dumper=yaml.CSafeDumper))

    command = [promtool, "test", "rules", *(f"{name}.yaml" for name in files)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_fault() -> None:
    assert sorted(fault.alert for fault in FAULTS) == sorted(RULES)
