"""What all tests share. Fixtures are factories; every server listens on a free loopback port and ends with its test."""

import os
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AbstractAsyncContextManager
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, settings

from scanstream.market.synthetic import SyntheticMarket
from scanstream.server import serving
from scanstream.settings import Settings
from support.nats import NatsServer, nats_cluster, nats_server
from support.receiver import Receiver, receiving
from support.traffic import TRAFFIC, exchanges, record

pytest.register_assert_rewrite(
    "engines.contract", "engines.feed_contract", "engines.jobs_contract", "engines.deliveries_contract"
)  # before any test file has imported them: contract suites explain their failed assertions as test files do

settings.register_profile("scanstream", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("scanstream")  # how fast the machine is just now decides no test

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

GENERATE = SyntheticMarket.load
MOST_FAULTS = 20
"""That a failure names."""
LONG = [
    "soak/test_chaos",
    "client/test_surroundings",
    "client/test_ladder",
    "wire/test_silence",
    "wire/test_notify",
    "wire/test_time",
    "wire/test_floods",
    "wire/test_sigterm_walk",
    "wire/test_tls",
    "test_examples",
    "soak/test_crash",
    "wire/test_doors",
    "wire/test_shortages",
    "wire/test_odd_strategies",
    "wire/test_own_strategies",
    "wire/test_stall",
    "wire/test_outcomes",
    "wire/test_waiting_strategies",
    "scans/test_processes",
    "client/test_client",
    "test_collector",
    "test_cli",
    "wire/test_follow",
    "wire/test_life",
    "test_doctor",
    "market/test_exchange",
    "client/test_ctrl_c",
    "wire/test_notify_restarts",
    "wire/test_glance",
    "push/test_ready_made",
    "scans/test_priority",
    "fuzz/test_frames",
    "wire/test_bad_input",
    "security/test_nothing_leaks",
    "wire/test_embedding",
    "terminal/test_trouble",
    "wire/test_http",
    "wire/test_proxy",
    "wire/test_polling",
    "scans/test_planner",
    "market/test_reading",
    "bench/test_run",
    "fuzz/test_requests",
    "conformance/test_server",
]
"""The files of tests that take long, the longest first."""


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The loop that the server runs on: one for the tests of a module that share a server, else one each."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def real_candles() -> Path:
    """A directory of real 5-minute candles; only developers and CI have it."""
    path = SHARED / "data" / "crypto-5m"
    if not path.is_dir():
        pytest.skip("the real candles of ../shared/data are not on this machine")
    return path


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server of NATS for all tests that do it no harm: each takes a namespace of its own (`options`)."""
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="module")
def nats_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[NatsServer]]:
    """Three servers that hold each message together, for tests that leave them as they are.

    They end with the module: what is there once is kept alive by all three, which costs as long as they run.
    """
    with nats_cluster(tmp_path_factory.mktemp("nats")) as servers:
        yield servers


@pytest.fixture(scope="session", autouse=True)
def _generated_once() -> Iterator[None]:
    """A generated market is the same for the same seed: making it is most of what the start of a server takes."""
    load = cache(lambda symbols, bars, seed: GENERATE(SyntheticMarket(symbols=symbols, bars=bars, seed=seed)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SyntheticMarket, "load", lambda market: load(len(market._symbols), market._bars, market._seed))
        yield


@pytest.fixture(scope="session", autouse=True)
def _recorded() -> Iterator[None]:
    """What goes over the connections of servers in this process is recorded."""
    with pytest.MonkeyPatch.context() as patch:
        record(patch)
        yield


@pytest.fixture(autouse=True)
def _contracts_are_kept(_recorded: None) -> Iterator[None]:
    """Whatever was said in a test is as docs/openapi.json and docs/asyncapi.json say."""
    yield
    lines = TRAFFIC.take()
    if lines:
        from support.judge import judge

        faults = [fault for line in lines for exchange in exchanges(line) for fault in judge().faults(exchange)]
        assert not faults, "not as the contracts say:\n" + "\n".join(dict.fromkeys(faults[:MOST_FAULTS]))


class Serve(Protocol):
    """`async with serve(retention=1) as url: …`"""

    def __call__(self, **settings: Any) -> AbstractAsyncContextManager[str]: ...


@pytest.fixture
def serve() -> Serve:
    """A server in this process, on a real socket, keeping nothing unless told. It compresses for who offers that."""

    def start(**settings: Any) -> AbstractAsyncContextManager[str]:
        return serving(Settings(**{"port": 0, "data": ":memory:", "compression": "deflate", **settings}))

    return start


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Somebody who wants to be told of scans' ends."""
    async with receiving() as receiver:
        yield receiver


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first: so no process of several has it still to do when the others have nothing more."""
    places = {Path(__file__).parent / f"{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything is installed (CI) a skip is a failure: it would hide a missing installation step."""
    report = yield
    if report.skipped and os.environ.get("SCANSTREAM_NO_SKIPS") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, where nothing may be: {report.longrepr}"
    return report
