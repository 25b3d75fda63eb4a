"""What the documents allow is what the decoders take: of requests and messages made up, valid, nearly so, and not."""

from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from scanstream.errors import RequestError
from scanstream.market.synthetic import SyntheticMarket
from scanstream.message import LONGEST_KEY, MOST_FOLLOWED, Discover
from scanstream.model import DiscoverRequest
from scanstream.push.codec import CODECS, JSON, Codec
from scanstream.push.contract.documents import asyncapi, openapi
from scanstream.push.query import idempotency_key
from scanstream.scans.selection import canonical
from scanstream.strategies.installed import registry

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(-1e300, 1e300) | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["BTC/USDT", "btc/usdt", " tsmom", "pairs", "large", "MID ", "momentum", "1d", "4H", "1M", "", " "]
)
LISTED = st.lists(NAMES, max_size=4) | st.lists(NAMES, max_size=3).map(",".join) | NAMES
NUMBERS = st.sampled_from([0, -1, 0.5, 1000, 1e15, 1.1e15, 2.0]) | st.integers(-5, 5) | st.floats(-10, 10)
LEVELS = st.sampled_from(["low", "Low", " MEDIUM", "high", "very_high", "VERY_HIGH ", "very high", "lowest", ""])
SWITCH = st.booleans() | st.none()
PARAMETERS = st.dictionaries(
    st.sampled_from(["tsmom", "TSMOM", "pairs", "x" * 101]),
    st.none() | st.dictionaries(st.sampled_from(["lookback", "walk_forward", "x" * 101]), ANYTHING, max_size=2),
    max_size=2,
)
LISTS = ("symbols", "strategy_ids", "asset_tiers", "opportunity_type", "preferred_timeframes")
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(LISTS, LISTED),
    **dict.fromkeys(("min_profit_potential", "max_required_capital", "capital_usd"), NUMBERS),
    "filter_by_risk_level": LEVELS,
    "force_refresh": SWITCH,
    "parameters": PARAMETERS,
}


def nearly(fields: dict[str, st.SearchStrategy[Any]], *required: str) -> st.SearchStrategy[Any]:
    """Objects with these fields: some absent, some null, some of any kind, and now and then one more."""
    odd = {name: st.one_of(values, values, values, st.none(), ANYTHING) for name, values in fields.items()}
    always = {name: odd.pop(name) for name in required}
    nothing: st.SearchStrategy[dict[str, Any]] = st.just({})
    more = nothing | nothing | st.dictionaries(st.text(max_size=4), ANYTHING, max_size=1)
    return st.builds(lambda one, other: {**other, **one}, st.fixed_dictionaries(always, optional=odd), more)


PANEL = SyntheticMarket(symbols=40).load()
STRATEGIES = registry()


def schema_of(name: str, document: dict[str, Any]) -> Any:
    """Tells what is an instance of a schema of a document."""
    components = {"schemas": document["components"]["schemas"]}
    return jsonschema_rs.Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components})


REQUESTS = schema_of("DiscoverRequest", openapi())
FOLLOWS = schema_of("FollowRequest", openapi())
MESSAGES = {
    kind: schema_of(kind.capitalize(), asyncapi())
    for kind in ("discover", "subscribe", "unsubscribe", "cancel", "ping")
}


def scanned(request: DiscoverRequest) -> bool:
    """Whether a server takes it, on this market."""
    steps = canonical(request, PANEL, STRATEGIES)
    try:
        while True:
            next(steps)
    except StopIteration:
        return True
    except RequestError:
        return False


@settings(max_examples=400)
@given(nearly(FIELDS))
def test_requests(value: dict[str, Any]) -> None:
    """What the decoder refuses the document does not allow, and what it does not allow is refused at the latest by
    the desk, which knows what names there are."""
    allowed = REQUESTS.is_valid(value)
    try:
        request = JSON.decode_request(Raw(msgspec.json.encode(value)))
    except RequestError:
        assert not allowed
    else:
        assert allowed or not scanned(request)


@settings(max_examples=300)
@given(
    nearly(
        {
            "follow": st.lists(
                nearly(
                    {"scan_id": st.text(max_size=9), "since": st.text(max_size=9), "only": st.just("state")}, "scan_id"
                ),
                max_size=3,
            ),
            "wait": st.integers(-1, 61) | st.just(2.5),
        },
        "follow",
    )
)
def test_what_is_followed(value: dict[str, Any]) -> None:
    """But for 2.0: to JSON Schema that is a whole number, and to the decoder it is none."""
    wait = value.get("wait")
    assume(not (isinstance(wait, float) and wait.is_integer()))
    assert taken(lambda: JSON.decode_follow(msgspec.json.encode(value))) == FOLLOWS.is_valid(value)


IDS = st.text(max_size=4) | st.sampled_from(["x" * 64, "x" * 65])
SAID = {
    "id": IDS,
    "scan_id": st.sampled_from(["scan_1", "latest", ""]),
    "since": st.sampled_from(["", "k3f9-0.0"]),
    "only": st.sampled_from(["state", "all"]),
    "idempotency_key": st.sampled_from(["mine", "x" * LONGEST_KEY]),
}


@settings(max_examples=300)
@given(
    st.sampled_from(sorted(MESSAGES)).flatmap(
        lambda kind: nearly(SAID, "scan_id").map(lambda one: {**one, "type": kind})
    ),
    st.sampled_from(CODECS),
)
def test_messages(value: dict[str, Any], codec: Codec) -> None:
    said = msgspec.json.encode(value).decode() if codec.text else msgspec.msgpack.encode(value)

    def read() -> None:
        """As the door does, which names the field that a key came in."""
        message = codec.decode_message(said)
        if isinstance(message, Discover):
            idempotency_key("idempotency_key", message.idempotency_key)

    assert taken(read) == MESSAGES[value["type"]].is_valid(value)


@pytest.mark.parametrize("many", [MOST_FOLLOWED, MOST_FOLLOWED + 1])
def test_how_many_are_followed(many: int) -> None:
    value = {"follow": [{"scan_id": str(number)} for number in range(many)]}
    assert taken(lambda: JSON.decode_follow(msgspec.json.encode(value))) == FOLLOWS.is_valid(value) == (many == 256)


def taken(decode: Any) -> bool:
    """Whether a decoder takes it."""
    try:
        decode()
    except RequestError:
        return False
    return True
