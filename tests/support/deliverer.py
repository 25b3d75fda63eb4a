"""A process that puts deliveries and takes them, until it is killed, and says what it was promised.

`python deliverer.py DATA SEED` prints a line behind each promise: `put ID`, `again ID NUMBER`, `done ID NUMBER`; and
`took ID NUMBER` for each attempt.
"""

import random
import sys
import uuid
from pathlib import Path

import anyio

from scanstream.deliveries import Deliveries, Delivery
from scanstream.engines.sqlite import open_store
from scanstream.model import ScanId


async def main() -> None:
    """One puts, and another tries what is due, in vain or not."""
    chance = random.Random(sys.argv[2])  # no secret
    async with open_store(Path(sys.argv[1])) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(_put, store.deliveries)
        tasks.start_soon(_take, store.deliveries, chance)


async def _put(deliveries: Deliveries) -> None:
    while True:
        name = uuid.uuid4().hex
        await deliveries.put(Delivery(id=name, scan_id=ScanId(name), url="https://a.example", expires_at=2**41))
        print("put", name, flush=True)


async def _take(deliveries: Deliveries, chance: random.Random) -> None:
    async for attempt in deliveries.due():
        name, number = attempt.delivery.id, attempt.number
        print("took", name, number, flush=True)
        if chance.random() < 0.5:
            await attempt.again()
            print("again", name, number, flush=True)
        else:
            await attempt.done()
            print("done", name, number, flush=True)


if __name__ == "__main__":
    anyio.run(main)
