"""What a plug-in may give, and what becomes of it: judged at the start, at a request, or as its shard's outcome."""

import asyncio
import functools
import math
import os
import sys
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from msgspec import UNSET

from scans.planted import Planted, at_once, panel, piece, signal, whole
from scanstream.errors import FieldError, SettingError
from scanstream.model import DiscoverRequest, Opportunity, Problem
from scanstream.scans.work import shard as worker
from scanstream.scans.work.shard import Outcome
from scanstream.strategies import gate, installed, strategy
from scanstream.strategies.gate import Refused
from scanstream.strategies.installed import Installed, admit, look_at, parameter_errors, registry, require_all
from scanstream.strategies.strategy import AsyncStrategy, Note, Parameters, Signal


class Text(str):
    """A subclass with a mind of its own."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"

    def encode(self, *_: Any, **__: Any) -> bytes:
        raise SystemExit


class Kind(StrEnum):
    """An enumeration, as people have them."""

    LONG = "long"
    HIGH = "high"
    NEW = "new"


class Index:
    """A whole number by its own account."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __index__(self) -> int:
        return self._value


def made(**members: Any) -> Planted:
    """A strategy whose class has these in place of what it should have."""
    odd: Planted = type("Odd", (Planted,), members)(lambda *_: [])
    return odd


def raising(error: BaseException) -> property:
    """An attribute that cannot be had."""

    def get(_: object) -> Any:
        raise error

    return property(get)


async def _answers(*_: Any) -> list[Signal]:
    return []


async def _yields(*_: Any) -> Any:
    yield signal()


def _yields_at_once(*_: Any) -> Any:
    yield signal()


@functools.wraps(_answers)
def _wrapped(*_: Any) -> Any:
    return _answers()


class Called:
    """An object that is called."""

    async def __call__(self, *_: Any) -> list[Signal]:
        return []


class Undecodable(Parameters, frozen=True, kw_only=True):
    """Its schema cannot be had."""

    thing: object | Callable[[], None] = None


class Demanding(Parameters, frozen=True, kw_only=True):
    """Without a default."""

    level: int


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a budget without end": ({"budget_seconds": math.inf}, "budget_seconds must be finite"),
    "a budget that is none": ({"budget_seconds": math.nan}, "budget_seconds must be finite"),
    "no budget": ({"budget_seconds": 0}, "budget_seconds must be from"),
    "a budget below nothing": ({"budget_seconds": -1.0}, "budget_seconds must be from"),
    "a budget beyond floats": ({"budget_seconds": 10**400}, "budget_seconds must be finite"),
    "a budget of ages": ({"budget_seconds": 1e12}, "budget_seconds must be from"),
    "a budget in words": ({"budget_seconds": "30"}, "budget_seconds must be a number, and is '30' (str)"),
    "a budget of True": ({"budget_seconds": True}, "budget_seconds must be a number"),
    "a budget that raises": ({"budget_seconds": raising(ZeroDivisionError("no budget"))}, "no budget"),
    "a budget that exits": ({"budget_seconds": raising(SystemExit(3))}, "SystemExit"),
    "no chunk": ({"chunk": 0}, "chunk must be from 1"),
    "a negative chunk": ({"chunk": -8}, "chunk must be from 1"),
    "a chunk in parts": ({"chunk": 8.0}, "chunk must be a whole number, and is 8.0 (float)"),
    "a chunk of NumPy's parts": ({"chunk": np.float64(8)}, "chunk must be a whole number"),
    "a chunk of True": ({"chunk": np.bool_(True)}, "chunk must be a whole number"),
    "a chunk of millions of digits": ({"chunk": 1 << 16_000_000}, "chunk must be from 1"),
    "needs as a word": ({"needs": "candles"}, "needs must be a tuple"),
    "needs that nobody has": ({"needs": ("candles", "luck")}, "needs must be one of"),
    "needs of numbers": ({"needs": (1,)}, "needs must be one of"),
    "needs without end": ({"needs": ("candles",) * 1000}, "needs must be a tuple"),
    "an id with a slash": ({"id": "a/b"}, "id must be letters"),
    "an id with a colon": ({"id": "a:b"}, "id must be letters"),
    "an id with a comma": ({"id": "a,b"}, "id must be letters"),
    "an id with a line": ({"id": "a\nb"}, "id must be letters"),
    "an id in Greek": ({"id": "αβγ"}, "id must be letters"),
    "an id of any length": ({"id": "x" * 65}, "id must have 1 to 64 characters"),
    "an id that is no Unicode": ({"id": "\ud800"}, "id is no valid Unicode"),
    "an id that is no text": ({"id": 7}, "id must be text"),
    "no id": ({"id": ""}, "it has no id"),
    "a name of megabytes": ({"name": "x" * 3_000_000}, "name must have 1 to 200 characters, and has 3,000,000"),
    "a name that is no Unicode": ({"name": "a\udfff"}, "name is no valid Unicode"),
    "a name that raises": ({"name": raising(KeyboardInterrupt())}, "KeyboardInterrupt"),
    "no description": ({"description": None}, "it has no description"),
    "a description of bytes": ({"description": b"bytes"}, "description must be text"),
    "a source of megabytes": ({"source": "x" * 3_000_000}, "source must have"),
    "a type with a comma": ({"opportunity_type": "a,b"}, "opportunity_type must be words"),
    "a type that cannot be hashed": ({"opportunity_type": ["a"]}, "opportunity_type must be text"),
    "more types, as a word": ({"opportunity_types": "abc"}, "opportunity_types must be a tuple"),
    "more types, with a comma": ({"opportunity_types": ("a", "b,c")}, "opportunity_types must be words"),
    "parameters of another kind": ({"parameters": dict}, "parameters must be a subclass of Parameters"),
    "parameters that are an object": ({"parameters": Parameters()}, "parameters must be a subclass of Parameters"),
    "parameters without defaults": ({"parameters": Demanding}, "parameters must all have defaults that are valid"),
    "parameters without a schema": ({"parameters": Undecodable}, "TypeError"),
    "a schema that raises": ({"schema": raising(RuntimeError("no schema"))}, "no schema"),
    "a schema that is none": ({"schema": lambda _: None}, "schema() must be a dict, and is a NoneType"),
    "a schema that JSON cannot say": ({"schema": lambda _: {"a": math.inf}}, "schema().a must be finite"),
    "a schema of objects": ({"schema": lambda _: {"a": object()}}, "nothing that can be sent"),
    "a schema of megabytes": ({"schema": lambda _: {"a": "x" * 2_000_000}}, "must have 0 to 65,536 characters"),
    "defaults that are not parsed": ({"parse": lambda *_: 1 / 0}, "ZeroDivisionError"),
    "a scan that only answers": ({"scan": _answers}, "async def that yields nothing"),
    "one behind a decorator": ({"scan": _wrapped}, "async def that yields nothing"),
    "one behind a partial": ({"scan": staticmethod(functools.partial(_answers))}, "async def that yields nothing"),
    "one that is an object": ({"scan": Called()}, "async def that yields nothing"),
    "one that yields, of the wrong kind": ({"scan": _yields}, "make it a subclass of AsyncStrategy"),
    "units that wait": ({"units": _answers}, "its units is an async def"),
    "a parse that waits": ({"parse": _answers}, "its parse is an async def"),
}


class Point:
    """An entry point that gives what a test wants."""

    name, value = "own", "own:Strategy"

    def __init__(self, load: Callable[[], Any]) -> None:
        self.load = load


def loaded(monkeypatch: pytest.MonkeyPatch, *loads: Callable[[], Any]) -> dict[str, Installed]:
    """The registry of these, where all are well."""
    found = look_at(cast(Any, [Point(load) for load in loads]))
    monkeypatch.setattr(installed, "_found", lambda: found)
    require_all()
    return registry()


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_is_refused_at_the_start_in_one_line_that_names_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    members, words = REFUSED[kind]
    with pytest.raises(SettingError) as caught:
        loaded(monkeypatch, lambda: lambda: made(**members))
    detail = caught.value.detail
    assert detail.startswith("The strategy own (own:Strategy) cannot be used: ")
    assert words in detail
    assert "\n" not in detail
    assert len(detail.encode()) < 1000


class Loads:
    """Ways of a plug-in to be no plug-in."""

    @staticmethod
    def leave() -> Any:
        sys.exit("bye\nbye")

    @staticmethod
    def interrupt() -> Any:
        raise KeyboardInterrupt

    @staticmethod
    def cancel() -> Any:
        raise asyncio.CancelledError

    @staticmethod
    def nothing() -> Any:
        return lambda: None

    @staticmethod
    def megabytes() -> Any:
        raise ImportError("x" * 5_000_000)


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (Loads.leave, "SystemExit: bye bye"),
        (Loads.interrupt, "KeyboardInterrupt"),
        (Loads.cancel, "CancelledError"),
        (Loads.nothing, "it is no Strategy"),
        (Loads.megabytes, "xxx …"),
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: lambda: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_a_plug_in_does_as_it_is_imported_is_named(
    load: Callable[[], Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingError) as caught:
        loaded(monkeypatch, load)
    assert "own:Strategy" in caught.value.detail
    assert words in caught.value.detail
    assert "\n" not in caught.value.detail


def test_one_that_hangs_as_it_is_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(installed, "LOAD_SECONDS", 0.1)
    with pytest.raises(SettingError, match=r"own:Strategy\) cannot be used: it is not loaded after 0\.1 s"):
        loaded(monkeypatch, lambda: threading.Event().wait(30))


def test_two_of_one_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match="Two strategies are called 'planted'"):
        loaded(monkeypatch, lambda: made, lambda: made)


def test_in_a_worker_one_that_was_broken_since_costs_the_others_nothing() -> None:
    found = look_at(cast(Any, [Point(Loads.leave), Point(lambda: made), Point(lambda: lambda: made(id="other"))]))
    assert list(found.strategies) == ["other", "planted"]
    assert len(found.problems) == 1


def test_what_can_be_made_plain_is(monkeypatch: pytest.MonkeyPatch) -> None:
    given = made(
        id=Text("own"),
        name=Text("Own"),
        opportunity_type=Kind.NEW,
        opportunity_types=["new", "long"],
        description=Text("d"),
        source=Text("s"),
        budget_seconds=np.float32(2),
        chunk=np.int64(8),
        needs=["candles", "candles"],
    )
    plain = admit(given)
    assert (plain.id, plain.name, plain.types) == ("own", "Own", ("new", "long"))
    assert (plain.budget_seconds, plain.chunk, plain.waits) == (2.0, 8, False)
    for value in (plain.id, plain.name, plain.opportunity_type, *plain.types, plain.description, plain.source):
        assert type(value) is str
    assert (type(plain.budget_seconds), type(plain.chunk)) == (float, int)


def test_an_attribute_is_asked_for_once() -> None:
    """What a property says later changes nothing."""
    asked: list[int] = []

    def budget(_: object) -> float:
        asked.append(1)
        return 30.0 if len(asked) == 1 else math.nan

    plain = admit(made(budget_seconds=property(budget)))
    assert [plain.budget_seconds for _ in range(3)] == [30.0] * 3
    assert len(asked) == 1


def test_a_waiting_strategy_may_return_what_yields() -> None:
    class Waits(AsyncStrategy):
        id, name, opportunity_type, description, source = "w", "W", "t", "d", "s"

        def scan(self, *_: Any) -> Any:
            return _yields()

    assert admit(Waits()).waits


def test_a_waiting_strategy_that_does_not_wait_is_refused() -> None:
    class Computes(AsyncStrategy):
        id, name, opportunity_type, description, source = "w", "W", "t", "d", "s"
        scan = _yields_at_once  # type: ignore[assignment]  # that is its mistake

    with pytest.raises(Refused, match="its scan is a def"):
        admit(Computes())


class Checked(Parameters, frozen=True, kw_only=True):
    """Looks at its values itself."""

    low: float = 0.0
    high: float = 1.0
    raises: str = ""

    def __post_init__(self) -> None:
        if self.raises == "exit":
            raise SystemExit(3)
        if self.raises == "long":
            raise ValueError("x" * 5_000_000)
        if self.raises == "surrogate":
            raise ValueError("\ud800")
        if self.raises == "defect":
            raise ZeroDivisionError("a defect")
        if self.low > self.high:
            raise ValueError("low must not be above high")


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"low": 2.0, "high": 3.0}, "", ""),
        ({"low": 0.75, "high": 0.5}, "parameters.planted", "low must not be above high"),
        ({"raises": "exit"}, "parameters.planted.raises", "SystemExit: 3"),
        ({"raises": "defect"}, "parameters.planted.raises", "ZeroDivisionError: a defect"),
        ({"raises": "long"}, "parameters.planted.raises", "xxx …"),
        ({"raises": "surrogate"}, "parameters.planted.raises", "?"),
        ({"raises": "y" * 70_000}, "parameters.planted", "must have 0 to 65,536 characters"),
    ],
)
def test_what_parameters_raise_is_the_requests_error(given: dict[str, Any], field: str, words: str) -> None:
    errors = parameter_errors(admit(made(parameters=Checked)), given)
    if not field and not words:
        assert errors == []
        return
    [error] = errors
    assert error == FieldError(field, error.reason)
    assert words in error.reason
    assert len(error.reason.encode()) <= 600


Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a shard that yields this, in this process; the outcome with all that it found."""
    saved = panel().save(tmp_path)
    monkeypatch.setattr(worker, "prepare", lambda *_: None)

    def start(*items: Any, **request: Any) -> Outcome:
        known = {"planted": admit(Planted(lambda *_: items))}
        monkeypatch.setattr(worker, "registry", lambda: known)
        encoded = worker.run(piece(saved, DiscoverRequest(**request)), str(tmp_path), os.getpid())
        outcome = whole(encoded)
        if isinstance(outcome.error, Problem):
            assert len(outcome.error.detail.encode()) <= 4096
        return outcome

    return start


class Raising(Signal, frozen=True, kw_only=True):
    """A signal that cannot be looked at."""

    def __getattribute__(self, name: str) -> Any:
        if name == "side":
            raise SystemExit
        return super().__getattribute__(name)


def deep(levels: int) -> dict[str, Any]:
    """A dict in a dict in …"""
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def endless() -> dict[str, Any]:
    """A dict that is in itself."""
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def bush(levels: int) -> list[Any]:
    """A hundred lists, each the same hundred lists, … and nothing in any of them."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value] * 100
    return value


class Liar(int):
    """A whole number that is below and above whatever it is compared to."""

    def __le__(self, _: object) -> bool:
        return True

    __ge__ = __le__

    def __int__(self) -> int:
        return 10**30


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "no symbols": ({"symbols": ()}, "symbols must be a tuple of 1 to 64"),
    "a symbol alone": ({"symbols": "A/X"}, "symbols must be a tuple"),
    "symbols without end": ({"symbols": ("A/X",) * 65}, "symbols must be a tuple of 1 to 64"),
    "a symbol of megabytes": ({"symbols": ("A" * 5_000_000,)}, "a symbol must have 1 to 64 characters"),
    "a symbol that is none": ({"symbols": (None,)}, "a symbol must be text"),
    "an empty symbol": ({"symbols": ("",)}, "a symbol must have"),
    "a symbol that is no Unicode": ({"symbols": ("\ud800",)}, "a symbol is no valid Unicode"),
    "an id of any length": ({"symbols": tuple("A" * 60 for _ in range(60))}, "characters, at most 1,024"),
    "a key of any length": ({"key": "k" * 300}, "key must have 0 to 256"),
    "a side that is none": ({"side": "buy"}, "side must be one of long, short, neutral"),
    "a bar beyond": ({"bar": 10}, "bar must be from -10 to 9"),
    "a bar in parts": ({"bar": 1.0}, "bar must be a whole number"),
    "a time before time": ({"at": -1}, "at must be from 0"),
    "a time in parts": ({"at": 0.5}, "at must be a whole number"),
    "a time beyond years": ({"at": 10**18}, "at must be from 0"),
    "a horizon below nothing": ({"horizon": -1}, "horizon must be from 0"),
    "a horizon without end": ({"horizon": 10**12}, "horizon must be from 0"),
    "a length without end": ({"lasts": 10**18}, "lasts must be from 0"),
    "a confidence in per cent": ({"confidence": 71.4}, "confidence must be from 0 to 1, and is 71.4"),
    "a confidence below nothing": ({"confidence": -0.1}, "confidence must be from 0"),
    "a confidence that is none": ({"confidence": None}, "confidence must be a number"),
    "a return beyond floats": ({"expected_return": 10**400}, "expected_return must be finite"),
    "a return whose profit is beyond": ({"expected_return": 1e306}, "must be finite"),
    "a price as text": ({"entry": "100"}, "entry must be a number"),
    "a price of nothing": ({"entry": 0}, "entry must not be 0"),
    "a price of True": ({"exit": True}, "exit must be a number"),
    "a stop of NumPy's nothing": ({"stop": np.float64("nan")}, "stop must be finite"),
    "more hits than trades": ({"hits": (3, 2)}, "hits[0] must be from 0 to 2"),
    "hits of one": ({"hits": (3,)}, "hits must be"),
    "hits in parts": ({"hits": (1.0, 2)}, "hits[0] must be a whole number"),
    "a level that is none": ({"risk_level": "extreme"}, "risk_level must be one of low"),
    "a capital below nothing": ({"required_capital": -5}, "required_capital must be from 0"),
    "a capital without end": ({"required_capital": math.inf}, "required_capital must be finite"),
    "an exchange of any length": ({"exchange": "x" * 65}, "exchange must have 1 to 64"),
    "an exchange that is none": ({"exchange": 7}, "exchange must be text"),
    "a type with a comma": ({"opportunity_type": "a,b"}, "opportunity_type must be words"),
    "metadata that is none": ({"metadata": None}, "metadata must be a dict"),
    "metadata that is a list": ({"metadata": [1]}, "metadata must be a dict"),
    "metadata of megabytes": ({"metadata": {"a": ["x" * 100] * 100_000}}, "metadata has more than 16,384 bytes"),
    "metadata of one long text": ({"metadata": {"a": "x" * 5_000_000}}, "metadata.a must have 0 to 16,384"),
    "metadata of many keys": ({"metadata": {str(n): n for n in range(10_000)}}, "metadata has more than"),
    "metadata without a ground": ({"metadata": deep(17)}, "metadata is nested deeper than 16 levels"),
    "metadata in itself": ({"metadata": endless()}, "metadata is nested deeper than 16 levels"),
    "metadata of nothing in nothing": ({"metadata": {"a": bush(12)}}, "metadata has more than 16,384 bytes"),
    "metadata of much of nothing": ({"metadata": {"a": [{}] * 1_000_000}}, "metadata has more than 16,384 bytes"),
    "a bar that lies": ({"bar": Liar(99)}, "bar must be from -10 to 9, and is 99"),
    "hits that lie": ({"hits": (Liar(3), 2)}, "hits[0] must be from 0 to 2, and is 3"),
    "an integer that lies": ({"metadata": {"n": Liar(2**70)}}, "metadata.n must be from"),
    "a nan in metadata": ({"metadata": {"deep": [{"er": (1.0, math.nan)}]}}, "metadata.deep.er must be finite"),
    "an object in metadata": ({"metadata": {"o": object()}}, "metadata.o is a object, nothing that can be sent"),
    "an array in metadata": ({"metadata": {"z": np.zeros(3)}}, "metadata.z is a ndarray, nothing that can be sent"),
    "an integer beyond": ({"metadata": {"n": 2**64}}, "metadata.n must be from"),
    "an integer of megabytes": ({"metadata": {"n": 1 << 7_000_000}}, "metadata.n must be from"),
    "text in metadata that is none": ({"metadata": {"t": "\ud800"}}, "metadata.t is no valid Unicode"),
    "a key that is no text": ({"metadata": {(1, 2): 1}}, "a key in metadata must be text"),
    "a complex number": ({"metadata": {"c": np.complex128(1j)}}, "nothing that can be sent"),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_signal_is_its_shards_failure_and_names_the_field(run: Run, kind: str) -> None:
    changes, words = ODD[kind]
    outcome = run(signal("B/X"), signal(**changes))
    assert isinstance(outcome.error, Problem), outcome
    assert outcome.error.code == "strategy_error"
    assert words in outcome.error.detail
    assert outcome.opportunities == []


def test_a_signal_that_cannot_be_looked_at_is_its_shards_failure(run: Run) -> None:
    usual = {name: getattr(signal(), name) for name in Signal.__struct_fields__}
    outcome = run(Raising(**usual))
    assert isinstance(outcome.error, Problem)
    assert "SystemExit" in outcome.error.detail


def test_what_is_nearly_plain_is_made_plain(run: Run) -> None:
    [found] = run(
        signal(
            symbols=[Text("A/X"), np.str_("B/X")],
            side=Kind.LONG,
            bar=np.int32(-1),
            key=Text("k"),
            entry=np.float32(100),
            expected_return=np.int64(1),
            confidence=np.float16(0.5),
            horizon=Index(3),
            hits=[np.int64(1), np.uint8(2)],
            risk_level=Kind.HIGH,
            exchange=Text("venue"),
            metadata={
                Text("t"): Text("u"),
                "e": Kind.NEW,
                7000: np.bool_(True),
                "d": Decimal("1.5"),
                "s": {1},
                "b": b"a",
            },
        )
    ).opportunities
    assert found.id == "planted:A/X+B/X@k:1970-01-01T09:00:00.000Z"
    assert (found.symbols, found.side, found.exchange) == (["A/X", "B/X"], "long", "venue")
    assert (found.entry_price, found.expected_return, found.confidence_score) == (100.0, 1.0, 50.0)
    assert (found.hit_rate, found.hit_rate_n, found.risk_level, found.estimated_timeframe) == (0.5, 2, "high", "3h")
    assert found.metadata == {"t": "u", "e": "new", "7000": True, "d": "1.5", "s": [1], "b": "YQ=="}
    assert found == msgspec.json.decode(msgspec.json.encode(found), type=Opportunity)


GIVEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "all of it": (
        {"exchange": "kraken", "required_capital": 250, "risk_level": "very_high", "opportunity_type": "basis"},
        {
            "exchange": "kraken",
            "required_capital_usd": 250.0,
            "risk_level": "very_high",
            "opportunity_type": "basis",
            "profit_potential_usd": 50.0,
        },
    ),
    "nothing of it": (
        {},
        {"exchange": "synthetic", "required_capital_usd": 1000.0, "risk_level": "low", "opportunity_type": "planted"},
    ),
    "a level wins over the stop": ({"risk_level": "low", "stop": 10.0}, {"risk_level": "low"}),
    "an entry without a stop": ({"stop": None}, {"risk_level": "high"}),
    "a side without an entry or a stop": ({"entry": None, "stop": None}, {"risk_level": "high"}),
    "a leg without a side": ({"side": "neutral", "stop": None}, {"risk_level": "high"}),
    "arbitrage": ({"side": "neutral", "entry": None, "exit": None, "stop": None}, {"risk_level": "low"}),
    "a stop of a negative price": ({"entry": -100.0, "stop": -95.0}, {"risk_level": "high"}),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_what_a_signal_says_of_itself_is_shown(run: Run, kind: str) -> None:
    changes, expected = GIVEN[kind]
    [found] = run(signal(**changes)).opportunities
    assert {field: getattr(found, field) for field in expected} == expected


@pytest.mark.parametrize(
    ("request_", "count"),
    [
        ({"opportunity_type": ["basis"]}, 1),
        ({"opportunity_type": ["planted"]}, 1),
        ({"opportunity_type": ["basis", "planted"]}, 2),
        ({"filter_by_risk_level": "high"}, 1),
        ({"max_required_capital": 300.0}, 1),
        ({"max_required_capital": 200.0}, 0),
    ],
)
def test_filters_are_honoured_with_what_a_signal_says(run: Run, request_: dict[str, Any], count: int) -> None:
    own = signal("B/X", required_capital=250.0, risk_level="very_high", opportunity_type="basis")
    assert len(run(signal(), own, **request_).opportunities) == count


def test_a_request_for_a_type_selects_a_strategy_that_declares_it() -> None:
    from scanstream.scans.selection import canonical, strategies_of

    known = {"planted": admit(made(opportunity_types=("basis",)))}
    request = at_once(canonical(DiscoverRequest(opportunity_type="basis"), panel(), known))
    assert strategies_of(request, known) == [known["planted"]]


def test_the_bytes_of_a_shard_are_bounded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MOST_BYTES", 100_000)
    weighty = [signal(f"S{number}/X", metadata={"a": "x" * 15_000}) for number in range(10)]
    outcome = run(*weighty)
    assert isinstance(outcome.error, Problem)
    assert "more than 100,000 bytes in one shard" in outcome.error.detail
    assert len(run(*weighty[:5]).opportunities) == 5


def test_notes_are_bounded_and_say_how_many_more_there_are(run: Run) -> None:
    notes = [Note(f"symbol {number} is silent") for number in range(1000)]
    note = run(*notes).note
    assert isinstance(note, str)
    assert len(note.encode()) <= 4096
    assert note.startswith("symbol 0 is silent; symbol 1 is silent; ")
    told = note.count("symbol ")
    assert note.endswith(f"; … and {1000 - told} more")
    assert run(Note("a"), Note(Text("b"))).note == "a; b"
    assert run().note is UNSET


@pytest.mark.parametrize("words", [7, None, b"bytes", ["a"]])
def test_a_note_that_is_no_text_is_its_shards_failure(run: Run, words: Any) -> None:
    outcome = run(Note(words))
    assert isinstance(outcome.error, Problem)
    assert "a note must be text" in outcome.error.detail


def test_told_is_valid_and_bounded_whatever_it_is() -> None:
    speechless = SimpleNamespace(__str__=None)
    for words in ("\ud800" * 9000, "x" * 9_000_000, "€" * 5000, Text("a"), speechless, b"\xff", 10**100_000):
        for most in (10, 80, 4000):
            told = gate.told(words, most=most)
            assert len(told.encode()) <= max(most, len("its text cannot be had"))


def test_every_built_in_strategy_passes() -> None:
    for one in registry().values():
        again = admit(one.strategy)
        assert (again.id, again.schema) == (one.id, one.schema)
    assert strategy.Parameters().walk_forward == 200
