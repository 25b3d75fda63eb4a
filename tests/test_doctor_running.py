"""`scanstream doctor --url`: what the server itself refuses is told as that, and not blamed on what is in front."""

from pathlib import Path

import pytest

from scanstream.security.caller import Right
from scanstream.server import serving
from scanstream.settings import Settings
from support.guards import key_in
from support.wire import websocket
from test_doctor import failing, found, in_front, somebody_elses

pytestmark = pytest.mark.anyio


async def test_who_looks_after_a_server_is_told_no_fault_where_they_may_not_scan(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    operator, stranger = key_in(keys, "ops", Right.OPERATE), None
    async with serving(Settings(port=0, data=":memory:", workers=0, auth="required", keys=str(keys))) as url:
        told, without, wrong = await found(url, operator), await found(url, stranger), await found(url, "ssk_wrong")
    assert failing(told) == set(), told
    assert "right scan" in told["strategies"].says
    assert 'engine="sqlite"' in told["metrics"].says
    assert failing(without) == failing(wrong) == {"credential"}
    for one in (told, without, wrong):
        assert one["websocket"].says.startswith("it is passed on; ")


async def test_a_websocket_that_the_server_refuses_is_not_blamed_on_a_proxy() -> None:
    async with serving(Settings(port=0, data=":memory:", workers=0, max_own_sockets=1)) as url, websocket(url):
        told = await found(url)
    assert failing(told) == {"websocket"}
    assert "rate_limited" in told["websocket"].says
    assert "proxy" not in told["websocket"].do


@pytest.mark.parametrize(
    ("code", "holds"), [(4401, True), (4403, True), (1012, False), (1013, False)], ids=["4401", "4403", "1012", "1013"]
)
async def test_what_a_websocket_was_closed_with_is_told(code: int, holds: bool) -> None:
    """Also where that comes before the ping is taken: who closes has opened it first."""
    async with in_front(somebody_elses, "", closes=code) as url:
        told = (await found(url))["websocket"]
    assert told.holds == holds
    assert "it is passed on" in told.says
    assert "proxy" not in told.do
