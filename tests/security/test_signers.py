"""Keys that JWTs are verified by, as files and servers have them: what of them is used, and what is refused."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanstream.security.algorithms import DEFAULT_OF_PUBLIC_KEYS, OF_PUBLIC_KEYS, allowed
from scanstream.security.jws import taken_apart
from scanstream.security.signers import MOST_KEYS, MOST_TRIED, of_jwks, of_secret, of_secrets
from support.identity import by_key, by_secret, jwk, jwks

ANY = allowed(",".join(sorted(OF_PUBLIC_KEYS)))
HS = frozenset({"HS256"})


def verifies(document: bytes, token: str, names: frozenset[str] = ANY) -> bool:
    signed = taken_apart(token)
    return any(signer.has_signed(signed) for signer in of_jwks(document, names).fitting(signed))


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("RSA", "RS256"),
        ("RSA", "RS384"),
        ("RSA", "RS512"),
        ("RSA", "PS256"),
        ("P-256", "ES256"),
        ("P-384", "ES384"),
        ("P-521", "ES512"),
        ("Ed25519", "EdDSA"),
    ],
)
def test_a_key_verifies_by_the_algorithms_of_its_kind(kind: str, algorithm: str) -> None:
    token = by_key(kind, algorithm, kid="a")
    assert verifies(jwks(jwk(kind, kid="a")), token)
    assert verifies(jwks(jwk(kind)), token), "without a name it is tried"
    assert verifies(jwks(jwk(kind, kid="a", alg=algorithm, use="sig", key_ops=["verify"])), token)
    assert not verifies(jwks(jwk(kind, kid="b")), token)
    if algorithm not in DEFAULT_OF_PUBLIC_KEYS and kind != "RSA":
        with pytest.raises(ValueError, match="not one of --jwt-algorithms"):
            of_jwks(jwks(jwk(kind)), DEFAULT_OF_PUBLIC_KEYS)


def test_a_key_that_says_its_algorithm_is_for_no_other() -> None:
    assert not verifies(jwks(jwk("RSA", alg="RS512")), by_key("RSA", "RS256"))
    assert not verifies(jwks(jwk("RSA", alg="PS256")), by_key("RSA", "RS256"))


USELESS: dict[str, tuple[Any, str]] = {
    "a shared secret": ({"kty": "oct", "k": "c2VjcmV0"}, "its kty is not RSA, EC or OKP"),
    "no kty": ({"kid": "a"}, "its kty is not RSA, EC or OKP"),
    "a kty that is a list": ({"kty": "rsa"}, "its kty is not RSA, EC or OKP"),
    "a text": ("key", "its kty is not RSA, EC or OKP"),
    "a private key": (jwk("RSA", d="AQAB"), "it is a private key, which has no place here"),
    "one to encrypt with": (jwk("RSA", use="enc"), "it is not for signatures"),
    "one to sign with": (jwk("RSA", key_ops=["sign"]), "it is not for signatures"),
    "a part that is missing": ({"kty": "RSA", "e": "AQAB"}, "a part of it is missing"),
    "a part that is a number": (jwk("RSA", n=7), "a part of it is missing"),
    "a part that is long": (jwk("RSA", n="A" * 2000), "a part of it is missing, or is longer than any"),
    "no numbers": (jwk("RSA", n="!!", e="??"), "it is not what its kty says"),
    "a point that is on no curve": (jwk("P-256", x="AAAA", y="AAAA"), "it is not what its kty says"),
    "another point": (jwk("P-256", y=jwk("P-256")["x"]), "it is not what its kty says"),
    "another curve": (jwk("P-256", crv="secp256k1"), "its algorithm is not one of --jwt-algorithms"),
    "a short key": (jwk("RSA-1024"), "an RSA key has 2048 to 8192 bits"),
    "an alg of another kind": (jwk("RSA", alg="ES256"), "its algorithm is not one of --jwt-algorithms"),
    "alg HS256": (jwk("RSA", alg="HS256"), "its algorithm is not one of --jwt-algorithms"),
    "alg none": (jwk("RSA", alg="none"), "its algorithm is not one of --jwt-algorithms"),
    "a kid that is a number": (jwk("RSA", kid=7), "its kid is none"),
    "key_ops that are a number": (jwk("RSA", key_ops=7), "it is not for signatures"),
    "a use that is a list": (jwk("RSA", use=["sig"]), "it is not for signatures"),
}


@pytest.mark.parametrize(("key", "why"), USELESS.values(), ids=USELESS.keys())
def test_what_is_no_key_for_signatures_is_passed_over_and_alone_is_refused(key: Any, why: str) -> None:
    with pytest.raises(ValueError, match="no key in it can be used") as caught:
        of_jwks(jwks(key), ANY)
    assert why in str(caught.value)
    assert verifies(jwks(key, jwk("P-256", kid="good")), by_key("P-256", "ES256", kid="good"))


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b'{"keys": null}', b"<html>", b"\xff", b"[" * 100_000),
        json.dumps({"keys": [{}] * (MOST_KEYS + 1)}).encode(),
    ],
)
def test_what_is_no_jwks_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"no JSON object|no JWKS|no key in it"):
        of_jwks(document, ANY)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(["kty", "alg", "use", "kid", "n", "e", "crv", "x", "y", "key_ops"]), JSON))
def test_whatever_is_published_beside_a_key_the_key_is_found(changes: dict[str, Any]) -> None:
    for key in (changes, {**jwk("RSA"), **changes}, {**jwk("P-256"), **changes}, {**jwk("Ed25519"), **changes}):
        of_jwks(jwks(key, jwk("P-256", kid="good")), ANY)


def test_of_many_keys_few_are_tried() -> None:
    nameless = of_jwks(jwks(*[jwk("P-256", note=number) for number in range(50)]), ANY)
    named = of_jwks(jwks(*[jwk("P-256", kid="same") for _ in range(50)]), ANY)
    for token in (by_key("P-256", "ES256"), by_key("P-256", "ES256", kid="same")):
        for signers in (nameless, named):
            assert len(signers.fitting(taken_apart(token))) == MOST_TRIED


SHORT = "a secret for HS256 has at least 32 bytes (RFC 7518, section 3.2)"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "write one secret a line"),
        (b"\n\n", "write one secret a line"),
        (b"x" * 31, f"line 1: {SHORT}"),
        (b"x" * 40 + b"\n" + b"y" * 20, f"line 2: {SHORT}"),
        (b"\n".join([b"x" * 40] * 9), "write one secret a line"),
        (b"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ " + b"x" * 40, "line 1: this is a key or a certificate"),
    ],
)
def test_a_secret_that_is_none_is_refused_with_its_line(content: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        of_secrets(content, HS)
    assert str(caught.value).startswith(says)
    assert "xxx" not in str(caught.value)


def test_what_others_know_is_no_secret() -> None:
    for text in (
        json.dumps(jwk("RSA")).encode(),
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n" + b"x" * 40,
    ):
        with pytest.raises(ValueError, match="a key or a certificate"):
            of_secret(text, HS)


def test_longer_hashes_want_longer_secrets() -> None:
    for name, length in (("HS256", 32), ("HS384", 48), ("HS512", 64)):
        of_secret(b"x" * length, frozenset({name}))
        with pytest.raises(ValueError, match=f"a secret for {name} has at least {length} bytes"):
            of_secret(b"x" * (length - 1), frozenset({name}))


def test_a_secret_that_takes_the_place_of_another_is_beside_it_for_a_while() -> None:
    old, new = "x" * 40, "y" * 40
    signers = of_secrets(f"{new}\r\n\n{old}\n".encode(), HS)
    for secret, good in ((old, True), (new, True), ("z" * 40, False)):
        token = taken_apart(by_secret(secret=secret))
        assert any(signer.has_signed(token) for signer in signers.fitting(token)) is good
    for signer in signers.fitting(taken_apart(by_secret())):
        assert old not in repr(signer)
        assert new not in repr(signer)


@pytest.mark.parametrize("name", ["none", "None", "HS1", "RS", "ES256K", "*", "all"])
def test_no_other_algorithm_can_be_allowed(name: str) -> None:
    with pytest.raises(ValueError, match="there is no algorithm"):
        allowed(f"RS256,{name}")
