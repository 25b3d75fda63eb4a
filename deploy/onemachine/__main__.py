"""`make cluster`: the shape of compose.yaml on one machine. Prints its addresses; Ctrl-C ends all of it."""

import argparse
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio

from onemachine.balancer import Balancer
from onemachine.care import kept_up
from onemachine.cluster import Cluster
from onemachine.nats import executable, nats
from onemachine.ports import free_ports, require_free

SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])]
"""Ctrl-C, whoever looks after us, and a terminal that is closed."""
MOST = 99


async def run(given: argparse.Namespace, directory: Path, more: list[str]) -> None:
    """The cluster, until a signal."""
    port = given.port or free_ports(1)[0]
    require_free(port)  # said now, and not after all of it has started
    cluster = Cluster(nats(given.nats, directory / "nats"), directory, web=given.web, workers=given.workers, flags=more)
    ended = anyio.Event()

    async def listen() -> None:
        with anyio.open_signal_receiver(*SIGNALS) as signals:
            async for _ in signals:
                if ended.is_set():  # the second one
                    cluster.kill()
                ended.set()
                tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as listening:
        listening.start_soon(listen)
        try:
            async with anyio.create_task_group() as tasks:
                say("NATS, web nodes and workers start …")
                await cluster.start()
                async with Balancer([node.url for node in cluster.web]).open(port) as url:
                    tell(cluster, url, more)
                    for server in cluster.nats.servers:
                        tasks.start_soon(kept_up, server, server.until_ready, say)
                    for node in cluster.nodes:
                        tasks.start_soon(kept_up, node, node.until_serving, say)
                    await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                say("All of it ends …")
                await cluster.stop()
                cluster.kill()
        listening.cancel_scope.cancel()


def say(words: str) -> None:
    """A line for whoever looks on; where nobody does any more it is no reason not to go on."""
    with suppress(OSError):
        print(f"  {words}", flush=True)


def tell(cluster: Cluster, url: str, more: list[str]) -> None:
    """Where everything is, and how to go on: commands that work as they stand here."""
    ours = Path(sys.executable).parent / "scanstream"
    program = "scanstream" if shutil.which("scanstream") or not ours.exists() else shlex.quote(str(ours))
    lines = ["", f"{url}  in front of all web nodes: open it, or: {program} discover --url {url}", ""]
    lines += [f"{node.name:10}  {node.url}" for node in cluster.web]
    lines += [f"{worker.name:10}  process {worker.pid}" for worker in cluster.workers]
    for server in cluster.nats.servers:
        lines.append(f"{server.name:10}  {server.url}, how it is: http://127.0.0.1:{server.monitor}")
    another = shlex.join(["worker", "--engine", cluster.nats.engine, *more])
    lines += ["", f"Another node: {program} {another}", "Ctrl-C ends all of it."]
    for line in lines:
        say(line)


def whole_number(least: int, most: int = MOST) -> Callable[[str], int]:
    """What reads a number from the command line, within these bounds."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text}: it must be from {least} to {most}")
        return int(text)

    return read


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


def main() -> None:
    """Read the command line, and run."""
    reader = argparse.ArgumentParser(
        prog="make cluster", description=__doc__, epilog="What follows -- is for all nodes."
    )
    reader.add_argument("--nats", type=int, choices=(1, 3, 5), default=3, help="how many servers of NATS (3)")
    reader.add_argument("--web", type=whole_number(1), default=2, help="how many web nodes (2)")
    reader.add_argument("--workers", type=whole_number(0), default=2, help="how many workers (2)")
    reader.add_argument("--port", type=whole_number(0, 65_535), default=0, help="where the proxy listens (a free one)")
    reader.add_argument("--keep", type=Path, help="a directory in which everything stays; else nothing is left behind")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    given = reader.parse_args(words[:cut])
    try:
        executable()
    except FileNotFoundError as error:
        sys.exit(f"make cluster: {error}")
    told: list[str] = []
    with tempfile.TemporaryDirectory(prefix="scanstream-cluster-") as scratch:
        try:
            anyio.run(run, given, Path(given.keep or scratch).resolve(), words[cut + 1 :])
        except* (OSError, RuntimeError) as group:
            told = [f"make cluster: {error}" for error in _leaves(group)]
    if told:  # an exit in there would be one more exception of a group, with a trace of all
        sys.exit("\n".join(told))


if __name__ == "__main__":
    main()
