"""The settings of a server: flags, and `SCANSTREAM_…` in the environment. docs/settings.md lists them all."""

import re
from dataclasses import dataclass
from pathlib import Path

from scanstream.errors import SettingError
from scanstream.market.exchange import ExchangeMarket
from scanstream.market.files import FilesMarket
from scanstream.market.market import Market
from scanstream.market.synthetic import SyntheticMarket

MEMORY = ":memory:"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+")
FRESH_SECONDS = 300.0
LONGEST_SECONDS = 10 * 365 * 86_400.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator decides; the defaults suit one machine."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 picks a free one."""
    data: str = "scanstream-data"
    """The data directory, or `:memory:` to keep nothing."""
    market: str = "synthetic"
    refresh: float = 60.0
    """Seconds from one reading of a live market to the next."""
    live_symbols: str = ""
    """Which symbols of a live market are scanned, with commas between; unless given those of the largest turnover."""
    live_timeframe: str = "1h"
    live_bars: int = 1000
    engine: str = "sqlite"
    workers: int = 2
    """Processes that run shards; 0: none here."""
    worker_priority: str = "idle"
    """`idle`: they compute in the time that nothing else wants; `low`: with a small share of it always."""
    max_running: int = 4
    max_scans: int = 10_000
    """Scans under way, waiting ones included; a discover beyond is refused."""
    budget: float = 900.0
    """Seconds that a scan may run; what is missing then has timed out."""
    retention: float = 3600.0
    """Seconds that a finished scan answers."""
    fresh: float | None = None
    """Seconds that a finished scan is reused for an identical request; unless given 300, at most the retention."""
    stall: float = 60.0
    """Seconds after which a reader that takes no byte is closed."""
    max_message: int = 1024 * 1024
    """Bytes of the largest message and body accepted."""
    allow_origin: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the setting."""
        for name, least in (
            ("port", 0),
            ("workers", 0),
            ("max_running", 1),
            ("max_scans", 1),
            ("max_message", 1024),
            ("live_bars", 2),
        ):
            self._require(getattr(self, name) >= least, name, f"must be at least {least}")
        for name in ("budget", "retention", "stall", "refresh"):
            self._require(0 < getattr(self, name) <= LONGEST_SECONDS, name, "must be above 0 and at most ten years")
        self._require(self.data != "", "data", "must name a directory, or be :memory:")
        for origin in self.allow_origin:
            if not _ORIGIN.fullmatch(origin):
                raise SettingError(
                    f"--allow-origin {origin}: write scheme and host, as in https://example.org"
                    " (SCANSTREAM_ALLOW_ORIGIN)"
                )
        self._require(self.port <= 65_535, "port", "must be at most 65535")
        self._require(0 <= self.fresh_seconds <= self.retention, "fresh", "must be between 0 and --retention")
        self._require(self.worker_priority in ("idle", "low"), "worker_priority", "must be idle or low")
        if self.engine != "sqlite":
            raise SettingError(f"--engine {self.engine}: this version has the engine sqlite only")

    def _require(self, holds: bool, name: str, what: str) -> None:
        if not holds:
            flag = "--" + name.replace("_", "-")
            raise SettingError(f"{flag} {getattr(self, name)}: it {what} (SCANSTREAM_{name.upper()})")

    @property
    def fresh_seconds(self) -> float:
        """How long a finished scan is reused."""
        return min(FRESH_SECONDS, self.retention) if self.fresh is None else self.fresh

    @property
    def directory(self) -> Path | None:
        """The data directory; None for `:memory:`."""
        return None if self.data == MEMORY else Path(self.data)

    def open_market(self) -> Market:
        """The market that `--market` names.

        :raises SettingError: if there is no such kind
        """
        kind, _, rest = self.market.partition(":")
        if self.market == "synthetic":
            return SyntheticMarket()
        if kind == "files" and rest:
            return FilesMarket(Path(rest).expanduser())
        if kind == "ccxt" and rest:
            return ExchangeMarket(
                [venue.strip() for venue in rest.split(",")],
                symbols=_listed(self.live_symbols),
                timeframe=self.live_timeframe,
                bars=self.live_bars,
            )
        raise SettingError(
            f"--market {self.market}: write synthetic, files:DIRECTORY, files:FILE.parquet or ccxt:EXCHANGE"
            " (SCANSTREAM_MARKET)"
        )


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
