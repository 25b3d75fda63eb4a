"""A scan's life in a terminal: what happened when, and what it waits for."""

from collections.abc import Iterator
from typing import Any

import anyio
import click
import msgspec

from scanstream.model import Document
from scanstream.terminal import questions
from scanstream.terminal.commands import EXIT_COMPLETE, answering
from scanstream.terminal.output import legible


@answering
def explain(url: str, scan_id: str, *, as_json: bool) -> int:
    """Print a scan's life."""
    told = anyio.run(questions.explanation, url, scan_id)
    if as_json:
        click.echo(msgspec.json.encode(told))
    else:
        for line in lines(told):
            click.echo(legible(line))
    return EXIT_COMPLETE


def lines(told: Document) -> Iterator[str]:
    """What is told, a line each."""
    yield f"{told['scan_id']}: {told['status']}, phase {told['phase']}"
    for wait in told["waits_for"]:
        yield f"  waits for {wait['what']}: {wait['why']}"
    yield ""
    for moment in told["timeline"]:
        yield _moment(moment)
    if told["left_out"]:
        yield f"  ({told['left_out']} entries on single shards are not listed; below they are summed up)"
    for name, life in told["strategies"].items():
        yield ""
        yield from _strategy(name, life)


def _moment(moment: dict[str, Any]) -> str:
    whose = f" {moment['strategy_id']}/{moment['shard']}" if "shard" in moment else ""
    took = ""
    if "took_ms" in moment:
        took = f"  {'took' if 'shard' in moment else 'after'} {_seconds(moment['took_ms'])}"
    return f"{moment['at']}  {moment['what']}{whose}{took}{_more(moment)}"


def _more(one: dict[str, Any]) -> str:
    detail = f"  {one['detail']}" if "detail" in one else ""
    return detail + (f"  on {one['by']}" if "by" in one else "")


def _strategy(name: str, life: dict[str, Any]) -> Iterator[str]:
    counts = [f"{life.get(what, 0)} {words}" for what, words in (("done", "done"), ("failed", "failed"))]
    counts += [
        f"{life[what]} {words}"
        for what, words in (("missing", "missing"), ("running_here", "at work"))
        if life.get(what)
    ]
    took = f", took {_seconds(life['took_ms'])}" if "took_ms" in life else ""
    found = life.get("opportunities_found", 0)
    yield f"{name}: {life['status']}, {life.get('total_shards', 0)} shards ({', '.join(counts)}){took}, {found} found"
    for shard in life.get("failures", ()):
        yield f"  shard {shard['shard']}: {shard['outcome']}{_more(shard)}"
    for shard in life.get("slowest", ()):
        yield f"  shard {shard['shard']} took {_seconds(shard['took_ms'])}{_more(shard)}"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"
