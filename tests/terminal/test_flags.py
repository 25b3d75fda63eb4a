"""What people write in flags."""

from typing import Any

import pytest

from scanstream.client.addresses import address, shown
from scanstream.terminal.flags import command, parameters


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("252", 252),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ('"7"', "7"),
        ("[1, 2]", [1, 2]),
        ("21h", "21h"),
        ("", ""),
        ("a=b.c", "a=b.c"),
        ("NaN", "NaN"),
    ],
)
def test_a_value_is_json_or_else_the_text(text: str, value: Any) -> None:
    assert parameters([f"tsmom.lookback={text}"]) == {"tsmom": {"lookback": value}}


def test_parameters_are_gathered_and_the_last_one_wins() -> None:
    given = ["a.x=1", "b.x=2", "a.y=3", "a.x=4"]
    assert parameters(given) == {"a": {"x": 4, "y": 3}, "b": {"x": 2}}


@pytest.mark.parametrize("given", ["", "lookback=1", "tsmom.lookback", ".x=1", "tsmom.=1", "x"])
def test_another_form_is_named(given: str) -> None:
    with pytest.raises(ValueError, match=r"not of the form STRATEGY\.NAME=VALUE") as error:
        parameters([given])
    assert repr(given) in str(error.value)


@pytest.mark.parametrize("text", ["http://localhost:8000", "https://example.org/scans", "http://[::1]:81"])
def test_an_address(text: str) -> None:
    assert address(text) == text
    assert address(f"{text}/") == text


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("localhost:8000", "http://localhost:8000"),
        ("//localhost:8000", "http://localhost:8000"),
        ("example.org", "http://example.org"),
        ("[::1]:8000/", "http://[::1]:8000"),
        ("  http://h:1  ", "http://h:1"),
        ("HTTP://EXAMPLE.org:8000/", "http://example.org:8000"),
        ("ws://localhost:1", "http://localhost:1"),
        ("WSS://h/tools/scan/", "https://h/tools/scan"),
        ("http://bücher.example:1", "http://xn--bcher-kva.example:1"),
        ("https://me:p%40ss@h/x", "https://me:p%40ss@h/x"),
        ("http://h//", "http://h"),
        ("http://h/?", "http://h"),
        ("http://h/a b", "http://h/a%20b"),
    ],
)
def test_an_address_in_other_words(text: str, url: str) -> None:
    assert address(text) == url


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "/", ":8000", "http:", "http://", "https:///x", "http:h", "http:/h", "ftp://h", "file:///h"),
        *("http://h:port", "http://h:0", "http://h:99999", "http://h:-1", "::1", "http://::1:80", "http://[::1"),
        *("http://h/?a", "http://h/#a", "http://a b", "http://h\nx", "http://☃.example", "http://\udcff", "h\x00"),
        *("http://a..b", "http://.", f"http://{'a' * 64}.b", "http://" + "a." * 200 + "b", "http://a%20b"),
        "http://xn--.example",
    ],
)
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is no address like"):
        address(text)


def test_a_password_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCANSTREAM_URL", raising=False)
    for told in (shown("https://me:secret@h/x"), command("status latest", "https://me:secret@h/x")):
        assert told.endswith("https://me:***@h/x")
    assert shown("http://h:8000") == "http://h:8000"
    assert shown("http://h/x:y@z") == "http://h/x:y@z"
    assert shown("https://me:p%40secret@secret@h/@x") == "https://me:***@h/@x"
    for token in ("ssk_secret", "sst_secret", "eyJsecret"):
        assert shown(f"https://{token}@h") == "https://***@h"


@pytest.mark.parametrize(
    "text",
    [
        *("http://me:secret@h:99999", "http://me:secret@h/?a", "me:secret@h:x", "https://me:se/secret@h", "me:secret@"),
        *("http://me:secret@secret@a b", "ftp://ssk_secret@h"),
    ],
)
def test_nor_where_an_address_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no address like") as refused:
        address(text)
    assert "secret" not in str(refused.value)


def test_a_command_to_be_typed_names_the_server_only_where_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCANSTREAM_URL", raising=False)
    assert command("watch scan_1", "http://127.0.0.1:8000") == "scanstream watch scan_1"
    assert command("watch scan_1", "http://there:1") == "scanstream watch scan_1 --url http://there:1"
    monkeypatch.setenv("SCANSTREAM_URL", "http://there:1")
    assert command("watch scan_1", "http://there:1") == "scanstream watch scan_1"
    assert command("watch scan_1", "http://127.0.0.1:8000") == "scanstream watch scan_1 --url http://127.0.0.1:8000"
