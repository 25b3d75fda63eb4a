"""Servers that break promises on purpose are not held to the contracts, as all others are."""

from collections.abc import Iterator

import pytest

from support.traffic import TRAFFIC

BREAKING = {"mutated", "server", "breaking"}
"""Fixtures of tests with such a server."""


@pytest.fixture
def breaking() -> None:
    """This test has one of its own."""


@pytest.fixture(autouse=True)
def _only_what_is_true_is_judged(request: pytest.FixtureRequest, _contracts_are_kept: None) -> Iterator[None]:
    yield
    if BREAKING & {*request.fixturenames}:
        TRAFFIC.take()
