"""A token for one scan, handed on: never more than its giver has, and not for long."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import msgspec
import pytest

from conftest import Serve
from scanstream.model import now
from support.guards import Ring, bearer, guarded
from support.wire import ONE_QUICK_SCAN, Answer, discover, request

pytestmark = pytest.mark.anyio

PREFIX = "/tools/scan"


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    async with guarded(RING, workers=1, root_path=PREFIX) as url:
        yield url


RING = Ring()
ANN = bearer(RING.key("ann"))


async def started(url: str) -> str:
    answer = await request(url, "POST", "/opportunities/discover", msgspec.json.encode(ONE_QUICK_SCAN), ANN)
    return str(answer.json()["scan_id"])


async def share(url: str, scan_id: str, asked: Any = None, shown: dict[str, str] = ANN) -> Answer:
    body = asked if isinstance(asked, bytes) else msgspec.json.encode({} if asked is None else asked)
    return await request(url, "POST", f"/opportunities/share/{scan_id}", body, shown)


def at(text: str) -> int:
    """Milliseconds."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


async def test_a_link_is_ready_to_be_used(url: str) -> None:
    scan_id = await started(url)
    for name in (scan_id, "latest"):
        began = now()
        answer = (await share(url, name, {"rights": ["read"], "expires_in_seconds": 60})).json()
        assert (answer["success"], answer["scan_id"], answer["rights"]) == (True, scan_id, ["read"])
        assert began + 60_000 <= at(answer["expires_at"]) <= now() + 60_000
        links = answer["links"]
        assert links["page"] == f"{PREFIX}/#{scan_id}&token={answer['token']}"
        for kind in ("status", "results", "events"):
            assert links[kind].startswith(f"{PREFIX}/opportunities/{kind}/{scan_id}?token=")
            told = await request(url, "GET", links[kind].removeprefix(PREFIX))
            assert told.status in (200, 202)
            assert answer["token"].encode() not in told.body, "addresses in answers never have it"
            assert told.headers["referrer-policy"] == "no-referrer"


async def test_what_is_not_said(url: str) -> None:
    scan_id = await started(url)
    for body in (b"", b" ", b"{}"):
        began = now()
        answer = (await share(url, scan_id, body)).json()
        assert answer["rights"] == ["read"]
        assert began + 3_600_000 <= at(answer["expires_at"]) <= now() + 3_600_000


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"rights": []}, "rights"),
        ({"rights": ["write"]}, "rights[0]"),
        ({"rights": ["scan"]}, "rights[0]"),
        ({"rights": ["read", "operate"]}, "rights[1]"),
        ({"rights": ["read", "cancel", "read"]}, "rights"),
        ({"rights": "read"}, "rights"),
        ({"rights": None}, "rights"),
        ({"rights": [1]}, "rights[0]"),
        ({"expires_in_seconds": 0}, "expires_in_seconds"),
        ({"expires_in_seconds": -1}, "expires_in_seconds"),
        ({"expires_in_seconds": 366 * 86_400 + 1}, "expires_in_seconds"),
        ({"expires_in_seconds": 2**70}, "expires_in_seconds"),
        ({"expires_in_seconds": 1.5}, "expires_in_seconds"),
        ({"expires_in_seconds": "60"}, "expires_in_seconds"),
        ({"expires_in_seconds": True}, "expires_in_seconds"),
        ({"expires_in_seconds": None}, "expires_in_seconds"),
        ({"principal": "ben"}, "principal"),
        ([], "request"),
    ],
)
async def test_a_field_that_is_not_valid_is_named(url: str, asked: Any, field: str) -> None:
    answer = await share(url, await started(url), asked)
    assert (answer.status, answer.json()["errors"][0]["field"]) == (422, field), answer


async def test_bounds_and_bodies(url: str) -> None:
    scan_id = await started(url)
    for seconds in (1, 366 * 86_400):
        assert (await share(url, scan_id, {"expires_in_seconds": seconds})).status == 200
    assert (await share(url, scan_id, {"rights": ["cancel", "cancel"]})).json()["rights"] == ["cancel"]
    assert (await share(url, scan_id, b"{")).status == 400
    assert (await share(url, scan_id, b" " * 2_000_000)).status == 413
    assert (await share(url, "scan_unknown")).status == 404


async def test_nobody_shares_more_than_they_have(url: str) -> None:
    scan_id = await started(url)
    whole = (await share(url, scan_id, {"rights": ["read", "cancel"], "expires_in_seconds": 600})).json()
    assert whole["rights"] == ["read", "cancel"]
    shown = bearer(whole["token"])
    again = (await share(url, scan_id, {"rights": ["cancel", "read"], "expires_in_seconds": 86_400}, shown)).json()
    assert again["expires_at"] == whole["expires_at"], "no longer than what it comes from"
    short = (await share(url, scan_id, {"expires_in_seconds": 10}, shown)).json()
    assert at(short["expires_at"]) < at(whole["expires_at"])
    reader = bearer(short["token"])
    assert (await share(url, scan_id, {"rights": ["read"]}, reader)).json()["expires_at"] == short["expires_at"]
    for rights in (["cancel"], ["read", "cancel"], ["cancel", "read"]):
        refused = await share(url, scan_id, {"rights": rights}, reader)
        assert (refused.status, refused.json()["code"]) == (403, "forbidden")
    assert (await share(url, "latest", None, reader)).status == 403
    other = await started(url)
    assert (await share(url, other, None, reader)).status == 404


async def test_who_may_only_cancel_is_told_no_more(url: str) -> None:
    scan_id = await started(url)
    answer = (await share(url, scan_id, {"rights": ["cancel"]})).json()
    assert "links" not in answer, "there is nothing to be read with it"
    shown = bearer(answer["token"])
    for path in ("status", "results", "events"):
        assert (await request(url, "GET", f"/opportunities/{path}/{scan_id}", None, shown)).status == 403
    follow = msgspec.json.encode({"follow": [{"scan_id": scan_id}]})
    assert (await request(url, "POST", "/opportunities/follow", follow, shown)).status == 403
    assert (await request(url, "POST", f"/opportunities/cancel/{scan_id}", None, shown)).status == 202


async def test_where_nobody_is_asked_there_is_nothing_to_share(serve: Serve) -> None:
    async with serve(workers=0) as url:
        ack = (await discover(url)).json()
        assert "scan_token" not in ack
        answer = await request(url, "POST", f"/opportunities/share/{ack['scan_id']}", b"")
        assert (answer.status, answer.json()["code"]) == (404, "no_such_route")
        assert "id of a scan can open it" in answer.json()["detail"]
        for shown in ({"authorization": "Bearer x"}, {"authorization": "Basic x"}):
            for query in ("", "?token=ssk_key"):
                status = f"/opportunities/status/{ack['scan_id']}{query}"
                assert (await request(url, "GET", status, None, shown)).status == 200, "nobody looks at it"
