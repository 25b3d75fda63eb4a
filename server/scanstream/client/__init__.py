"""The other side of the wire, for programs: scans are started and followed, whatever the network does.

    async with AsyncClient("http://127.0.0.1:8000") as client:
        scan = await client.discover(strategy_ids=["tsmom"])
        async for update in scan:
            print(update.state["progress"]["percentage"], len(update.opportunities))
        print(await scan.results())

`Client` is the same without `await`. What goes wrong is of the tree of scanstream.errors, or `Unreachable`, `Closed`.
"""

from scanstream.client.blocking import BlockingScan, Client
from scanstream.client.client import AsyncClient
from scanstream.client.condition import Connection
from scanstream.client.failures import BlockedLoop, ClientError, Closed, LibraryMissing, Unreachable
from scanstream.client.results import Results
from scanstream.client.scan import Scan, Update

__all__ = [
    "AsyncClient",
    "BlockedLoop",
    "BlockingScan",
    "Client",
    "ClientError",
    "Closed",
    "Connection",
    "LibraryMissing",
    "Results",
    "Scan",
    "Unreachable",
    "Update",
]
