"""The scans that a run starts: small ones, from what the server has; and their end, whatever happens."""

from collections.abc import Mapping
from random import Random
from typing import Any, NamedTuple

import anyio

from scanstream.conformance import laws
from scanstream.conformance.asking import Answer, Server, ServerGone, Socket
from scanstream.conformance.patience import BUSY, BUSY_CODES, Patience, refusal
from scanstream.conformance.promise import Broken, NotTried, differing, equal, expect

KINDS = {
    "quick": "one that is over in a moment",
    "long": "one that can be followed for a second or more",
    "many": "one that finds more than 500 opportunities",
    "failing": "one that fails",
}
"""What scans are needed for; of the last two no server has any by itself."""

PREFERRED = "tsmom"
QUICK_SYMBOLS, LONG_SYMBOLS = 3, 24
POLL_SECONDS = 0.02
MOST_LOST = 4
"""Questions without an answer, while a run is cleaned up, after which nobody is there to be asked."""


class Started(NamedTuple):
    """A scan that was just acknowledged over HTTP."""

    scan_id: str
    ack: dict[str, Any]
    answer: Answer


class Scans:
    """Starts scans, and knows which."""

    def __init__(self, server: Server, given: Mapping[str, dict[str, Any]], random: Random, patience: Patience) -> None:
        self._server = server
        self.patience = patience
        self.requests = dict(given)
        """By kind."""
        self._random = random
        self.started: list[str] = []

    async def choose(self) -> None:
        """Look at what the server has, and make requests of it for which none was given.

        :raises Broken: if it does not say what it has
        """
        catalogue = (await self._server.get("/opportunities/strategies")).being(200).json()
        symbols = (await self._server.get("/opportunities/market")).being(200).object()["symbols"]
        listed = catalogue["strategies"] if isinstance(catalogue, dict) else catalogue
        ids = [one["id"] for one in listed if "walk_forward" in one["parameters"].get("properties", {})]
        if ids:
            one = PREFERRED if PREFERRED in ids else ids[0]
            few, many = list(symbols)[:QUICK_SYMBOLS], list(symbols)[:LONG_SYMBOLS]
            quick = {"symbols": few, "strategy_ids": [one], "parameters": {one: {"walk_forward": 0}}}
            self.requests.setdefault("quick", quick)
            self.requests.setdefault("long", {"symbols": many, "strategy_ids": ids})

    def request(self, kind: str = "quick", **more: Any) -> dict[str, Any]:
        """A request for a new scan of this kind.

        :raises NotTried: if there is none
        """
        if kind not in self.requests:
            raise NotTried(f"needs {KINDS[kind]}: name its request with --request {kind}=JSON")
        return {**self.requests[kind], "force_refresh": True, **more}

    def one_of_a_kind(self, kind: str = "quick") -> dict[str, Any]:
        """A request that nobody has made before; it may be joined by who makes it again."""
        wanted = self.request(kind, capital_usd=1000 + round(self._random.uniform(0, 1000), 6))
        del wanted["force_refresh"]
        return wanted

    async def discover(self, wanted: dict[str, Any], **headers: str) -> Started:
        """Ask for a scan over HTTP.

        :raises Broken: if that is not answered with 202 and a scan_id
        """
        while True:
            answer = await self._server.post("/opportunities/discover", wanted, **headers)
            if answer.status not in BUSY:
                break
            said = refusal(answer.object(), answer.status)
            await self.patience.left_alone(answer.headers.get("retry-after"), said)
        answer.being(202)
        self.patience.taken()
        return Started(self.known(answer.object()), answer.object(), answer)

    async def discover_on(self, socket: Socket, message_id: str, wanted: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Ask for a scan over a WebSocket: the next message, which is to be the ack."""
        while True:
            await socket.send(type="discover", id=message_id, request=wanted, **more)
            message = await socket.receive()
            if message["type"] == "ack":
                self.patience.taken()
            if message["type"] != "error" or message.get("code") not in BUSY_CODES:
                return message
            await self.patience.left_alone(message.get("retry_after"), refusal(message))

    async def start(self, kind: str = "quick") -> Started:
        """A new scan of this kind."""
        return await self.discover(self.request(kind))

    def known(self, ack: dict[str, Any]) -> str:
        """The id in an ack; it will be cancelled at the latest when the run ends.

        :raises Broken: if there is none
        """
        scan_id = ack.get("scan_id")
        if not isinstance(scan_id, str) or not scan_id:
            raise Broken("a scan_id in the ack", ack)
        if scan_id not in self.started:
            self.started.append(scan_id)
        return scan_id

    async def status(self, scan_id: str) -> dict[str, Any]:
        """Its state, with the envelope, now."""
        return (await self._server.get(f"/opportunities/status/{scan_id}")).being(200).object()

    async def until_terminal(self, scan_id: str) -> dict[str, Any]:
        """Its last state, with the envelope."""
        while True:
            state = await self.status(scan_id)
            if state["status"] in laws.TERMINAL:
                return state
            await anyio.sleep(POLL_SECONDS)

    async def results(self, scan_id: str) -> dict[str, Any]:
        """All that it has found; it has ended."""
        return (await self._server.get(f"/opportunities/results/{scan_id}")).being(200).object()

    async def cancel(self, scan_id: str) -> Answer:
        """Ask for its end."""
        return await self._server.post(f"/opportunities/cancel/{scan_id}")

    async def clean_up(self) -> int:
        """Cancel those that still run: how many that were."""
        running = lost = 0
        for scan_id in self.started:
            try:
                answer = await self._server.get(f"/opportunities/status/{scan_id}")
                if answer.status == 200 and answer.object().get("status") == "scanning":
                    running += 1
                    await self.cancel(scan_id)
            except Broken:
                continue
            except ServerGone:
                lost += 1
                if lost == MOST_LOST:
                    break
        return running


def nearly(scan_id: str) -> str:
    """An id that nobody has made, and that differs from this one in its last sign."""
    return scan_id[:-1] + ("0" if scan_id[-1] != "0" else "1")


def state_of(body: dict[str, Any]) -> dict[str, Any]:
    """The state in a status answer."""
    return {name: value for name, value in body.items() if name not in laws.ENVELOPE}


def same_found(told: list[dict[str, Any]], held: list[dict[str, Any]]) -> None:
    """Whatever their order.

    :raises Broken: naming what differs in the first that does
    """
    equal(sorted(ids_of(told)), sorted(ids_of(held)), "the ids in results")
    by_id = {one["id"]: one for one in held}
    for one in told:
        expect(one == by_id[one["id"]], f"{one['id']} as the streams told it", differing(one, by_id[one["id"]]))


def ids_of(found: list[dict[str, Any]]) -> list[str]:
    """In their order.

    :raises Broken: if one has none
    """
    for one in found:
        expect(isinstance(one.get("id"), str), "an opportunity with an id", one)
    return [one["id"] for one in found]
