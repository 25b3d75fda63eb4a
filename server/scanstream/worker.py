"""A node without doors: it conducts scans and runs shards for all nodes that share its engine.

Those who look after it may ask how it is, where `--health-port` says so.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from scanstream.collector import Collector
from scanstream.core import open_core
from scanstream.descriptors import raise_limit
from scanstream.errors import SettingError
from scanstream.health import answering_for_health
from scanstream.server import SWITCH_SECONDS
from scanstream.settings import Settings


@asynccontextmanager
async def working(settings: Settings, collector: Collector | None = None) -> AsyncIterator[str]:
    """A node that takes shards; gives where from. At the end another node has what it had.

    :param collector: at work in this process: it is told whether there is anything to do
    :raises SetupError: if it cannot be had like this
    """
    if settings.nats is None:
        raise SettingError(
            "--engine sqlite: a worker needs an engine that nodes share, as in nats://HOST:PORT (SCANSTREAM_ENGINE)"
        )
    if not settings.workers:
        raise SettingError("--workers 0: a worker needs processes that run shards (SCANSTREAM_WORKERS)")
    raise_limit()
    sys.setswitchinterval(SWITCH_SECONDS)
    async with answering_for_health(settings) as health, open_core(settings, reads=False) as core:
        if collector is not None:
            collector.anybody = lambda: bool(core.hub.unfinished())
        health.takes_shards(core)
        try:
            yield ",".join(settings.nats.servers) + (f", and tells how it is on {health.where}" if health.where else "")
        finally:
            health.ends()
