"""The strategies that are installed: each looked at once, at the start, through the gate.

From then on the server asks a plug-in's object for its work only; what it is called, how long it may take and which
parameters it has are plain values here.
"""

import functools
import inspect
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from hashlib import blake2b
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from scanstream.errors import FieldError, SettingError
from scanstream.model import LONGEST_BUDGET_SECONDS
from scanstream.panel import INPUTS
from scanstream.strategies import gate
from scanstream.strategies.gate import Refused
from scanstream.strategies.strategy import AsyncStrategy, Parameters, Strategy

ENTRY_POINTS = "scanstream.strategies"
OURS = "scanstream"
"""The package whose strategies are of every release."""
LOAD_SECONDS = 30.0
"""In which a plug-in is imported, made and looked at; one that takes longer is refused."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""It stands in addresses, in the ids of opportunities and in labels of metrics."""
_TYPE = re.compile(r"[^\s,](?:[^,\x00-\x1f\x7f]{0,62}[^\s,])?")
"""Requests list types with commas between."""
LONGEST_NAME, LONGEST_TEXT = 200, 4000
MOST_CHUNK = 1_000_000_000
MOST_TYPES = 32
MOST_SCHEMA_BYTES, MOST_SCHEMA_DEPTH = 64 * 1024, 32
MOST_PARAMETER_BYTES, MOST_PARAMETER_DEPTH = 64 * 1024, 32
GONE = "it is not installed any more, or cannot be used any more"
LONGEST_REASON = 500
"""Bytes of why a parameter, or a plug-in, is refused."""


class Installed(Struct, frozen=True, kw_only=True, eq=False):
    """A strategy as it was at the start, plain; and the plug-in's own object for its work."""

    id: str
    name: str
    opportunity_type: str
    types: tuple[str, ...]
    """The type, and those that its signals may say in its place."""
    description: str
    source: str
    budget_seconds: float
    chunk: int
    waits: bool
    """Whether it is an `AsyncStrategy`, which the loop runs."""
    fields: tuple[str, ...]
    """The names of its parameters …"""
    schema: dict[str, Any]
    """… and all of them as JSON Schema."""
    release: str = ""
    """Which release of which package it is of; empty: one of ours, which later versions of us run as well."""
    own_parse: bool
    """Whether code of the plug-in looks at parameters: then not in the loop, which it might hold up."""
    strategy: Strategy

    def parse(self, given: Mapping[str, Any]) -> Parameters:
        """The parameters of a request, with defaults for what it does not give.

        :raises Refused: saying which is not valid, or what the plug-in raised
        """
        try:
            return self.strategy.parse(given)
        except msgspec.ValidationError as error:
            raise Refused(gate.told(error, most=LONGEST_REASON)) from None
        except BaseException as error:  # it may run a plug-in's code, which ends a request and no server
            raise Refused(gate.reason(error, most=LONGEST_REASON)) from None

    def canonical(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values given, as the strategy's own types have them, plain: 2 and 2.0 are one request.

        :raises Refused: if they are not valid
        """
        parsed = self.parse(given)
        try:
            values = msgspec.to_builtins(parsed)
            named = {name: values[name] for name in sorted(given)}
        except BaseException as error:  # as above
            raise Refused(gate.reason(error, most=LONGEST_REASON)) from None
        most = {"most_bytes": MOST_PARAMETER_BYTES, "most_depth": MOST_PARAMETER_DEPTH}
        return gate.document(named, f"what is given for {self.id}", **most)


class Answered(Installed, frozen=True, kw_only=True, eq=False):
    """A strategy that has looked at the parameters of one request already."""

    errors: list[FieldError] = []
    values: dict[str, Any] = {}

    def canonical(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What it said."""
        return self.values


def answered(strategy: Installed, errors: list[FieldError], values: dict[str, Any]) -> Answered:
    """The strategy, with what it said of a request's parameters."""
    fields = {name: getattr(strategy, name) for name in strategy.__struct_fields__}
    return Answered(**fields, errors=errors, values=values)


class Found(NamedTuple):
    """What is installed."""

    strategies: dict[str, Installed]
    """By id, in the order of the ids."""
    problems: list[str]
    """What cannot be used, each in one line that names the plug-in, and why."""


@cache
def _found() -> Found:
    return look_at(entry_points(group=ENTRY_POINTS))


def registry() -> dict[str, Installed]:
    """Every installed strategy that can be used, by its id."""
    return _found().strategies


def releases() -> dict[str, str]:
    """The installed strategies by id, and of which release of its package each is."""
    return {strategy.id: strategy.release for strategy in registry().values()}


def require_all() -> None:
    """See that all that is installed can be used: a server starts with all of its strategies, or not at all.

    Worker processes do without this: one that starts when a plug-in was broken since costs that strategy only.

    :raises SettingError: in one line, naming a plug-in that cannot be used, and why
    """
    for problem in _found().problems:
        raise SettingError(problem)


def look_at(points: Iterable[EntryPoint]) -> Found:
    """Each plug-in once, through the gate."""
    strategies: dict[str, Installed] = {}
    problems: list[str] = []
    for point in points:
        strategy = _loaded(point)
        if isinstance(strategy, str):
            problems.append(strategy)
        elif strategy.id in strategies:
            problems.append(f"Two strategies are called {strategy.id!r}; the second is {_place(point)}")
        else:
            strategies[strategy.id] = strategy
    return Found(dict(sorted(strategies.items())), problems)


def _loaded(point: EntryPoint) -> Installed | str:
    """What a plug-in offers, or why it cannot be used.

    In a thread of its own, as it may hang, or exit, while it is imported.
    """
    outcome: list[Installed | str] = []

    def load() -> None:
        try:
            plugin = point.load()()
            outcome.append(msgspec.structs.replace(admit(plugin), release=_release(point, plugin)))
        except Refused as error:
            outcome.append(gate.told(error, most=LONGEST_REASON))
        except BaseException as error:  # whatever a plug-in does as it is imported
            outcome.append(gate.reason(error, most=LONGEST_REASON))

    thread = threading.Thread(target=load, name="plug-in", daemon=True)
    thread.start()
    thread.join(LOAD_SECONDS)
    result = outcome[0] if outcome else f"it is not loaded after {LOAD_SECONDS:g} s"
    if isinstance(result, str):
        return gate.line(f"The strategy {_place(point)} cannot be used: {result}; mend its package, or uninstall it")
    return result


def _release(point: EntryPoint, plugin: object) -> str:
    """The package, its version, and what stands in the file: many a file is changed without another version."""
    package = getattr(point, "dist", None)
    if package is None or package.name == OURS:
        return ""
    release = f"{gate.told(package.name, most=100)} {gate.told(package.version, most=100)}"
    file = getattr(sys.modules.get(type(plugin).__module__), "__file__", None)
    if file is None or not file.endswith(".py"):
        return release
    try:
        return f"{release} ({blake2b(Path(file).read_bytes(), digest_size=4).hexdigest()})"
    except OSError:
        return release


def _place(point: EntryPoint) -> str:
    return f"{gate.told(point.name, most=100)} ({gate.told(point.value, most=200)})"


def admit(strategy: object) -> Installed:
    """A strategy through the gate.

    :raises Refused: naming the field that is not as it must be
    """
    if not isinstance(strategy, Strategy):
        raise Refused("it is no Strategy")
    _check_methods(strategy)
    own_type = _type(_given(strategy, "opportunity_type"), "opportunity_type")
    parameters: object = strategy.parameters
    if not (isinstance(parameters, type) and issubclass(parameters, Parameters)):
        raise Refused("parameters must be a subclass of Parameters")
    _check_needs(strategy.needs)
    schema = gate.document(strategy.schema(), "schema()", most_bytes=MOST_SCHEMA_BYTES, most_depth=MOST_SCHEMA_DEPTH)
    installed = Installed(
        id=_id(_given(strategy, "id")),
        name=gate.text(_given(strategy, "name"), "name", most=LONGEST_NAME),
        opportunity_type=own_type,
        types=tuple(dict.fromkeys((own_type, *_types(strategy.opportunity_types)))),
        description=gate.text(_given(strategy, "description"), "description", most=LONGEST_TEXT),
        source=gate.text(_given(strategy, "source"), "source", most=LONGEST_TEXT),
        budget_seconds=gate.number(strategy.budget_seconds, "budget_seconds", least=0.001, most=LONGEST_BUDGET_SECONDS),
        chunk=gate.whole(strategy.chunk, "chunk", least=1, most=MOST_CHUNK),
        waits=isinstance(strategy, AsyncStrategy),
        own_parse=getattr(strategy.parse, "__func__", None) is not Strategy.parse
        or hasattr(parameters, "__post_init__"),
        fields=tuple(parameters.__struct_fields__),
        schema=schema,
        strategy=strategy,
    )
    try:
        installed.canonical({})
    except Refused as error:
        raise Refused(f"parameters must all have defaults that are valid: {error}") from None
    return installed


def _given(strategy: Strategy, field: str) -> object:
    value = getattr(strategy, field, None)
    if value is None or value == "":
        raise Refused(f"it has no {field}")
    return value


def _id(value: object) -> str:
    plain = gate.text(value, "id", most=64)
    if not _ID.fullmatch(plain):
        raise Refused(f"id must be letters, digits, '_', '-' and '.', and is {gate.told(plain)!r}")
    return plain


def _type(value: object, field: str) -> str:
    plain = gate.text(value, field, most=64)
    if not _TYPE.fullmatch(plain):
        raise Refused(f"{field} must be words without commas, and is {gate.told(plain)!r}")
    return plain


def opportunity_type(value: object) -> str:
    """The type that a signal says in place of its strategy's.

    :raises Refused: if it is none that a request could name
    """
    return _type(value, "opportunity_type")


def _types(value: object) -> list[str]:
    if not isinstance(value, tuple | list) or len(value) > MOST_TYPES:
        raise Refused(f"opportunity_types must be a tuple of at most {MOST_TYPES} types")
    return [_type(item, "opportunity_types") for item in value]


def _check_needs(value: object) -> None:
    if not isinstance(value, tuple | list) or len(value) > len(INPUTS):
        raise Refused(f"needs must be a tuple of {', '.join(INPUTS)}")
    for item in value:
        gate.one_of(item, "needs", INPUTS)


def _check_methods(strategy: Strategy) -> None:
    scan = _undecorated(strategy.scan)
    if inspect.iscoroutinefunction(scan):
        raise Refused("its scan is an async def that yields nothing; let it yield, in a subclass of AsyncStrategy")
    if isinstance(strategy, AsyncStrategy):
        if inspect.isgeneratorfunction(scan):
            raise Refused("its scan is a def; make it an async def, or a subclass of Strategy")
    elif inspect.isasyncgenfunction(scan):
        raise Refused("its scan is an async def; make it a subclass of AsyncStrategy")
    for name in ("require", "units", "parse", "schema"):
        method = _undecorated(getattr(strategy, name))
        if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
            raise Refused(f"its {name} is an async def; make it a def")


def _undecorated(function: Callable[..., Any]) -> Callable[..., Any]:
    """What is called in the end: behind `functools.wraps`, partials and bound methods, or of an object its `__call__`.

    A decorator that says nothing of what it decorates hides that; then what `scan` gives is looked at as it runs.
    """
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial | functools.partialmethod):
        function = inspect.unwrap(function.func)
    if not inspect.isroutine(function) and not isinstance(function, type):
        function = inspect.unwrap(type(function).__call__)
    return function


def parameter_errors(strategy: Installed, given: Mapping[str, Any]) -> list[FieldError]:
    """What is wrong with a request's parameters of one strategy: all of it at once."""
    if isinstance(strategy, Answered):
        return strategy.errors
    try:
        strategy.canonical(given)
    except Refused as refused:
        return _named(strategy, given) or [FieldError(f"parameters.{strategy.id}", str(refused))]
    return []


def _named(strategy: Installed, given: Mapping[str, Any]) -> list[FieldError]:
    """The parameters that are not valid by themselves; none where only all of them together are not."""
    errors: list[FieldError] = []
    for name, value in given.items():
        field = f"parameters.{strategy.id}.{name}"
        if name not in strategy.fields:
            errors.append(FieldError(field, "there is no such parameter"))
            continue
        try:
            strategy.parse({name: value})
        except Refused as error:
            reason, _, path = str(error).partition(" - at `$")
            errors.append(FieldError(f"parameters.{strategy.id}{path.rstrip('`')}" if path else field, reason))
    return errors
