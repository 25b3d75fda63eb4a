"""Several nodes of one store: a scan token of one opens the scan at each, and at those of another store none."""

from pathlib import Path

import pytest

from scanstream.engines.nats.store import open_nats
from scanstream.errors import Unauthorized
from scanstream.model import Principal, now
from scanstream.scans.identity import new_scan_id
from scanstream.security.caller import Right, Ticket
from scanstream.security.keychanges import create_key
from scanstream.security.opening import open_guard
from scanstream.settings import Settings
from support.nats import NatsServer, options

pytestmark = pytest.mark.anyio


async def test_a_token_is_good_on_each_node_of_its_store(nats: NatsServer, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    ann = Principal("ann")
    create_key(keys, name="a", principal=ann, rights=frozenset({Right.SCAN}), created=now(), expires=None)
    settings = Settings(auth="required", keys=str(keys))
    async with (
        open_nats(options(nats, namespace="tokens")) as one,
        open_nats(options(nats, namespace="tokens")) as other,
        open_nats(options(nats, namespace="tokens-elsewhere")) as foreign,
        open_guard(settings, one.key) as first,
        open_guard(settings, other.key) as second,
        open_guard(settings, foreign.key) as third,
    ):
        scan_id = new_scan_id(one.key, ann, now())
        token = first.ticket(scan_id, {Right.READ}, None)
        assert (await second.caller(token)).reads(scan_id) == Ticket(scan_id)
        with pytest.raises(Unauthorized):
            await third.caller(token)
