"""The catalogue of built-in strategies against a table that was written by hand, and each against its source."""

import inspect
import re
import sys
from typing import Any

import pytest

from scanstream.panel import Panel
from scanstream.strategies.installed import registry

CARRY = {"payments": 30, "horizon": 21, "fee": 0.0005, "apr_min": 0.05}
CROSS = {"size": 1000, "max_age_seconds": 60, "min_edge": 0.001, "transfer": 0.0005}
CYCLE = {"size": 1000, "max_age_seconds": 60, "min_edge": 0.0005}
CHANNEL = {"window": 20, "horizon": 10, "target_ranges": 4, "stop_ranges": 2}
FACTORS = {"window": 252, "residuals": 60, "variance": 0.55, "kappa_min": 8.4}
SCORES = {"s_entry": 1.25, "s_exit_long": 0.5, "s_exit_short": 0.75}

TABLE: dict[str, tuple[str, int, int, dict[str, Any], str]] = {
    # id: opportunity type, units in a shard, units with 64 symbols, defaults beside walk_forward = 200, first author
    "cross_exchange": ("arbitrage", 1, 1, CROSS, "Makarov"),
    "donchian": ("breakout", 8, 64, CHANNEL, "Donchian"),
    "funding_carry": ("carry", 1, 1, CARRY, "He"),
    "meanrev": ("mean_reversion", 8, 64, {"window": 120, "z_min": 2, "z_stop": 4, "half_life_max": 60}, "Uhlenbeck"),
    "pairs": ("pairs", 64, 2016, {"window": 250, "z_min": 2}, "Engle"),
    "pca_statarb": ("statistical_arbitrage", 1, 1, FACTORS | SCORES, "Avellaneda"),
    "triangular": ("arbitrage", 1, 1, CYCLE, "Cormen"),
    "tsmom": ("momentum", 8, 64, {"lookback": 252, "horizon": 21, "z_min": 1}, "Moskowitz"),
}
EVERY = pytest.mark.parametrize("name", TABLE)


def test_these_eight_are_built_in() -> None:
    built_in = [name for name, found in registry().items() if type(found.strategy).__module__.startswith("scanstream.")]
    assert built_in == sorted(TABLE)


@EVERY
def test_each_is_as_in_the_table(name: str, generated: Panel) -> None:
    strategy = registry()[name]
    opportunity_type, chunk, units, defaults, _ = TABLE[name]
    described: dict[str, dict[str, Any]] = strategy.schema["properties"]
    assert (strategy.opportunity_type, strategy.chunk) == (opportunity_type, chunk)
    assert strategy.strategy.units(generated, strategy.parse({})) == units
    assert {key: value["default"] for key, value in described.items()} == {"walk_forward": 200, **defaults}
    assert strategy.budget_seconds == 120


@EVERY
def test_each_names_its_source_in_its_module_as_in_the_catalogue(name: str) -> None:
    strategy, author = registry()[name], TABLE[name][-1]
    assert strategy.name
    assert strategy.description
    module = inspect.getdoc(sys.modules[type(strategy.strategy).__module__]) or ""
    for text in (re.split(r"^Source: ", module, flags=re.MULTILINE)[1], strategy.source):
        found = re.match(r"\w+", text)
        assert found is not None
        assert found.group() == author
    years = set(re.findall(r"\b(?:19|20)\d\d\b", strategy.source))
    assert years <= set(re.findall(r"\d{4}", module))
