"""Several nodes of one store: who somebody is, and what a scan token opens, is the same on each of them."""

import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from msgspec.json import encode

from scanstream.engines.nats.store import open_nats
from scanstream.errors import Unauthorized
from scanstream.model import Principal, now
from scanstream.scans.identity import new_scan_id
from scanstream.security.caller import Right, Ticket
from scanstream.security.keychanges import create_key
from scanstream.security.opening import open_guard
from scanstream.server import serving
from scanstream.settings import Settings
from support.guards import bearer, key_in
from support.nats import NatsServer, options
from support.wire import request

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


async def test_a_principal_is_the_same_by_key_and_by_jwt_on_each_node(nats: NatsServer, tmp_path: Path) -> None:
    """Reuse, `latest`, lists and idempotency keys are a principal's; another's are none of theirs."""
    keys, secret = tmp_path / "keys.toml", "of a test, " * 4
    key = key_in(keys, "ann")
    said = {"scope": "scan", "exp": int(time.time()) + 600}
    vouched, others = (jwt.encode(said | {"sub": name}, secret, algorithm="HS256") for name in ("ann", "ben"))
    common: dict[str, Any] = {"engine": nats.url, "namespace": "principals", "auth": "required", "keys": str(keys)}
    settings = Settings(port=0, data=":memory:", workers=0, jwt_secret=secret, **common)
    async with serving(settings) as one, serving(settings) as other:

        async def ask(url: str, credential: str, method: str, path: str, named: str = "") -> Any:
            headers = bearer(credential) | dict.fromkeys(("idempotency-key",) if named else (), named)
            body = encode({"symbols": ["BTC/USDT"]}) if method == "POST" else None
            return (await request(url, method, f"/opportunities/{path}", body, headers)).json()

        first = await ask(one, key, "POST", "discover")
        again = await ask(other, vouched, "POST", "discover")
        assert (again["scan_id"], again["reused"]) == (first["scan_id"], "running")
        named = await ask(one, vouched, "POST", "discover", "mine")
        assert (await ask(other, key, "POST", "discover", "mine"))["scan_id"] == named["scan_id"] != first["scan_id"]
        for url in (one, other):
            for credential in (key, vouched):
                listed = await ask(url, credential, "GET", "scans")
                assert [scan["scan_id"] for scan in listed["scans"]] == [named["scan_id"], first["scan_id"]]
                assert (await ask(url, credential, "GET", "status/latest"))["scan_id"] == named["scan_id"]
            assert (await ask(url, others, "GET", "scans"))["scans"] == []
            assert (await ask(url, others, "GET", "status/latest"))["status"] == "not_found"
        theirs = await ask(one, others, "POST", "discover", "mine")
        assert theirs["scan_id"] not in (named["scan_id"], first["scan_id"])
        assert "reused" not in await ask(other, others, "POST", "discover")
