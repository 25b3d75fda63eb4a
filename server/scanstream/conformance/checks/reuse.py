"""Section 3: identical requests, keys, and requests for one's own scan."""

from typing import Any

from scanstream.conformance.asking import JSON
from scanstream.conformance.promise import NotTried, check, equal, expect
from scanstream.conformance.run import Run
from scanstream.conformance.scans import state_of

ABSENT = ("asset_tiers", "opportunity_type", "min_profit_potential", "max_required_capital", "preferred_timeframes")
"""Fields that may be null."""


@check("reuse", "3", "An identical request joins the scan that runs, or one that is complete and fresh, and says so")
async def reuse(run: Run) -> None:
    """Over HTTP and a WebSocket, written in other words; a cancelled one is never joined."""
    wanted = run.scans.one_of_a_kind("long")
    first = await run.scans.discover(wanted)
    again = await run.scans.discover(_in_other_words(wanted))
    if again.scan_id != first.scan_id:
        state = await run.scans.status(first.scan_id)
        expect(state["status"] != "scanning", "the scan that runs to answer an identical request", again.ack)
        raise NotTried("the long scan was over before it could be joined: name a longer one with --request long=JSON")
    if again.ack.get("reused") == "running":
        equal(again.ack.get("status"), "scanning", "the status of a scan that is joined")
    async with run.server.socket(JSON) as socket:
        await socket.send(type="discover", id="j", request=wanted)
        told = await socket.until("ack", "j")
        equal(told.get("scan_id"), first.scan_id, "the scan that is joined over a WebSocket")
        expect(told.get("reused") in ("running", "fresh"), "reused in the ack", told.get("reused"))
        equal((await socket.receive())["type"], "snapshot", "the frame behind the ack of a scan that is joined")
    other = await run.scans.discover({**wanted, "capital_usd": wanted["capital_usd"] + 1})
    expect(other.scan_id != first.scan_id, "another scan for another request", other.ack)
    await run.scans.cancel(other.scan_id)
    await run.scans.cancel(first.scan_id)
    after = await run.scans.discover(wanted)
    state = await run.scans.status(first.scan_id)
    if state["status"] != "complete":
        expect(after.scan_id != first.scan_id, "a new scan where the other is being cancelled", after.ack)


def _in_other_words(wanted: dict[str, Any]) -> dict[str, Any]:
    """The same request: commas for a list, repetitions, blanks, null for what is absent."""
    lists = {name: ", ".join([*value, value[0]]) for name, value in wanted.items() if isinstance(value, list) and value}
    return {**wanted, **lists, "min_profit_potential": None}


@check("fresh", "3", "A scan that is complete answers an identical request while it is fresh")
async def fresh(run: Run) -> None:
    """Where the server reuses finished scans at all."""
    wanted = run.scans.one_of_a_kind()
    first = await run.scans.discover(wanted)
    state = await run.scans.until_terminal(first.scan_id)
    again = await run.scans.discover(wanted)
    if again.scan_id != first.scan_id:
        raise NotTried("this server does not answer with finished scans (--fresh 0), or they are not fresh for long")
    equal((again.ack.get("reused"), again.ack.get("status")), ("fresh", state["status"]), "reused and status")


@check("force-refresh", "3", "force_refresh always starts a new scan; the older one keeps its state and results")
async def force_refresh(run: Run) -> None:
    """Of a scan that is complete, and of one that runs."""
    wanted = run.scans.one_of_a_kind()
    first = await run.scans.discover(wanted)
    before = await run.scans.until_terminal(first.scan_id)
    results = await run.scans.results(first.scan_id)
    other = await run.scans.discover({**wanted, "force_refresh": True})
    expect(other.scan_id != first.scan_id, "another scan", other.ack)
    third = await run.scans.discover({**wanted, "force_refresh": True})
    expect(third.scan_id not in (first.scan_id, other.scan_id), "another scan each time", third.ack)
    await run.scans.until_terminal(other.scan_id)
    equal(state_of(await run.scans.status(first.scan_id)), state_of(before), "the state of the older scan")
    equal(await run.scans.results(first.scan_id), results, "the results of the older scan")


@check("idempotency", "3", "The same key again answers with that scan; with another body it is 422")
async def idempotency(run: Run) -> None:
    """Over HTTP and a WebSocket, which share keys; also where force_refresh is asked for."""
    key = f"conformance-{run.scans.one_of_a_kind()['capital_usd']}-{(await run.scans.start()).scan_id[-20:]}"
    wanted = run.scans.request()
    first = await run.scans.discover(wanted, idempotency_key=key)
    again = await run.scans.discover(wanted, idempotency_key=key)
    equal(again.scan_id, first.scan_id, "the scan of the same key")
    async with run.server.socket(JSON) as socket:
        await socket.send(type="discover", id="k", request=wanted, idempotency_key=key)
        ack = await socket.until("ack", "k")
        equal(ack.get("scan_id"), first.scan_id, "the scan of the same key over a WebSocket")
        await socket.send(type="discover", id="o", request={**wanted, "capital_usd": 77.0}, idempotency_key=key)
        while (message := await socket.receive()).get("id") != "o":
            pass
        equal(message["type"], "error", "the answer to another body with the same key over a WebSocket")
    other = {**wanted, "capital_usd": 77.0}
    (await run.server.post("/opportunities/discover", other, idempotency_key=key)).being(422)
    apart = await run.scans.discover(wanted, idempotency_key=f"{key}-2")
    expect(apart.scan_id != first.scan_id, "another scan for another key", apart.ack)
    mine = run.scans.one_of_a_kind()
    theirs = await run.scans.discover(mine)
    keyed = await run.scans.discover(mine, idempotency_key=f"{key}-3")
    expect(keyed.scan_id != theirs.scan_id, "a discover with a key never to join another scan", keyed.ack)


@check("filters", "3", "Filters are honoured: what was found is of what was asked for, and counts are after filters")
async def filters(run: Run) -> None:
    """By risk, by profit, by symbol, by strategy."""
    record = await run.recorded()
    found = record.whole.opportunities
    if not found:
        raise NotTried("the long scan finds nothing: name another one with --request long=JSON")
    profits = sorted(one["profit_potential_usd"] for one in found)
    for least in (profits[len(profits) // 2], profits[-1] + 1):
        wanted = {**run.scans.request("long"), "min_profit_potential": least, "filter_by_risk_level": "high"}
        started = await run.scans.discover(wanted)
        state = await run.scans.until_terminal(started.scan_id)
        if state["status"] != "complete":
            raise NotTried(f"the scan is {state['status']}")
        told = (await run.scans.results(started.scan_id))["opportunities"]
        wrong = [one for one in told if one["profit_potential_usd"] < least or one["risk_level"] == "very_high"]
        expect(not wrong, f"a profit of {least} at least, and a risk of high at most", wrong[:2])
        equal(state["total_opportunities"], len(told), "the count, after filters")
        asked = wanted.get("strategy_ids", [one["strategy_id"] for one in told])
        expect({one["strategy_id"] for one in told} <= {*asked}, "strategies that were asked for", asked)


@check(
    "spellings",
    "3",
    "A request may be spelt in other ways: a list as text with commas, with spaces, twice, in other letters, null",
)
async def spellings(run: Run) -> None:
    """Each of them is the same request, and a scan tells what was meant."""
    market = (await run.server.get("/opportunities/market")).being(200).object()["symbols"]
    wanted = run.scans.request()
    one, two = (wanted.get("symbols") or market)[:1], market[-1:]
    plain = {**wanted, "symbols": [*dict.fromkeys([*one, *two])]}
    text = ",".join(plain["symbols"])
    spelt: dict[str, dict[str, Any]] = {
        "a list as text with commas": {"symbols": text},
        "spaces around": {"symbols": [f"  {symbol} " for symbol in plain["symbols"]]},
        "each twice": {"symbols": plain["symbols"] * 2},
        "small letters": {"symbols": [symbol.lower() for symbol in plain["symbols"]]},
        "null for what is absent": {name: None for name in ABSENT if name not in plain},
    }
    for what, changed in spelt.items():
        started = await run.scans.discover({**plain, **changed})
        filters = (await run.scans.status(started.scan_id))["filters"]
        symbols = sorted(filters.get("symbols", ()))
        equal(symbols, sorted(plain["symbols"]), f"the symbols of a request with {what}")
        expect(not {*filters} & {*ABSENT} - {*plain}, f"filters that hold what was given, with {what}", filters)
