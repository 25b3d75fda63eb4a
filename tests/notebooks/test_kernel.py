"""Notebooks run by a real kernel against a real server: the example, and what a cell shows of a scan."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import ROOT
from notebooks.jupyter import needs_jupyter, notebook
from support.process import server_process

pytestmark = [pytest.mark.notebook, needs_jupyter]

EXAMPLE = ROOT / "docs" / "example.ipynb"
CELL_SECONDS = 90
WIDGET = "application/vnd.jupyter.widget-view+json"
CONNECT = "import os\nfrom scanstream.notebook import connect\nclient = await connect(os.environ['SCANSTREAM_URL'])"
QUICK = "scan = await client.discover(strategy_ids=['tsmom'], force_refresh=True)"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server for all tests here."""
    with server_process(":memory:", "--workers", "1") as process:
        yield process.url


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs a notebook, which may be cells only; its cells' outputs."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("SCANSTREAM_URL", url)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))

    def cells(*given: str | dict[str, Any]) -> list[list[Any]]:
        document = given[0] if isinstance(given[0], dict) else notebook(*map(str, given))
        ran = NotebookClient(
            nbformat.reads(json.dumps(document), as_version=4), timeout=CELL_SECONDS, kernel_name="python3"
        ).execute()
        return [cell["outputs"] for cell in ran["cells"] if cell["cell_type"] == "code"]

    return cells


def data(output: Any) -> dict[str, Any]:
    """What an output shows, by kind."""
    found: dict[str, Any] = output["data"]
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_example_runs(run: Any) -> None:
    outputs = run(json.loads(EXAMPLE.read_text()))
    texts = [[data(output)["text/plain"] for output in cell if "data" in output] for cell in outputs]

    assert not [output for cell in outputs for output in cell if output["output_type"] in ("error", "stream")]
    line, closing = texts[1]
    assert "complete · 100 %" in line
    assert 'client.watch("scan_' in line
    assert WIDGET not in data(outputs[1][1]), "at the end the widget is html"
    assert closing.startswith("complete · 100 %")
    assert "Complete" in texts[2][0]
    assert "confidence_score" in texts[4][0]


def test_the_example_is_kept_without_outputs() -> None:
    document = json.loads(EXAMPLE.read_text())
    cells = [cell for cell in document["cells"] if cell["cell_type"] == "code"]

    assert cells
    assert [cell for cell in cells if cell["outputs"] or cell["execution_count"] is not None] == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_client_of_any_kind_shows_its_scans_and_cells_go_on(run: Any) -> None:
    opened = "import os\nfrom scanstream.client import AsyncClient\nclient = AsyncClient(os.environ['SCANSTREAM_URL'])"
    outputs = run(
        f"{opened}\nawait client.__aenter__()\nNone",
        f"{QUICK}\nscan",
        "1 + 1",
        "state = await scan.wait(60)\nstate['status']",
        "await client.aclose()\n(await client.market()) if False else client.connection.state",
    )

    assert "complete · 100 %" in data(outputs[1][0])["text/plain"]
    assert "<table>" in data(outputs[1][1])["text/html"]
    assert [data(cell[-1])["text/plain"] for cell in outputs[2:]] == ["2", "'complete'", "'closed'"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_client_that_is_closed_leaves_the_still_line_with_the_call(run: Any) -> None:
    outputs = run(CONNECT, f"{QUICK}\nscan", "await client.aclose()", "scan")

    for cell in (outputs[1], outputs[3]):
        assert "client.watch(" in data(cell[0])["text/plain"]
        assert WIDGET not in data(cell[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_without_the_extra_there_is_a_line_that_says_what_to_install(run: Any) -> None:
    hidden = "import importlib.util as u\nfind = u.find_spec\nimport scanstream.notebook.display as d\n"
    hidden += "d.find_spec = lambda name: None if name == 'anywidget' else find(name)"
    outputs = run(CONNECT, hidden, f"{QUICK}\nscan", "await scan.wait(60)\nNone")

    assert "complete · 100 %" in data(outputs[2][0])["text/plain"]
    assert not [output for output in outputs[2] if WIDGET in output.get("data", {})]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_client_that_would_block_the_loop_says_what_to_do(run: Any) -> None:
    blocked = "from scanstream.client import Client, BlockedLoop\ntry:\n    Client().__enter__()\n"
    outputs = run(f"{blocked}except BlockedLoop as error:\n    print(error)")

    assert "AsyncClient" in outputs[0][0]["text"]


def test_in_a_terminal_a_scan_is_one_line_of_text(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    InteractiveShell._instance = shell
    try:
        code = f"from scanstream.client import AsyncClient\nasync with AsyncClient({url!r}) as client:\n    {QUICK}\n"
        shell.run_cell(f"{code}    await scan.wait(60)\nscan")
    finally:
        InteractiveShell.clear_instance()
        InteractiveShell._instance = None

    out = capsys.readouterr().out
    assert "complete · 100 %" in out
    assert "client.watch(" in out
    assert "<table>" not in out


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_published_while_it_runs_stands_alone(run: Any, url: str) -> None:
    """For a frontend that is not Jupyter's, as VS Code: text beside the widget, and a module that loads nothing."""
    long = "scan = await client.discover(strategy_ids=['pairs'], parameters={'pairs': {'walk_forward': 2000}})"
    told = (
        "from ipywidgets import Widget\nimport json\nprint(json.dumps(Widget.get_manager_state(drop_defaults=False)))"
    )
    outputs = run(CONNECT, f"{long}\nscan", told)
    httpx.post(f"{url}/opportunities/cancel/latest").raise_for_status()

    line, widget = map(data, outputs[1])
    assert set(line) == {"text/html", "text/plain"}
    assert set(widget) == {WIDGET, "text/plain"}
    models = json.loads(outputs[2][0]["text"])["state"]
    model = models[widget[WIDGET]["model_id"]]
    assert (model["model_module"], model["model_name"]) == ("anywidget", "AnyModel")
    assert set(model["state"]["news"]["shown"]) >= {"scan_id", "status", "percentage", "best"}
    for text in (model["state"]["_esm"], model["state"]["_css"]):
        assert not re.search(r"\bimport\b *[('\"{*]|\bfetch\(|https?:|url\(", text)
