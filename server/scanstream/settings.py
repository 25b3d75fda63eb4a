"""The settings of a server: flags, and `SCANSTREAM_…` in the environment. docs/settings.md lists them all."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from scanstream.engines.nats.address import Login, names_nats, read_addresses, without_login
from scanstream.engines.nats.names import WORDS
from scanstream.engines.nats.options import NatsOptions
from scanstream.errors import SettingError
from scanstream.limits import Limits
from scanstream.market.exchange import ExchangeMarket
from scanstream.market.files import FilesMarket
from scanstream.market.market import Market
from scanstream.market.synthetic import SyntheticMarket
from scanstream.notify.addresses import Network as PrivateNetwork
from scanstream.notify.options import NotifySettings, several
from scanstream.notify.targets import Allowed
from scanstream.panel import timeframe_length
from scanstream.push.flushes import TICK_SECONDS
from scanstream.push.forwarded import Network, network_of, prefix_of
from scanstream.push.host import HostNames, host_of, is_local
from scanstream.push.origin import Origin, origin_of
from scanstream.security.options import AuthSettings
from scanstream.tls import Tls

MEMORY = ":memory:"
NO_HOST = "must be an address or a name to listen on, as in 127.0.0.1; 0.0.0.0 takes connections from everywhere"
FRESH_SECONDS = 300.0
LONGEST_TICK_SECONDS = 1.0
LONGEST_SECONDS = 10 * 365 * 86_400.0
SHORTEST_LEASE = 1.0
LONGEST_LEASE = 600.0
MOST_REPLICAS = 5
"""More a stream of NATS cannot have."""

_NAMESPACE = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_-]{0,31})?")


@dataclass(frozen=True, kw_only=True)
class Settings(AuthSettings, NotifySettings, Limits, Tls):
    """What an operator decides; the defaults suit one machine. Who may come in: see `AuthSettings`; who is told of
    ends: `NotifySettings`."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 picks a free one."""
    health_port: int | None = None
    """Where a worker tells how it is; unless given nowhere."""
    data: str = "scanstream-data"
    """The data directory, or `:memory:` to keep nothing."""
    market: str = "synthetic"
    refresh: float = 60.0
    """Seconds from one reading of a live market to the next."""
    live_symbols: str = ""
    """Which symbols of a live market are scanned, with commas between; unless given those of the largest turnover."""
    live_timeframe: str = "1h"
    live_bars: int = 1000
    engine: str = field(default="sqlite", repr=False)
    """`sqlite`, or the servers of NATS: `nats://host:port,nats://…`. May hold a password."""
    engine_creds: str = ""
    """A file of credentials for NATS."""
    engine_ca: str = ""
    """The certificates that those of NATS must come from."""
    engine_cert: str = ""
    """Our certificate for NATS …"""
    engine_key: str = ""
    """… and its key."""
    lease: float = 10.0
    """Seconds after which what a dead node held is another's."""
    replicas: int | None = None
    """Servers of NATS that hold each message; unless given what is there stays, and what is new gets 3 or 1."""
    namespace: str = ""
    """What the names in NATS begin with."""
    workers: int = 2
    """Processes that run shards; 0: none here."""
    worker_priority: str = "idle"
    """`idle`: they compute in the time that nothing else wants; `low`: with a small share of it always."""
    max_running: int = 4
    """Scans that run at once; on NATS over all nodes."""
    max_in_loop: int = 256
    """Shards of strategies that wait for input, over all scans, at once …"""
    max_in_loop_per_scan: int = 32
    """… and of one scan."""
    log_format: str = "auto"
    """How the log is written: `text`, `json`, or `auto`: text on a terminal, else JSON."""
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
            ("live_bars", 2),
        ):
            self._require(getattr(self, name) >= least, name, f"must be at least {least}")
        self._check_limits(self._require)
        self._check_tls(self.naming)
        for name in ("budget", "retention", "stall", "keep_alive", "refresh"):
            self._require(0 < getattr(self, name) <= LONGEST_SECONDS, name, "must be above 0 and at most ten years")
        self._require(0 <= self.tick <= LONGEST_TICK_SECONDS, "tick", f"must be from 0 to {LONGEST_TICK_SECONDS:g}")
        self._require(self.log_format in ("auto", "text", "json"), "log_format", "must be auto, text or json")
        self._require(self.compression in ("none", "deflate"), "compression", "must be none or deflate")
        self._require(self.data != "", "data", "must name a directory, or be :memory:")
        self._require(host_of(f"[{self.host}]" if ":" in self.host else self.host) is not None, "host", NO_HOST)
        self._require("*" not in self.host, "host", NO_HOST)
        self.origins, self.host_names, self.prefix, self.proxies, self.told, self.private  # noqa: B018  # each refuses what it cannot read
        with self.naming("live_timeframe", self.live_timeframe):
            timeframe_length(self.live_timeframe)
        self._require(self.port <= 65_535, "port", "must be at most 65535")
        self._require(0 <= (self.health_port or 0) <= 65_535, "health_port", "must be from 0 to 65535")
        self._require(0 <= self.fresh_seconds <= self.retention, "fresh", "must be between 0 and --retention")
        self._require(self.worker_priority in ("idle", "low"), "worker_priority", "must be idle or low")
        known = "write sqlite, or nats://HOST:PORT for several nodes"
        self._require(self.engine == "sqlite" or names_nats(self.engine), "engine", known, without_login(self.engine))
        told = f"must be from {SHORTEST_LEASE:g} to {LONGEST_LEASE:g}"
        self._require(SHORTEST_LEASE <= self.lease <= LONGEST_LEASE, "lease", told)
        self._require(self.replicas is None or 1 <= self.replicas <= MOST_REPLICAS, "replicas", "must be from 1 to 5")
        told = "must be at most 32 letters, digits, - and _, a letter or a digit first"
        self._require(_NAMESPACE.fullmatch(self.namespace) is not None, "namespace", told)
        told = f"must be none of {', '.join(sorted(WORDS))}, which nodes without a namespace use"
        self._require(self.namespace not in WORDS, "namespace", told)
        self._check_nats()
        self.check_auth()

    def check_reach(self) -> None:
        """Refuse to listen where others come by, and ask nobody who they are.

        :raises SettingError: unless that is what the operator wants
        """
        told = (
            "others than this machine reach a server there, and with --auth none it asks nobody who they are: give "
            "--auth required and --keys FILE, or --insecure where something else decides who comes in"
        )
        self._require(self.asks or self.insecure or is_local(self.host), "host", told, self.host)

    def _require(self, holds: bool, name: str, what: str, value: object = None) -> None:
        if not holds:
            flag = "--" + name.replace("_", "-")
            told = f"{what}" if value is not None else f"it {what}"
            raise SettingError(
                f"{flag} {getattr(self, name) if value is None else value}: {told} (SCANSTREAM_{name.upper()})"
            )

    def _check_nats(self) -> None:
        options = self.nats
        if options is None:
            return
        missing = [name for name in ("nats", "nkeys") if find_spec(name) is None]
        told = "it needs nats-py, which is not installed here; install it with: pip install 'scanstream[nats]'"
        self._require(not missing, "engine", told, without_login(self.engine))
        for name, path in options.files():
            with self.naming(f"engine_{name}", str(path)):
                _readable(path)
        if options.creds is not None:
            from scanstream.engines.nats.credentials import read_credentials  # noqa: PLC0415  # nkeys is an extra

            told = "there is a login in --engine, too; give one of them"
            self._require(options.login == Login(), "engine_creds", told, self.engine_creds)
            with self.naming("engine_creds", self.engine_creds):
                read_credentials(options.creds)
        self._check_certificates(options)

    def _check_certificates(self, options: NatsOptions) -> None:
        """Each by itself, so that the one that cannot be used is named."""
        ours = options.cert is not None
        for name, part in (("ca", replace(options, cert=None, key=None)), ("cert", replace(options, ca=None))):
            with self.naming(f"engine_{name}", getattr(self, f"engine_{name}")):
                try:
                    part.tls()
                except OSError as error:
                    key = f", with the key {self.engine_key}" if name == "cert" and ours and self.engine_key else ""
                    raise ValueError(f"this is no certificate that can be used{key}: {error}") from error

    @contextmanager
    def naming(self, name: str, value: str, what: str | None = None) -> Iterator[None]:
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
        found = {text: origin_of(text) for text in several(self.allow_origin)}
        for text, origin in found.items():
            self._require(origin is not None, "allow_origin", told, text)
        return frozenset(origin for origin in found.values() if origin is not None)

    @property
    def host_names(self) -> HostNames:
        """The names that requests may be for: those allowed, and the one that is listened on."""
        for text in several(self.allow_host):
            with self.naming("allow_host", text, "write a name, *.NAME or *"):
                HostNames([text])
        return HostNames([*several(self.allow_host), *([] if ":" in self.host else [self.host])])

    @property
    def prefix(self) -> str:
        """The path that the server stands below; empty, or with a slash before each part."""
        with self.naming("root_path", self.root_path):
            return prefix_of(self.root_path)

    @property
    def proxies(self) -> list[Network]:
        """The networks of `--trusted-proxy`."""
        networks: list[Network] = []
        for text in several(self.trusted_proxy):
            with self.naming("trusted_proxy", text, "write an address or a network, as in 10.0.0.0/8"):
                networks.append(network_of(text))
        return networks

    @property
    def told(self) -> Allowed:
        """The addresses of `--notify`."""
        return self.targets(self.naming)

    @property
    def private(self) -> list[PrivateNetwork]:
        """The networks of `--notify-private`."""
        return self.private_networks(self.naming)

    @property
    def nats(self) -> NatsOptions | None:
        """How NATS is reached and used; None with the engine `sqlite`."""
        if not names_nats(self.engine):
            return None
        with self.naming("engine", without_login(self.engine)):
            servers, login = read_addresses(self.engine)
        given = bool(self.engine_cert) or not self.engine_key
        self._require(given, "engine_key", "there is a key without its certificate, --engine-cert", self.engine_key)
        return NatsOptions(
            servers=servers,
            user=login.user,
            password=login.password,
            token=login.token,
            creds=_path(self.engine_creds),
            ca=_path(self.engine_ca),
            cert=_path(self.engine_cert),
            key=_path(self.engine_key),
            replicas=self.replicas,
            namespace=self.namespace,
            lease=self.lease,
            max_running=self.max_running,
        )

    def doubts(self, shown: Collection[str]) -> Iterator[str]:
        """What works, and is hardly meant: for the log of who starts with it.

        :param shown: which of those that may hold a secret were given as flags
        """
        if not self.workers and self.nats is None:
            yield "--workers 0 with --engine sqlite: no shard is run, so scans stay unfinished (SCANSTREAM_WORKERS)"
        if "engine" in shown and self.nats is not None and self.nats.login != Login():
            yield (
                "--engine on the command line holds a login, which the list of processes shows to all users of this "
                "machine: give it as SCANSTREAM_ENGINE in the environment, or as --engine-creds"
            )
        if "jwt_secret" in shown and self.jwt_secret:
            yield (
                "--jwt-secret on the command line is shown to all users of this machine by the list of processes: give "
                "it as SCANSTREAM_JWT_SECRET in the environment, or as --jwt-secret-file"
            )

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


def _path(text: str) -> Path | None:
    return Path(text).expanduser() if text else None


def _readable(path: Path) -> None:
    """See to it that this is a file that we may read.

    :raises ValueError: saying why not
    """
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise ValueError(f"{error.strerror or error}") from error


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
