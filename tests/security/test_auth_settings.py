"""Who may come in, as the settings say it: what cannot work, or is not safe, is refused at the start."""

from pathlib import Path

import pytest

from client.programs import run
from scanstream.app import Scanstream
from scanstream.errors import SettingError
from scanstream.model import Principal, now
from scanstream.security.caller import Right
from scanstream.security.keychanges import create_key
from scanstream.server import serving
from scanstream.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture
def keys(tmp_path: Path) -> str:
    rights = frozenset({Right.SCAN})
    create_key(tmp_path / "keys.toml", name="a", principal=Principal("p"), rights=rights, created=now(), expires=None)
    return str(tmp_path / "keys.toml")


ANYWHERE = ["0.0.0.0", "::", "192.168.1.5", "10.0.0.1", "example.org", "localhost.example.org", "0", "fe80::1%eth0"]  # noqa: S104
HERE = ["127.0.0.1", "127.0.0.2", "127.1", "localhost", "LOCALHOST", "a.localhost", "::1", "0x7f000001"]


@pytest.mark.parametrize("host", ANYWHERE)
def test_where_others_come_by_somebody_must_be_asked(host: str, keys: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings(host=host).check_reach()
    assert caught.value.detail.startswith(f"--host {host}: others than this machine reach a server there")
    for word in ("--auth required", "--keys", "--insecure", "SCANSTREAM_HOST"):
        assert word in caught.value.detail
    Settings(host=host, insecure=True).check_reach()
    Settings(host=host, auth="required", keys=keys).check_reach()


@pytest.mark.parametrize("host", HERE)
def test_on_this_machine_nobody_need_be_asked(host: str) -> None:
    Settings(host=host).check_reach()


async def test_a_server_there_does_not_start() -> None:
    with pytest.raises(SettingError, match="--insecure"):
        async with serving(Settings(host="0.0.0.0", port=0, data=":memory:", workers=0)):  # noqa: S104
            pytest.fail("it started")


def test_the_command_says_so_in_one_line_and_exits_with_2() -> None:
    for flags, variables, begins in (
        ([], {"SCANSTREAM_HOST": "::"}, "scanstream: --host ::: others than this machine"),
        (["--auth", "required"], {}, "scanstream: --auth required: there are no credentials to know anybody by"),
    ):
        done = run("serve", "--port", "0", "--data", ":memory:", *flags, **variables)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(begins)
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"auth": "yes"}, "--auth yes: write none or required (SCANSTREAM_AUTH)"),
        ({"auth": "required"}, "give --keys FILE"),
        ({"auth": "required", "keys": "/nowhere/keys.toml"}, "--keys /nowhere/keys.toml: No such file or directory"),
        ({"keys": "/nowhere/keys.toml"}, "nobody is asked for a key: give --auth required, too (SCANSTREAM_KEYS)"),
    ],
)
def test_what_cannot_work_is_named(changes: dict[str, str], says: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings(**changes)  # type: ignore[arg-type]
    assert says in caught.value.detail


def test_within_an_application_the_socket_is_the_host_s(keys: str) -> None:
    with pytest.raises(SettingError, match="insecure= is a matter of the server that runs your application"):
        Scanstream(insecure=True)  # type: ignore[call-arg]
    Scanstream(auth="required", keys=Path(keys))
    with pytest.raises(
        SettingError, match=r"^auth=required: there are no credentials to know anybody by: give keys=FILE"
    ):
        Scanstream(auth="required")
    with pytest.raises(SettingError, match=r"^keys=/nowhere: No such file or directory$"):
        Scanstream(auth="required", keys=Path("/nowhere"))
