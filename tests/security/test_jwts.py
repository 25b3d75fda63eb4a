"""JWTs: whom they let in, and every way in which one that is not good has been tried elsewhere."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from scanstream.model import Principal
from scanstream.security.algorithms import allowed
from scanstream.security.caller import Right
from scanstream.security.claims import LAST_SECOND, LEEWAY_SECONDS, Expected
from scanstream.security.jwts import Jwts
from scanstream.security.signers import of_jwks, of_secrets
from scanstream.security.verifier import Vouched
from support.identity import (
    SECONDS,
    SECRET,
    by_key,
    by_secret,
    claims,
    coded,
    jwk,
    jwks,
    private_key,
    signed_raw,
)

pytestmark = pytest.mark.anyio

NOW = SECONDS * 1000
ANN = Principal("ann")


def verifier(expected: Expected | None = None, *, algorithms: str = "", at: int = NOW) -> Jwts:
    """One that knows the secret, and keys of each kind."""
    names = allowed(algorithms)
    found = Jwts(expected or Expected(), names, lambda: at)
    found.trust("secret", of_secrets(SECRET.encode(), names & {"HS256"}))
    keys = jwks(jwk("RSA", kid="rsa"), jwk("P-256", kid="ec"), jwk("Ed25519", kid="ed"))
    found.trust("keys", of_jwks(keys, names))
    return found


@contextmanager
def refuses(caplog: pytest.LogCaptureFixture, why: str) -> Iterator[None]:
    caplog.clear()
    with caplog.at_level(logging.INFO, "scanstream.security"):
        yield
    assert [record.message for record in caplog.records] == [f"a JWT was refused: {why}"]


async def test_each_kind_of_key_vouches_for_whom_its_jwt_names() -> None:
    guard = verifier()
    for token in (
        by_secret(),
        by_key("RSA", "RS256", kid="rsa"),
        by_key("P-256", "ES256", kid="ec"),
        by_key("Ed25519", "EdDSA", kid="ed"),
        by_key("Ed25519", "EdDSA"),
        by_key("RSA", "RS256", typ="at+jwt", kid="rsa"),
    ):
        vouched = await guard.vouched(token)
        assert vouched is not None
        assert vouched[:3] == (ANN, frozenset({Right.SCAN}), NOW + 600_000)
        assert guard.trusts(vouched.signer)
        assert token not in repr(vouched)


SCOPES: list[tuple[object, set[Right]]] = [
    ("scan", {Right.SCAN}),
    ("operate scan", {Right.SCAN, Right.OPERATE}),
    (["scan", "profile", 7, None, ["operate"]], {Right.SCAN}),
    ("openid profile", set()),
    ("", set()),
    (None, set()),
    ("scanner SCAN scan:all", set()),
    ("scan\toperate", set()),
    ("read cancel", set()),
    ({"scan": True}, set()),
    (7, set()),
    (True, set()),
]


@pytest.mark.parametrize(("scope", "rights"), SCOPES, ids=[str(scope) for scope, _ in SCOPES])  # sets have no order
async def test_words_of_the_scope_are_rights(scope: object, rights: set[Right]) -> None:
    vouched = await verifier().vouched(by_secret(claims(scope=scope)))
    assert vouched is not None
    assert vouched.rights == rights


@pytest.mark.parametrize("scope", ["operate scan", ["scan", "operate"]])
async def test_entra_and_okta_have_another_name_for_the_scope(scope: object) -> None:
    vouched = await verifier().vouched(by_secret(claims(scope=None, scp=scope)))
    assert vouched is not None
    assert vouched.rights == {Right.SCAN, Right.OPERATE}
    both = await verifier().vouched(by_secret(claims(scope="openid", scp=scope)))
    assert both is not None
    assert both.rights == set()


IN_TIME: list[dict[str, Any]] = [
    {"exp": SECONDS + 1},
    {"exp": SECONDS + 0.5},
    {"exp": LAST_SECOND},
    {"nbf": SECONDS + LEEWAY_SECONDS},
    {"iat": SECONDS + LEEWAY_SECONDS},
    {"iat": 0, "nbf": 0.5},
    {"iat": None},
]
SAID_WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no exp": ({"exp": None}, "it has no exp"),
    "exp null": ({"exp": ...}, "its exp is no time"),
    "over": ({"exp": SECONDS - 1}, "its exp is over"),
    "over just now": ({"exp": SECONDS}, "its exp is over"),
    "over since 1970": ({"exp": 0}, "its exp is over"),
    "before 1970": ({"exp": -1}, "its exp is no time"),
    "exp as a text": ({"exp": str(SECONDS + 600)}, "its exp is no time"),
    "exp as a date": ({"exp": "2099-01-01T00:00:00Z"}, "its exp is no time"),
    "exp as a list": ({"exp": [SECONDS + 600]}, "its exp is no time"),
    "exp true": ({"exp": True}, "its exp is no time"),
    "exp beyond all years": ({"exp": LAST_SECOND + 1}, "its exp is no time"),
    "exp beyond all numbers": ({"exp": 10**400}, "its exp is no time"),
    "exp in milliseconds": ({"exp": (SECONDS + 600) * 1000}, "its exp is no time"),
    "not before later": ({"nbf": SECONDS + LEEWAY_SECONDS + 1}, "its nbf is still to come"),
    "nbf as a text": ({"nbf": "0"}, "its nbf is no time"),
    "issued in the future": ({"iat": SECONDS + LEEWAY_SECONDS + 1}, "its iat is still to come"),
    "iat as a text": ({"iat": "now"}, "its iat is no time"),
    "no sub": ({"sub": None}, "its sub can be no principal"),
    "an empty sub": ({"sub": ""}, "its sub can be no principal"),
    "a long sub": ({"sub": "a" * 201}, "its sub can be no principal"),
    "a sub of two lines": ({"sub": "ann\nbob"}, "its sub can be no principal"),
    "a sub that turns around": ({"sub": "ann\u202ebob"}, "its sub can be no principal"),
    "a sub with a zero": ({"sub": "ann\0"}, "its sub can be no principal"),
    "half a sign": ({"sub": "\ud800"}, "its sub can be no principal"),
    "a sub that is a number": ({"sub": 7}, "its sub can be no principal"),
    "a sub that is a list": ({"sub": ["ann"]}, "its sub can be no principal"),
    "an audience that is somebody's": (
        {"aud": "other"},
        "it has an aud, and --jwt-audience does not say which is ours",
    ),
    "an audience that is null": ({"aud": ...}, "it has an aud, and --jwt-audience does not say which is ours"),
}


@pytest.mark.parametrize("changes", IN_TIME, ids=str)
async def test_one_that_is_in_time_is_good(changes: dict[str, Any]) -> None:
    assert await verifier().vouched(signed_raw({"alg": "HS256"}, claims(**changes)))


@pytest.mark.parametrize(("changes", "why"), SAID_WRONG.values(), ids=SAID_WRONG.keys())
async def test_one_that_says_what_is_not_so_is_not(
    changes: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    said = {name: None if value is ... else value for name, value in claims(**changes).items()}
    with refuses(caplog, why):
        assert await verifier().vouched(signed_raw({"alg": "HS256"}, said)) is None


async def test_issuer_and_audience_are_ours(caplog: pytest.LogCaptureFixture) -> None:
    guard = verifier(Expected(issuer="https://id.example", audience="scans"))
    for audience in ("scans", ["other", "scans"]):
        assert await guard.vouched(by_secret(claims(iss="https://id.example", aud=audience)))
    for changes, why in (
        ({"iss": "https://id.example/", "aud": "scans"}, "its iss is not --jwt-issuer"),
        ({"aud": "scans"}, "its iss is not --jwt-issuer"),
        ({"iss": ["https://id.example"], "aud": "scans"}, "its iss is not --jwt-issuer"),
        ({"iss": "https://id.example"}, "its aud is not --jwt-audience"),
        ({"iss": "https://id.example", "aud": []}, "its aud is not --jwt-audience"),
        ({"iss": "https://id.example", "aud": "scans2"}, "its aud is not --jwt-audience"),
        ({"iss": "https://id.example", "aud": {"scans": 1}}, "its aud is not --jwt-audience"),
        ({"iss": "https://id.example", "aud": [["scans"]]}, "its aud is not --jwt-audience"),
    ):
        with refuses(caplog, why):
            guard = verifier(Expected(issuer="https://id.example", audience="scans"))
            assert await guard.vouched(signed_raw({"alg": "HS256"}, claims(**changes))) is None


def public_pem() -> str:
    pem: bytes = private_key("RSA").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def confused(secret: bytes, **head: Any) -> str:
    """Signed by HMAC with something that everybody knows."""
    text = f"{coded({'alg': 'HS256', **head})}.{coded(claims())}"
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(text.encode(), secret)
    return f"{text}.{coded(signature)}"


PAYLOAD = coded(claims())
GOOD = by_secret()
HEAD, _, SIGNATURE = GOOD.split(".")
ALGORITHM, NO_KEY = (
    "its alg is not one of --jwt-algorithms",
    "none of our keys is the one that it names, or of its kind",
)
BY_NOBODY, NONE = "its signature is not by a key of ours", "it is no JWT"
EXTENSION, OTHER = "its head asks for an extension that is not known here", "its head is of another kind of token"
KID, TWICE = "its head names a key as no key is named", "it is no JSON object that says each thing once"

ATTACKS: dict[str, tuple[str, str]] = {
    **{
        f"alg {name}": (f"{coded({'alg': name})}.{PAYLOAD}.{SIGNATURE}", ALGORITHM)
        for name in ("none", "None", "NONE", "nOnE", "", "HS1", "hs256", "HS512", "RS512", "ES256K", "RSA", "dir")
    },
    "alg none without signature": (f"{coded({'alg': 'none'})}.{PAYLOAD}.", NONE),
    "no signature": (f"{HEAD}.{PAYLOAD}.", NONE),
    "two parts": (f"{HEAD}.{PAYLOAD}", NONE),
    "four parts": (f"{GOOD}.x", NONE),
    "an encrypted one": (f"{GOOD}.x.y", NONE),
    "alg missing": (f"{coded({'typ': 'JWT'})}.{PAYLOAD}.{SIGNATURE}", OTHER),
    "alg a list": (f"{coded({'alg': ['HS256']})}.{PAYLOAD}.{SIGNATURE}", OTHER),
    "alg a number": (f"{coded({'alg': 256})}.{PAYLOAD}.{SIGNATURE}", OTHER),
    "a public key as a secret": (confused(public_pem().encode()), BY_NOBODY),
    "a public key as a secret, named": (confused(public_pem().encode(), kid="rsa"), BY_NOBODY),
    "a JWK as a secret": (confused(json.dumps(jwk("RSA")).encode(), kid="rsa"), BY_NOBODY),
    "an empty secret": (confused(b""), BY_NOBODY),
    "another's secret": (by_secret(secret="x" * 40), BY_NOBODY),
    "another's key": (by_key("RSA-other", "RS256", kid="rsa"), BY_NOBODY),
    "another's key of another kind": (by_key("P-384", "ES384", kid="ec"), ALGORITHM),
    "a key by the name of another kind": (by_key("P-256", "ES256", kid="rsa"), NO_KEY),
    "a signature of zeros (ECDSA)": (
        f"{coded({'alg': 'ES256', 'kid': 'ec'})}.{PAYLOAD}.{coded(bytes(64))}",
        BY_NOBODY,
    ),
    "a long signature": (f"{coded({'alg': 'ES256', 'kid': 'ec'})}.{PAYLOAD}.{coded(bytes(500))}", BY_NOBODY),
    "a key that it brings along": (by_key("RSA-other", "RS256", jwk=jwk("RSA-other"), kid="mine"), NO_KEY),
    "the address of a key": (by_key("RSA-other", "RS256", jku="http://127.0.0.1:9/jwks", kid="mine"), NO_KEY),
    "a certificate": (by_key("RSA-other", "RS256", x5c=["MIIB"], x5u="http://127.0.0.1:9/x", kid="mine"), NO_KEY),
    **{
        f"kid {kid!r:.30}": (f"{coded({'alg': 'RS256', 'kid': kid})}.{PAYLOAD}.{SIGNATURE}", NO_KEY)
        for kid in ("../../../../dev/null", "/etc/passwd", "' OR 1=1 --", "rsa\0", "RSA", "", "\u202e", "x" * 256)
    },
    **{
        f"kid {kid!r:.30}": (f"{coded({'alg': 'RS256', 'kid': kid})}.{PAYLOAD}.{SIGNATURE}", KID)
        for kid in (7, ["rsa"], {"rsa": 1}, True, "x" * 257)
    },
    "a huge kid": (f"{coded({'alg': 'RS256', 'kid': 'x' * 4000})}.{PAYLOAD}.{SIGNATURE}", NONE),
    "crit": (signed_raw({"alg": "HS256", "crit": ["exp"]}, claims()), EXTENSION),
    "crit, empty": (signed_raw({"alg": "HS256", "crit": []}, claims()), EXTENSION),
    "b64": (signed_raw({"alg": "HS256", "b64": False}, claims()), EXTENSION),
    "zip": (signed_raw({"alg": "HS256", "zip": "DEF"}, claims()), EXTENSION),
    "a token of a logout": (signed_raw({"alg": "HS256", "typ": "logout+jwt"}, claims()), OTHER),
    "a proof of possession": (signed_raw({"alg": "HS256", "typ": "dpop+jwt"}, claims()), OTHER),
    "typ a list": (signed_raw({"alg": "HS256", "typ": ["JWT"]}, claims()), OTHER),
    "alg twice": (signed_raw('{"alg":"none","alg":"HS256"}', claims()), TWICE),
    "sub twice": (signed_raw({"alg": "HS256"}, f'{{"sub":"ann","sub":"bob","exp":{SECONDS + 9}}}'), TWICE),
    "exp not a number": (signed_raw({"alg": "HS256"}, '{"sub":"ann","exp":NaN}'), TWICE),
    "exp without end": (signed_raw({"alg": "HS256"}, '{"sub":"ann","exp":Infinity}'), TWICE),
    "exp of 1e999": (signed_raw({"alg": "HS256"}, '{"sub":"ann","exp":1e999}'), "its exp is no time"),
    "exp of 5000 digits": (signed_raw({"alg": "HS256"}, f'{{"sub":"ann","exp":{"9" * 5000}}}'), TWICE),
    "a payload that is a list": (signed_raw({"alg": "HS256"}, "[]"), "it is no JSON object"),
    "a payload that is a text": (signed_raw({"alg": "HS256"}, '"ann"'), "it is no JSON object"),
    "a payload that is nothing": (signed_raw({"alg": "HS256"}, " "), TWICE),
    "a payload that is not UTF-8": (signed_raw({"alg": "HS256"}, b"\xff\xfe{}"), TWICE),
    "a head that is a list": (signed_raw("[]", claims()), "it is no JSON object"),
    "a head of brackets": (f"{coded('[' * 1500)}.{PAYLOAD}.{SIGNATURE}", TWICE),
    "a head in UTF-16": (f"{coded(json.dumps({'alg': 'HS256'}).encode('utf-16'))}.{PAYLOAD}.{SIGNATURE}", TWICE),
    "padding": (f"{GOOD}=", NONE),
    "a space": (f"{GOOD} ", NONE),
    "a line": (f"{GOOD}\n", NONE),
    "a zero": (f"{GOOD}\0", NONE),
    "base64 that is not of addresses": (GOOD[:-1] + "+", NONE),
    "a letter too many": (f"{HEAD}.{PAYLOAD}.{SIGNATURE}A", BY_NOBODY),
    "digits of another script": (f"{HEAD}.{PAYLOAD}.{'٣' * 43}", NONE),
}


@pytest.mark.parametrize(("token", "why"), ATTACKS.values(), ids=ATTACKS.keys())
async def test_no_attack_lets_anybody_in(token: str, why: str, caplog: pytest.LogCaptureFixture) -> None:
    with refuses(caplog, why):
        assert await verifier().vouched(token) is None


async def test_a_nested_payload_that_was_signed_does_no_harm() -> None:
    assert await verifier().vouched(signed_raw({"alg": "HS256"}, "[" * 5000)) is None
    deep = json.dumps(claims())[:-1] + ', "x": ' + "[" * 2500 + "]" * 2500 + "}"
    await verifier().vouched(signed_raw({"alg": "HS256"}, deep))


async def test_each_bit_counts() -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    guard = verifier()
    for token in (GOOD, by_key("P-256", "ES256", kid="ec")):
        assert await guard.vouched(token)
        for place in range(len(token)):
            if token[place] != ".":
                other = letters[letters.index(token[place]) ^ 1 << place % 6]
                assert await guard.vouched(token[:place] + other + token[place + 1 :]) is None, place
        for stop in range(0, len(token), 7):
            assert await guard.vouched(token[:stop]) is None


@settings(max_examples=60)
@given(
    st.text(max_size=200)
    | st.from_regex(r"[A-Za-z0-9_-]{1,60}\.[A-Za-z0-9_-]{1,60}\.[A-Za-z0-9_-]{1,60}", fullmatch=True)
    | st.tuples(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit"]), st.text(max_size=9) | st.none())).map(
        lambda head: f"{coded({'alg': 'HS256', **head[0]})}.{PAYLOAD}.{SIGNATURE}"
    )
)
async def test_whatever_is_shown_nothing_but_a_refusal_comes_of_it(shown: str) -> None:
    assert await verifier().vouched(shown) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "iat", "iss", "aud", "scope"]), JSON) | JSON)
async def test_whatever_was_signed_is_believed_only_as_far_as_it_makes_sense(said: object) -> None:
    guard = verifier(Expected(issuer="i", audience="a"))
    vouched = await guard.vouched(signed_raw({"alg": "HS256"}, json.dumps(said)))
    if vouched is not None:
        assert isinstance(vouched, Vouched)
        assert 0 < len(vouched.principal) <= 200
        assert vouched.expires_at > NOW


async def test_a_key_that_is_taken_away_is_trusted_no_more() -> None:
    guard = verifier()
    tokens = {"rsa": by_key("RSA", "RS256", kid="rsa"), "ec": by_key("P-256", "ES256", kid="ec"), "secret": by_secret()}
    before = {name: await guard.vouched(token) for name, token in tokens.items()}
    names = allowed("")
    guard.trust("keys", of_jwks(jwks(jwk("P-256", kid="renamed")), names))
    guard.trust(
        "secret", of_secrets(b"another secret, of enough bytes to be one\n" + SECRET.encode(), names & {"HS256"})
    )

    trusted = {name: guard.trusts(vouched.signer) for name, vouched in before.items() if vouched is not None}

    assert trusted == {"rsa": False, "ec": True, "secret": True}
    assert [await guard.vouched(token) is not None for token in tokens.values()] == [False, False, True]


async def test_algorithms_that_are_not_allowed_are_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    with refuses(caplog, ALGORITHM):
        assert await verifier(algorithms="ES256,HS256,EdDSA,RS384").vouched(by_key("RSA", "RS256", kid="rsa")) is None
    assert await verifier(algorithms="ES256,HS256,RS384,EdDSA").vouched(by_key("RSA", "RS384", kid="rsa"))


async def test_why_they_are_refused_is_told_seldom_and_says_nothing_of_them(caplog: pytest.LogCaptureFixture) -> None:
    guard = verifier()
    with caplog.at_level(logging.INFO):
        for number in range(200):
            await guard.vouched(by_secret(claims(sub=f"s3cret-{number}", exp=1), kid=f"s3cret-{number}"))
    assert caplog.text.count("\n") == 1
    assert "s3cret" not in caplog.text
