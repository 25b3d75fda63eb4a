"""What a server's `/metrics` says, as tests and their deploy files need it."""

from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from support.wire import request

Sample = tuple[str, frozenset[tuple[str, str]]]


class Family(NamedTuple):
    """One metric."""

    kind: str
    labels: set[str]
    """Those of its samples, but for `le`."""


class Said:
    """One answer."""

    def __init__(self, text: str) -> None:
        self.values: dict[Sample, float] = {}
        self.families: dict[str, Family] = {}
        self.samples: dict[str, dict[str, set[str]]] = {}
        """Sample name → label → values."""
        for family in text_string_to_metric_families(text):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            assert name not in self.families, f"{name} is said twice"
            self.families[name] = Family(family.type, labels)
            for sample in family.samples:
                self.values[sample.name, frozenset(sample.labels.items())] = sample.value
                told = self.samples.setdefault(sample.name, {})
                for label, value in sample.labels.items():
                    told.setdefault(label, set()).add(value)

    def of(self, sample: str, **labels: str) -> float:
        """One value."""
        return self.values[sample, frozenset(labels.items())]


async def metrics(url: str, headers: dict[str, str] | None = None) -> Said:
    """What it says now."""
    answer = await request(url, "GET", "/metrics", headers=headers)
    assert answer.status == 200
    return Said(answer.body.decode())
