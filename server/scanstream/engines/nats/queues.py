"""What nodes share beside the store: shards to run, scans to conduct, what to tell elsewhere, and how many places."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from scanstream.engines.nats.calls import NatsCalls
from scanstream.engines.nats.connection import START_SECONDS, Connection
from scanstream.engines.nats.deliveries import NatsDeliveries, of_deliveries
from scanstream.engines.nats.jobs import NatsJobs, of_jobs
from scanstream.engines.nats.places import NatsPlaces, Own
from scanstream.engines.nats.streams import require_stream
from scanstream.model import Milliseconds, now


class NatsQueues:
    """One node's hands in all of them."""

    def __init__(self, connection: Connection, own: Own, now: Callable[[], Milliseconds]) -> None:
        self.computing = NatsJobs(connection, "compute")
        self.waiting = NatsJobs(connection, "wait")
        self.calls = NatsCalls(connection)
        self.deliveries = NatsDeliveries(connection, now)
        self.places = NatsPlaces(connection, own)


@asynccontextmanager
async def open_queues(
    connection: Connection, own: Own, now: Callable[[], Milliseconds] = now
) -> AsyncIterator[NatsQueues]:
    """The queues; at the end all that this node has is given back.

    :param now: the time of the cluster, by which deliveries are due
    :raises SettingError: if what is there was made with other settings
    :raises EngineUnusable: if JetStream does not give us what we need
    """
    for wanted in (of_jobs(connection), of_deliveries(connection)):
        await require_stream(connection, wanted, START_SECONDS)
    queues = NatsQueues(connection, own, now)
    pulls = (queues.computing.pull, queues.waiting.pull, queues.calls.pull, queues.deliveries.pull)
    for pull in pulls:
        await pull.require()
    async with AsyncExitStack() as stack:
        for pull in pulls:
            await stack.enter_async_context(pull.open())
        await stack.enter_async_context(queues.places.open())
        yield queues
