"""The settings of who may be told: what cannot be read is named, and no path of an address is shown."""

from pathlib import Path

import pytest

from scanstream.core import open_core
from scanstream.errors import SettingError
from scanstream.notify.options import shown
from scanstream.notify.targets import target_of
from scanstream.settings import Settings


def test_nobody_is_told_unless_it_is_said() -> None:
    assert not Settings().told
    assert Settings().private == []


def test_several_each_for_itself_or_with_commas_between() -> None:
    settings = Settings(
        notify=("https://a.example/x, https://b.example", "http://c.example:8080"),
        notify_private=("10.0.0.0/8,127.0.0.1", "fd00::/8"),
    )
    for url in ("https://a.example/x/y", "https://b.example/z", "http://c.example:8080/"):
        assert settings.told.have(target_of(url))
    assert not settings.told.have(target_of("https://c.example:8080/"))
    assert [str(network) for network in settings.private] == ["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hooks.example.com", "--notify hooks.example.com: write scheme, host and path"),
        ("ftp://hooks.example.com/s3cret", "--notify ftp://hooks.example.com/…: the scheme is ftp; write https"),
        ("https://hooks.example.com/s3cret?x", "--notify https://hooks.example.com/…: write it without ?"),
        ("https://hooks.example.com/../s3cret", "--notify https://hooks.example.com/…: its path has . or .."),
        ("https://ann:s3cret@hooks.example.com/", "--notify https://…@hooks.example.com/: write it without a login"),
        ("https://*.example.com/", "--notify https://*.example.com/: the host is no name"),
    ],
)
def test_what_cannot_be_allowed(text: str, told: str) -> None:
    with pytest.raises(SettingError) as error:
        Settings(notify=(text,))
    assert told in error.value.detail
    assert error.value.detail.endswith("(SCANSTREAM_NOTIFY)")
    assert "s3cret" not in error.value.detail


def test_networks() -> None:
    with pytest.raises(SettingError, match="--notify-private everything: write a network or an address"):
        Settings(notify=("https://a.example",), notify_private=("everything",))
    with pytest.raises(SettingError, match="nobody is told anything: give --notify, too"):
        Settings(notify_private=("10.0.0.0/8",))


def test_it_is_not_in_what_represents_the_settings() -> None:
    assert "s3cret" not in repr(Settings(notify=("https://a.example/s3cret",)))
    assert shown("https://a.example/s3cret") == "https://a.example/…"


@pytest.mark.anyio
async def test_authorities_that_cannot_be_read_are_named_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    settings = Settings(data=":memory:", workers=0, notify=("https://a.example",))
    for name in ("empty.pem", "missing.pem"):
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / name))
        with pytest.raises(SettingError) as error:
            async with open_core(settings):
                pass
        assert error.value.detail.startswith(f"SSL_CERT_FILE={tmp_path / name}")
        assert ": the authorities that receivers' certificates must come from cannot be read: " in error.value.detail
        async with open_core(Settings(data=":memory:", workers=0)):
            pass  # who tells nobody needs none
