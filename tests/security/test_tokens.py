"""Scan tokens: what was minted is read, and nothing else is."""

import base64
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanstream.model import Principal, ScanId
from scanstream.scans.identity import is_genuine, new_scan_id
from scanstream.security.caller import Right
from scanstream.security.tokens import PREFIX, Opened, Tokens

KEY = secrets.token_bytes(32)
TOKENS = Tokens(KEY)
SCAN = new_scan_id(KEY, Principal("ann"), 1_800_000_000_000)
BOTH = frozenset({Right.READ, Right.CANCEL})
rights = st.sampled_from([BOTH, frozenset({Right.READ}), frozenset({Right.CANCEL})])


@settings(max_examples=60)
@given(rights, st.none() | st.integers(1, 2**47))
def test_a_token_says_what_it_was_made_for(given: frozenset[Right], end: int | None) -> None:
    token = TOKENS.minted(SCAN, given, end)

    assert TOKENS.read(token) == Opened(SCAN, given, end)
    assert Tokens(KEY).read(token) == Opened(SCAN, given, end), "another node of this store"
    assert Tokens(secrets.token_bytes(32)).read(token) is None, "another store"
    assert len(token) == 64
    assert "ann" not in token


def test_whatever_is_changed_makes_it_none() -> None:
    token = TOKENS.minted(SCAN, {Right.READ}, 1_800_000_000_000)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for place in range(len(PREFIX), len(token)):
        number = letters.index(token[place])
        for bit in range(6):
            other = token[:place] + letters[number ^ 1 << bit] + token[place + 1 :]
            assert TOKENS.read(other) is None
    for stop in range(len(token)):
        assert TOKENS.read(token[:stop]) is None
    for more in ("=", "A", "AAAA", "\n", " ", "\0", token):
        assert TOKENS.read(token + more) is None
    assert TOKENS.read(token.upper()) is None
    assert TOKENS.read(token.removeprefix(PREFIX)) is None


@settings(max_examples=60)
@given(st.text(max_size=80) | st.text(alphabet="ABCabc012-_=\n", min_size=60, max_size=60).map(PREFIX.__add__))
def test_no_text_is_a_token_by_chance(text: str) -> None:
    assert TOKENS.read(text) is None
    assert TOKENS.read(PREFIX + text) is None


def test_an_end_beyond_all_measure_is_far_and_one_before_all_time_is_over() -> None:
    for end, read in ((10**30, 2**48 - 1), (0, 1), (-5, 1)):
        opened = TOKENS.read(TOKENS.minted(SCAN, {Right.READ}, end))
        assert opened is not None
        assert opened.expires_at == read


@pytest.mark.parametrize("right", [set(), {Right.SCAN}, {Right.READ, Right.OPERATE}])
def test_no_token_gives_a_right_beyond_its_scan(right: set[Right]) -> None:
    with pytest.raises(ValueError, match="a scan token is for one scan"):
        TOKENS.minted(SCAN, right, None)


def test_there_is_none_for_what_is_no_scan() -> None:
    for scan_id in ("latest", "", "scan_", SCAN[:-1], SCAN + "0", SCAN.upper(), f"{SCAN}\n"):
        with pytest.raises(ValueError, match="a scan token is for one scan"):
            TOKENS.minted(ScanId(scan_id), {Right.READ}, None)


def test_the_mac_of_a_scan_id_is_none_of_a_token_and_the_other_way_round() -> None:
    """Whoever can have ids made for principals of their choice learns nothing that opens a scan."""
    token = TOKENS.minted(SCAN, {Right.READ}, None)
    content = base64.urlsafe_b64decode(token.removeprefix(PREFIX))
    uuid = content[8:24].hex()
    assert f"scan_{uuid}{content[24:29].hex()}" == SCAN
    for start in range(len(content) - 5):
        assert not is_genuine(KEY, Principal("bob"), f"scan_{uuid}{content[start : start + 5].hex()}")
