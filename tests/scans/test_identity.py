"""Scan ids: UUIDv7 with its time, and a MAC that binds the principal."""

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanstream.model import ANYONE, Principal
from scanstream.scans.identity import is_genuine, new_scan_id

KEY = bytes(range(32))
NOW = 1_795_442_400_123
SOMEBODY = Principal("somebody")


@given(st.integers(0, 2**48 - 1))
def test_an_id_is_a_uuid_of_version_7_with_the_time_it_was_made(now: int) -> None:
    scan_id = new_scan_id(KEY, ANYONE, now)
    match = re.fullmatch(r"scan_([0-9a-f]{32})[0-9a-f]{10}", scan_id)
    assert match
    made = uuid.UUID(match[1])
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == now


def test_ids_are_their_own_and_sort_by_time() -> None:
    assert len({new_scan_id(KEY, ANYONE, NOW) for _ in range(1000)}) == 1000
    assert new_scan_id(KEY, ANYONE, NOW) < new_scan_id(KEY, ANYONE, NOW + 1)


def test_every_random_bit_of_an_id_is_in_use() -> None:
    made = [int(new_scan_id(KEY, ANYONE, NOW)[5:37], 16) for _ in range(200)]
    ever = never = made[0]
    for value in made:
        ever |= value
        never &= value
    assert ever ^ never == (2**12 - 1) << 64 | 2**62 - 1


def test_an_id_is_genuine_to_its_principal_under_its_key_only() -> None:
    scan_id = new_scan_id(KEY, ANYONE, NOW)
    assert is_genuine(KEY, ANYONE, scan_id)
    assert not is_genuine(KEY, SOMEBODY, scan_id)
    assert not is_genuine(KEY[::-1], ANYONE, scan_id)
    assert is_genuine(KEY, SOMEBODY, new_scan_id(KEY, SOMEBODY, NOW))


def test_any_digit_changed_makes_it_false() -> None:
    scan_id = new_scan_id(KEY, ANYONE, NOW)
    for place in range(len("scan_"), len(scan_id)):
        digit = "0" if scan_id[place] != "0" else "1"
        assert not is_genuine(KEY, ANYONE, scan_id[:place] + digit + scan_id[place + 1 :])


def test_other_shapes_are_false() -> None:
    scan_id = "scan_" + "a" * 42
    while not re.search(r"[a-f]{2}$", scan_id) or not is_genuine(KEY, ANYONE, scan_id):
        scan_id = new_scan_id(KEY, ANYONE, NOW)  # until its MAC has letters to write in capitals
    shapes = [
        scan_id.upper(),
        scan_id[:5] + scan_id[5:].upper(),
        scan_id[:-10] + scan_id[-10:].upper(),
        scan_id[:-1],
        scan_id + "0",
        scan_id + "\n",
        " " + scan_id,
        scan_id[5:],
        "scan-" + scan_id[5:],
        scan_id[:-10],
        scan_id[:-1] + "\u0661",
        scan_id[:-1] + "\ud800",
        "",
        "latest",
    ]
    assert [shape for shape in shapes if is_genuine(KEY, ANYONE, shape)] == []


@pytest.mark.parametrize("principal", ["", "ä", "a\nb", "\U0001f600" * 100])
def test_any_principal_has_ids(principal: str) -> None:
    scan_id = new_scan_id(KEY, Principal(principal), NOW)
    assert is_genuine(KEY, Principal(principal), scan_id)
    assert not is_genuine(KEY, Principal(principal + "x"), scan_id)
