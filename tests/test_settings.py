"""What cannot work is refused when the settings are made, by its flag and its name in the environment."""

import pytest

from scanstream.errors import SettingError
from scanstream.settings import Settings


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": ""}, "--data : it must name a directory"),
        ({"allow_origin": ("foo",)}, "--allow-origin foo: write scheme and host"),
        ({"allow_origin": ("https://example.org/page",)}, "--allow-origin https://example.org/page"),
        ({"worker_priority": "high"}, "--worker-priority high: it must be idle or low (SCANSTREAM_WORKER_PRIORITY)"),
        ({"refresh": 0.0}, "--refresh 0.0"),
        ({"live_bars": 1}, "--live-bars 1"),
    ],
)
def test_what_cannot_work_is_named(changes: dict[str, object], says: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings(**changes)  # type: ignore[arg-type]
    assert says in caught.value.detail


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"market": "ccxt:kraken,,binance"}, "ccxt:EXCHANGE"),
        ({"market": "ccxt:kraken", "live_timeframe": "7x"}, "--live-timeframe 7x"),
        ({"market": "horoscope"}, "ccxt:EXCHANGE"),
    ],
)
def test_a_market_that_cannot_be_is_named(changes: dict[str, str], says: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings(**changes).open_market()  # type: ignore[arg-type]
    assert says in caught.value.detail


def test_several_origins_may_be_allowed() -> None:
    assert Settings(allow_origin=("https://a.example", "http://127.0.0.1:3000")).allow_origin
