"""Dashboard, alerts and scrape configuration: they ask for metrics that the API has."""

import json
import re
from pathlib import Path

import yaml

from services.api.operations import Metrics
from tests.contracts.deployment import ROOT, containers, image_environment, read

PROMETHEUS, GRAFANA = ROOT / "deploy/prometheus", ROOT / "deploy/grafana"
NAME, LABELS = re.compile(r"\bseptet_\w+"), re.compile(r"by \(([\w, ]+)\)")
ASKED_BY_PROMETHEUS = {"job", "instance"}


def exposed() -> tuple[set[str], set[str]]:
    """Return the names of the API's series, and of their labels, after a first request."""
    metrics = Metrics()
    metrics.observe("GET", "/healthz", 200, 0.01)
    samples = [one for family in metrics.registry.collect() for one in family.samples]
    return {one.name for one in samples}, {label for one in samples for label in one.labels}


def dashboard() -> list[dict]:
    found: list[dict] = json.loads((GRAFANA / "dashboards/septet.json").read_text("utf-8"))[
        "panels"
    ]
    return found


def rules() -> list[dict]:
    (group,) = yaml.safe_load((PROMETHEUS / "septet.rules.yml").read_text("utf-8"))["groups"]
    found: list[dict] = group["rules"]
    return found


def asked() -> list[str]:
    panels = [target["expr"] for panel in dashboard() for target in panel["targets"]]
    return [*panels, *(rule["expr"] for rule in rules())]


def test_every_metric_that_is_asked_for_is_one_of_ours() -> None:
    names, labels = exposed()
    used = {name for question in asked() for name in NAME.findall(question)}
    assert used <= names
    own = {name for name in names if not name.endswith(("_created", "_count", "_sum"))}
    assert own <= used, "the dashboard leaves something out"
    wanted = {one for said in LABELS.findall(" ".join(asked())) for one in said.split(", ")}
    assert wanted <= labels | ASKED_BY_PROMETHEUS


def test_prometheus_scrapes_the_api_under_the_name_that_the_questions_use() -> None:
    scrape = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    (job,) = scrape["scrape_configs"]
    (search,) = job["dns_sd_configs"]
    assert search["names"] == ["api"]
    assert set(search["names"]) <= containers().keys()
    assert search["port"] == read(image_environment()).port
    assert set(re.findall(r'job="([\w-]+)"', " ".join(asked()))) == {job["job_name"]}
    assert scrape["rule_files"] == [path.name for path in PROMETHEUS.glob("*.rules.yml")]


def test_grafana_finds_its_dashboard_and_its_source() -> None:
    (source,) = yaml.safe_load(
        (GRAFANA / "provisioning/datasources/prometheus.yml").read_text("utf-8")
    )["datasources"]
    assert {panel["datasource"]["uid"] for panel in dashboard()} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load(
        (GRAFANA / "provisioning/dashboards/septet.yml").read_text("utf-8")
    )["providers"]
    mounted = {
        target: ROOT / place
        for place, target, _ in (one.split(":") for one in containers()["grafana"]["volumes"][:2])
    }
    folder = mounted[provider["options"]["path"]]
    home = Path(containers()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (folder / home.name).is_file()
    assert len({panel["id"] for panel in dashboard()}) == len(dashboard())
