"""A scan in a notebook: a live widget, a line that outlives the kernel, and a client for as long as that lives.

    from scanstream.notebook import connect

    client = await connect("http://127.0.0.1:8000")
    scan = await client.discover(strategy_ids=["tsmom"])
    scan

The last line shows the scan, wherever the client came from: `scanstream.client` finds `show` by its entry point. The
widget needs the extra `notebook`; without it, and where nothing rich is shown, there is text.
"""

from scanstream.notebook.display import show
from scanstream.notebook.standing import connect

__all__ = ["connect", "show"]
