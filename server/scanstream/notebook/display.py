"""A scan among a cell's outputs: a still line, and the live widget, which becomes html at the end.

They are two, as they have two fates (measured in JupyterLab): the widget lives on through a reload of the page, but not
without its kernel, and html beside it in the same output is ignored then. The still line needs no kernel.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import Any
from uuid import uuid4

import anyio

from scanstream.client import Scan
from scanstream.errors import ScanstreamError
from scanstream.model import Document
from scanstream.notebook.shown import now, plain
from scanstream.notebook.standing import stand
from scanstream.notebook.texts import Bundle, closing, still

PACE_SECONDS = 0.5
"""Nothing shown changes more often."""
BEATS = 10
"""So often a widget is told something, news or not, in units of `PACE_SECONDS`: what hears nothing for long has no
kernel that could tell it anything."""
MISSING = "for the live widget: pip install 'scanstream[notebook]'"
IN_A_TERMINAL = "it is followed while something is awaited: await scan.wait()"


def show(scan: Scan) -> None:
    """Show it here and now, and go on showing it until it ends. Nothing waits for that: it returns at once.

    In IPython without a kernel (a terminal) it is one line of text.
    """
    if not _has_kernel():
        _publish(still(plain(scan), now(), hint="" if scan.over else IN_A_TERMINAL))
        return
    display = _Display(scan)
    display.begin()
    if not scan.over:
        stand(display.follow())


def _has_kernel() -> bool:
    from IPython import get_ipython  # noqa: PLC0415 - whoever calls this has it; the rest of the room needs it not

    return hasattr(get_ipython(), "kernel")


def _publish(bundle: Bundle | Document, display_id: str | None = None, *, update: bool = False) -> None:
    from IPython.display import publish_display_data  # noqa: PLC0415

    publish_display_data(bundle, transient={"display_id": display_id} if display_id else None, update=update)


def _after_next_cell(call: Callable[[], None]) -> None:
    from IPython import get_ipython  # noqa: PLC0415 - see above

    events = get_ipython().events

    def once(*_: object) -> None:
        events.unregister("post_run_cell", once)
        call()

    events.register("post_run_cell", once)


class _Display:
    """One scan, shown at one place."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._still, self._live = uuid4().hex, uuid4().hex
        self._shown = plain(scan)
        self._trouble = ""
        self._cancelling = False
        self._widget: Any = None
        self._hint = ""
        self._beats = 0

    def begin(self) -> None:
        """Both outputs, or what is there of them."""
        if not self._scan.over:
            self._widget = _widget(self._shown)
            self._hint = "" if self._widget else MISSING
        _publish(still(self._shown, now(), hint=self._hint), self._still)
        if self._widget is not None:
            _publish({**self._widget.bundle(), "text/plain": f"{self._scan.id}, live"}, self._live)
        elif self._scan.over:
            _publish(closing(self._shown), self._live)

    async def follow(self) -> None:
        """Keep both up to date, to the end."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._tick)
            if self._widget is not None:
                asked = _Asked()
                self._widget.when_asked(asked)
                group.start_soon(self._cancel, asked)
            with suppress(ScanstreamError):  # told as `left`
                await self._scan.wait()
            self._end()  # before anything is waited for: a cell that awaits the same goes on in this turn of the loop
            group.cancel_scope.cancel()

    async def _tick(self) -> None:
        while True:
            await anyio.sleep(PACE_SECONDS)
            shown = plain(self._scan, trouble=self._trouble, cancelling=self._cancelling)
            self._beats += 1
            if shown != self._shown:
                self._shown = shown
                _publish(still(shown, now(), hint=self._hint), self._still, update=True)
            elif self._beats % BEATS:
                continue
            if self._widget is not None:
                self._widget.tell(shown, self._beats)

    async def _cancel(self, asked: "_Asked") -> None:
        """What the button does, as often as it is pressed."""
        while True:
            await asked.wait()
            self._cancelling, self._trouble = True, ""
            try:
                await self._scan.cancel()
            except ScanstreamError as error:
                self._cancelling, self._trouble = False, f"It was not cancelled: {error}"

    def _end(self) -> None:
        """As it was last, in all that there is. Programs that run a notebook hear nothing between two cells, so all is
        said again with the next cell. The widget is told, too: a page that was loaded again has lost the way in which
        outputs are replaced.
        """
        if self._widget is not None:
            self._widget.tell(plain(self._scan, trouble=self._trouble), self._beats + 1)
        self._close()
        _after_next_cell(self._close)

    def _close(self) -> None:
        shown = plain(self._scan, trouble=self._trouble)
        _publish(still(shown, now()), self._still, update=True)
        if self._widget is not None:
            _publish(closing(shown), self._live, update=True)


class _Asked:
    """Set from whichever thread: a kernel has one of its own for what widgets say while a cell runs."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def __call__(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        """Wait for the next time."""
        await self._event.wait()
        self._event.clear()


def _widget(shown: Document) -> Any:
    """The live widget, if what it stands on is here."""
    if find_spec("anywidget") is None:
        return None
    from scanstream.notebook.widget import ScanWidget  # noqa: PLC0415 - the extra `notebook`

    return ScanWidget(shown)
