"""Draws docs/pictures/terminal.svg: a terminal in the middle of a real scan, by the code that draws it there.

    python docs/picture_terminal.py [FILE]

A server on a free port with the generated market, and a client of it, as `scanstream demo` has them.
"""

import argparse
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import anyio
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

from scanstream.client import AsyncClient
from scanstream.server import serving
from scanstream.settings import Settings
from scanstream.terminal.view import ScanView

PICTURE = Path(__file__).resolve().parent / "pictures" / "terminal.svg"
COLUMNS, LINES = 84, 26
HALF_WAY = 50
"""Percent of a scan, from which on it is worth a picture."""
LEAST_FOUND = 30
SECONDS = 60
WITHOUT_FONTS = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.S)
"""Nothing is loaded from elsewhere: the reader's own fixed font will do."""


async def drawn() -> str:
    """The picture, as SVG."""
    console = Console(record=True, force_terminal=True, width=COLUMNS, height=LINES, file=StringIO())
    with anyio.fail_after(SECONDS):
        async with serving(Settings(port=0, data=":memory:")) as url, AsyncClient(url) as client:
            scan = await client.discover()
            async for update in scan:
                done, found = update.state["progress"]["percentage"], len(scan.opportunities)
                if done >= HALF_WAY and found >= LEAST_FOUND:
                    break
            console.print(Text.assemble(("$ ", "dim"), "scanstream discover"))
            console.print(f"{scan.id}: a new scan", highlight=False)
            console.print(ScanView(scan.feed.mirror, client.connection))
            await scan.cancel()
    return console.export_svg(title="scanstream", theme=SVG_EXPORT_THEME, code_format=WITHOUT_FONTS, unique_id="t")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write it to a file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, default=PICTURE)
    text = anyio.run(drawn)
    parser.parse_args(arguments).file.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")


if __name__ == "__main__":
    main()
