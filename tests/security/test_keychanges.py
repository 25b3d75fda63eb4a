"""A key file that is changed: whole or not at all, by one at a time, for its owner."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from scanstream.errors import SettingError
from scanstream.model import Principal, now
from scanstream.security import keychanges
from scanstream.security.apikey import digest_of
from scanstream.security.caller import Right
from scanstream.security.keychanges import NameTaken, create_key, keys_in, revoke_key
from scanstream.security.keyfile import MOST_BYTES


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def create(keys: Path, name: str) -> str:
    return create_key(
        keys, name=name, principal=Principal("ann"), rights=frozenset({Right.SCAN}), created=now(), expires=None
    )


def test_a_key_is_made_and_taken_away(keys: Path) -> None:
    key = create(keys, "a")
    [entry] = keys_in(keys)
    assert entry.digest == digest_of(key)
    assert key not in keys.read_text()
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    create(keys, "b")
    revoke_key(keys, "a")
    assert [entry.name for entry in keys_in(keys)] == ["b"]
    revoke_key(keys, "b")
    assert keys_in(keys) == ()
    create(keys, "c")
    assert [path.name for path in keys.parent.iterdir()] == ["keys.toml"], "nothing is left beside it"


def test_a_name_is_taken_once(keys: Path) -> None:
    create(keys, "a")
    before = keys.read_bytes()
    with pytest.raises(NameTaken):
        create(keys, "a")
    with pytest.raises(KeyError):
        revoke_key(keys, "b")
    assert keys.read_bytes() == before


def test_a_key_for_which_no_server_would_read_the_file_is_not_made(keys: Path) -> None:
    create(keys, "a")
    full = keys.read_bytes() + b"#" * (MOST_BYTES - len(keys.read_bytes()) - 100)
    keys.write_bytes(full)
    assert len(keys_in(keys)) == 1
    with pytest.raises(SettingError, match="it would be longer"):
        create(keys, "b")
    assert keys.read_bytes() == full


def test_a_byte_order_mark_does_no_harm(keys: Path) -> None:
    create(keys, "a")
    keys.write_bytes(b"\xef\xbb\xbf" + keys.read_bytes().replace(b"\n", b"\r\n"))
    create(keys, "b")
    assert [entry.name for entry in keys_in(keys)] == ["a", "b"]
    revoke_key(keys, "a")
    assert [entry.name for entry in keys_in(keys)] == ["b"]


@pytest.mark.parametrize("content", [b"noise", b"\xff", b"[section]\n", b"#" * (MOST_BYTES + 1)])
def test_a_file_that_is_none_stays_as_it_was(keys: Path, content: bytes) -> None:
    keys.write_bytes(content)
    for change in (lambda: create(keys, "a"), lambda: revoke_key(keys, "a"), lambda: keys_in(keys)):
        with pytest.raises(SettingError, match=f"--keys {keys}: "):
            change()
    assert keys.read_bytes() == content
    assert [path.name for path in keys.parent.iterdir()] == ["keys.toml"]


def test_what_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"there is no directory .*nowhere: make it"):
        create(tmp_path / "nowhere" / "keys.toml", "a")
    with pytest.raises(SettingError, match="No such file or directory"):
        revoke_key(tmp_path / "keys.toml", "a")
    with pytest.raises(SettingError, match="Is a directory"):
        create(tmp_path, "a")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingError, match="it is no file"):
        create(tmp_path / "pipe", "a")
    (tmp_path / "pipe").unlink()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scanstream.security.keychanges.os.fsync", full)
    with pytest.raises(SettingError, match="No space left on device"):
        create(tmp_path / "keys.toml", "a")
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_leads_to_itself_is_named(keys: Path) -> None:
    keys.symlink_to(keys)
    for change in (lambda: create(keys, "a"), lambda: revoke_key(keys, "a"), lambda: keys_in(keys)):
        with pytest.raises(SettingError, match=f"--keys {keys}: "):
            change()


def test_the_file_behind_a_link_is_changed_and_the_link_stays(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    keys.symlink_to(tmp_path / "real" / "keys.toml")
    create(keys, "a")
    assert keys.is_symlink()
    assert [entry.name for entry in keys_in(tmp_path / "real" / "keys.toml")] == ["a"]


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o640), (0o666, 0o640), (0o640, 0o640), (0o600, 0o600)])
def test_its_group_may_go_on_reading_it_and_others_may_not(keys: Path, before: int, after: int) -> None:
    create(keys, "a")
    keys.chmod(before)
    create(keys, "b")
    assert stat.S_IMODE(keys.stat().st_mode) == after


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_it_stays_its_owner_s_when_root_changes_it(keys: Path) -> None:
    create(keys, "a")
    os.chown(keys, 12_345, 23_456)
    create(keys, "b")
    assert (keys.stat().st_uid, keys.stat().st_gid) == (12_345, 23_456)


MANY = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_keychanges import create
from scanstream.security.keyfile import MOST_BYTES
from scanstream.security.keychanges import revoke_key
for number in range(8):
    name = f"{sys.argv[2]}-{number}"
    create(Path(sys.argv[1]), name)
    if number % 2:
        revoke_key(Path(sys.argv[1]), name)
"""


def test_several_at_once_lose_nothing(keys: Path) -> None:
    command = [sys.executable, "-c", MANY, str(keys)]
    running = [
        subprocess.Popen([*command, name, str(Path(__file__).parent)], stderr=subprocess.PIPE, text=True)
        for name in "abc"
    ]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in running] == [("", 0)] * 3
    assert {entry.name for entry in keys_in(keys)} == {
        f"{name}-{number}" for name in "abc" for number in range(0, 8, 2)
    }
    assert [path.name for path in keys.parent.iterdir()] == ["keys.toml"]


def test_one_who_keeps_it_is_not_waited_for_for_ever(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(keys, "a")
    monkeypatch.setattr(keychanges, "PATIENCE_SECONDS", 0.1)
    holder = "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(keys)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        with pytest.raises(SettingError, match="another command is changing it"):
            create(keys, "b")
        process.stdin.close()
    create(keys, "b")
