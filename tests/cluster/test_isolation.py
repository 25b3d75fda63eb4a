"""The isolation matrix over NATS: what is registered at one node is asked for at the other."""

from collections.abc import AsyncIterator

import pytest

from scanstream.model import now
from scanstream.security.caller import Right
from scanstream.security.keychanges import revoke_key
from scanstream.server import serving
from scanstream.settings import Settings
from support.guards import LENIENT, key_in
from support.nats import NatsServer, options
from wire.test_isolation import (  # the cells, in the world of this file
    World,
    anyio_backend,
    scan_of,
    test_a_cell,
    test_a_message,
    test_a_socket_is_closed_to_them,
    test_lists_and_latest_are_ones_own,
    test_reuse_and_keys_are_ones_own,
    test_what_is_anothers_is_as_what_never_was,
)

__all__ = [
    "anyio_backend",
    "test_a_cell",
    "test_a_message",
    "test_a_socket_is_closed_to_them",
    "test_lists_and_latest_are_ones_own",
    "test_reuse_and_keys_are_ones_own",
    "test_what_is_anothers_is_as_what_never_was",
]
pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, nats: NatsServer) -> AsyncIterator[World]:
    directory = tmp_path_factory.mktemp("nodes")
    keys = directory / "keys.toml"
    shown = {
        "ann": key_in(keys, "ann"),
        "ben": key_in(keys, "ben"),
        "operator": key_in(keys, "olga", Right.OPERATE),
        "expired": key_in(keys, "ann", name="expired", expires=now() - 1000),
        "revoked": key_in(keys, "ann", name="revoked"),
        "unknown": key_in(directory / "others.toml", "ann"),
    }
    revoke_key(keys, "revoked")
    named = options(nats).namespace

    def node(name: str) -> Settings:
        there = {**LENIENT, "engine": nats.url, "namespace": named, "data": str(directory / name), "auth": "required"}
        return Settings(workers=1, keys=str(keys), **there)

    async with serving(node("one")) as one, serving(node("two")) as two:
        yield World(two, *(await scan_of(one, shown)))
