"""Where scans are asked for: register → placeholder → ack → release → queue, in this order and no other.

`register` returns when the scan is durable and folded; whoever asked hands out the ack and then calls `release`. Only
then does a task of the desk append `Queued`, the permission to start (releases.py).
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple

import anyio
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from scanstream.about import node_name
from scanstream.errors import InvalidRequest, Overloaded, ScanstreamError
from scanstream.log.cursor import START, Position
from scanstream.log.entry import CancelRequested, Registered
from scanstream.log.hub import Hub
from scanstream.log.scanlog import ScanLog
from scanstream.log.store import Store
from scanstream.measure import QUICK_SECONDS, Histogram, Labels
from scanstream.message import POLLING_INTERVAL_SECONDS, AckBody
from scanstream.model import EVENTS_PATH, DiscoverRequest, IdempotencyKey, Milliseconds, Principal, ScanId
from scanstream.panel import Panel
from scanstream.scans import selection
from scanstream.scans.admission import Admission
from scanstream.scans.ages import Ages
from scanstream.scans.archive import Archive
from scanstream.scans.identity import new_scan_id
from scanstream.scans.meanings import Meanings
from scanstream.scans.releases import Releases
from scanstream.scans.shortages import Shortages
from scanstream.security.caller import Owner
from scanstream.strategies.installed import Installed

LEFT_OF_REUSED_SECONDS = 60.0
"""A finished scan answers an identical request only if it answers for so long yet; of a short retention half of it."""


ANSWERS = ("new", "running", "fresh", "key")
"""What answers a discover: a new scan, or one that was there, by its request or by its key."""
JUDGED_SECONDS = 30.0
"""In which plug-ins have looked at the parameters of a request, their wait for a process among it."""
WITHDRAWN_SECONDS = 2.0
"""In which a node has taken back what it has registered beyond a limit; else it has died meanwhile."""


class Limits(NamedTuple):
    """What the desk grants; times in seconds."""

    budget: float
    retention: float
    fresh: float


class ScanDesk:
    """The desk port of push/desk.py, for scans of one market."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        panel: Callable[[], Awaitable[Panel]],
        strategies: Mapping[str, Installed],
        rank: Callable[[ScanId], int | None],
        judge: Callable[[Installed, dict[str, Any]], Awaitable[Installed]],
        estimate: Callable[[ScanLog], float | None],
        limits: Limits,
        admission: Admission,
        releases: Releases,
        machine: Shortages,
    ) -> None:
        self._store = store
        self._hub = hub
        self._panel = panel
        self._strategies = strategies
        self.rank = rank
        self._judge = judge
        self._judging = [one for one in strategies.values() if one.own_parse]
        self._meanings = Meanings(strategies)
        self._estimate = estimate
        self._archive = Archive(store, hub)
        self.find = self._archive.find
        self.held = self._archive.held
        self.newest = self._archive.newest
        self.place = self._archive.place
        self._limits = limits
        self._retention: Milliseconds = round(limits.retention * 1000)
        self._admission = admission
        self._releases = releases
        self._machine = machine
        self._node = node_name()
        self.acks: dict[Labels, Histogram] = {(answer,): Histogram(QUICK_SECONDS) for answer in ANSWERS}
        """How long acks took that could be given, by what answered: until they could be handed out."""
        self.registered: Callable[[ScanId, float], None] | None = None
        """Called with each new scan, and how long ago it was asked for."""
        self._ages = Ages(limits.fresh, common=store.now if store.shared else None)

    async def register(
        self,
        principal: Principal,
        request: DiscoverRequest,
        key: IdempotencyKey | None = None,
        *,
        prefix: str = "",
    ) -> AckBody:
        """Register a scan durably, or find the one that already answers the same request.

        Cancellation waits until it is known which: nobody is left with a scan that was registered and never started.

        :param key: the caller's idempotency key: the same key is the same scan, and never another one
        :param prefix: the path that the server stands below for the caller
        :raises InvalidRequest: naming the fields, or for a key that was used with another request
        :raises Overloaded: if strategies that look at parameters themselves do not come to it
        :raises TooManyScans: for new work, if as many are under way as may be, of all or of the principal's
        :raises RateLimited: for new work, if the principal has started as many lately as may be
        :raises Shortage: for new work, while the machine lacks what a scan needs
        :raises StoreUnavailable: if it could not be made durable; then nothing happened
        """
        began = time.perf_counter()
        scan = await self._registration(principal, request, key, prefix)
        refusal = await self._admission.enter(principal, scan.scan_id)
        try:
            log = await self._admitted(refusal, scan, key)
        finally:
            if refusal is None:
                self._admission.leave(principal, scan.scan_id)
        new = log.scan_id == scan.scan_id
        ack = self.acknowledge(log, START, "Scan registered", status="initiated") if new else self._joined(log, key)
        seconds = time.perf_counter() - began
        self.acks["new" if new else ack.reused or "key",].add(seconds)
        if new and self.registered is not None:
            self.registered(log.scan_id, seconds)
        return ack

    async def _admitted(self, refusal: ScanstreamError | None, scan: Registered, key: IdempotencyKey | None) -> ScanLog:
        """The log that answers this registration: a new one, where nothing is said against it."""
        if refusal is None and not self._machine.current():
            with anyio.CancelScope(shield=True):
                return await self._settle_on(scan, key)
        if (existing := await self._existing(scan, key)) is not None:
            return existing
        self._machine.refuse()
        raise refusal or Overloaded("The server lacked something a moment ago; try again", retry_after=1)

    async def answered(
        self, principal: Principal, request: DiscoverRequest, key: IdempotencyKey | None = None
    ) -> AckBody | None:
        """The ack of the scan that answers the request already; None where it would be new work.

        :raises InvalidRequest: as `register` does
        """
        log = await self._existing(await self._registration(principal, request, key), key)
        return None if log is None else self._joined(log, key)

    async def _judged(self, request: DiscoverRequest) -> Mapping[str, Installed]:
        """The strategies; those whose own code looks at parameters have looked at the request's already.

        :raises Overloaded: if they do not come to it in time, as their processes are busy with others
        """
        if not self._judging or not request.parameters:
            return self._strategies
        given = {name.strip().casefold(): values or {} for name, values in request.parameters.items()}
        own = [one for one in self._judging if given.get(one.id.casefold())]
        if not own:
            return self._strategies
        try:
            with anyio.fail_after(JUDGED_SECONDS):
                answers = {one.id: await self._judge(one, given[one.id.casefold()]) for one in own}
        except TimeoutError as error:
            raise Overloaded("Other requests are looked at just now; try again later", retry_after=5) from error
        return {**self._strategies, **answers}

    def _joined(self, log: ScanLog, key: IdempotencyKey | None) -> AckBody:
        """The ack of a scan that was there before."""
        if key is not None:
            return self.acknowledge(log, START, "This key's scan")
        if log.ended:
            return self.acknowledge(log, START, "A fresh scan answers this", reused="fresh")
        return self.acknowledge(log, START, "The same scan is under way", reused="running")

    async def _registration(
        self, principal: Principal, request: DiscoverRequest, key: IdempotencyKey | None, prefix: str = ""
    ) -> Registered:
        panel = await self._panel()
        meaning = await self._meanings.of(principal, request, panel, await self._judged(request))
        at = self._store.now()
        return Registered(
            at=at,
            scan_id=new_scan_id(self._store.key, principal, at),
            principal=principal,
            slot=selection.key_slot(principal, key.value) if key else meaning.slot,
            market=panel.market,
            digest=panel.digest,
            request=meaning.request,
            filters=meaning.filters,
            budgets=meaning.budgets,
            budget=self._limits.budget,
            retention=self._retention,
            prefix=prefix,
            by=self._node,
        )

    async def _settle_on(self, scan: Registered, key: IdempotencyKey | None) -> ScanLog:
        """The log that answers this registration: compare and set on the slot until one side has won."""
        replaces: ScanId | Literal["any"] | None = "any" if _insists(scan, key) else None
        while True:
            winner = await self._store.register(scan, replaces)
            if winner == scan.scan_id:
                return await self._kept(winner)
            if (holder := await self._answering(winner, scan, key)) is not None:
                return holder
            replaces = winner

    async def _kept(self, scan_id: ScanId) -> ScanLog:
        """The log of a scan that was just registered here, taken back if it was beyond a limit: nobody has its ack.

        It ends in its log first, so that each node that has heard of it is done with it.
        """
        log = await self._hub.until_known(scan_id)
        if (refusal := self._admission.beyond(scan_id)) is None:
            return log
        await self._store.append(scan_id, CancelRequested(at=self._store.now(), by=self._node))
        await self._hub.until(scan_id, lambda log: log.ended)
        await self._store.purge([scan_id])
        self._hub.forget(scan_id)
        raise refusal

    async def _answering(self, winner: ScanId, scan: Registered, key: IdempotencyKey | None) -> ScanLog | None:
        """The log of a slot's holder, if it answers this registration."""
        holder = await self._archive.holder(winner, keyed=key is not None)
        if holder is None or not await self._stays(holder):
            return None
        return holder if self._answers(holder, scan, key) else None

    async def _stays(self, log: ScanLog) -> bool:
        """Whether the scan is not taken back: of one that was registered beyond a limit that is known in a moment."""
        if self._admission.beyond(log.scan_id) is None:
            return True
        with anyio.move_on_after(WITHDRAWN_SECONDS):
            await self._hub.until(log.scan_id, lambda log: log.ended or log.folded.state.phase != "init")
        return not log.ended

    async def _existing(self, scan: Registered, key: IdempotencyKey | None) -> ScanLog | None:
        """The log that answers this registration without a new scan. Registrations under way are waited for."""
        if _insists(scan, key) or (winner := await self._store.holder(scan.slot)) is None:
            return None
        return await self._answering(winner, scan, key)

    def _answers(self, log: ScanLog, scan: Registered, key: IdempotencyKey | None) -> bool:
        """Whether the slot's earlier scan is as good as a new one: this key's, under way, or complete, whole and fresh.

        :raises InvalidRequest: for a key that was used with another request
        """
        if key is not None:
            _require_same(log.folded.registered.request, scan.request, key)
            return True
        state = log.folded.state
        if not log.ended:
            return state.phase != "cancelling"
        whole = all(strategy.status == "complete" for strategy in state.strategies.values())
        return state.status == "complete" and whole and self._is_fresh(log)

    def _is_fresh(self, log: ScanLog) -> bool:
        """Whether it is young enough, and whoever is given its id has time to read it."""
        retention = log.folded.registered.retention
        left = min(LEFT_OF_REUSED_SECONDS * 1000, retention / 2)
        return self._ages.of(log) < self._limits.fresh and log.folded.at + retention - self._store.now() >= left

    def acknowledge(
        self,
        log: ScanLog,
        position: Position,
        message: str | None = None,
        *,
        status: str | None = None,
        reused: Literal["running", "fresh"] | UnsetType = UNSET,
    ) -> AckBody:
        """The ack of a scan as of now, for a reader that goes on from `position`."""
        state = log.folded.state
        seconds = self._estimate(log)
        return AckBody(
            success=True,
            scan_id=log.scan_id,
            status=status or state.status,
            cursor=str(log.cursor(position)),
            message=message or state.message,
            poll_url=state.poll_url,
            results_url=state.results_url,
            events_url=log.folded.registered.prefix + EVENTS_PATH + log.scan_id,
            polling_interval_seconds=POLLING_INTERVAL_SECONDS,
            progress=state.progress,
            estimated_completion_seconds=UNSET if seconds is None else seconds,
            filters=state.filters,
            reused=reused,
        )

    async def cancel(self, owner: Owner, scan_id: str) -> ScanLog:
        """Ask for the end of a scan. The log's order decides: after its last outcome this changes nothing.

        :raises NotFound: if it never was, or is not theirs
        :raises Expired: if it was, and is gone
        """
        log = await self.find(owner, scan_id)
        if not log.ended and log.folded.state.phase != "cancelling":  # asked once more is no more entries
            await self._store.append(log.scan_id, CancelRequested(at=self._store.now(), by=self._node))
            await self._hub.until(log.scan_id, lambda log: log.ended or log.folded.state.phase == "cancelling")
        return log if not log.left else await self.find(owner, scan_id)

    def release(self, scan_id: ScanId) -> None:
        """The ack is with the transport, or its client is gone: let the scan start. More than once is once."""
        self._releases.release(scan_id)

    async def run(self) -> None:
        """Let released scans start, and remember when they ended."""
        with self._hub.watching_all(self._ages.notice):
            await self._releases.run()


def _insists(scan: Registered, key: IdempotencyKey | None) -> bool:
    """Whether only a new scan will do."""
    return scan.request.force_refresh is True and key is None


def _require_same(first: DiscoverRequest, again: DiscoverRequest, key: IdempotencyKey) -> None:
    if replace(first, force_refresh=None) != replace(again, force_refresh=None):
        raise InvalidRequest.of(key.field, "this key was used with another request")
