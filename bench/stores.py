"""Data directories as they are after long use: with many scans in them, finished or not."""

from pathlib import Path

from scanstream.engines.schema import DATABASE, connect, meta_of
from scanstream.log.entry import AnyEntry, Cut, Planned, Queued, Registered, ShardDone, ShardFound, ShardStarted, encode
from scanstream.market.synthetic import SyntheticMarket
from scanstream.model import ANYONE, DiscoverRequest, Opportunity, now
from scanstream.scans.identity import new_scan_id

REQUEST = DiscoverRequest(symbols=["BTC/USDT"], strategy_ids=["tsmom"])
FOUND = 3
RETENTION_SECONDS = 3600


def filled(directory: Path, *, unfinished: int = 0, finished: int = 0, expire_in: float = RETENTION_SECONDS) -> Path:
    """A directory of so many queued scans of the generated market, and so many that have ended.

    :param expire_in: seconds from now until the ended ones have expired, all at once
    """
    directory.mkdir(parents=True)
    digest = SyntheticMarket().load().digest
    connection = connect(directory / DATABASE)
    key = meta_of(connection)["key"]
    at = now()
    ended_at = at + round((expire_in - RETENTION_SECONDS) * 1000)
    connection.execute("BEGIN")
    for number in range(finished + unfinished):
        ended = number < finished
        scan = _registered(new_scan_id(key, ANYONE, at), ended_at if ended else at, digest)
        entries = [scan, Queued(at=scan.at), *(_rest(scan.at) if ended else [])]
        expires_at = scan.at + scan.retention if ended else None
        connection.execute(
            "INSERT INTO scans (scan_id, slot, principal, registered_at, expires_at) VALUES (?, ?, ?, ?, ?)",
            (scan.scan_id, scan.slot, scan.principal, scan.at, expires_at),
        )
        connection.execute("INSERT INTO slots VALUES (?, ?)", (scan.slot, scan.scan_id))
        rows = [(scan.scan_id, seq, encode(entry)) for seq, entry in enumerate(entries, start=1)]
        connection.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
    connection.execute("COMMIT")
    connection.close()
    return directory


def _registered(scan_id: str, at: int, digest: str) -> Registered:
    return Registered(
        at=at,
        scan_id=scan_id,  # type: ignore[arg-type]
        principal=ANYONE,
        slot=f"slot-{scan_id}",
        market="synthetic",
        digest=digest,
        request=REQUEST,
        filters={"symbols": ["BTC/USDT"], "strategy_ids": ["tsmom"]},
        budgets={"tsmom": 60.0},
        budget=900.0,
        retention=RETENTION_SECONDS * 1000,
    )


def _rest(at: int) -> list[AnyEntry]:
    return [
        Planned(at=at, cuts={"tsmom": Cut(1)}),
        ShardStarted(at=at, strategy_id="tsmom", shard=0),
        ShardFound(at=at, strategy_id="tsmom", shard=0, opportunities=[opportunity(number) for number in range(FOUND)]),
        ShardDone(at=at, strategy_id="tsmom", shard=0, elapsed_ms=10),
    ]


def opportunity(number: int) -> Opportunity:
    """One of those that a scan finds, as large as usual."""
    return Opportunity(
        id=f"tsmom:BTC/USDT@{number}:2026-11-23T14:00:00.000Z",
        strategy_id="tsmom",
        strategy_name="Time-series momentum",
        opportunity_type="momentum",
        symbol="BTC/USDT",
        symbols=["BTC/USDT"],
        exchange="synthetic",
        side="long",
        quote_currency="USDT",
        expected_return=0.033,
        profit_potential_usd=33.0,
        required_capital_usd=1000.0,
        confidence_score=71.4,
        risk_level="medium",
        estimated_timeframe="21h",
        metadata={"bars": number},
        discovered_at="2026-11-23T14:00:00.000Z",
    )
