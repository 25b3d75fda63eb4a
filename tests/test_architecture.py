"""The house holds: who may import whom, how large things may grow, and which words and calls have no place in it.

Each rule reads the sources and tells all that breaks it at once; a crooked house shows that each of them can.
"""

import ast
from collections.abc import Callable, Collection, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

from conftest import LONG, ROOT

SOURCES = Path(__file__).parent.parent / "server" / "scanstream"

LEVELS: tuple[tuple[set[str], ...], ...] = (
    (
        {"scanstream", "model", "message", "panel", "parcel", "quotes", "errors", "legible", "shortage", "causes"}
        | {"proxies", "telling", "measure", "about", "explanation", "undecodable"},
    ),
    ({"log"}, {"jobs"}, {"deliveries"}),
    ({"engines"}, {"market"}, {"strategies"}, {"security"}),
    ({"scans"}, {"push"}, {"notify"}),
    (
        {
            "app",
            "core",
            "conducting",
            "engine",
            "departure",
            "siblings",
            "routes",
            "server",
            "leaving",
            "descriptors",
            "collector",
            "worker",
            "health",
        }
        | {"settings", "limits", "tls", "metrics", "instruments", "pulse", "traces", "exporting"},
        {"client"},
    ),  # settings names the markets, so it stands above them
    ({"terminal"}, {"notebook"}, {"conformance"}, {"doctor"}),
    ({"cli", "key", "preflight", "launch", "flag", "options", "parts", "streams", "logs", "demo", "__main__"},),
)
"""The rooms on each level, the lowest first. A room is a package, or modules that stand together."""

ENCLAVES = {
    "client": {"client", "model", "message", "errors", "legible", "log.patch", "log.cursor", "causes", "proxies"}
    | {"undecodable"},
    "scans.work.shard": {
        "scans.work.shard",
        "scans.work.cuts",
        "scans.work.finding",
        "scans.work.priority",
        "scans.names",
        "scans.selection",
        "strategies",
        "jobs",
        "log.entry",
        "model",
        "panel",
        "quotes",
        "errors",
        "legible",
        "shortage",
        "causes",
    },
    "scans.work.errands": {"scans.work.errands"},
}
ENCLAVES["conformance"] = {"conformance", *ENCLAVES["client"]}
ENCLAVES["scans.work.planning"] = {*ENCLAVES["scans.work.shard"], "scans.work.planning"}
"""What runs far from the server (at a client's, in a worker process), and all that it may bring along."""

MOST_LINES = 350
MOST_FUNCTION_LINES = 60
WORDS = ("manager", "handler", "service", "utils", "helper")
CALLS = {
    "time.sleep": "it stops the loop",
    "asyncio.Queue": "readers have positions, not queues",
    "create_task": "tasks live in task groups",
    "ensure_future": "tasks live in task groups",
    "msgspec.DecodeError": "it raises others as well: UNDECODABLE (undecodable.py)",
    "msgspec.MsgspecError": "it raises others as well: UNDECODABLE (undecodable.py)",
}
STANDING = {
    ("notebook.standing", "ensure_future"),
    ("push.attendance", "create_task"),
    ("undecodable", "msgspec.MsgspecError"),
}
"""Where a call is the reason that the module is there: a notebook has no block that could hold a group, and in the
other there is one, asyncio's own, whose method has this name."""


class Import(NamedTuple):
    """One import, wherever in the module it stands."""

    target: str
    line: int


class Module(NamedTuple):
    """One source file; its name is without the leading `scanstream.`."""

    name: str
    path: Path
    text: str
    tree: ast.Module
    imports: list[Import]

    def at(self, line: int) -> str:
        """Where an editor should open."""
        return f"{self.path}:{line}"


House: TypeAlias = dict[str, Module]


@cache
def house(root: Path) -> House:
    """Every source file below a package's directory."""
    paths = {_name(path.relative_to(root)): path for path in sorted(root.rglob("*.py"))}
    modules: House = {}
    for name, path in paths.items():
        text = path.read_text()
        tree = ast.parse(text)
        package = ["scanstream", *path.relative_to(root).parts[:-1]]
        modules[name] = Module(name, path, text, tree, list(_imports(tree, package, paths.keys())))
    return modules


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "scanstream"


def _imports(tree: ast.Module, package: list[str], known: Collection[str]) -> Iterator[Import]:
    """What is imported from the house, wherever: in functions, under TYPE_CHECKING, `from package import module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            targets = [f"{source}.{alias.name}" for alias in node.names]
        else:
            continue
        for first, _, rest in (target.partition(".") for target in targets):
            if first == "scanstream":
                yield Import(_longest_known(rest, known), node.lineno)


def _longest_known(target: str, known: Collection[str]) -> str:
    while target and target not in known:
        target = target.rpartition(".")[0]
    return target or "scanstream"


def imports_point_down(house: House) -> Iterator[str]:
    """Down only, or within the room: rooms of one level never meet."""
    for module in house.values():
        here = _room(module.name)
        if here is None:
            yield f"{module.at(1)}: {module.name} has no room in the house"
            continue
        for target, line in module.imports:
            there = _room(target)
            if there is not None and there != here and there[0] >= here[0]:
                way = "up" if there[0] > here[0] else "aside"
                yield f"{module.at(line)}: {module.name} imports {way}, {target}"


def _room(name: str) -> tuple[int, int] | None:
    first = name.partition(".")[0]
    found = [(level, room) for level, rooms in enumerate(LEVELS) for room, names in enumerate(rooms) if first in names]
    return found[0] if found else None


def imports_make_no_cycle(house: House) -> Iterator[str]:
    """Every module can be read after those that it imports."""
    reached = {name: _reached(house, name) for name in house}
    for module in house.values():
        for target, line in module.imports:
            if module.name in reached[target] | {target}:
                yield f"{module.at(line)}: {module.name} and {target} import each other"


def _reached(house: House, start: str) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        new = {target for target, _ in house[waiting.pop()].imports} - reached
        reached |= new
        waiting += new
    return reached


def enclaves_bring_little(house: House) -> Iterator[str]:
    """What runs far away imports only what it may, directly or by the way; packages on the way are read too."""
    for enclave, allowed in ENCLAVES.items():
        inside = {name for name in house if _within(name, {enclave})}
        brought = inside.union(*(_reached(house, name) for name in inside))
        packages = {package for name in brought if _within(name, allowed) for package in _packages(name)}
        for module in (house[name] for name in sorted(packages & house.keys())):
            for target, line in module.imports:
                if not _within(target, allowed):
                    yield f"{module.at(line)}: {enclave} must not bring {target}"


def _packages(name: str) -> list[str]:
    """The module itself and the packages above it: to import it is to run them all."""
    parts = name.split(".")
    return ["scanstream", *(".".join(parts[:stop]) for stop in range(1, len(parts) + 1))]


def _within(name: str, allowed: set[str]) -> bool:
    return any(f"{name}.".startswith(f"{prefix}.") for prefix in allowed)


def files_are_small(house: House) -> Iterator[str]:
    """What is longer holds more than one noun."""
    for module in house.values():
        lines = len(module.text.splitlines())
        if lines > MOST_LINES:
            yield f"{module.at(lines)}: {lines} lines, at most {MOST_LINES}"


def functions_are_small(house: House) -> Iterator[str]:
    """What is longer does more than one thing."""
    for module in house.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MOST_FUNCTION_LINES:
                    yield f"{module.at(node.lineno)}: {node.name} has {lines} lines, at most {MOST_FUNCTION_LINES}"


def names_say_what_things_are(house: House) -> Iterator[str]:
    """Words that fit anything say nothing."""
    for module in house.values():
        classes = [(node.name, node.lineno) for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
        for name, line in [(module.name, 1), *classes]:
            for word in WORDS:
                if word in name.lower():
                    yield f"{module.at(line)}: {name} is called a {word}"


def nothing_is_used_that_misleads(house: House) -> Iterator[str]:
    """Structured concurrency throughout, nothing that stops the loop, and no error that is half of what is raised."""
    for module in house.values():
        for name, line in _used(module.tree):
            for call, why in CALLS.items():
                if f".{name}".endswith(f".{call}") and (module.name, call) not in STANDING:
                    yield f"{module.at(line)}: {call}: {why}"


def _used(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every dotted name that is used, by the name it has at home."""
    homes: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            homes |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            homes |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield homes.get(node.id, node.id), node.lineno
        elif isinstance(node, ast.Attribute):
            holder = node.value.id if isinstance(node.value, ast.Name) else "?"
            yield f"{homes.get(holder, holder)}.{node.attr}", node.lineno


RULES: list[Callable[[House], Iterator[str]]] = [
    imports_point_down,
    imports_make_no_cycle,
    enclaves_bring_little,
    files_are_small,
    functions_are_small,
    names_say_what_things_are,
    nothing_is_used_that_misleads,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_holds(rule: Callable[[House], Iterator[str]]) -> None:
    broken = list(rule(house(SOURCES)))

    assert not broken, "\n".join(["", *broken])


CROOKED: dict[str, str] = {
    "__init__.py": "",
    "model.py": "def lazy() -> None:\n    from scanstream import log\n",
    "loose.py": "",
    "log/__init__.py": "import scanstream.panel",
    "log/patch.py": "import typing\nif typing.TYPE_CHECKING:\n    from scanstream.log.hub import Hub\n",
    "log/hub.py": "from . import patch\nfrom .. import model\n",
    "jobs.py": "import scanstream.log.hub\n",
    "client/__init__.py": "",
    "client/mirror.py": "from scanstream.log.patch import merge\n",
    "push/utils.py": "class EventHandler: ...\nfrom scanstream.scans.work import shard\n",
    "scans/work/shard.py": "from scanstream.panel import Panel\n",
    "panel.py": "from scanstream.message import Ack\n",
    "message.py": "\n" * 360,
    "engines/slow.py": "from time import sleep\nimport asyncio as aio\n"
    + "\n".join(["def go():", *(["    aio.Queue()"] * 61), "sleep(1)"]),
    "market/stray.py": "import asyncio\nasyncio.get_running_loop().create_task(go())\ngroup.create_task_group()\n"
    "asyncio.ensure_future(go())\nimport msgspec\nerror = msgspec.DecodeError\n",
}

BROKEN: dict[str, list[str]] = {
    "imports_point_down": ["jobs.py:1", "loose.py:1", "model.py:2", "push/utils.py:2"],
    "imports_make_no_cycle": ["log/hub.py:1", "log/patch.py:3"],
    "enclaves_bring_little": ["log/__init__.py:1", "log/patch.py:3", "model.py:2", "panel.py:1"],
    "files_are_small": ["message.py:360"],
    "functions_are_small": ["engines/slow.py:3"],
    "names_say_what_things_are": ["push/utils.py:1", "push/utils.py:1"],
    "nothing_is_used_that_misleads": [
        *(f"engines/slow.py:{line}" for line in range(4, 66)),
        "market/stray.py:2",
        "market/stray.py:4",
        "market/stray.py:6",
    ],
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_tells_all_that_breaks_it(rule: Callable[[House], Iterator[str]], tmp_path: Path) -> None:
    for name, text in CROOKED.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    told = [line.removeprefix(f"{tmp_path}/").partition(": ")[0] for line in rule(house(tmp_path))]

    assert sorted(told) == sorted(BROKEN[rule.__name__])


def test_the_files_of_tests_that_come_first_are_there() -> None:
    assert [name for name in LONG if not (ROOT / "tests" / f"{name}.py").is_file()] == []
