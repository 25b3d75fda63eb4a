"""The picture of a terminal is one of this version, and loads nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

from docs.pages import DOCS
from scanstream.strategies.installed import registry

SECONDS = 90
OURS = [name for name in registry() if name != "scripted"]


def words(picture: Path) -> str:
    """What is written in it."""
    return re.sub(r"<[^>]+>", "\n", picture.read_text().replace("&#160;", " "))


def test_it_can_be_drawn_anew_and_shows_the_same(tmp_path: Path) -> None:
    again = tmp_path / "terminal.svg"
    subprocess.run([sys.executable, DOCS / "picture_terminal.py", again], check=True, timeout=SECONDS)
    for picture in (DOCS / "pictures" / "terminal.svg", again):
        shown = words(picture)
        for said in ("scanstream discover", "running · ", "Market: synthetic (generated prices", "Best of ", *OURS):
            assert said in shown, (picture, said)
        assert re.findall(r"url\((?!#)|<(?:script|image)|href=", picture.read_text()) == []
