"""Ids, secrets and signatures, against the Standard Webhooks specification, and what its libraries are tested with."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanstream.model import Principal, ScanId
from scanstream.notify.signing import Signing, signed
from support.receiver import Received, verified

VECTOR = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""As in the tests of the specification's libraries (github.com/standard-webhooks/standard-webhooks, libraries/)."""
ID, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_vector_of_the_specification() -> None:
    headers = signed(VECTOR, ID, AT, BODY)
    assert headers == {"webhook-id": ID, "webhook-timestamp": "1614265330", "webhook-signature": SIGNATURE}
    assert verified(VECTOR, Received("", headers, BODY))


@given(st.binary(min_size=24, max_size=64), st.binary(), st.integers(0, 2**40))
def test_an_implementation_of_the_text_agrees_and_nothing_can_be_changed(key: bytes, body: bytes, at: int) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    headers = signed(secret, ID, at, body)
    assert verified(secret, Received("", headers, body))
    assert not verified(secret, Received("", headers, body + b" "))
    assert not verified(secret, Received("", {**headers, "webhook-timestamp": str(at + 1)}, body))
    assert not verified(secret, Received("", {**headers, "webhook-id": ID + "x"}, body))
    assert not verified(VECTOR, Received("", headers, body))


def test_ids_and_secrets_are_one_store_s_and_the_same_on_all_its_nodes() -> None:
    here, there, other = Signing(b"k" * 32), Signing(b"k" * 32), Signing(b"l" * 32)
    scan, url = ScanId("scan_1"), "https://a.example/x"
    assert here.id_of(scan, url) == there.id_of(scan, url) != other.id_of(scan, url)
    assert re.fullmatch(r"msg_[0-9a-f]{32}", here.id_of(scan, url))
    ann, bob = Principal("ann"), Principal("bob")
    assert here.secret_of(ann, "https://a.example") == there.secret_of(ann, "https://a.example")
    secrets = {
        one.secret_of(who, origin)
        for one in (here, other)
        for who in (ann, bob)
        for origin in ("https://a.example", "https://b.example", "http://a.example", "https://a.example:8443")
    }
    assert len(secrets) == 16
    for secret in secrets:
        assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32


PAIRS = st.tuples(st.text(max_size=6), st.text(st.characters(codec="utf-8"), max_size=6))


@given(PAIRS, PAIRS)
def test_no_two_principals_and_receivers_have_the_same_secret(one: tuple[str, str], other: tuple[str, str]) -> None:
    signing = Signing(b"k" * 32)
    secrets = [signing.secret_of(Principal(who), origin) for who, origin in (one, other)]
    assert (secrets[0] == secrets[1]) == (one == other)


def test_what_names_the_two_is_kept_apart() -> None:
    signing = Signing(b"k" * 32)
    assert signing.secret_of(Principal("ann"), "xhttps://a") != signing.secret_of(Principal("annx"), "https://a")
    assert signing.id_of(ScanId("scan_1"), "1https://a") != signing.id_of(ScanId("scan_11"), "https://a")


@pytest.mark.parametrize("text", ["\ud800", "", "\x00", "ß"])
def test_whatever_a_principal_is_called(text: str) -> None:
    assert Signing(b"").secret_of(Principal(text), "https://a.example").startswith("whsec_")
