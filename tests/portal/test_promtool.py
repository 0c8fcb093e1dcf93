"""Prometheus' own tool judges the metrics, the rules that ship with Purser, and the dashboard's questions."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.exposition import exposition
from portal.metrics import collected
from tests.cast import Cast
from tests.gateways.servers import ROOT
from tests.portal.test_metrics import NAMES, busy  # noqa: F401  the fixture

DOCS = ROOT / "docs"
RULES = DOCS / "prometheus"
DASHBOARD = DOCS / "grafana" / "dashboards" / "spend.json"
FETCHED = ROOT / ".local" / "prometheus" / "usr" / "bin" / "promtool"
PROMTOOL = shutil.which("promtool") or (str(FETCHED) if FETCHED.exists() else "")
# Only the tests that need it: what our own reader says of the metrics is tested everywhere.
judged_by_promtool = pytest.mark.skipif(
    not PROMTOOL, reason="promtool is missing: install the package 'prometheus', or run `make promtool`"
)
METRIC = re.compile(r"\bpurser[a-z0-9_:]+")


def promtool(*arguments: str, given: str | None = None, at: Path = RULES) -> str:
    """Run promtool and return what it says. Fails with that when it finds fault."""
    found = subprocess.run(
        [PROMTOOL, *arguments], check=False, capture_output=True, text=True, input=given, cwd=at
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout + found.stderr


@judged_by_promtool
def test_metrics_pass(busy: Cast) -> None:  # noqa: F811  as pytest hands it over
    assert promtool("check", "metrics", given=exposition(collected())) == ""


@judged_by_promtool
def test_metrics_that_are_wrong_do_not_pass() -> None:
    with pytest.raises(AssertionError):
        promtool("check", "metrics", given="# TYPE purser_spend counter\npurser_spend 1\n")


@judged_by_promtool
def test_rules_pass_and_do_what_they_say() -> None:
    assert "SUCCESS" in promtool("check", "rules", "rules.yml")
    assert "SUCCESS" in promtool("test", "rules", "rules.test.yml")


@judged_by_promtool
def test_the_dashboard_asks_what_prometheus_understands(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": asked} for number, asked in enumerate(questions())]
    file = tmp_path / "panels.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert "SUCCESS" in promtool("check", "rules", str(file))


def test_dashboard_and_rules_name_only_what_is_told() -> None:
    rules = (RULES / "rules.yml").read_text()
    recorded = set(re.findall(r"record: (\S+)", rules))
    asked = {name for question in questions() for name in METRIC.findall(question)}
    assert asked <= NAMES | recorded
    assert {
        name for line in re.findall(r"expr: (.*)", rules) for name in METRIC.findall(line)
    } <= NAMES | recorded
    assert asked >= NAMES, "a metric that nobody looks at"


def test_dashboard_reads_the_source_that_is_provisioned() -> None:
    found = json.loads(DASHBOARD.read_text())
    sources = {panel["datasource"]["uid"] for panel in found["panels"]}
    provisioned = (DOCS / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text()
    assert sources == {"purser-prometheus"}
    assert "uid: purser-prometheus" in provisioned
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])


def questions() -> list[str]:
    """Return what the dashboard asks, its variables filled in."""
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [
        target["expr"].replace("$team", ".*").replace("$project", ".*")
        for panel in panels
        for target in panel["targets"]
    ]
