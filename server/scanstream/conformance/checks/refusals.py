"""Section 3 and 9: what is refused, and what a refusal looks like."""

from typing import Any

import msgspec

from scanstream.conformance.asking import Answer
from scanstream.conformance.promise import NotTried, check, equal, expect
from scanstream.conformance.run import Run

PROBLEM = "application/problem+json"
MOST_BYTES = 32 * 1024
MOST_ERRORS = 20

WRONG: dict[str, tuple[Any, str]] = {
    "an unknown field": ({"symbolz": ["BTC/USDT"]}, "symbolz"),
    "a wrong type": ({"capital_usd": "much"}, "capital_usd"),
    "a list of something else": ({"symbols": [1]}, "symbols"),
    "an unknown strategy": ({"strategy_ids": ["no-such-strategy"]}, "strategy_ids"),
    "an unknown symbol": ({"symbols": ["NO/SUCH-SYMBOL"]}, "symbols"),
    "an unknown parameter": ({"parameters": {"?": {"no_such_parameter": 1}}}, "parameters"),
    "a list that is empty after trimming": ({"symbols": [" "]}, "symbols"),
    "an empty list": ({"strategy_ids": []}, "strategy_ids"),
    "an unknown risk": ({"filter_by_risk_level": "none"}, "filter_by_risk_level"),
    "a negative capital": ({"capital_usd": -1}, "capital_usd"),
    "a timeframe that is none": ({"preferred_timeframes": ["soon"]}, "preferred_timeframes"),
}
"""Requests that are not valid, and the field that must be named."""


def problem(answer: Answer, status: int) -> dict[str, Any]:
    """A problem document, as RFC 9457 and section 3 have it."""
    answer.being(status)
    kind = answer.headers.get("content-type", "")
    expect(kind.partition(";")[0] == PROBLEM, PROBLEM, kind)
    told = answer.object()
    for name in ("type", "title", "detail", "message", "code"):
        expect(isinstance(told.get(name), str), f"{name} in a problem", told)
    equal(told.get("status"), status, "the status in a problem")
    equal(told["message"], told["detail"], "message, which is the detail")
    expect(len(answer.body) <= MOST_BYTES, f"at most {MOST_BYTES} bytes", len(answer.body))
    return told


def _names(errors: Any, field: str) -> None:
    expect(isinstance(errors, list) and 0 < len(errors) <= MOST_ERRORS, "errors, at most 20", errors)
    for one in errors:
        expect(isinstance(one.get("field"), str) and isinstance(one.get("reason"), str), "field and reason", one)
    expect(any(one["field"].startswith(field) for one in errors), f"{field} to be named", errors)


@check(
    "invalid-requests", "3", "A request that is not valid is 422 and names the field; over a WebSocket it is an error"
)
async def invalid_requests(run: Run) -> None:
    """Of each kind, over HTTP and on one socket, which stays open."""
    known = (run.scans.request().get("strategy_ids") or ["?"])[0]
    async with run.server.socket() as socket:
        for what, (wanted, field) in WRONG.items():
            if "?" in wanted.get("parameters", {}):
                wanted = {"strategy_ids": [known], "parameters": {known: {"no_such_parameter": 1}}}  # noqa: PLW2901
            run.trace.noted(f"{what}:")
            told = problem(await run.server.post("/opportunities/discover", wanted), 422)
            equal(told["code"], "invalid_request", f"the code for {what}")
            _names(told.get("errors"), field)
            await socket.send(type="discover", id="w", request=wanted)
            message = await socket.receive()
            said = message["type"], message.get("id"), message.get("code")
            equal(said, ("error", "w", "invalid_request"), f"the answer to {what}")
            _names(message.get("errors"), field)
        await socket.send(type="ping", id="still")
        equal((await socket.receive())["type"], "pong", "an open socket after errors")


@check("many-errors", "3", "At most 20 errors come, in at most 32 KiB, however much is wrong")
async def many_errors(run: Run) -> None:
    """Hundreds of unknown symbols, with long names."""
    wanted = {"symbols": [f"NO{number}/{'X' * 40}" for number in range(500)]}
    told = problem(await run.server.post("/opportunities/discover", wanted), 422)
    _names(told.get("errors"), "symbols")
    async with run.server.socket() as socket:
        await socket.send(type="discover", id="w", request=wanted)
        message = await socket.receive()
    _names(message.get("errors"), "symbols")
    size = len(msgspec.json.encode(message))
    expect(size <= MOST_BYTES, f"at most {MOST_BYTES} bytes in a frame that refuses", size)


@check("refusals", "3", "Every error is a problem document, those of the parser, too")
async def refusals(run: Run) -> None:
    """What is no JSON, a path where nothing is, a method that is not for it."""
    equal(problem(await run.server.post("/opportunities/discover", b"{"), 400)["code"], "invalid_json", "the code")
    equal(
        problem(await run.server.post("/opportunities/discover", b'{"symbols": ["\xff"]}'), 400)["code"],
        "invalid_json",
        "the code",
    )
    (await run.server.post("/opportunities/discover", b"[]")).being(400, 422)
    equal(problem(await run.server.get("/opportunities/no-such-path"), 404)["code"], "no_such_route", "the code")
    answer = await run.server.get("/opportunities/discover")
    problem(answer, 405)
    expect("POST" in answer.headers.get("allow", ""), "Allow: POST", dict(answer.headers))


@check("large-heads", "9", "A head over 32 KiB, or with more than 100 fields, is 431")
async def large_heads(run: Run) -> None:
    """Refused before it was taken, or while it comes."""
    _refused(await run.server.get("/healthz", x_long="x" * 40_000))
    many = {f"x-{number}": "1" for number in range(120)}
    _refused(await run.server.ask("GET", "/healthz", headers=many))
    (await run.server.get("/healthz", x_short="x" * 10_000)).being(200)


def _refused(answer: Answer) -> None:
    """:raises NotTried: if it never came to the server"""
    if 400 <= answer.status < 500 and "json" not in answer.headers.get("content-type", ""):
        raise NotTried(f"what stands in front of the server refuses that by itself ({answer.status})")
    answer.being(431)


@check("follow-refusals", "5", "follow refuses the same scan twice, an empty list, more than 256, a bad only or wait")
async def follow_refusals(run: Run) -> None:
    """As JSON and as events."""
    one = {"scan_id": (await run.scans.start()).scan_id}
    wrong: dict[str, Any] = {
        "the same scan twice": {"follow": [one, one]},
        "an empty list": {"follow": []},
        "more than 256": {"follow": [{"scan_id": f"scan_{number}"} for number in range(257)]},
        "a bad only": {"follow": [{**one, "only": "everything"}]},
        "a bad wait": {"follow": [one], "wait": 61},
        "no list": {},
    }
    for what, body in wrong.items():
        for accept in ("application/json", "text/event-stream"):
            run.trace.noted(f"{what}, {accept}:")
            problem(await run.server.post("/opportunities/follow", body, accept=accept), 422)
