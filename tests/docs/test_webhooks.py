"""docs/webhooks.md: its receiver verifies what a real server sends, and its table and figures are those of the code."""

import base64
import re
import runpy
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from conftest import Serve
from docs.pages import DOCS, blocks, only_block
from scanstream.engines.nats import spacing
from scanstream.log.fold import MOST_TARGETS
from scanstream.notify import backoff, hosts, network, sending, telling
from scanstream.notify.courier import LATER_SECONDS, LOOK_SECONDS, OUTCOMES
from scanstream.notify.signing import signed
from scanstream.settings import Settings
from support.receiver import receiving
from support.wire import discover, request

pytestmark = pytest.mark.anyio

PAGE = DOCS / "webhooks.md"
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


@pytest.fixture
def page(tmp_path: Path) -> Mapping[str, object]:
    """What the page's program defines."""
    program = tmp_path / "receiver.py"
    program.write_text(only_block("webhooks.md", "runs as a receiver").text)
    return runpy.run_path(str(program))


async def test_the_receiver_of_the_page_knows_the_server(page: Mapping[str, object], serve: Serve) -> None:
    async with receiving() as receiver:
        may = {"notify": (receiver.url("/"),), "notify_private": ("127.0.0.0/8",)}
        async with serve(workers=1, **may) as url:
            await discover(url)
            body = msgspec.json.encode({"url": receiver.url("/x")})
            told = (await request(url, "POST", "/opportunities/notify/latest", body)).json()
            [got] = await receiver.until(1)
    verified = page["verified"]
    assert callable(verified)
    assert verified(told["signing_secret"], got.headers, got.body) is True
    assert verified(told["signing_secret"], got.headers, got.body + b" ") is False
    assert verified(SECRET, got.headers, got.body) is False


def test_it_takes_one_good_signature_of_several_and_nothing_old_or_odd(page: Mapping[str, object]) -> None:
    verified, now = page["verified"], int(time.time())
    assert callable(verified)
    good = signed(SECRET, "msg_1", now, b"{}")
    assert verified(SECRET, good, b"{}")
    rotated = {**good, "webhook-signature": f"v1a,x v1,bm9wZQ== {good['webhook-signature']}"}
    assert verified(SECRET, rotated, b"{}")
    for at in (now - 400, now + 400):
        assert not verified(SECRET, signed(SECRET, "msg_1", at, b"{}"), b"{}")
    for name in good:
        assert not verified(SECRET, {key: value for key, value in good.items() if key != name}, b"{}")
        for odd in ("", "x", "-1", "٣", "ü", "v1,", "v1"):
            assert not verified(SECRET, {**good, name: odd}, b"{}")


def test_the_table_has_every_outcome_once() -> None:
    section = PAGE.read_text().partition("## What answers mean")[2].partition("\n## ")[0]
    assert re.findall(r"^\|[^|]+\| `(\w+)` \|", section, re.MULTILINE) == ["outcome", *OUTCOMES]


def test_the_figures_of_the_page_are_those_of_the_code() -> None:
    text = " ".join(PAGE.read_text().split())
    assert f"A scan tells at most {MOST_TARGETS} addresses" in text
    assert f"at most {telling.MOST_OPPORTUNITIES} and at most {telling.MOST_BYTES // 1024**2} MiB of them" in text
    assert f"no answer within {sending.ATTEMPT_SECONDS:g} s" in text
    assert f"within {sending.ATTEMPT_SECONDS:g} seconds" in text
    assert f"after {backoff.FIRST_SECONDS:g} s, then each time twice as long" in text
    assert f"up to {backoff.LONGEST_SECONDS / 60:g} minutes, each time by up to a fifth more or less" in text
    assert backoff.SPREAD == 1 / 5
    assert f"(seconds or a date), at most {backoff.LONGEST_ASKED_SECONDS / 60:g} minutes" in text
    assert f"Tried again after {LATER_SECONDS:g} s; it is no attempt" in text
    assert f"at most {hosts.AT_ONCE_IN_ALL} attempts at once, and at most {hosts.AT_ONCE} for one host" in text
    assert f"once {spacing.AT_ONCE} are due at a node, and then some five hundred a second" in text
    assert spacing.SPACING_SECONDS * 500 == 1
    assert f"so {hosts.AT_ONCE_IN_ALL // 2} where nobody else has any" in text
    assert f"is read up to {sending.MOST_BODY_BYTES // 1024} KiB, for a second" in text
    assert f"more than {network.MOST_READ_BYTES // 1024} KiB before its head is complete" in text
    assert sending.BODY_SECONDS == 1
    assert f"as of at most {LOOK_SECONDS:g} s ago" in (DOCS / "operations.md").read_text()


@pytest.mark.parametrize(
    "text", ["https://hooks.example.com.evil.org/", "https://hooks.example.com@evil.org/", "http://hooks.example.com/"]
)
def test_what_the_page_says_is_not_allowed_is_not(text: str) -> None:
    assert text.rstrip("/") in PAGE.read_text() or text.startswith("http:")
    with pytest.raises(ValueError):
        Settings(notify=("https://hooks.example.com",)).told.read(text)


def test_the_page_s_blocks_are_known() -> None:
    assert [block.runs for block in blocks(PAGE) if block.runs] == ["runs as a receiver"]
