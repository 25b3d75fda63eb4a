"""The picture of a run: what an update to one reader costs, and what a reader holds, server by server."""

from pathlib import Path

from instrument.figures import Figure
from instrument.servers import BATCHING_FLOOR, FLOOR, SCANSTREAM

PANELS = (
    ("fanout", "1,000 readers", "CPU a delivery, µs\n1,000 readers, one update a tick"),
    ("batches", "16 a tick, 1,000 readers", "CPU of an update to one reader, µs\n1,000 readers, sixteen a tick"),
    ("connecting", "idle reader", "Memory of an idle reader, KiB"),
)
LEAST = 0.1
OURS, BOUND, PEER = "#0b7285", "#adb5bd", "#ced4da"


def draw(figures: list[Figure], file: Path) -> bool:
    """As SVG, the same bytes for the same figures; False where there is nothing to draw, or nothing to draw with."""
    panels = [(title, drawn(figures, workload, case)) for workload, case, title in PANELS]
    panels = [(title, shown) for title, shown in panels if shown]
    try:
        import matplotlib as mpl  # noqa: PLC0415
        from matplotlib.figure import Figure as Canvas  # noqa: PLC0415
    except ImportError:
        return False
    if not panels:
        return False
    mpl.rcParams.update({"svg.hashsalt": "scanstream", "font.size": 9, "axes.spines.top": False})
    canvas = Canvas(figsize=(4.4 * len(panels), 3.4), layout="constrained")
    for axes, (title, shown) in zip(canvas.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        bars(axes, title, shown)
    canvas.savefig(file, format="svg", metadata={"Date": None})
    return True


def drawn(figures: list[Figure], workload: str, case: str) -> list[Figure]:
    """The servers of one panel, the least last, without one that holds nothing itself: its memory is the kernel's."""
    shown = [one for one in figures if (one.workload, one.case) == (workload, case) and one.median > LEAST]
    return sorted(shown, key=lambda one: -one.median)


def bars(axes, title: str, shown: list[Figure]) -> None:  # type: ignore[no-untyped-def]  # it may not be installed
    """One panel: the least at the bottom, on a logarithmic scale where they are far apart."""
    medians = [one.median for one in shown]
    axes.barh([one.server for one in shown], medians, color=[colour(one.server) for one in shown])
    for row, one in enumerate(shown):
        axes.text(medians[row], row, f" {one.median:.3g}", va="center")
    if max(medians) > 20 * min(medians):
        axes.set_xscale("log")
    axes.set_xlim(right=max(medians) * (3 if axes.get_xscale() == "log" else 1.2))
    axes.spines.right.set_visible(False)
    axes.set_title(title, fontsize=9, loc="left")


def colour(server: str) -> str:
    """Ours stands out."""
    return {SCANSTREAM: OURS, FLOOR: BOUND, BATCHING_FLOOR: BOUND}.get(server, PEER)
