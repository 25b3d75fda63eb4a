"""Deliveries in a SQLite file, and in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engines.deliveries_contract import DeliveriesContract, DurableDeliveriesContract, Opened
from scanstream.deliveries import Deliveries
from scanstream.engines.sqlite import open_store

pytestmark = pytest.mark.anyio


def opening(data: Path | None) -> Opened:
    """Deliveries in this directory, or in memory."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Deliveries]:
        async with open_store(data) as store:
            yield store.deliveries

    return opened


class TestFile(DurableDeliveriesContract):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Opened:
        return opening(tmp_path)


class TestMemory(DeliveriesContract):
    @pytest.fixture
    def opened(self) -> Opened:
        return opening(None)
