"""Who may be told: addresses as attackers write them, against what an operator allows."""

from urllib.parse import urlsplit

import httpcore
import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scanstream.notify.targets import Allowed, prefix_of, target_of

ALLOWED = Allowed(
    map(
        prefix_of,
        (
            "https://hooks.example.com/scans",
            "https://a.example",
            "https://b.example:8443/x/",
            "http://plain.example/",
            "https://192.0.2.1/",
            "https://[2001:db8::1]:444/h",
            "https://xn--bcher-kva.example/",
        ),
    )
)

FINE = {
    "https://hooks.example.com/scans": "https://hooks.example.com/scans",
    "https://hooks.example.com/scans/": "https://hooks.example.com/scans/",
    "https://hooks.example.com/scans/a/b?c=d&e=/../f": "https://hooks.example.com/scans/a/b?c=d&e=/../f",
    "https://hooks.example.com/scans?x": "https://hooks.example.com/scans?x",
    "HTTPS://Hooks.EXAMPLE.com:443/scans/T%20x": "https://hooks.example.com/scans/T%20x",
    "https://a.example": "https://a.example/",
    "https://a.example?q": "https://a.example/?q",
    "https://a.example/any/thing;v=1/~x!$&'()*+,=:@": "https://a.example/any/thing;v=1/~x!$&'()*+,=:@",
    "https://a.example//double": "https://a.example//double",
    "https://a.example/...": "https://a.example/...",
    "https://a.example/%C3%BC": "https://a.example/%C3%BC",
    "https://b.example:08443/x/y": "https://b.example:8443/x/y",
    "https://b.example:8443/x": "https://b.example:8443/x",
    "http://plain.example/x": "http://plain.example/x",
    "https://192.0.2.1/x": "https://192.0.2.1/x",
    "https://[2001:DB8:0::1]:444/h/x": "https://[2001:db8::1]:444/h/x",
    "https://xn--bcher-kva.example/x": "https://xn--bcher-kva.example/x",
}


@pytest.mark.parametrize(("given", "read"), FINE.items())
def test_what_may_be_told(given: str, read: str) -> None:
    target = ALLOWED.read(given)
    assert target.url == read
    assert target_of(read) == target, "what is read is read again as the same"


HOSTILE = [
    "https://a.example.evil.com/",
    "https://evil.com/a.example",
    "https://evil.com/?https://a.example/",
    "https://evil.com#https://a.example/",
    "https://a.example@evil.com/",
    "https://a.example:pass@evil.com/",
    "https://a.example%40evil.com/",
    "https://user@a.example/",
    "https://@a.example/",
    "https://evil.com\\@a.example/",
    "https://evil.com\\a.example/",
    "https://a.example\\.evil.com/",
    "https:\\\\a.example/",
    "https:/a.example/",
    "https:///a.example/",
    "https:a.example",
    "//a.example/",
    "a.example",
    "/",
    "",
    "http://a.example/",
    "ftp://a.example/",
    "file:///etc/passwd",
    "gopher://a.example/",
    "javascript:alert(1)",
    "https://a.example./",
    "https://.a.example/",
    "https://a..example/",
    "https://xa.example/",
    "https://x.a.example/",
    "https://a.example:8443/",
    "https://a.example:80/",
    "https://a.example:0/",
    "https://a.example:65979/",
    "https://a.example:99999/",
    "https://a.example:443:443/",
    "https://a.example:-1/",
    "https://a.example:+443/",
    "https://a.example:４４３/",
    "https://a.example:443 /",
    "https://b.example/x/",
    "https://b.example:8443/",
    "https://b.example:8443/xy",
    "https://b.example:8443//x/",
    "https://b.example:8443/%78/",
    "https://b.example:8443/X/",
    "https://hooks.example.com/",
    "https://hooks.example.com/scansx",
    "https://hooks.example.com/scans%2F..%2Fadmin",
    "https://hooks.example.com/scans/../admin",
    "https://hooks.example.com/scans/..",
    "https://hooks.example.com/scans/.",
    "https://hooks.example.com/scans/./x",
    "https://hooks.example.com/scans/%2e%2e/admin",
    "https://hooks.example.com/scans/.%2E/admin",
    "https://hooks.example.com/scans/%252e%252e/admin",
    "https://hooks.example.com/scans/%25252e%25252e/admin",
    "https://hooks.example.com/scans/..;/admin",
    "https://hooks.example.com/scans/..;x=y/admin",
    "https://hooks.example.com/scans/%2e%2e%3b/admin",
    "https://hooks.example.com/scans/..%2fadmin",
    "https://hooks.example.com/scans/..%5cadmin",
    "https://hooks.example.com/scans/x%2fy",
    "https://hooks.example.com/scans/%00",
    "https://hooks.example.com/scans/%0d%0aHost:%20evil",
    "https://hooks.example.com/scans/\r\nHost: evil",
    "https://hooks.example.com/scans/\tx",
    "https://hooks.example.com/scans/ x",
    " https://hooks.example.com/scans/",
    "https://hooks.example.com/scans/\n",
    "https://hooks.example.com/scans/%",
    "https://hooks.example.com/scans/%zz",
    "https://hooks.example.com/scans/#frag",
    "https://hooks.example.com/scans#",
    "https://hooks.example.com/scans/ü",
    "https://hooks.example.com/scans/<x>",
    "https://hooks.example.com/scans/{x}",
    "https://hooks.example.com/scans?a b",
    "https://hooks.example.com/scans?a\\b",
    "https://hооks.example.com/scans/",
    "https://hooks。example。com/scans",
    "https://HOOKS.EXAMPLE.COM\u200b/scans",
    "https://bücher.example/",
    "https://ⓐ.example/",
    "https://a.example\u3002evil.com/",
    "https://a%2eexample/",
    "https://a.example%00.evil.com/",
    "https://a.example%2f.evil.com/",
    "https://a.example,evil.com/",
    "https://a.example;evil.com/",
    "https://a.example&evil.com/",
    "https://-a.example/",
    "https://" + "a" * 64 + ".example/",
    "https://" + ".".join(["a" * 60] * 5) + "/",
    "https://192.0.2.1./",
    "https://192.0.2.01/",
    "https://192.0.513/",
    "https://3221225985/",
    "https://0xC0000201/",
    "https://0xc0.0.2.1/",
    "https://0300.0.2.1/",
    "https://192.0.2.1.evil.com/",
    "https://127.1/",
    "https://[::ffff:192.0.2.1]/",
    "https://[2001:db8::1]/h",
    "https://[2001:db8::1%25eth0]:444/h",
    "https://[2001:db8::1%eth0]:444/h",
    "https://[2001:db8::1]evil.com:444/h",
    "https://[a.example]/",
    "https://[]/",
    "https://2001:db8::1/h",
    "https://a.example/" + "x" * 2048,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_may_not(text: str) -> None:
    with pytest.raises(ValueError) as told:
        ALLOWED.read(text)
    for part in ("scans/", "admin", "evil", "pass"):
        assert part not in str(told.value), "its path may be a secret"


def test_an_empty_list_allows_nobody() -> None:
    assert not Allowed([])
    assert not Allowed([]).have(target_of("https://a.example/"))


@pytest.mark.parametrize(
    "text", ["https://a.example/?x", "https://a.example/?", "a.example", "*", "https://*.example/"]
)
def test_what_an_operator_cannot_allow(text: str) -> None:
    with pytest.raises(ValueError):
        prefix_of(text)


PIECES = st.sampled_from(
    [
        *("https", "http", "://", ":", "/", "//", "\\", "@", "?", "#", "a.example", "hooks.example.com", "/scans"),
        *("evil.com", "..", "%2e", "%2f", "%5c", ";", ".", ",", "443", ":443", ":80", "[", "]", "::1", "127.0.0.1"),
        *("0x7f", "%00", "%", "&", "x", "\t", "\n", "\r", "ü", "。", "\u200b", "xn--"),
    ]
)
TEXTS = (
    st.text()
    | st.lists(PIECES, max_size=12).map("".join)
    | st.lists(PIECES, max_size=8).map(lambda pieces: "https://a.example" + "".join(pieces))
)


@given(TEXTS)
@example("https://a.example/x?y#")
def test_whatever_is_written_what_is_allowed_goes_where_others_read_it_to_go(text: str) -> None:
    """Other readers of addresses, given the same text or the one that we make of it, come to the same host and path."""
    try:
        target = ALLOWED.read(text)
    except ValueError:
        return
    assert any(
        (target.scheme, target.host, target.port) == (one.scheme, one.host, one.port) for one in ALLOWED._prefixes
    )
    for written in (text, target.url):
        split, seen, core = urlsplit(written), httpx.URL(written), httpcore.URL(written)
        assert (split.hostname, split.username) == (target.host, None)
        assert (seen.host, seen.userinfo) == (target.host, b"")
        assert core.host.decode().strip("[]") == target.host
        assert seen.port in (None, target.port)
        assert seen.path == httpx.URL(target.url).path
        assert ".." not in seen.path.split("/")
    assert target_of(target.url) == target
