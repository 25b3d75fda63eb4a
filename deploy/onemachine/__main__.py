"""`make cluster`: the shape of compose.yaml on one machine. Prints its addresses; Ctrl-C ends all of it."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

import anyio

from onemachine.balancer import Balancer
from onemachine.cluster import Cluster
from onemachine.nats import executable, nats
from onemachine.ports import free_ports


async def run(given: argparse.Namespace, directory: Path, more: list[str]) -> None:
    """The cluster, until a signal."""
    cluster = Cluster(nats(given.nats, directory / "nats"), directory, web=given.web, workers=given.workers, flags=more)
    ended = anyio.Event()

    async def listen() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                if ended.is_set():  # the second one
                    cluster.kill()
                ended.set()
                tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as listening:
        listening.start_soon(listen)
        try:
            async with anyio.create_task_group() as tasks:
                print("NATS, web nodes and workers start …", flush=True)
                await cluster.start()
                async with Balancer([node.url for node in cluster.web]).open(given.port or free_ports(1)[0]) as url:
                    tell(cluster, url)
                    await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                print("\nAll of it ends …", flush=True)
                await cluster.stop()
                cluster.kill()
        listening.cancel_scope.cancel()


def tell(cluster: Cluster, url: str) -> None:
    """Where everything is."""
    print(f"\n  {url}  in front of all web nodes: open it, or: scanstream discover --url {url}\n")
    for node in cluster.web:
        print(f"  {node.name:10}  {node.url}")
    for worker in cluster.workers:
        print(f"  {worker.name:10}  process {worker.pid}")
    for server in cluster.nats.servers:
        print(f"  {server.name:10}  {server.url}, how it is: http://127.0.0.1:{server.monitor}")
    print(f"\n  Another node: scanstream worker --engine {cluster.nats.engine}\n  Ctrl-C ends all of it.", flush=True)


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
    reader.add_argument("--nats", type=int, default=3, help="how many servers of NATS (3)")
    reader.add_argument("--web", type=int, default=2, help="how many web nodes (2)")
    reader.add_argument("--workers", type=int, default=2, help="how many workers (2)")
    reader.add_argument("--port", type=int, default=0, help="where the proxy listens (a free one)")
    reader.add_argument("--keep", type=Path, help="a directory in which everything stays; else nothing is left behind")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    given = reader.parse_args(words[:cut])
    try:
        executable()
    except FileNotFoundError as error:
        sys.exit(f"make cluster: {error}")
    with tempfile.TemporaryDirectory(prefix="scanstream-cluster-") as scratch:
        try:
            anyio.run(run, given, given.keep or Path(scratch), words[cut + 1 :])
        except* (OSError, RuntimeError) as group:
            sys.exit("\n".join(f"make cluster: {error}" for error in _leaves(group)))


if __name__ == "__main__":
    main()
