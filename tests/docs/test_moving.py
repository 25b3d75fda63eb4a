"""What the pages for those who move in show runs: applications are served, and scans go through them."""

import re
from pathlib import Path
from typing import Any

import anyio
import pytest

from conftest import ROOT
from docs.pages import DOCS, Block, agree, blocks, claimed, code, table
from scanstream.push.transport.websocket import WebSocketTransport
from support.hosting import hosted
from support.readers import SocketReader
from support.wire import ONE_QUICK_SCAN, discover, until_terminal

pytestmark = pytest.mark.anyio

EMBEDDING = [block for block in blocks(DOCS / "embedding.md") if block.runs]
SERVED = {"runs as a host": {}, "runs as a host with our class": {"ws": WebSocketTransport}}
BELOW = "/scans"


def run(block: Block) -> dict[str, Any]:
    """The names that a block makes."""
    if "fastapi" in block.text:
        pytest.importorskip("fastapi", reason="FastAPI is not installed")
    names: dict[str, Any] = {"__name__": "yours"}
    exec(compile("\n" * (block.line - 1) + block.text, str(block), "exec"), names)  # noqa: S102  # our own page
    return names


@pytest.mark.parametrize("block", [block for block in EMBEDDING if block.runs in SERVED], ids=str)
async def test_an_application_of_the_page_has_scans(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = run(block)["app"]
    async with hosted(app, **SERVED[block.runs or ""]) as root:
        with anyio.fail_after(60):
            ack = (await discover(root + BELOW, ONE_QUICK_SCAN)).json()
            assert ack["poll_url"] == f"{BELOW}/opportunities/status/{ack['scan_id']}"
            async with SocketReader.open(root + BELOW, ack["scan_id"]) as reader:
                await reader.until_end()
            assert (await until_terminal(root + BELOW, ack["scan_id"]))["status"] == "complete"


@pytest.mark.filterwarnings("ignore:Using `httpx` with")
@pytest.mark.parametrize("block", [block for block in EMBEDDING if block.runs == "runs as a test of a host"], ids=str)
async def test_the_test_of_the_page_passes(block: Block) -> None:
    test = run(block)["test_a_scan_is_complete"]
    with anyio.fail_after(60):
        await anyio.to_thread.run_sync(test)


def test_the_page_has_what_is_run_here() -> None:
    assert {block.runs for block in EMBEDDING} == {*SERVED, "runs as a test of a host"}


def element(pattern: str) -> set[str]:
    """What the sources of the element name so."""
    sources = [ROOT / "static" / "scan-progress.js", *sorted((ROOT / "static" / "progress").glob("*.js"))]
    return {name for path in sources for name in re.findall(pattern, path.read_text())}


def test_the_page_on_the_element_has_its_attributes_events_parts_and_properties() -> None:
    rows = table("scan-progress.md", "Attribute", "Property")
    [observed] = element(r"observedAttributes = \[(.*)\]")
    agree(set(re.findall(r'"([^"]+)"', observed)), *claimed(rows, "Attribute"))
    properties = element(r"\n  get (\w+)\(\)")
    agree(properties, *claimed(rows, "Property"))
    agree(element(r'"(scan-(?:update|end|error))"'), *claimed(table("scan-progress.md", "Event", "`detail`"), "Event"))
    spoken = {"spoken"}  # what a screen reader is told has no looks
    agree(element(r'node\("\w+", "(\w+)"\)') - spoken, *claimed(table("scan-progress.md", "Part", "Is"), "Part"))
    styled = table("scan-progress.md", "Custom property", "Default")
    agree(element(r"var\((--[\w-]+)"), {name for row in styled for name in code(row["Custom property"])}, set())
