"""The contract for people at `/docs`: whole, confined, for those who see, hear and type otherwise; its examples run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from anyio import to_thread
from playwright.async_api import Browser, Page

from browser.test_page import axe
from browser.test_reach import VIOLATIONS
from conftest import ROOT, Serve
from scanstream.push.contract.documents import asyncapi, openapi
from support.guards import key_in
from support.wire import request

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

SECONDS = 60
BEGUN = "html[data-begun]"
SCHEMA = Path("@asyncapi") / "specs" / "schemas" / "3.0.0.json"
MEASURED = "() => [document.documentElement.scrollWidth, innerWidth]"


async def opened(page: Page, url: str) -> list[str]:
    """The page, whole; gives what it complains about from then on, and the addresses that it has asked."""
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda one: None if one.url.startswith((url, "data:")) else told.append(one.url))
    await page.goto(f"{url}/docs")
    await page.wait_for_selector(BEGUN)
    return told


@pytest.mark.parametrize("prefix", ["", "/tools/scan"])
@pytest.mark.parametrize("narrow", [False, True])
async def test_it_has_all_that_the_documents_have(serve: Serve, chromium: Browser, prefix: str, narrow: bool) -> None:
    """Also below a path, on a phone in the dark; nothing of it comes from elsewhere, or is hidden from anybody."""
    size = {"width": 390, "height": 844} if narrow else {"width": 1280, "height": 900}
    context = await chromium.new_context(viewport=size, color_scheme="dark" if narrow else "light")  # type: ignore[arg-type]
    page = await context.new_page()
    async with serve(workers=0, root_path=prefix) as url:
        told = await opened(page, url + prefix)
        text = await page.inner_text("main")
        for path, methods in openapi()["paths"].items():
            assert path in text
            assert all(
                one["summary"].replace("`", "") in text for key, one in methods.items() if key in ("get", "post")
            )
        for name in asyncapi()["components"]["messages"]:
            assert await page.locator(f"#schema-{name}").count() == 1
        assert not await page.evaluate(
            "() => [...document.querySelectorAll('a[href^=\"#\"]')].map((a) => a.hash.slice(1))"
            ".filter((id) => !document.getElementById(id))"
        )
        width, room = await page.evaluate(MEASURED)
        assert width <= room
        await page.evaluate(axe())
        assert await page.evaluate(VIOLATIONS) == []
        await page.keyboard.press("Tab")
        assert await page.evaluate("() => document.activeElement.textContent") == "To the text"
        assert told == []
    await context.close()


@pytest.mark.parametrize("asks", [False, True], ids=["open", "asks"])
async def test_its_examples_run_as_they_stand(
    serve: Serve, chromium: Browser, asks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the server asks who is there each of them shows a key, which is in the environment, or is asked for."""
    keys, more = tmp_path / "keys.toml", dict[str, Any]()
    key = key_in(keys, "ann")
    if asks:
        more = {"auth": "required", "keys": str(keys)}
        monkeypatch.setenv("SCANSTREAM_TOKEN", key)
    context = await chromium.new_context()
    page = await context.new_page()
    page.on("dialog", lambda dialog: dialog.accept(key))
    async with serve(workers=1, **more) as url:
        await opened(page, url)
        blocks: dict[str, str] = await page.evaluate(
            "() => Object.fromEntries([...document.querySelectorAll('[data-example]')]"
            ".map((one) => [one.dataset.example, one.querySelector('pre').textContent]))"
        )
        assert blocks.keys() == {"curl", "JavaScript", "Python"}
        assert all(("SCANSTREAM_TOKEN" in block or "prompt(" in block) is asks for block in blocks.values())
        assert blocks["curl"].count("Authorization: Bearer $SCANSTREAM_TOKEN") == (4 if asks else 0)
        lines: list[str] = []
        page.on("console", lambda message: lines.append(message.text))
        await page.evaluate(f"async () => {{ {_dynamic(blocks['JavaScript'])} }}")
        assert lines[-1] == "complete"
        said = await to_thread.run_sync(ran, ["sh", "-ec", blocks["curl"]])
        assert '"status":"initiated"' in said or '"reused"' in said
        assert '"opportunities":[' in said
        assert "event: end" in said
        assert (await to_thread.run_sync(ran, [sys.executable, "-c", blocks["Python"]])).endswith("complete\n")
    await context.close()


def _dynamic(text: str) -> str:
    """A module as the body of a function: a page cannot run a text as a module under its own policy."""
    first, rest = text.split("\n", 1)
    names, address = first.removeprefix("import ").removesuffix(";").split(" from ")
    return f"const {names} = await import({address});\n{rest}"


def ran(command: list[str]) -> str:
    """What it prints."""
    assert shutil.which(command[0])
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_it_is_confined_and_plain(serve: Serve) -> None:
    """The same headers as the page; small modules, nothing inline, no address but its own, none of them absolute."""
    async with serve(workers=0) as url:
        page, reference = [await request(url, "GET", path) for path in ("/", "/docs")]
        kept = ("content-security-policy", "x-content-type-options", "referrer-policy", "cross-origin-opener-policy")
        assert reference.status == 200
        assert [page.headers[name] for name in kept] == [reference.headers[name] for name in kept]
        held = {"if-none-match": reference.headers["etag"]}
        assert (await request(url, "GET", "/docs", headers=held)).status == 304


def test_what_it_reads_is_as_the_official_schema_of_asyncapi_has_it() -> None:
    """CI installs it from npm beside the repository: @asyncapi/specs."""
    file = Path(os.environ.get("SCANSTREAM_NODE_MODULES", "node_modules")) / SCHEMA
    if not file.is_file():
        pytest.skip("the schema of AsyncAPI is not here: npm install @asyncapi/specs, see SCANSTREAM_NODE_MODULES")
    official = jsonschema_rs.validator_for(json.loads(file.read_text()))
    document: dict[str, Any] = asyncapi()
    assert [error.message for error in official.iter_errors(document)] == []
    assert not official.is_valid({**document, "channels": {"x": {"adress": "/"}}})


def test_its_promises_are_those_of_the_protocol() -> None:
    told = (ROOT / "static" / "docs.html").read_text().split('id="promises"')[1].split("</section>")[0]
    section = (ROOT / "docs" / "protocol.md").read_text().split("## 1. The promise")[1].split("## 2.")[0]
    assert [part.split("</b>")[0] for part in told.split("<b>")[1:]] == section.split("**")[1::2]
