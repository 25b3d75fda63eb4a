"""The two markets that every strategy is tested on."""

from pathlib import Path

import pytest

from scanstream.market.files import FilesMarket
from scanstream.market.synthetic import SyntheticMarket
from scanstream.panel import Panel


@pytest.fixture(scope="session")
def generated() -> Panel:
    """64 symbols, 2,200 bars."""
    return SyntheticMarket().load()


@pytest.fixture(scope="session")
def real(real_candles: Path) -> Panel:
    """Ten coins, 5,760 bars, with gaps."""
    return FilesMarket(real_candles).load()
