"""JupyterLab as a process of its own, in a directory of its own, and a page of it in a real Chromium."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, async_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
STARTING_SECONDS = 120
PATIENCE_MS = 45_000
NEEDED = ("anywidget", "IPython", "ipykernel", "jupyterlab", "nbclient", "notebook")

missing = [name for name in NEEDED if find_spec(name) is None]
needs_jupyter = pytest.mark.skipif(
    bool(missing), reason=f"`make notebook` installs what is missing here: {', '.join(missing)}"
)
needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no /usr/bin/chromium")


class Lab:
    """A JupyterLab that serves one directory."""

    def __init__(self, url: str, token: str, root: Path) -> None:
        self.url = url
        self.root = root
        self._token = token

    def page(self, name: str, frontend: str = "lab/tree") -> str:
        """The address at which a notebook opens, with nothing kept of how it was open before.

        :param frontend: `lab/tree`, or `notebooks`: the same server has Notebook 7, where it is installed
        """
        return f"{self.url}{frontend}/{name}?token={self._token}&reset"

    def write(self, name: str, *cells: str) -> None:
        """A notebook of these cells."""
        (self.root / name).write_text(json.dumps(notebook(*cells)))

    def outputs(self, name: str) -> str:
        """All outputs of a notebook as it was saved last; nothing while it is being saved."""
        saved = whole(self.root / name)
        if saved is None:
            return ""
        return json.dumps([cell.get("outputs", []) for cell in saved["cells"]])

    def end_kernels(self) -> None:
        """As a machine that was switched off overnight does."""
        headers = {"authorization": f"token {self._token}"}
        with httpx.Client(headers=headers, timeout=STARTING_SECONDS) as client:  # a kernel has 5 s to end by itself
            for session in client.get(f"{self.url}api/sessions").raise_for_status().json():
                client.delete(f"{self.url}api/sessions/{session['id']}").raise_for_status()


def whole(path: Path) -> Any:
    """What is in a file of JSON; None while Jupyter has emptied it and has not yet written it anew."""
    try:
        return json.loads(path.read_text())
    except ValueError:
        return None


def notebook(*cells: str) -> dict[str, Any]:
    """A notebook as its file has it."""
    code: list[dict[str, Any]] = [
        {"cell_type": "code", "id": f"cell{n}", "source": text, "metadata": {}, "outputs": [], "execution_count": None}
        for n, text in enumerate(cells)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"cells": code, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


@contextmanager
def lab_process(root: Path) -> Iterator[Lab]:
    """One that runs, with a home of its own below `root`."""
    notebooks, home, token = root / "notebooks", root / "home", secrets.token_hex(8)
    for directory in (notebooks, home):
        directory.mkdir()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"]
    command += [f"--ServerApp.root_dir={notebooks}", f"--IdentityProvider.token={token}"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    with (root / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**kept, "HOME": str(home), "JUPYTER_RUNTIME_DIR": str(home / "run")}
        )
        try:
            yield Lab(_address(process, home / "run", root / "log"), token, notebooks)
        finally:
            process.terminate()
            process.wait(timeout=STARTING_SECONDS)


def _address(process: "subprocess.Popen[bytes]", runtime: Path, log: Path) -> str:
    until = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < until and process.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            if said := whole(path):
                url: str = said["url"]
                return url
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start: {log.read_text()}")


@asynccontextmanager
async def chromium_page(**context: Any) -> AsyncIterator[Page]:
    """A page that waits for long, as others use this machine."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(**context)
        page.set_default_timeout(PATIENCE_MS)
        yield page
        await browser.close()
