"""What nodes share beside the store: the shards to run, the scans to conduct, and how many places there are."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from scanstream.engines.nats.calls import NatsCalls
from scanstream.engines.nats.connection import START_SECONDS, Connection
from scanstream.engines.nats.jobs import NatsJobs, of_jobs
from scanstream.engines.nats.places import NatsPlaces, Own
from scanstream.engines.nats.streams import require_stream


class NatsQueues:
    """One node's hands in all of them."""

    def __init__(self, connection: Connection, own: Own) -> None:
        self.computing = NatsJobs(connection, "compute")
        self.waiting = NatsJobs(connection, "wait")
        self.calls = NatsCalls(connection)
        self.places = NatsPlaces(connection, own)


@asynccontextmanager
async def open_queues(connection: Connection, own: Own) -> AsyncIterator[NatsQueues]:
    """The queues; at the end all that this node has is given back.

    :raises SettingError: if what is there was made with other settings
    :raises EngineUnusable: if JetStream does not give us what we need
    """
    await require_stream(connection, of_jobs(connection), START_SECONDS)
    queues = NatsQueues(connection, own)
    pulls = (queues.computing.pull, queues.waiting.pull, queues.calls.pull)
    for pull in pulls:
        await pull.require()
    async with AsyncExitStack() as stack:
        for pull in pulls:
            await stack.enter_async_context(pull.open())
        await stack.enter_async_context(queues.places.open())
        yield queues
