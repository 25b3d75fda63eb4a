"""Where panels are written by a server that keeps nothing: gone with it, also if it was killed."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scanstream.errors import DataUnusable, SettingError
from scanstream.market.directory import panel_directory
from scanstream.market.panels import open_panels
from scanstream.market.synthetic import SyntheticMarket

HOLD = """
import pathlib, sys
from scanstream.market.directory import panel_directory
with panel_directory(None) as directory:
    directory.mkdir()
    (directory / "megabytes").write_bytes(bytes(1_000_000))
    print(directory, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory of this process and its children."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@contextmanager
def holder() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process with a directory of its own."""
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        try:
            yield it, Path(it.stdout.readline().strip())
        finally:
            it.kill()


def test_a_data_directory_has_its_own(tmp_path: Path) -> None:
    with panel_directory(tmp_path / "data") as directory:
        assert directory == tmp_path / "data" / "market"
    with panel_directory(Path("data")) as relative:
        assert relative.is_absolute()  # wherever a plug-in goes in a worker process
    assert not directory.exists()  # and nobody makes it before there is something to write


def test_the_temporary_one_is_gone_after_the_block(place: Path) -> None:
    with panel_directory(None) as directory:
        directory.mkdir()
        assert directory.is_relative_to(place)
    assert list(place.iterdir()) == []


def test_what_a_killed_server_left_is_removed_by_the_next_and_what_is_held_is_not(place: Path) -> None:
    with holder() as (_, held), holder() as (killed, left):
        killed.kill()
        killed.wait()
        assert (left / "megabytes").exists()
        with panel_directory(None):
            assert not left.parent.exists()
            assert (held / "megabytes").exists()


def test_nothing_else_is_ever_removed(place: Path) -> None:
    outside = place / "outside"
    outside.mkdir()
    (outside / "lock").write_text("1")
    (place / "scanstream-link").symlink_to(outside)
    (place / "scanstream-file").write_text("mine")
    (place / "scanstream-notes").mkdir()
    (place / "scanstream-starting").mkdir()
    (place / "scanstream-starting" / "lock").touch()  # its process has not written itself in yet
    (place / "scanstream-linked-lock").mkdir()
    (place / "scanstream-linked-lock" / "lock").symlink_to(outside / "lock")
    before = sorted(place.rglob("*"))
    with panel_directory(None):
        pass
    assert sorted(place.rglob("*")) == before


def test_without_a_temporary_directory_the_setting_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(SettingError, match="TMPDIR") as caught, panel_directory(None):
        pass
    assert "--data" in caught.value.detail


@pytest.mark.anyio
async def test_a_file_in_the_directorys_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "market").write_text("in the way")
    with pytest.raises(DataUnusable, match="--data"):
        await open_panels(SyntheticMarket(symbols=2, bars=5), tmp_path / "market")
