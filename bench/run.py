"""The bench: scanstream beside its peers, in one run.

    python bench/run.py                                          everything (about 20 minutes)
    python bench/run.py fanout --readers 1000 --repetitions 3    one workload

Each workload is a file in workloads/; the servers are in peers/, the load generator in load/. Exit code 1 if a bound
of the issue does not hold.
"""

import argparse
import sys
from types import ModuleType

from instrument.figures import Result
from workloads import acks, batches, connecting, fanout, growth, latency, longpolls, manyscans, polling, slow, storm

WORKLOADS: tuple[ModuleType, ...] = (
    fanout,
    batches,
    latency,
    connecting,
    storm,
    acks,
    polling,
    longpolls,
    manyscans,
    slow,
    growth,
)


def main() -> int:
    """Measure, print, judge; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="workload")
    for workload in WORKLOADS:
        command = commands.add_parser(workload.NAME, help=workload.ABOUT)
        command.add_argument("--repetitions", type=int, default=5)
        workload.flags(command)
    asked = parser.parse_args()
    workload = next(workload for workload in WORKLOADS if asked.workload == workload.NAME)
    result: Result = workload.measure(asked)
    for figure in result.figures:
        spread = f"({min(figure.values):.2f} to {max(figure.values):.2f})"
        print(f"{figure.server:12} {figure.case:16} {figure.median:8.2f} {figure.unit} {spread}")
    for verdict in result.verdicts:
        print("PASS" if verdict.passed else "FAIL", *verdict[:3])
    return 0 if all(verdict.passed for verdict in result.verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
