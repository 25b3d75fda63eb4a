"""Who may start next, over several nodes: each tells it from the logs, principals take turns, nobody is forgotten."""

import random
from collections import Counter, deque
from itertools import count

import anyio
import pytest
from msgspec.structs import replace

from scanstream.log.entry import AnyEntry, Cancelled, CancelRequested, Queued, Registered
from scanstream.log.scanlog import ScanLog
from scanstream.model import Principal, ScanId
from scanstream.scans.permissions import MOST_AT_ONCE, Permissions
from support.histories import NOON, planned, registered

GO = Queued(at=NOON)


class Node:
    """One of several that read the same entries, each as far as it has come."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self._read = 0
        self._logs: dict[ScanId, ScanLog] = {}
        self.conducted: set[ScanId] = set()
        self.alike = True
        self.permissions = Permissions(house.places, self.conducted.__contains__, lambda: self.alike)

    def read_on(self) -> None:
        """Read all that was written since."""
        for scan_id, entry in self._house.stream[self._read :]:
            log = self._logs.get(scan_id)
            if log is None:
                assert isinstance(entry, Registered)
                log = self._logs[scan_id] = ScanLog(entry, "epoch")
            elif not log.apply(log.seq + 1, entry):
                continue
            self.permissions.notice(log)
        self._read = len(self._house.stream)

    def release(self, *scans: ScanId) -> None:
        """Their acks are out."""
        self.read_on()
        for scan_id in scans:
            self._house.write(scan_id, self.permissions.asked(self._logs[scan_id]))
        self.read_on()

    def let_in(self) -> None:
        """Write what its task would write now."""
        while due := self.permissions._due():
            for scan_id in due:
                self._house.write(scan_id, GO)
            self.permissions._writing.clear()

    def sweep(self) -> None:
        """As much time has passed as its task waits for others."""
        self.permissions._look()
        if self.permissions._since is not None:
            self.permissions._since = 0.0
        self.let_in()

    def told(self, *scans: ScanId) -> list[int | None]:
        """The place of each, as it has read it."""
        return [self.permissions.rank(scan_id) for scan_id in scans]


class House:
    """What was written, and the queue that hands permissions out: so many scans are conducted at once."""

    def __init__(self, places: int, nodes: int = 2) -> None:
        self.places = places
        self.stream: list[tuple[ScanId, AnyEntry]] = []
        self._numbers = count()
        self.permitted: list[ScanId] = []
        """In the order in which they have got it."""
        self._queue: deque[ScanId] = deque()
        self.running: dict[ScanId, Node] = {}
        self.begun: list[ScanId] = []
        self.nodes = [Node(self) for _ in range(nodes)]

    def write(self, scan_id: ScanId, *entries: AnyEntry) -> None:
        """Into the stream, which refuses a second permission."""
        for entry in entries:
            if entry == replace(GO, at=entry.at):
                if scan_id in self.permitted:
                    continue
                self.permitted.append(scan_id)
                self._queue.append(scan_id)
            self.stream.append((scan_id, entry))

    def register(self, owner: str, scans: int = 1) -> list[ScanId]:
        """So many of one principal's."""
        names = [ScanId(f"{owner}{next(self._numbers)}") for _ in range(scans)]
        for name in names:
            self.write(name, replace(registered("a", scan_id=name), principal=Principal(owner)))
        return names

    def begin(self, conductor: Node) -> None:
        """Have this node conduct those for whom there are places."""
        while self._queue and len(self.running) < self.places:
            scan_id = self._queue.popleft()
            conductor.conducted.add(scan_id)
            self.running[scan_id] = conductor
            self.begun.append(scan_id)
            self.write(scan_id, planned(a=1))

    def read_on(self) -> None:
        """All read all."""
        for node in self.nodes:
            node.read_on()

    def end(self, scan_id: ScanId, *, forgotten: bool = False) -> None:
        """The scan ends; whoever conducted it does the rest, unless it dies in this moment."""
        conductor = self.running.pop(scan_id)
        self.write(scan_id, CancelRequested(at=NOON), Cancelled(at=NOON))
        if forgotten:
            self.nodes.remove(conductor)
            for other in [name for name, node in self.running.items() if node is conductor]:  # its leases have run out
                self.running[other] = self.nodes[0]
                self.nodes[0].conducted.add(other)
        self.read_on()
        conductor.conducted.discard(scan_id)
        if not forgotten:
            conductor.let_in()

    def run(self, seed: int = 0) -> list[str]:
        """Let all that is to come begin and end, on any of the nodes; whose each was that began."""
        some = random.Random(seed)
        first = len(self.begun)
        while True:
            self.begin(some.choice(self.nodes))
            self.read_on()
            if not self.running:
                return [name[0] for name in self.begun[first:]]
            self.end(some.choice(list(self.running)))


@pytest.mark.parametrize("places", [1, 2, 4])
def test_who_comes_to_the_flood_of_another_is_among_the_next(places: int) -> None:
    house = House(places)
    one, other = house.nodes
    one.release(*house.register("f", 300))
    house.begin(one)
    house.read_on()
    assert len(house.permitted) == places, "no more may start than there are places"
    late = house.register("n", 2)
    other.release(*late)
    one.read_on()
    assert one.told(*late) == other.told(*late) == [1, 4]
    assert house.run()[:4] == ["n", "f", "f", "n"], "as they have come, one of each in a round"
    assert len(house.begun) == 302


def test_of_one_principal_alone_as_many_run_as_may() -> None:
    house = House(places=4)
    one, other = house.nodes
    scans = house.register("f", 50)
    one.release(*scans[:25])
    other.release(*scans[25:])
    while len(house.begun) < 50:
        house.begin(one)
        house.read_on()
        assert len(house.running) == 4
        house.end(next(iter(house.running)))
    assert [house.begun.index(name) for name in scans] == list(range(50)), "in their order"


def test_the_place_told_is_the_order_in_which_they_begin() -> None:
    house = House(places=2, nodes=3)
    waiting = [scan_id for owner in "abcab" for scan_id in house.register(owner, 20)]
    for number, scan_id in enumerate(waiting):
        house.nodes[number % 3].release(scan_id)
    house.begin(house.nodes[0])
    house.read_on()
    told = {scan_id: house.nodes[0].told(scan_id)[0] for scan_id in waiting}
    assert all(node.told(*waiting) == list(told.values()) for node in house.nodes)
    assert sorted(place for place in told.values() if place) == list(range(1, 99))
    began = len(house.begun)
    house.run()
    assert house.begun[began:] == sorted((one for one in waiting if told[one]), key=lambda one: told[one] or 0)


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_forgotten_whoever_dies_and_whatever_is_cancelled(seed: int) -> None:
    """Nodes die in the moment in which it is theirs to let the next one in; some scans are cancelled as they wait."""
    some = random.Random(seed)
    house = House(places=2, nodes=12)
    scans = [scan_id for owner in "abc" for scan_id in house.register(owner, 30)]
    for scan_id in scans:
        some.choice(house.nodes).release(scan_id)
    gone = some.sample(scans, 20)
    while True:
        house.begin(some.choice(house.nodes))
        house.read_on()
        if gone and (scan_id := gone.pop()) not in house.begun:
            house.write(scan_id, CancelRequested(at=NOON))
            house.read_on()
        if not house.running:
            break
        house.end(some.choice(list(house.running)), forgotten=len(house.nodes) > 2 and some.random() < 0.3)
        for node in house.nodes:
            node.sweep()
            node.read_on()
    ended = {scan_id for scan_id, entry in house.stream if isinstance(entry, Cancelled | CancelRequested)}
    assert ended == set(scans)
    assert max(Counter(house.begun).values()) == 1


def test_a_node_that_was_started_later_goes_on_with_the_order() -> None:
    house = House(places=2)
    house.nodes[0].release(*house.register("f", 40))
    house.nodes[0].release(*house.register("g", 40))
    for _ in range(20):
        house.begin(house.nodes[0])
        house.read_on()
        house.end(next(iter(house.running)))
    house.begin(house.nodes[1])
    ended = {scan_id for scan_id, entry in house.stream if isinstance(entry, Cancelled)}
    house.stream = [(scan_id, entry) for scan_id, entry in house.stream if scan_id not in ended]
    house.nodes = [Node(house)]
    house.read_on()
    for scan_id in house.running:
        house.running[scan_id] = house.nodes[0]
        house.nodes[0].conducted.add(scan_id)
    late = house.register("n", 5)
    house.nodes[0].release(*late)
    began = house.run()
    turns = [began.index("n", 0), *(sum(one == "n" for one in began[: 3 * number]) for number in range(1, 6))]
    assert turns[0] <= 2
    assert turns[1:] == [1, 2, 3, 4, 5], "one of each principal's in each round"


def test_two_that_let_in_at_once_let_in_one_less_later() -> None:
    """Each of two nodes releases a scan, and has not read yet that the other has."""
    house = House(places=1)
    one, other = house.nodes
    scans = house.register("f", 4)
    house.read_on()
    asked = [node.permissions.asked(node._logs[scan_id]) for node, scan_id in zip(house.nodes, scans, strict=False)]
    assert not any(entry.waits for entry in asked)
    for scan_id, entry in zip(scans, asked, strict=False):
        house.write(scan_id, entry)
    one.release(*scans[2:])
    house.begin(one)
    house.read_on()
    assert one.told(*scans) == other.told(*scans) == [None, 1, 2, 3]
    house.end(scans[0])
    assert house.permitted == scans[:2]
    house.begin(one)
    house.read_on()
    house.end(scans[1])
    assert house.permitted == scans[:3]


def test_who_wrote_that_a_scan_waits_lets_it_in_if_a_place_is_free_by_then() -> None:
    house = House(places=1)
    one, other = house.nodes
    running, late = house.register("f", 2)
    one.release(running)
    house.begin(other)
    house.read_on()
    waits = one.permissions.asked(one._logs[late])
    house.end(running)
    house.write(late, waits)
    house.read_on()
    assert waits.waits
    assert (other.permissions._due(), one.permissions._due()) == ([], [late])


def test_beside_a_version_before_all_may_start() -> None:
    """It gives no permissions to those that wait, and may be the only node that is left."""
    house = House(places=1, nodes=1)
    (node,) = house.nodes
    scans = house.register("f", 3 * MOST_AT_ONCE)
    node.release(*scans)
    assert len(house.permitted) == 1
    node.permissions._alike = False
    node.sweep()
    assert house.permitted == scans
    more = house.register("n")
    node.release(*more)
    assert house.permitted == [*scans, *more]
    house.begin(node)
    node.read_on()
    assert node.told(scans[0], scans[1], *more) == [None, 1, 3 * MOST_AT_ONCE]


def test_who_has_a_free_place_has_none_before_them() -> None:
    house = House(places=2)
    one, other = house.nodes
    scans = house.register("f", 5)
    assert one.told(*scans) == [None] * 5
    one.release(*scans)
    other.read_on()
    assert one.told(*scans) == other.told(*scans) == [None, None, 1, 2, 3]
    assert other.permissions.waiting() == 3
    assert [other.permissions.behind(Principal(owner)) for owner in "fn"] == [0, 3]
    house.begin(other)
    house.read_on()
    assert one.told(*scans) == other.told(*scans) == [None, None, 1, 2, 3]


@pytest.mark.anyio
async def test_its_task_lets_in_at_once_whom_it_is_to_let_in_and_the_forgotten_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scanstream.scans.permissions.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("scanstream.scans.permissions.FORGOTTEN_SECONDS", 0.05)
    house = House(places=1)
    one, other = house.nodes
    scans = house.register("f", 3)
    one.release(*scans)
    house.begin(other)
    house.read_on()

    async def append(scan_id: ScanId, entry: AnyEntry) -> None:
        house.write(scan_id, entry)
        house.read_on()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.permissions.run, append)
            house.end(scans[0], forgotten=True)
            while len(house.permitted) < 2:  # noqa: ASYNC110  # it looks each 10 ms
                await anyio.sleep(0.01)
            house.begin(one)
            house.read_on()
            monkeypatch.setattr("scanstream.scans.permissions.FORGOTTEN_SECONDS", 1000)
            conductor = house.running.pop(scans[1])
            house.write(scans[1], CancelRequested(at=NOON), Cancelled(at=NOON))
            conductor.read_on()
            while len(house.permitted) < 3:  # noqa: ASYNC110  # as above
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
