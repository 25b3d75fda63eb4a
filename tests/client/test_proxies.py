"""Which proxy leads to a server, whatever the environment says."""

import os

import pytest

from scanstream.proxies import UnusableProxy, proxy_of

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ws_proxy", "socks_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, *map(str.upper, NAMES)):
        if name in os.environ:
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("http://h:8000", {}, None),
        ("http://h:8000", {"HTTP_PROXY": "http://p:3128"}, "http://p:3128"),
        ("https://h", {"HTTP_PROXY": "http://p:3128"}, None),
        ("https://h", {"HTTPS_PROXY": "https://p/"}, "https://p"),
        ("http://h", {"ALL_PROXY": "p:3128"}, "http://p:3128"),
        ("http://h", {"http_proxy": "http://me@p:1", "ALL_PROXY": "ftp://x"}, "http://me:@p:1"),
        ("http://h", {"HTTP_PROXY": "http://me:a%40b@[::1]:1"}, "http://me:a%40b@[::1]:1"),
        ("http://h.example", {"HTTP_PROXY": "http://p", "NO_PROXY": "h.example,x"}, None),
        ("http://a.h.example", {"HTTP_PROXY": "http://p", "NO_PROXY": ".h.example"}, None),
        ("http://h:8000", {"HTTP_PROXY": "http://p", "NO_PROXY": "h:8000"}, None),
        ("http://h", {"HTTP_PROXY": "http://p", "NO_PROXY": "*"}, None),
        ("http://h", {"HTTP_PROXY": "http://p", "NO_PROXY": "[,://,,"}, "http://p"),
        *(
            (url, {"ALL_PROXY": "nonsense://"}, None)
            for url in ("http://localhost:1", "http://127.0.0.9", "http://[::1]")
        ),
    ],
)
def test_the_proxy(monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], proxy: str | None) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(url) == proxy


@pytest.mark.parametrize(
    "value",
    [
        *("ftp://x", "http://", "http://[", "http://x:99999", "http://x:y", "http://a b", "://", "http://é", "\\\\x"),
        *("socks5://127.0.0.1:9", "socks://x", "SOCKS5H://x", "http://me:secret@:1"),
    ],
)
@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UnusableProxy, match=f"^The proxy that {name} sets cannot be used: ") as error:
        proxy_of("http://scans.example:8000")
    assert "scans.example in NO_PROXY" in str(error.value)
    assert "secret" not in str(error.value)
