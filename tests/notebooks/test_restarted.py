"""A server that is stopped, killed and started again before a notebook: what its cell shows ends complete by itself."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from anyio import to_thread

from notebooks.jupyter import needs_jupyter, notebook
from support.process import ServerProcess
from support.script import scripting

pytestmark = [pytest.mark.anyio, pytest.mark.notebook, needs_jupyter]

SECONDS = 90
WIDGET = "application/vnd.jupyter.widget-view+json"
SHOWS = 1
"""The cell whose last line is the scan."""


def bundles(running: Any) -> list[dict[str, Any]]:
    """What the cell shows now, by kind: the still line, and the widget or what it has become."""
    return [output["data"] for output in running.nb.cells[SHOWS].outputs if "data" in output]


async def until_shown(running: Any, words: str) -> None:
    """Wait until the still line says this."""
    with anyio.fail_after(SECONDS):
        while not any(words in shown["text/plain"] for shown in bundles(running)):  # noqa: ASYNC110  # nobody tells
            await anyio.sleep(0.05)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_restarts_cost_what_a_cell_shows_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    server = await to_thread.run_sync(ServerProcess, tmp_path, "--workers", "1")
    port = str(urlsplit(server.url).port)
    try:
        async with scripting() as script, anyio.create_task_group() as tasks:
            document = notebook(
                f"from scanstream.notebook import connect\nclient = await connect({server.url!r})",
                f"scan = await client.discover(**{script.request(shards=3)!r})\nscan",
                "state = await scan.wait()\nstate['status'], len(scan.opportunities)",
                "None",
            )
            running = NotebookClient(
                nbformat.reads(json.dumps(document), as_version=4), timeout=2 * SECONDS, kernel_name="python3"
            )
            tasks.start_soon(running.async_execute)
            shard = await script.started()
            for number, harm in enumerate(("stop", "kill"), start=1):
                await shard.tell("find 2", "end")
                cut_off = await script.started()
                await until_shown(running, f"{number} of 3 shards · {2 * number} found")
                assert WIDGET in bundles(running)[1]
                await to_thread.run_sync(getattr(server, harm))
                await cut_off.until_gone()
                server = await to_thread.run_sync(ServerProcess, tmp_path, "--workers", "1", "--port", port)
                shard = await script.started()
            await shard.tell("find 2", "end")
    finally:
        await to_thread.run_sync(server.kill)
    line, closing = bundles(running)
    assert "complete · 100 % · 3 of 3 shards · 6 found" in line["text/plain"]
    assert WIDGET not in closing
    assert closing["text/plain"].startswith("complete · 100 %")
    [said] = running.nb.cells[2].outputs
    assert said["data"]["text/plain"] == "('complete', 6)"
