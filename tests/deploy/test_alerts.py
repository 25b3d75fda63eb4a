"""deploy/alerts.yaml and deploy/grafana.json, held to what a real server says, and to the page that says what to do."""

import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import pytest
import yaml

from conftest import ROOT
from docs.pages import DOCS
from scanstream.server import serving
from scanstream.settings import Settings
from support.metrics import Said, metrics
from support.wire import discover, until_terminal

pytestmark = pytest.mark.anyio

ALERTS = ROOT / "deploy" / "alerts.yaml"
DASHBOARD = ROOT / "deploy" / "grafana.json"
OF_PROMETHEUS = {"instance", "job"}
"""Labels that come with the scrape."""
OF_HISTOGRAMS = ("_bucket", "_sum", "_count")
"""What the names of their samples end in."""


class Use(NamedTuple):
    """One metric in an expression."""

    name: str
    matchers: list[tuple[str, str, str]]
    """Label, whether it is an expression, value."""


@pytest.fixture(scope="module")
async def said() -> AsyncIterator[Said]:
    """What a server says that has run a scan."""
    async with serving(Settings(port=0, data=":memory:", workers=1)) as url:
        await until_terminal(url, (await discover(url)).json()["scan_id"])
        yield await metrics(url)


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(ALERTS.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return document


def of_dashboard() -> Iterator[tuple[str, str]]:
    """Each expression of the dashboard, and whose."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for annotation in dashboard()["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def plain(expression: str) -> str:
    """Without what Grafana puts in."""
    return expression.replace("$__rate_interval", "5m").replace("$instance", ".*")


EXPRESSIONS = [
    *(pytest.param(rule["expr"], id=rule["alert"]) for rule in rules()),
    *(
        pytest.param(plain(expression), id=f"{title} {number}")
        for number, (title, expression) in enumerate(of_dashboard())
    ),
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
async def test_names_and_labels_are_those_of_a_server(expression: str, said: Said) -> None:
    promql = pytest.importorskip("promql_parser", reason="promql-parser is not installed")
    tree = promql.parse(expression)
    uses, grouped = list(selectors(promql, tree)), set(groupings(promql, tree))
    assert uses
    labels = set(OF_PROMETHEUS)
    for use in uses:
        if use.name == "up":  # Prometheus' own
            continue
        assert use.name in said.samples, use.name
        labels |= said.samples[use.name].keys()
        for label, kind, value in use.matchers:
            if label in OF_PROMETHEUS:
                continue
            values = said.samples[use.name].get(label)
            assert values is not None, f"{use.name} has no label {label}"
            names = value.split("|") if kind == "expression" else [value]
            assert set(names) <= values, f"{use.name}: {label} is never {value}"
    assert grouped <= labels


def selectors(promql: Any, node: Any) -> Iterator[Use]:
    """The metrics that an expression reads."""
    for one in nodes(promql, node):
        if isinstance(one, promql.VectorSelector):
            expressions = (promql.MatchOp.Re, promql.MatchOp.NotRe)
            yield Use(
                one.name,
                [(m.name, "expression" if m.op in expressions else "value", m.value) for m in one.matchers.matchers],
            )


def groupings(promql: Any, node: Any) -> Iterator[str]:
    """The labels that it groups by."""
    for one in nodes(promql, node):
        if isinstance(one, promql.AggregateExpr) and one.modifier is not None:
            yield from one.modifier.labels


def nodes(promql: Any, node: Any) -> Iterator[Any]:
    """The expression and all within it."""
    yield node
    if isinstance(node, promql.BinaryExpr):
        inner = [node.lhs, node.rhs]
    elif isinstance(node, promql.Call):
        inner = list(node.args)
    elif isinstance(node, promql.MatrixSelector):
        inner = [node.vector_selector]
    else:
        inner = [node.expr] if hasattr(node, "expr") else []
    for one in inner:
        yield from nodes(promql, one)


def test_a_name_that_no_server_has_would_be_found() -> None:
    promql = pytest.importorskip("promql_parser", reason="promql-parser is not installed")
    tree = promql.parse(
        'sum by (strategy) (rate(scanstream_shards_total{outcome=~"done|odd"}[5m])) / (up{job="x"} + 1)'
    )
    assert list(selectors(promql, tree)) == [
        Use("scanstream_shards_total", [("outcome", "expression", "done|odd")]),
        Use("up", [("job", "value", "x")]),
    ]
    assert list(groupings(promql, tree)) == ["strategy"]


def anchors() -> set[str]:
    """Where a link into docs/operations.md may lead (GitHub's way)."""
    headings = re.findall(r"^#{2,3} (.+)$", (DOCS / "operations.md").read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_to_do_and_leads_to_where_more_is_said(rule: dict[str, Any]) -> None:
    told = rule["annotations"]
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert told["summary"].endswith(".")
    assert len(told["description"].split()) >= 8
    page, _, anchor = told["runbook_url"].partition("#")
    assert page == "docs/operations.md"
    assert anchor in anchors()
    assert anchor == rule["alert"].lower()


def test_every_section_on_an_alert_has_its_alert() -> None:
    named = re.findall(r"^### (Scanstream\w+)$", (DOCS / "operations.md").read_text(), re.M)
    assert sorted(named) == sorted(rule["alert"] for rule in rules())


def test_the_dashboard_is_whole() -> None:
    document = dashboard()
    panels = document["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert document["schemaVersion"] >= 36
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or all(t["datasource"]["uid"] == "${datasource}" for t in panel["targets"])


async def test_the_dashboard_shows_every_metric_of_ours(said: Said) -> None:
    shown = set(re.findall(r"\w+", " ".join(expression for _, expression in of_dashboard())))
    ours = [name for name in said.families if name.startswith("scanstream_")]
    assert [name for name in ours if not shown & {name, *(name + part for part in OF_HISTOGRAMS)}] == []


def test_the_rules_have_the_form_that_prometheus_takes() -> None:
    """Checked by Prometheus' own tool where it is installed (Debian: prometheus)."""
    for rule in rules():
        assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}, rule
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    if promtool := shutil.which("promtool"):
        command = [promtool, "check", "rules", str(ALERTS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
