"""Clients that follow a scan, each through an address of its own: programs, a notebook, and web pages."""

import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import anyio
from anyio.streams.text import TextReceiveStream
from playwright.async_api import Page, async_playwright

HERE = Path(__file__).parent
PROGRAMS = {
    "node": ["node", "--experimental-websocket", "--no-warnings", str(HERE / "follow.mjs")],
    "python": [sys.executable, str(HERE / "follow.py")],
    "notebook": [sys.executable, str(HERE / "follow_notebook.py")],
}
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
PATIENCE_SECONDS = 90.0
LOAD = """async () => { globalThis.library = await import("/static/scanstream.js"); }"""
FOLLOW = """async (what) => {
  %s
  void follow(location.origin, what, (event) => tell(event), globalThis.library);
}"""

Event = dict[str, Any]
Wanted = tuple[str, str]
"""A request as JSON, or the id of a scan; and the address through which it goes."""


class Follower:
    """One client: what it has said so far (follow.mjs says what that is)."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self.url = url
        self.page: Page | None = None
        """In which a browser has it."""
        self.events: list[Event] = []
        self._changed = anyio.Event()

    def say(self, event: Event) -> None:
        """It has said something; when, programs say themselves, as this one may be busy."""
        self.events.append({"at": time.monotonic(), **event})
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, true: Callable[[Event], bool], since: int = 0, patience: float = PATIENCE_SECONDS) -> Event:
        """The first event of which it is true, among those from the `since`-th on."""
        with anyio.move_on_after(patience):
            while True:
                changed = self._changed
                for event in self.events[since:]:
                    if true(event):
                        return event
                await changed.wait()
        raise AssertionError(f"{self.kind} has not said so within {patience} s: {self.events[-12:]}")

    async def until_end(self, patience: float = PATIENCE_SECONDS) -> Event:
        """Its last word, of a scan that it has followed to its end."""
        last = await self.until(lambda event: event["event"] in ("end", "failed"), patience=patience)
        assert last["event"] == "end", last
        return last

    async def until_live(self, since: int = 0, transport: str = "", patience: float = PATIENCE_SECONDS) -> Event:
        """A connection, on this rung."""

        def live(event: Event) -> bool:
            return event.get("state") == "live" and transport in ("", event["transport"])

        return await self.until(lambda event: event["event"] == "connection" and live(event), since, patience)


@asynccontextmanager
async def programs(kind: str, wanted: Sequence[Wanted], token: str = "") -> AsyncIterator[list[Follower]]:
    """A process in which each of them has a client of its own; that of a notebook has one.

    :param token: by which a server knows who they are, if it asks
    """
    followers = [Follower(kind, url) for _, url in wanted]
    arguments = [word for one in wanted for word in one]
    environment = {**os.environ, "SCANSTREAM_TOKEN": token}
    process = await anyio.open_process([*PROGRAMS[kind], *arguments], stdin=DEVNULL, stderr=None, env=environment)

    async def read() -> None:
        assert process.stdout is not None
        rest = ""
        async for text in TextReceiveStream(process.stdout):
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                said = json.loads(line)
                followers[said.pop("number")].say(said)

    async with process, anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        yield followers
        tasks.cancel_scope.cancel()
        if process.returncode is None:
            process.terminate()  # a notebook has a kernel to end


@asynccontextmanager
async def pages(
    wanted: Sequence[Wanted],
    ready: Callable[[], None] = lambda: None,
    *,
    place: str = "/healthz",
    tabs: bool = False,
) -> AsyncIterator[list[Follower]]:
    """A page of Chromium for each of them, in which the library is used as any page would.

    :param ready: called when all are loaded, before anything is followed
    :param place: the document: one that follows nothing of its own
    :param tabs: all belong to one visitor, and share what tabs share
    """
    follow = FOLLOW % (HERE / "follow.js").read_text().replace("export ", "")
    followers = [Follower("browser", url) for _, url in wanted]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        # the document stands for a page of somebody's own: the policy of an answer of ours lets no script in
        visitor = await browser.new_context(bypass_csp=True)
        for follower in followers:
            context = visitor if tabs else await browser.new_context(bypass_csp=True)
            page = follower.page = await context.new_page()
            page.set_default_timeout(1000 * PATIENCE_SECONDS)
            await page.expose_function("tell", follower.say)
            await page.goto(follower.url + place)
            await page.evaluate(LOAD)
        ready()
        for follower, (what, _) in zip(followers, wanted, strict=True):
            assert follower.page is not None
            await follower.page.evaluate(follow, what)
        yield followers
        await browser.close()


@asynccontextmanager
async def clients(kind: str, wanted: Sequence[Wanted], ready: Callable[[], None]) -> AsyncIterator[list[Follower]]:
    """Either of them; `ready` is called just before they begin."""
    if kind == "browser":
        async with pages(wanted, ready) as followers:
            yield followers
        return
    ready()
    async with programs(kind, wanted) as followers:
        yield followers
