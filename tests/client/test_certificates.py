"""A server whose certificate is not taken: the client says so, on whichever way it came there."""

from pathlib import Path

import pytest

from conftest import Serve
from scanstream.client import AsyncClient, Unreachable
from scanstream.client import websocket as rung
from scanstream.client.failures import Lost
from support.certificates import Authority, over

pytestmark = pytest.mark.anyio


async def test_a_certificate_that_is_not_taken_is_said_to_be_that(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    says = "is not trusted: its certificate is by an authority that is not known here"
    async with serve(workers=0, **over(Authority(tmp_path).signs("server"))) as url:
        async with AsyncClient(url) as client:
            with pytest.raises(Unreachable, match=says):
                await client.discover(timeout=0.5)
        with pytest.raises(Lost, match=says):
            async with rung._socket(url, None):
                pass


async def test_both_ways_trust_the_same_authorities(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of HTTP's own list, where the environment names none; the system's list may have others."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    authority = Authority(tmp_path)
    monkeypatch.setattr("certifi.where", lambda: str(authority.file))
    async with serve(workers=1, **over(authority.signs("server"))) as url:
        async with AsyncClient(url) as client:
            assert await client.strategies()
        async with rung._socket(url, None):
            pass
