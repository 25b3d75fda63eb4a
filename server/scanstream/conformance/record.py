"""A scan that was followed over every transport at once, from its ack to its end: what many checks look at."""

from typing import NamedTuple

import anyio

from scanstream.conformance.asking import JSON, Server
from scanstream.conformance.copy import Copy
from scanstream.conformance.doors import DOORS, Door
from scanstream.conformance.promise import Broken
from scanstream.conformance.scans import Scans

ACK_TYPES = ("ack", "error")


class Record(NamedTuple):
    """One scan as each transport told it."""

    scan_id: str
    copies: dict[str, Copy]
    """By the name of the transport; all are at the end."""

    @property
    def whole(self) -> Copy:
        """One of them."""
        return next(iter(self.copies.values()))

    def cursors(self) -> list[str]:
        """All that any transport brought, in order."""
        told = {cursor for copy in self.copies.values() for cursor in copy.cursors}
        return sorted(told, key=lambda cursor: [int(part) for part in cursor.rpartition("-")[2].split(".")])

    def held_at(self, cursor: str) -> Copy:
        """What a reader holds who has this cursor."""
        seq, n = (int(part) for part in cursor.rpartition("-")[2].split("."))
        state = next(copy.states[seq] for copy in self.copies.values() if seq in copy.states)
        return Copy(self.scan_id).started_from(state, self.whole.opportunities[:n], cursor)


async def record(server: Server, scans: Scans, kind: str) -> Record:
    """Start one over a WebSocket, and follow it there and over all transports.

    :raises Broken: if one of them breaks a law
    """
    copies: dict[str, Copy] = {}
    async with server.socket(JSON) as socket, anyio.create_task_group() as tasks:
        ack = await scans.discover_on(socket, "r", scans.request(kind))
        if ack["type"] != "ack":
            raise Broken("an ack", ack)
        scan_id = scans.known(ack)
        for door in DOORS:
            copies[door.name] = Copy(scan_id)
            tasks.start_soon(_to_the_end, door, server, copies[door.name])
        copies["discover"] = copy = Copy(scan_id)
        while not copy.ended:
            copy.take(await socket.receive())
    return Record(scan_id, copies)


async def _to_the_end(door: type[Door], server: Server, copy: Copy) -> None:
    async with door.open(server, copy) as reader:
        await reader.until_end()
