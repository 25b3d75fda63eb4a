"""The settings of a server: flags, and `SCANSTREAM_…` in the environment. docs/settings.md lists them all."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scanstream.errors import SettingError
from scanstream.market.exchange import ExchangeMarket
from scanstream.market.files import FilesMarket
from scanstream.market.market import Market
from scanstream.market.synthetic import SyntheticMarket
from scanstream.panel import timeframe_length
from scanstream.push.flushes import TICK_SECONDS
from scanstream.push.forwarded import Network, network_of, prefix_of
from scanstream.push.host import HostNames, host_of
from scanstream.push.origin import Origin, origin_of

MEMORY = ":memory:"
NO_HOST = "must be an address or a name to listen on, as in 127.0.0.1; 0.0.0.0 takes connections from everywhere"
FRESH_SECONDS = 300.0
LONGEST_TICK_SECONDS = 1.0
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
    max_in_loop: int = 256
    """Shards of strategies that wait for input, over all scans, at once …"""
    max_in_loop_per_scan: int = 32
    """… and of one scan."""
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
    keep_alive: float = 75.0
    """Seconds that an idle connection is kept for its next request."""
    tick: float = TICK_SECONDS
    """Seconds between two flushes of one scan to its readers."""
    compression: str = "none"
    """`deflate` compresses the messages of WebSockets whose clients offer that."""
    max_message: int = 1024 * 1024
    """Bytes of the largest message and body accepted."""
    allow_origin: tuple[str, ...] = ()
    """Web origins beside our own whose pages may use the server."""
    allow_host: tuple[str, ...] = ()
    """Names beside loopback's that requests may be for; `*.` before one allows all below it, `*` any."""
    root_path: str = ""
    """The path that proxies have the server below: `/tools/scan`."""
    trusted_proxy: tuple[str, ...] = ()
    """Addresses and networks of proxies whose `X-Forwarded-…` headers count."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the setting."""
        for name, least in (
            ("port", 0),
            ("workers", 0),
            ("max_running", 1),
            ("max_in_loop", 1),
            ("max_in_loop_per_scan", 1),
            ("max_scans", 1),
            ("max_message", 1024),
            ("live_bars", 2),
        ):
            self._require(getattr(self, name) >= least, name, f"must be at least {least}")
        for name in ("budget", "retention", "stall", "keep_alive", "refresh"):
            self._require(0 < getattr(self, name) <= LONGEST_SECONDS, name, "must be above 0 and at most ten years")
        self._require(0 <= self.tick <= LONGEST_TICK_SECONDS, "tick", f"must be from 0 to {LONGEST_TICK_SECONDS:g}")
        self._require(self.compression in ("none", "deflate"), "compression", "must be none or deflate")
        self._require(self.data != "", "data", "must name a directory, or be :memory:")
        self._require(host_of(f"[{self.host}]" if ":" in self.host else self.host) is not None, "host", NO_HOST)
        self._require("*" not in self.host, "host", NO_HOST)
        self.origins, self.host_names, self.prefix, self.proxies  # noqa: B018  # each refuses what it cannot read
        with self._naming("live_timeframe", self.live_timeframe):
            timeframe_length(self.live_timeframe)
        self._require(self.port <= 65_535, "port", "must be at most 65535")
        self._require(0 <= self.fresh_seconds <= self.retention, "fresh", "must be between 0 and --retention")
        self._require(self.worker_priority in ("idle", "low"), "worker_priority", "must be idle or low")
        if self.engine != "sqlite":
            raise SettingError(f"--engine {self.engine}: this version has the engine sqlite only")

    def _require(self, holds: bool, name: str, what: str, value: object = None) -> None:
        if not holds:
            flag = "--" + name.replace("_", "-")
            told = f"{what}" if value is not None else f"it {what}"
            raise SettingError(
                f"{flag} {getattr(self, name) if value is None else value}: {told} (SCANSTREAM_{name.upper()})"
            )

    @contextmanager
    def _naming(self, name: str, value: str, what: str | None = None) -> Iterator[None]:
        """A ValueError in here is one of this setting."""
        try:
            yield
        except ValueError as error:
            self._require(False, name, what or str(error), value)

    @property
    def fresh_seconds(self) -> float:
        """How long a finished scan is reused."""
        return min(FRESH_SECONDS, self.retention) if self.fresh is None else self.fresh

    @property
    def origins(self) -> frozenset[Origin]:
        """The origins of `--allow-origin`."""
        told = "write scheme and host of each site, as in https://example.org"
        found = {text: origin_of(text) for text in _several(self.allow_origin)}
        for text, origin in found.items():
            self._require(origin is not None, "allow_origin", told, text)
        return frozenset(origin for origin in found.values() if origin is not None)

    @property
    def host_names(self) -> HostNames:
        """The names that requests may be for: those allowed, and the one that is listened on."""
        for text in _several(self.allow_host):
            with self._naming("allow_host", text, "write a name, *.NAME or *"):
                HostNames([text])
        return HostNames([*_several(self.allow_host), *([] if ":" in self.host else [self.host])])

    @property
    def prefix(self) -> str:
        """The path that the server stands below; empty, or with a slash before each part."""
        with self._naming("root_path", self.root_path):
            return prefix_of(self.root_path)

    @property
    def proxies(self) -> list[Network]:
        """The networks of `--trusted-proxy`."""
        networks: list[Network] = []
        for text in _several(self.trusted_proxy):
            with self._naming("trusted_proxy", text, "write an address or a network, as in 10.0.0.0/8"):
                networks.append(network_of(text))
        return networks

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
        raise SettingError(f"--market {self.market}: write synthetic, files:PATH or ccxt:EXCHANGE (SCANSTREAM_MARKET)")


def _several(given: Iterable[str]) -> list[str]:
    """Of a setting that takes several: each given for itself, or with commas between."""
    return [item for text in given for item in text.replace(",", " ").split()]


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
