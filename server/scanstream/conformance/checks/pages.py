"""Section 3: what web pages of others, and names that were made to point here, may have of a server."""

from typing import Any

from scanstream.conformance.promise import NotTried, check, equal, expect
from scanstream.conformance.run import Run

ORIGIN = "https://foreign.example"
NAME = "foreign.example"
UPGRADE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "c2NhbnN0cmVhbSBhc2tzIQ==",
}


@check(
    "foreign-pages",
    "3",
    "A page of a foreign origin starts, cancels and follows nothing, and may read nothing",
)
async def foreign_pages(run: Run) -> None:
    """What its browser sends for it."""
    scan_id = (await run.scans.start("long")).scan_id
    follow: dict[str, Any] = {"follow": [{"scan_id": scan_id}], "wait": 0}
    asked: list[tuple[str, str, Any, dict[str, str]]] = [
        ("POST", "/opportunities/discover", run.scans.request(), {}),
        ("POST", f"/opportunities/cancel/{scan_id}", None, {}),
        ("POST", "/opportunities/follow", follow, {"accept": "application/json"}),
        ("POST", "/opportunities/follow", follow, {"accept": "text/event-stream"}),
        ("GET", f"/opportunities/events/{scan_id}", None, {}),
        ("GET", "/ws", None, UPGRADE),
    ]
    for method, path, body, headers in asked:
        answer = (await run.server.ask(method, path, body, {**headers, "origin": ORIGIN})).being(403)
        _closed(answer.headers.get("access-control-allow-origin"))
    preflight = {"origin": ORIGIN, "access-control-request-method": "POST"}
    answer = await run.server.ask("OPTIONS", "/opportunities/discover", headers=preflight)
    _closed(answer.headers.get("access-control-allow-origin"))
    read = (await run.server.get(f"/opportunities/status/{scan_id}", origin=ORIGIN)).headers
    _closed(read.get("access-control-allow-origin"))
    expect("origin" in read.get("vary", "").lower(), "Vary: Origin", read.get("vary"))
    equal((await run.scans.until_terminal(scan_id))["status"], "complete", "how the scan ends")


def _closed(allowed: str | None) -> None:
    expect(allowed not in ("*", ORIGIN), "no Access-Control-Allow-Origin for a foreign page", allowed)


@check("foreign-hosts", "3", "Without authentication a Host of another name is 403, and what is no host 400")
async def foreign_hosts(run: Run) -> None:
    """A page whose name was made to point here (DNS rebinding)."""
    if (await run.stranger.get("/opportunities/scans")).status != 200:
        raise NotTried("this server asks who is there, so any name will do")
    answer = await run.server.get("/opportunities/scans", host=NAME)
    if "json" not in answer.headers.get("content-type", ""):
        raise NotTried("what stands in front of it answers for other names")
    answer.being(403)
    (await run.server.post("/opportunities/discover", run.scans.request(), host=f"{NAME}:8000")).being(403)
    (await run.server.get("/opportunities/scans", host="no host")).being(400)
    (await run.server.get("/opportunities/scans", host="127.0.0.1")).being(200)
