"""A file that is read again when it changes, however that is done to it."""

import os
import stat
from pathlib import Path

import pytest

from scanstream.security.watched import Watched


def number(content: bytes) -> int:
    try:
        return int(content)
    except ValueError:
        raise ValueError("this is no number") from None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "number"
    file.write_text("1")
    return file


def put(path: Path, content: str) -> None:
    """In its place, as a whole."""
    beside = path.with_suffix(".new")
    beside.write_text(content)
    beside.replace(path)


def test_a_byte_order_mark_is_not_what_is_in_it(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf1")
    assert Watched(path, 100, number).first() == 1


def test_another_file_in_its_place_is_read_at_the_next_look(path: Path) -> None:
    watched = Watched(path, 100, number)
    assert watched.first() == 1
    assert watched.newer() is None
    put(path, "2")
    assert watched.newer() == 2
    assert watched.newer() is None


def test_one_that_is_being_written_is_left_alone(path: Path) -> None:
    watched = Watched(path, 100, number)
    watched.first()
    with path.open("w") as file:
        for written in ("", "1", "12"):
            file.write(written[-1:])
            file.flush()
            os.utime(path, ns=(len(written), len(written)))
            assert watched.newer() is None
    assert watched.newer() == 12


def test_what_cannot_be_read_is_said_as_long_as_it_cannot_and_read_once(path: Path) -> None:
    parsings = []

    def counted(content: bytes) -> int:
        parsings.append(content)
        return number(content)

    watched = Watched(path, 100, counted)
    watched.first()
    put(path, "x")
    for _ in range(3):
        with pytest.raises(ValueError, match="this is no number"):
            watched.newer()
    assert parsings == [b"1", b"x"]
    put(path, "3")
    assert watched.newer() == 3


def test_a_file_that_goes_and_comes_back(path: Path) -> None:
    watched = Watched(path, 100, number)
    watched.first()
    away = path.rename(path.with_suffix(".away"))
    for _ in range(2):
        with pytest.raises(ValueError, match="No such file"):
            watched.newer()
    away.rename(path)
    os.utime(path, ns=(5, 5))
    assert [watched.newer(), watched.newer()] in ([1, None], [None, 1])


def test_a_link_that_is_turned_is_followed(path: Path) -> None:
    """As Kubernetes does with what it mounts."""
    put(other := path.with_name("other"), "2")
    link = path.with_name("link")
    link.symlink_to(path)
    watched = Watched(link, 100, number)
    assert watched.first() == 1
    turned = path.with_name("turned")
    turned.symlink_to(other)
    turned.replace(link)
    assert watched.newer() == 2


def test_a_link_that_leads_nowhere_or_to_something_else_lets_nothing_in(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    watched = Watched(link, 100, number)
    watched.first()
    for target, says in (("nowhere", "No such file"), (".", "it is no file"), ("/dev/zero", "it is no file")):
        turned = path.with_name("turned")
        turned.symlink_to(target)
        turned.replace(link)
        with pytest.raises(ValueError, match=says):
            watched.newer()


@pytest.mark.parametrize("kind", ["pipe", "directory", "long", "loop"])
def test_what_is_no_small_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.write_text("1" * 101)
    with pytest.raises(ValueError, match=r"it is no file|it is longer than 100 bytes|Too many levels"):
        Watched(path, 100, number).first()


@pytest.mark.parametrize(
    ("mode", "says"),
    [(0o600, ""), (0o640, ""), (0o644, "everybody"), (0o660, "write"), (0o602, "write"), (0o666, "write")],
)
def test_what_others_may_do_with_it_is_said(path: Path, mode: int, says: str) -> None:
    path.chmod(mode)
    watched = Watched(path, 100, number)
    doubts = watched.doubts(public=False)
    assert says in doubts
    assert bool(says) == bool(doubts)
    assert bool(watched.doubts(public=True)) == (says == "write")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_one_that_changes_while_it_is_read_is_read_at_the_next_look(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(path, 100, number)
    watched.first()
    put(path, "22")
    with monkeypatch.context() as patch:
        reading = os.read

        def read(descriptor: int, most: int) -> bytes:
            piece = reading(descriptor, most)
            os.utime(path, ns=(7, 7))
            return piece

        patch.setattr("scanstream.security.watched.os.read", read)
        with pytest.raises(ValueError, match="it was written while it was read"):
            watched.newer()
    assert [watched.newer(), watched.newer()] == [None, 22], "once it is still"
