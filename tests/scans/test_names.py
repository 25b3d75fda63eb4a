"""Names as callers write them: found as a plain search finds them, ten thousand of them in steps."""

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.planted import Planted, panel
from scanstream.errors import MOST_ERRORS, FieldError, InvalidRequest
from scanstream.log import refold
from scanstream.model import MOST_NAMES, DiscoverRequest
from scanstream.panel import Panel
from scanstream.scans import names
from scanstream.scans.names import KnownNames, listed
from scanstream.scans.selection import canonical, known_symbols
from scanstream.strategies.installed import admit

NAMES = st.text("abAB ßs", min_size=1, max_size=3)


def plainly(known: Collection[str], written: Collection[str]) -> tuple[set[str], list[FieldError]]:
    """The same, name by name."""
    found: set[str] = set()
    errors: list[FieldError] = []
    for name in sorted(written):
        several = [one for one in known if one.casefold() == name.casefold()]
        if name in known:
            found.add(name)
        elif len(several) == 1:
            found.add(several[0])
        elif several:
            words = " or ".join(map(repr, several[:5]))
            errors.append(FieldError("f", f"{name!r} may be {words}; write it as it is there"))
        else:
            errors.append(FieldError("f", f"there is no {name!r}"))
    return found, errors


@given(st.lists(NAMES, unique=True), st.sets(NAMES), st.integers(1, 3))
def test_names_are_found_as_a_plain_search_finds_them(known: list[str], written: set[str], at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "AT_ONCE", at_once)
        found: set[str] = set()
        ready = KnownNames(known, "there is no")
        errors = [error for error in ready.resolve("f", written, found) if error is not None]
    expected, problems = plainly(known, written)
    assert found == expected
    assert errors == problems[: MOST_ERRORS + 1]
    assert ready.in_order(found) == sorted(found)


@given(st.lists(st.text(" ,a", max_size=4)))
def test_a_list_is_trimmed_and_has_no_blanks(written: list[str]) -> None:
    plain = {item.strip() for item in written} - {""}
    if plain:
        assert listed(written) == plain
    else:
        with pytest.raises(ValueError, match="names nothing"):
            listed(written)


def large() -> Panel:
    """A panel with as many symbols as a request may name; what else it has does not matter here."""
    wide = panel()
    object.__setattr__(wide, "symbols", tuple(f"S{number}/USDT" for number in range(MOST_NAMES)))
    return wide


@pytest.mark.anyio
@pytest.mark.parametrize("write", [str, str.lower])
async def test_of_a_request_with_ten_thousand_names_others_have_turns_between(
    write: type[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = large()
    request = DiscoverRequest(symbols=[write(symbol) for symbol in reversed(wide.symbols)])
    turns = 0

    async def turn() -> None:
        nonlocal turns
        turns += 1

    monkeypatch.setattr(refold, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(refold, "checkpoint", turn)
    meant = await refold.sliced(canonical(request, wide, {"planted": admit(Planted(lambda *_: ()))}))
    assert meant.symbols == sorted(wide.symbols)
    assert turns >= (3 if write is str else MOST_NAMES // names.AT_ONCE)


def test_the_names_of_a_panel_are_made_ready_once() -> None:
    wide = large()
    before = known_symbols.cache_info().misses
    for _ in range(3):
        with pytest.raises(InvalidRequest, match="there is no strategy"):
            for _ in canonical(DiscoverRequest(symbols="s1/usdt", strategy_ids="x"), wide, {}):
                pass
    assert known_symbols.cache_info().misses == before + 1
