"""What the page for those who move in shows runs: a rule from a service, and the gateway for users and credits."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx
import pytest
from anyio import to_thread
from websockets.exceptions import InvalidStatus

from docs.pages import Block, only_block
from scanstream.client import AsyncClient
from scanstream.client.ladder import RUNGS, Transport
from scanstream.errors import Forbidden, InvalidRequest, NotFound, Unauthorized
from support.feed import feeding
from support.hosting import hosted
from support.installing import plug_in, serving_with
from support.plain import NO_TLS
from support.wire import ONE_QUICK_SCAN, discover, results, until_terminal, websocket

pytestmark = pytest.mark.anyio

TOKENS = {"of-ada": "ada", "of-bob": "bob"}


async def test_the_rule_from_a_service_finds_something(tmp_path: Path) -> None:
    source = only_block("migrating.md", "runs as a plug-in from a service").text
    directory = await to_thread.run_sync(plug_in, tmp_path, "from_service", source, "FromService")
    async with feeding() as feed, serving_with(directory) as server:
        feed.prices["BTC/USDT"] = 1e9
        wanted = {
            "strategy_ids": ["from_service"],
            "symbols": ["BTC/USDT", "ETH/USDT"],
            "parameters": {"from_service": {"feed": feed.url}},
        }
        scan_id = (await discover(server.url, wanted)).json()["scan_id"]
        state = await until_terminal(server.url, scan_id)
        [found] = (await results(server.url, scan_id)).json()["opportunities"]
    assert (state["status"], state["strategies"]["from_service"]["total_shards"]) == ("complete", 2)
    note = state["strategies"]["from_service"]["note"]  # a busy machine may add words of its own
    assert "the feed does not know ETH/USDT" in note
    assert (found["symbol"], found["side"], found["confidence_score"]) == ("BTC/USDT", "long", 71.0)


class Gated(NamedTuple):
    """The application of the page, running."""

    root: str
    ledger: Any

    @property
    def url(self) -> str:
        """Where scans are."""
        return f"{self.root}/scans"

    def client(self, user: str, *transports: Transport) -> AsyncClient:
        """A client of this user, or of nobody."""
        return AsyncClient(self.url, token=f"of-{user}" if user else None, transports=transports or RUNGS)

    def credits(self, user: str) -> int:
        """What is left."""
        [[left]] = self.ledger._database.execute("SELECT remaining FROM credits WHERE user = ?", (user,)).fetchall()
        return int(left)


def names_of(block: Block) -> dict[str, Any]:
    """What a block makes."""
    names: dict[str, Any] = {"__name__": "yours"}
    exec(compile("\n" * (block.line - 1) + block.text, str(block), "exec"), names)  # noqa: S102  # our own page
    return names


@pytest.fixture(scope="module")
async def gated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gated]:
    """Ada has credits, Bob has none left."""
    pytest.importorskip("fastapi", reason="FastAPI is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("gateway"))
        patch.setenv("TOKENS", json.dumps(TOKENS))
        names = names_of(only_block("migrating.md", "runs as a gateway"))
        names["ledger"].grant("ada", 100)
        names["ledger"].grant("bob", 0)
        async with hosted(names["app"]) as root:
            yield Gated(root, names["ledger"])
        names["ledger"]._database.close()


@pytest.mark.parametrize("transport", RUNGS)
async def test_a_user_follows_a_scan_of_theirs_on_every_transport(gated: Gated, transport: Transport) -> None:
    before = gated.credits("ada")
    with anyio.fail_after(60):
        async with gated.client("ada", transport) as client:
            scan = await client.discover(strategy_ids=["tsmom"], symbols=["BTC/USDT", "ETH/USDT"])
            assert (await scan.wait())["status"] == "complete"
            assert len(await scan.results()) == len(scan.opportunities)
            assert client.connection.transport == transport
    assert gated.credits("ada") == before - 1


@pytest.mark.parametrize("transport", RUNGS)
async def test_the_scan_of_another_is_one_that_never_was(gated: Gated, transport: Transport) -> None:
    with anyio.fail_after(60):
        async with gated.client("ada") as ada, gated.client("bob", transport) as bob:
            scan = await ada.discover(**ONE_QUICK_SCAN)
            with pytest.raises(NotFound):
                await (await bob.watch(scan.id)).wait()
            with pytest.raises(NotFound):
                await (await ada.watch("scan_of_nobody")).wait()


async def test_what_names_no_scan_of_ones_own_is_closed(gated: Gated) -> None:
    async with httpx.AsyncClient(base_url=gated.url, headers={"authorization": "Bearer of-bob"}, verify=NO_TLS) as bob:
        mine = (await bob.get("/opportunities/status/latest")).status_code
        closed = ["/opportunities/scans", "/metrics", "/opportunities/results/x/y", "/nowhere"]
        assert [(await bob.get(path)).status_code for path in closed] == [404] * len(closed)
        assert mine == 404
        assert (await bob.post("/opportunities/follow", content=b"{")).status_code == 400  # in the server's own words
        assert (await bob.post("/opportunities/follow", json={"follow": 1})).status_code == 422
        two = {"follow": [{"scan_id": "latest"}, {"scan_id": "scan_x"}]}
        assert (await bob.post("/opportunities/follow", json=two)).json()["status"] == "not_found"


async def test_who_is_not_known_sees_the_page_only(gated: Gated) -> None:
    async with httpx.AsyncClient(base_url=gated.url, verify=NO_TLS) as nobody:
        opened = [
            (await nobody.get(path)).status_code for path in ("/", "/static/scanstream.js", "/readyz", "/openapi.json")
        ]
        closed = [
            (await nobody.get(f"/opportunities/{path}")).status_code for path in ("market", "scans", "status/latest")
        ]
    assert (opened, closed) == ([200] * 4, [401] * 3)
    async with gated.client("") as client:
        with pytest.raises(Unauthorized):
            await client.discover(**ONE_QUICK_SCAN)
    with pytest.raises(InvalidStatus):
        async with websocket(gated.url):
            pass


async def test_a_scan_is_paid_once_a_key_and_not_where_there_is_none(gated: Gated) -> None:
    before = gated.credits("ada")
    async with gated.client("ada") as ada:
        scans = [await ada.discover(idempotency_key="one", **ONE_QUICK_SCAN) for _ in range(3)]
        assert len({scan.id for scan in scans}) == 1
        assert gated.credits("ada") == before - 1
        with pytest.raises(InvalidRequest):
            await ada.discover(symbols=["NO/SUCH"])
        with pytest.raises(InvalidRequest):  # the key has another body
            await ada.discover(idempotency_key="one", symbols=["ETH/USDT"])
        assert gated.credits("ada") == before - 1
        assert (await (await ada.watch(scans[0].id)).wait())["status"] == "complete"  # it is hers as before
    async with gated.client("bob") as bob:
        with pytest.raises(Forbidden, match="no credits left"):
            await bob.discover(idempotency_key="one", **ONE_QUICK_SCAN)
        gated.ledger.grant("bob", 1)
        scan = await bob.discover(idempotency_key="one", **ONE_QUICK_SCAN)  # a key of hers is none of his
        assert scan.id != scans[0].id
    assert gated.credits("bob") == 0


async def test_over_a_socket_nothing_is_started_and_nothing_of_others_is_heard(gated: Gated) -> None:
    async with gated.client("ada") as ada:
        scan = await ada.discover(**ONE_QUICK_SCAN)
        await scan.wait()
    with anyio.fail_after(30):
        async with websocket(gated.url, additional_headers={"authorization": "Bearer of-bob"}) as socket:
            for kind, code in (("discover", "forbidden"), ("subscribe", "not_found"), ("cancel", "not_found")):
                await socket.send(type=kind, id="1", scan_id=scan.id)
                answer = await socket.receive()
                assert (answer["type"], answer["id"], answer["code"]) == ("error", "1", code)
            await socket.connection.send("{")
            assert (await socket.receive())["code"] == "invalid_json"
            await socket.send(type="ping")
            assert (await socket.receive())["type"] == "pong"


async def test_the_old_addresses_lead_there(gated: Gated) -> None:
    headers = {"authorization": "Bearer of-ada"}
    async with httpx.AsyncClient(base_url=gated.root, headers=headers, follow_redirects=True, verify=NO_TLS) as old:
        ack = (await old.post("/discover", json=ONE_QUICK_SCAN)).json()
        state = (await old.get(f"/status/{ack['scan_id']}", params={"wait": 30})).json()
    assert (ack["status"], state["scan_id"]) == ("initiated", ack["scan_id"])
