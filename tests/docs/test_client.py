"""The recipes of docs/client.md are true: every block of the page runs here, against a real server."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest

from docs.pages import DOCS, by_heading, code, table
from scanstream.client import AsyncClient
from scanstream.client.columns import COLUMNS
from scanstream.client.results import Results
from support.process import server_process
from support.wire import status, until_terminal

pytestmark = [pytest.mark.anyio, pytest.mark.clients]

PAGE = DOCS / "client.md"
ADDRESS = "127.0.0.1:8000"
SECONDS = 60

PROGRAMS = {
    "Follow a scan": r"(\d+ %, \d+ new\n)+complete [1-9]\d*\n",
    "A script": r"(\w+/\w+ (long|short|neutral) \d+\.?\d*\n){3}",
    "Ctrl-C": r"scan_\w+\ncomplete\n",
    "Only poll": r"complete [1-9]\d*\n(scan_\w+ (complete|scanning) \d+ %\n){1,3}",
    "A DataFrame": r"(?s).*count.*max.*\ntsmom +[1-9].*shape: \(2, 22\).*",
    "Many scans": r"(\w+/\w+ \d+\n){8}",
    "Come back later": r"[1-9]\d* held before, \d+ came since\nTrue\n",
    "Timeouts, and what may go wrong": r"symbols - .+\nstill scanning\ncancelled\nnobody there; .+\n",
    "A worker": r"\d+ \d+\n\d+ \d+\n",
}
"""Heading → what the program below it prints."""
PARTS = {"FastAPI": "runs as fastapi", "Django": "runs as django", "A bot": "runs as a bot"}
"""Heading → the mark of the block below it, which is part of a program."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server."""
    with server_process(":memory:", "--workers", "1") as server:
        yield server.url


ALL = by_heading(PAGE)


def test_every_block_of_the_page_is_run_here() -> None:
    assert {name: block.runs for name, block in ALL.items()} == {**dict.fromkeys(PROGRAMS), **PARTS}
    assert {block.language for block in ALL.values()} == {"python"}


def program(name: str, url: str, directory: Path) -> list[str]:
    """The command of a recipe, as a file of its own."""
    path = directory / "recipe.py"
    path.write_text(ALL[name].text.replace(ADDRESS, url.removeprefix("http://")))
    return [sys.executable, "-W", "error", str(path)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_prints_what_it_promises(name: str, url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        program(name, url, tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(PROGRAMS[name], done.stdout), done.stdout
    if name == "A DataFrame":
        assert (tmp_path / "found.csv").read_text().startswith("id,strategy_id,")


def heed_interrupts() -> None:
    """As in a terminal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_ends_the_script_and_not_the_scan(url: str, tmp_path: Path) -> None:
    running = subprocess.Popen(
        program("Ctrl-C", url, tmp_path),
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,  # noqa: PLW1509  # what a shell runs in the background ignores them
    )
    assert running.stdout is not None
    scan_id = running.stdout.readline().strip()
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=SECONDS)

    assert (said, running.returncode) == ("It goes on; scan.cancel() here would end it.\n", 0)
    assert anyio.run(until_terminal, url, scan_id)["status"] == "complete"


def part(name: str, url: str) -> SimpleNamespace:
    """A block as a module."""
    names: dict[str, Any] = {"__name__": "recipe"}
    text = ALL[name].text.replace(ADDRESS, url.removeprefix("http://"))
    exec(compile(text, str(ALL[name]), "exec"), names)  # noqa: S102  # our own page
    return SimpleNamespace(**names)


async def test_fastapi_starts_and_streams(url: str) -> None:
    pytest.importorskip("fastapi", reason="FastAPI is not installed")
    app = part("FastAPI", url).app
    asgi = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=asgi, base_url="http://web") as web:
        started = await web.post("/scans", params={"strategy": "tsmom"})
        told = await web.get(f"/scans/{started.json()['scan_id']}/progress")
        refused = await web.post("/scans", params={"strategy": "nope"})
        absent = await web.get("/scans/scan_nope/progress")

    assert started.status_code == 200
    assert told.text.endswith("100 %\n")
    assert (refused.status_code, "nope" in refused.json()["detail"]) == (422, True)
    assert (absent.status_code, absent.json()["detail"][:13]) == (404, "No scan found")


async def test_django_starts_and_answers_with_the_results(url: str) -> None:
    django = pytest.importorskip("django", reason="Django is not installed")
    from django.conf import settings
    from django.test import AsyncRequestFactory

    if not settings.configured:
        settings.configure()
        django.setup()
    views, web = part("Django", url), AsyncRequestFactory()
    started = await views.start(web.get("/start", {"strategy": "tsmom"}))
    scan_id = json(started)["scan_id"]
    found = json(await views.results(web.get("/results"), scan_id))["opportunities"]
    refused = await views.start(web.get("/start", {"strategy": "nope"}))

    assert started.status_code == 202
    assert len(found) == (await status(url, scan_id)).json()["total_opportunities"] > 0
    assert refused.status_code == 422


def json(response: Any) -> dict[str, Any]:
    told: dict[str, Any] = httpx.Response(200, content=response.content).json()
    return told


async def test_a_bot_edits_its_message_until_it_tells_the_best(url: str) -> None:
    said: list[str] = []

    async def edit(text: str) -> None:
        said.append(text)

    async with AsyncClient(url) as client:
        await part("A bot", url).scan_for(client, "tsmom", edit)

    assert all(re.fullmatch(r"\d+ %, \d+ found", text) for text in said[:-1])
    assert said[-2].startswith("100 %")
    assert re.fullmatch(r"(\w+/\w+ (long|short) \d+\n?){3}", said[-1])


def test_the_table_of_columns_is_the_one_of_the_frames() -> None:
    rows = table("client.md", "Column", "pandas", "polars", "Arrow")
    told = {name: row for row in rows for name in code(row["Column"])}
    others = rows[-1]
    assert others["Column"] == "all others"
    pandas, polars = Results().to_pandas().dtypes, Results().to_polars().schema
    for name, _ in COLUMNS:
        row = told.get(name, others)
        assert (code(row["pandas"])[0], code(row["polars"])[0]) == (str(pandas[name]), short(polars[name])), name
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install pyarrow")
    assert arrow
    for field in Results().to_arrow().schema:
        assert code(told.get(field.name, others)["Arrow"])[0] == str(field.type), field.name


def short(kind: Any) -> str:
    """A type of polars as the page has it: without the names of parameters."""
    return str(kind).replace("time_unit=", "").replace("time_zone=", "")
