"""Which number of which room is called what: docs/operations.md explains each of them, which a test sees to.

One name a thing, units in the name. Labels are few and known: never an id, a principal or an address.
"""

from collections.abc import Callable, Iterable, Mapping

from scanstream import __version__
from scanstream.log.hub import Hub
from scanstream.measure import Commits, Counts, Labels
from scanstream.metrics import Counter, Gauge, Instrument, Spread, counter, gauge, spread
from scanstream.notify.courier import Courier
from scanstream.pulse import Pulse
from scanstream.push.drain import Drain
from scanstream.push.fanout import Fanout
from scanstream.push.refused import REFUSED
from scanstream.push.transport.listener import Sight
from scanstream.push.transport.tls import Handshakes
from scanstream.scans.desk import ScanDesk
from scanstream.scans.outcomes import Outcomes
from scanstream.scans.ranks import Ranks
from scanstream.scans.runner import Runner
from scanstream.scans.shortages import Shortages
from scanstream.scans.work.processes import Processes
from scanstream.security.seats import Seats


def of_node(engine: str, pulse: Pulse, away: Callable[[], str], *shortages: Shortages) -> list[Instrument]:
    """What holds for the whole process.

    :param away: why the store cannot be reached; empty where it can
    """
    return [
        Gauge(
            "scanstream_build_info",
            "1; what runs here says its labels",
            ("version", "engine"),
            lambda: {(__version__, engine): 1},
        ),
        gauge(
            "scanstream_shortages",
            "What the machine or the store lacks just now",
            lambda: sum(len(one.current()) for one in shortages) + bool(away()),
        ),
        spread("scanstream_loop_lag_seconds", "How late the loop comes to what is due", pulse.late),
    ]


def of_store(commits: Commits) -> list[Instrument]:
    """How writing goes."""
    return [
        spread("scanstream_commit_seconds", "What a durable write takes", commits.seconds),
        spread("scanstream_commit_operations", "Operations that share a durable write", commits.operations),
        gauge(
            "scanstream_store_operations_under_way",
            "Operations of the store that somebody waits for",
            lambda: commits.under_way,
        ),
    ]


def of_scans(hub: Hub, ranks: Ranks, desk: ScanDesk) -> list[Instrument]:
    """How many scans there are, and how they begin."""
    return [
        gauge("scanstream_scans_unfinished", "Scans that have not ended", hub.unfinished),
        gauge("scanstream_scans_queued", "Scans that wait for a free place", ranks.waiting),
        gauge("scanstream_finished_scans_bytes", "Finished scans in memory, in bytes", hub.finished_bytes),
        Spread(
            "scanstream_ack_seconds",
            "From a discover to its ack, which says that the scan is durable",
            ("answer",),
            lambda: desk.acks,
        ),
    ]


def of_work(
    runner: Runner | None,
    outcomes: Outcomes,
    waiting: Callable[[], float],
    pools: Mapping[str, Processes],
    strategies: Iterable[str],
) -> list[Instrument]:
    """How shards are run."""
    known = list(strategies)
    outcomes.know(known)
    blocks = None if runner is None else runner.blocks

    def of_pools(read: Callable[[Processes], float]) -> Callable[[], Mapping[Labels, float]]:
        return lambda: {(pool,): read(processes) for pool, processes in pools.items()}

    def held_up(seconds: Mapping[str, float] | None) -> Callable[[], Mapping[Labels, float]]:
        return lambda: {(name,): (seconds or {}).get(name, 0) for name in dict.fromkeys([*known, *(seconds or ())])}

    return [
        gauge("scanstream_shards_waiting", "Shards that wait for their turn", waiting),
        gauge("scanstream_shards_running", "Shards that run", runner.running if runner else lambda: 0),
        _counter("scanstream_shards_total", "Shards that have an outcome", ("strategy", "outcome"), outcomes.counts),
        Spread(
            "scanstream_shard_seconds",
            "What shards took that ran to their end",
            ("strategy",),
            lambda: outcomes.seconds,
        ),
        Gauge("scanstream_worker_processes", "Worker processes", ("pool",), of_pools(lambda one: len(one.pids()))),
        Counter(
            "scanstream_worker_starts_total",
            "Worker processes that were started",
            ("pool",),
            of_pools(lambda one: one.started),
        ),
        Counter(
            "scanstream_worker_deaths_total",
            "Worker processes that ended in the middle of a call, or had to be ended",
            ("pool",),
            of_pools(lambda one: one.deaths),
        ),
        Counter(
            "scanstream_loop_held_up_total",
            "Times that a strategy held up the loop for long",
            ("strategy",),
            held_up(blocks.times if blocks else None),
        ),
        Gauge(
            "scanstream_loop_held_up_longest_seconds",
            "The longest of these times",
            ("strategy",),
            held_up(blocks.longest if blocks else None),
        ),
    ]


def of_push(fanout: Fanout, drain: Drain, seats: Seats, sight: Sight) -> list[Instrument]:
    """What readers are told, and whether they take it."""
    return [
        gauge("scanstream_readers", "Scans followed, over all connections", fanout.readers),
        gauge("scanstream_connections", "WebSockets, event streams and long polls", lambda: len(drain)),
        gauge("scanstream_sockets", "WebSockets and event streams", lambda: len(seats)),
        Counter(
            "scanstream_refused_total",
            "What was refused, by the code of its error",
            ("code",),
            lambda: {(code,): count for code, count in REFUSED.items()},
        ),
        gauge(
            "scanstream_connections_behind",
            "Connections whose reader has not taken all that was sent, when they were last looked at",
            lambda: sight.behind,
        ),
        gauge(
            "scanstream_connections_behind_longest_seconds",
            "For how long at most one of these has taken nothing",
            lambda: sight.longest,
        ),
        _counter(
            "scanstream_follows_total",
            "Readers that came to follow a scan, and polls that said where they were",
            ("transport", "outcome"),
            fanout.resumes.counts,
        ),
        counter(
            "scanstream_frames_sent_total",
            "Snapshots, updates and ends that were handed to transports",
            lambda: fanout.told.messages,
        ),
        counter(
            "scanstream_entries_skipped_total",
            "Entries that readers were told together with later ones",
            lambda: fanout.told.skipped,
        ),
        spread(
            "scanstream_entry_to_frame_seconds",
            "From an entry that was read here to the frames that tell it",
            fanout.flushes.delays,
        ),
    ]


def of_tls(handshakes: Handshakes) -> list[Instrument]:
    """Who comes by TLS, where it ends here."""
    return [
        gauge("scanstream_handshakes_under_way", "Handshakes of TLS under way", lambda: len(handshakes.seats)),
        Counter(
            "scanstream_handshakes_total",
            "Handshakes of TLS, by how they came out",
            ("outcome",),
            lambda: {(outcome,): count for outcome, count in handshakes.outcomes.items()},
        ),
    ]


def _counter(name: str, text: str, labels: Labels, counts: Counts) -> Counter:
    return Counter(name, text, labels, lambda: counts.of)


def of_notify(courier: Courier) -> list[Instrument]:
    """How it goes with telling others that scans have ended."""
    return [
        _counter("scanstream_deliveries_total", "What became of attempts to notify", ("outcome",), courier.counts),
        gauge(
            "scanstream_deliveries_waiting",
            "Notifications that are under way or will be tried again, over all nodes",
            lambda: courier.waiting,
        ),
        spread("scanstream_delivery_seconds", "What attempts to notify took", courier.seconds),
    ]
