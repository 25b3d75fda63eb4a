"""SQLite keeps the contract, in a file and in memory."""

from pathlib import Path

import pytest

from engines.contract import DurableContract, Engine, StoreContract
from engines.feed_contract import FeedContract
from scanstream.engines.sqlite import open_store


class TestFile(DurableContract, FeedContract):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Engine:
        return lambda place: open_store(tmp_path / place)


class TestMemory(StoreContract, FeedContract):
    """The same code on a database that is gone with the store: nothing of it can be opened again."""

    @pytest.fixture
    def engine(self) -> Engine:
        return lambda _: open_store(None)
