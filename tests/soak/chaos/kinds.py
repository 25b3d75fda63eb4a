"""What is asked for: scans of several kinds, most of which are at work for long enough to be struck."""

from typing import Any


def scripted(shards: int, found: int, pause: float, **more: Any) -> dict[str, Any]:
    """So many shards, each of which finds so much after so many seconds."""
    parameters = {"scripted": {"shards": shards, "found": found, "pause": pause}}
    return {"strategy_ids": ["scripted"], "parameters": parameters, "force_refresh": True, **more}


KINDS: dict[str, dict[str, Any]] = {
    "quick": scripted(1, 2, 0.0),
    "steady": scripted(8, 5, 0.3),
    "chunked": scripted(6, 350, 0.2),
    "shared": scripted(5, 3, 0.2, force_refresh=False),
    "real": {
        "strategy_ids": ["tsmom"],
        "symbols": ["BTC/USDT"],
        "parameters": {"tsmom": {"walk_forward": 0}},
        "force_refresh": True,
    },
}
OFTEN = ["quick", "steady", "steady", "chunked", "shared", "real"]
