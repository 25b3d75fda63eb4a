"""What the tests of the client without `await` stand on."""

from collections.abc import Iterator

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from support.process import server_process
from support.script import Script, scripting


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """One for all tests of a file, with one worker."""
    with server_process(":memory:", "--workers", "1") as process:
        yield process.url


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    """Where the script lives, which is asynchronous."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def script(portal: BlockingPortal) -> Iterator[Script]:
    """What the server's worker does."""
    with portal.wrap_async_context_manager(scripting()) as script:
        yield script
