"""One cluster for the tests of a module: each of them finds it whole, and may harm it."""

from collections.abc import AsyncIterator

import pytest

from cluster.harness import planned, whole
from onemachine.cluster import Cluster, running


@pytest.fixture(scope="module")
async def standing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Three servers of NATS, two web nodes, two workers."""
    async with running(planned(tmp_path_factory.mktemp("cluster"))) as cluster:
        yield cluster


@pytest.fixture
async def cluster(standing: Cluster) -> Cluster:
    """The module's cluster, whole."""
    await whole(standing)
    return standing
