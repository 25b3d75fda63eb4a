"""A scan that cannot be planned ends as failed; the server and the other scans go on."""

import pytest

from scanstream.app import Core, open_core
from scanstream.errors import MarketError
from scanstream.model import ANYONE, DiscoverRequest, Problem
from scanstream.panel import Panel
from scanstream.settings import Settings

pytestmark = pytest.mark.anyio


async def end_of_a_scan(core: Core) -> tuple[str, str]:
    """Register, release, and wait: (status, code of the error)."""
    request = DiscoverRequest(symbols=["BTC/USDT"], force_refresh=True)
    ack = await core.desk.register(ANYONE, request)
    core.desk.release(ack.scan_id)
    await core.hub.until(ack.scan_id, lambda log: log.ended)
    state = (await core.desk.find(ANYONE, ack.scan_id)).folded.state
    return state.status, state.error.code if isinstance(state.error, Problem) else ""


@pytest.mark.parametrize(
    ("error", "code"), [(SystemError("a defect below"), "internal"), (MarketError("/where/it/was"), "invalid_market")]
)
async def test_what_a_plan_raises_is_the_scans_failure(
    error: Exception, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: str) -> Panel:
        raise error

    async with open_core(Settings(port=0, data=":memory:", workers=1)) as core:
        with monkeypatch.context() as patched:
            patched.setattr(core.planner, "_panel_of", gone)
            assert await end_of_a_scan(core) == ("failed", code)
        assert await end_of_a_scan(core) == ("complete", "")
