"""What is told of a scan that has ended: its state, and the best of what it found. The same bytes each time."""

import msgspec

from scanstream.log.packed import Packed
from scanstream.log.refold import sliced
from scanstream.log.scanlog import ScanLog
from scanstream.model import Document

MOST_OPPORTUNITIES = 500
MOST_BYTES = 1024 * 1024
"""Of opportunities: each may be large."""


async def told(log: ScanLog) -> bytes:
    """The body of the message, JSON: `type`, `timestamp` and `data` as in the Standard Webhooks specification.

    An ended scan never changes, so neither does this, whichever node says it. What is much is put in order bit by bit.
    """
    await sliced(log.opportunities.ordering())
    found, more = _best(log.opportunities)
    data: Document = {**log.document, "cursor": str(log.cursor(log.head)), "opportunities": found}
    if more:
        data["more"] = True
    message = {"type": f"scan.{data['status']}", "timestamp": data["finished_at"], "data": data}
    return msgspec.json.encode(message)


def _best(found: Packed) -> tuple[list[msgspec.Raw], bool]:
    """The first in the order of results, as many as are told; and whether there are more."""
    order = found.by_confidence()[:MOST_OPPORTUNITIES]
    size, most = 0, 0
    for index in order:
        size += found.sizes([index])
        if size > MOST_BYTES:
            break
        most += 1
    return [msgspec.Raw(one) for one in found.encoded(order[:most])], most < len(found)
