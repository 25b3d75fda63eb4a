"""Writes docs/pictures/notebook.png: a scan that is under way in a real JupyterLab, in a real Chromium.

    python docs/picture_notebook.py [FILE]

It needs what `make notebook` installs, and Debian's Chromium.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import anyio

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "notebook.png"
NAME = "scan.ipynb"
WIDTH, HEIGHT = 1000, 760
WHAT = ["cross_exchange", "funding_carry", "pairs", "tsmom"]
LONG = {"tsmom": {"walk_forward": 2000}}
"""A scan of some seconds: enough for a picture of its middle."""

sys.path[:0] = [str(ROOT / "tests")]
from notebooks.jupyter import chromium_page, lab_process  # noqa: E402
from support.process import server_process  # noqa: E402


async def taken(file: Path, scratch: Path) -> None:
    """Run the cells, wait until there is something to see, and take the picture."""
    with server_process(":memory:", "--workers", "1") as server, lab_process(scratch) as lab:
        lab.write(
            NAME,
            f"from scanstream.notebook import connect\nclient = await connect({server.url!r})",
            f"scan = await client.discover(strategy_ids={WHAT!r}, parameters={LONG!r})\nscan",
        )
        async with chromium_page(viewport={"width": WIDTH, "height": HEIGHT}) as page:
            await page.goto(lab.page(NAME))
            await page.get_by_text("| Idle").wait_for()
            await page.get_by_role("button", name="No", exact=True).click()  # to news of Jupyter
            await page.keyboard.press("Control+B")  # without the list of files
            await page.get_by_role("menuitem", name="Run", exact=True).click()
            await page.get_by_text("Run All Cells", exact=True).first.click()
            await page.locator(".jp-OutputArea progress, .jp-OutputArea [role=progressbar]").first.wait_for()
            await page.get_by_text("Confidence").first.wait_for()
            await page.screenshot(path=file)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write it to a file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, default=PICTURE)
    file = parser.parse_args(arguments).file
    with tempfile.TemporaryDirectory() as scratch:
        anyio.run(taken, file, Path(scratch))


if __name__ == "__main__":
    main()
