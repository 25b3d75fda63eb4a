"""The isolation matrix over NATS: what is registered at one node is asked for at the other."""

from collections.abc import AsyncIterator

import pytest

from scanstream.server import serving
from scanstream.settings import Settings
from support.guards import LENIENT
from support.nats import NatsServer, options
from wire.test_isolation import (  # the cells, in the world of this file
    World,
    parties,
    scans_of,
    take_back,
    test_a_cell,
    test_a_message,
    test_a_socket_is_closed_to_them,
    test_lists_and_latest_are_ones_own,
    test_nobody_takes_over_a_socket,
    test_reuse_and_keys_are_ones_own,
    test_what_is_anothers_is_as_what_never_was,
)

__all__ = [
    "test_a_cell",
    "test_a_message",
    "test_a_socket_is_closed_to_them",
    "test_lists_and_latest_are_ones_own",
    "test_nobody_takes_over_a_socket",
    "test_reuse_and_keys_are_ones_own",
    "test_what_is_anothers_is_as_what_never_was",
]
pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, nats: NatsServer) -> AsyncIterator[World]:
    directory = tmp_path_factory.mktemp("nodes")
    settings, shown = parties(directory)
    named = options(nats).namespace

    def node(name: str) -> Settings:
        there = {**LENIENT, "engine": nats.url, "namespace": named, "data": str(directory / name)}
        return Settings(workers=1, **there, **settings)

    async with serving(node("one")) as one, serving(node("two")) as two:
        await take_back(settings, shown, one, two)
        yield World(two, *(await scans_of(one, shown)))
