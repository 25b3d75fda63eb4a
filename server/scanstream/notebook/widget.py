"""The live widget, as the kernel has it: one trait, and a button that asks. The view is widget.js and widget.css."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from scanstream.model import Document

HERE = Path(__file__).parent
CANCEL = {"type": "cancel"}
"""What the view sends when its button is pressed."""


class ScanWidget(anywidget.AnyWidget):
    """A scan, live. All that is shown is state, in a trait: a view that opens late, or again, has it at once.

    :param shown: as of `shown.plain`
    """

    _esm = HERE / "widget.js"
    _css = HERE / "widget.css"
    news = traitlets.Dict().tag(sync=True)
    """`shown`, and `beat`, which grows with each telling."""

    def __init__(self, shown: Document) -> None:
        super().__init__(news={"shown": shown, "beat": 0})

    def tell(self, shown: Document, beat: int) -> None:
        """Show this."""
        self.news = {"shown": shown, "beat": beat}

    def when_asked(self, ask: Callable[[], None]) -> None:
        """Call this when somebody asks for the scan's end, in whichever thread that is heard."""

        def heard(_: Any, content: Any, buffers: Any) -> None:
            if content == CANCEL:
                ask()

        self.on_msg(heard)

    def bundle(self) -> Document:
        """What a display publishes for it."""
        data = self._repr_mimebundle_()
        return dict(data[0] if isinstance(data, tuple) else data)
