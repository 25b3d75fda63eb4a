"""Follows a scan in a notebook: a real kernel runs its cells, and what they show is looked at. See follow.mjs.

python follow_notebook.py scan_… http://127.0.0.1:8000

In place of the scan's id there may be a request, as JSON; who asks is in SCANSTREAM_TOKEN.

The counts are those of the line that the notebook shows, and the `end` has `shown` beside the rest: the texts that
stay below the cell which shows the scan.
"""

import json
import re
import sys
import time
from typing import Any

import anyio
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from scanstream import errors

SHOWS, FOLLOWS = 1, 2
"""The cells that show the scan, and say its id before they follow it."""
CELLS = """
import os
from scanstream.notebook import connect
client = await connect({url!r}, token=os.environ.get("SCANSTREAM_TOKEN"))
---
scan = {scan}
scan
---
print(scan.id)
told = []
async for update in scan:
    told += [one["id"] for one in update.opportunities]
---
import json
ids = [one["id"] for one in scan.opportunities]
print(json.dumps(dict(scan_id=scan.id, state=await scan.wait(), cursor=scan.cursor, ids=ids, told=told)))
"""
CELL_SECONDS = 600


def tell(event: str, **more: Any) -> None:
    """One event, as one line."""
    print(json.dumps({"number": 0, "at": time.monotonic(), "event": event, **more}), flush=True)


class Watched(NotebookClient):  # type: ignore[misc]  # it has types where it is installed
    """A notebook that is run, and tells how many opportunities it shows."""

    _told = -1
    _started = False

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """What a cell shows has come, or has changed."""
        output = super().process_message(msg, cell, cell_index)
        if cell_index == FOLLOWS and msg["msg_type"] == "stream" and not self._started:
            self._started = True
            tell("started", scan_id=msg["content"]["text"].strip())
        found = re.search(r"(\d+) found", "".join(self.texts))
        if found and int(found[1]) != self._told:
            self._told = int(found[1])
            tell("update", count=self._told)
        return output

    @property
    def texts(self) -> list[str]:
        """Below the cell that shows the scan."""
        outputs = self.nb.cells[SHOWS].outputs
        return [output["data"]["text/plain"] for output in outputs if "data" in output]


async def main() -> None:
    """The one scan, to its end."""
    what, url = sys.argv[1:]
    scan = (
        f"await client.discover(timeout=90, **{json.loads(what)!r})"
        if what.startswith("{")
        else f"await client.watch({what!r})"
    )
    cells = CELLS.format(url=url, scan=scan).strip().split("\n---\n")
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    running = Watched(notebook, timeout=CELL_SECONDS, kernel_name="python3")
    try:
        await running.async_execute()
    except CellExecutionError as error:
        failure = getattr(errors, error.ename, None)
        tell("failed", code=getattr(failure, "code", error.ename), detail=error.evalue)
        return
    [said] = running.nb.cells[-1].outputs
    tell("end", **json.loads(said["text"]), shown=running.texts)


anyio.run(main)
