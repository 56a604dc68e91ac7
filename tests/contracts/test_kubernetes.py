"""The manifests of Kubernetes and KEDA: of the official shapes, and of one mind with the code."""

import json
import re
from ipaddress import ip_address, ip_network
from itertools import pairwise
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from events.pipeline import STAGES
from events.topics import RUN_EVENTS, TOPICS, stage_topic
from projections.projector import GROUP as PROJECTOR
from services.heartbeats import BEAT_EVERY
from services.stage_workers.app import group_of
from tests.contracts.deployment import (
    A_KEY,
    ROOT,
    Tree,
    containers,
    dockerfile,
    parses,
    read,
    secrets_as_needed,
)
from tests.system.test_processes import SERVICES

FOLDER = ROOT / "deploy/kubernetes"
VERSIONS = ("1.30", "1.37")  # the oldest that knows all that we use, and the newest
UID = 10001
ALIVE = re.compile(r"test -n \"\$\(find (\S+) -newermt '-(\d+) seconds'\)\"")
TEXT, WHOLE = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 1}


def shape(required: Tree, **optional: Tree) -> Tree:
    """Return the schema of an object that has these fields and no others."""
    return {
        "type": "object",
        "properties": required | optional,
        "required": list(required),
        "additionalProperties": False,
    }


# What we use of KEDA 2.15 and newer, field by field as its reference names them: a typing error
# in a name would else be a setting that is silently not there.
SCALED_OBJECT = shape(
    {
        "scaleTargetRef": shape({"name": TEXT}),
        "minReplicaCount": WHOLE,
        "maxReplicaCount": WHOLE,
        "triggers": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": shape(
                {
                    "type": {"const": "kafka"},
                    "metadata": shape(
                        {
                            "bootstrapServersFromEnv": TEXT,
                            "consumerGroup": TEXT,
                            "topic": TEXT,
                            "lagThreshold": {"type": "string", "pattern": "^[1-9][0-9]*$"},
                            "offsetResetPolicy": {"const": "earliest"},
                            "limitToPartitionsWithLag": {"const": "true"},
                        }
                    ),
                }
            ),
        },
    },
    pollingInterval=WHOLE,
    fallback=shape({"failureThreshold": WHOLE, "replicas": WHOLE}),
    advanced=shape(
        {
            "horizontalPodAutoscalerConfig": shape(
                {
                    "behavior": shape(
                        {
                            "scaleDown": shape(
                                {"stabilizationWindowSeconds": WHOLE, "policies": {"type": "array"}}
                            )
                        }
                    )
                }
            )
        }
    ),
)


def documents(path: Path) -> list[Tree]:
    return [one for one in yaml.safe_load_all(path.read_text("utf-8")) if one]


def applied(folder: Path) -> list[Tree]:
    """Return what `kubectl apply -k` sends: the resources, with the one image's tag."""
    (head,) = documents(folder / "kustomization.yaml")
    assert head.keys() <= {"apiVersion", "kind", "namespace", "resources", "images"}
    text = "\n---\n".join((folder / name).read_text("utf-8") for name in head["resources"])
    for image in head.get("images", ()):
        full = f"{image['newName']}:{image['newTag']}"
        text = re.sub(rf"image: {image['name']}$", f"image: {full}", text, flags=re.MULTILINE)
    return [one for one in yaml.safe_load_all(text) if one]


MANIFESTS = applied(FOLDER)
SCALERS = applied(FOLDER / "autoscaling")
EXAMPLE = documents(FOLDER / "secret.example.yaml")


def of(kind: str) -> list[Tree]:
    return [one for one in MANIFESTS if one["kind"] == kind]


PODS = {
    one["metadata"]["name"].removeprefix("septet-"): one["spec"]["template"]
    for one in (*of("Deployment"), *of("Job"))
}
DEPLOYMENTS = {one["metadata"]["name"].removeprefix("septet-"): one for one in of("Deployment")}


def name_of(manifest: Tree) -> str:
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


def container(pod: Tree) -> Tree:
    (only,) = pod["spec"]["containers"]
    found: Tree = only
    return found


def environment(pod: Tree) -> dict[str, str]:
    """Return the variables that the pod gets; those of the Secret are made up."""
    (config,) = of("ConfigMap")
    (secret,) = EXAMPLE
    values = {
        "database-url": "postgresql://septet:p@db:5432/septet",
        "admin-token": "a-token",
        "secrets-key": A_KEY,
        "ai-api-key": "a-key",
    }
    assert values.keys() == secret["stringData"].keys()
    assert not any(secret["stringData"].values()), "nobody's password is in the repository"
    assert container(pod)["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]
    found = dict(config["data"])
    for one in container(pod)["env"]:
        source = one["valueFrom"]["secretKeyRef"]
        assert source["name"] == secret["metadata"]["name"]
        found[one["name"]] = values[source["key"]]
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", [*MANIFESTS, *EXAMPLE], ids=name_of)
def test_kubernetes_would_take_it(manifest: Tree, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("manifest", SCALERS, ids=name_of)
def test_keda_would_take_it(manifest: Tree) -> None:
    assert (manifest["apiVersion"], manifest["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    jsonschema.validate(manifest["spec"], SCALED_OBJECT)


def test_every_file_is_applied_but_the_example() -> None:
    for folder, left_out in ((FOLDER, {"secret.example.yaml"}), (FOLDER / "autoscaling", set())):
        (head,) = documents(folder / "kustomization.yaml")
        files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
        assert set(head["resources"]) == files - left_out
        assert head["namespace"] == of("Namespace")[0]["metadata"]["name"]


def test_with_sasl_every_scaler_signs_in() -> None:
    folder = FOLDER / "autoscaling-sasl"
    (head,) = documents(folder / "kustomization.yaml")
    assert head["resources"] == ["../autoscaling", "authentication.yaml"]
    (patch,) = head["patches"]
    ((operation),) = yaml.safe_load(patch["patch"])
    (signs_in,) = documents(folder / "authentication.yaml")
    assert patch["target"] == {"kind": "ScaledObject"}
    assert operation["value"] == {"name": signs_in["metadata"]["name"]}
    assert (operation["op"], operation["path"]) == ("add", "/spec/triggers/0/authenticationRef")
    references = signs_in["spec"]["secretTargetRef"]
    parameters = [one["parameter"] for one in references]
    assert parameters == ["sasl", "username", "password", "tls", "ca"]
    assert all(one.keys() == {"parameter", "name", "key"} for one in references)


def test_every_service_runs_with_the_command_that_the_system_tests_run() -> None:
    given = {name: tuple(container(pod)["args"]) for name, pod in PODS.items()}
    composed = {
        name: tuple(one["command"])
        for name, one in containers().items()
        if one["image"].startswith("septet:")
    }
    assert given == composed
    assert set(given.values()) - {("migrate",)} <= set(SERVICES)
    for arguments in given.values():
        assert parses(list(arguments)) == arguments[0]


@pytest.mark.parametrize("name", sorted(PODS))
def test_every_variable_is_a_setting(name: str) -> None:
    settings = read(environment(PODS[name]))
    assert not settings.embedded_broker
    assert settings.database_url.get_secret_value()
    secrets_as_needed(settings, name)


def test_one_image_of_this_release_runs_everywhere() -> None:
    images = {container(pod)["image"] for pod in PODS.values()}
    version = re.search(r'^version = "([\d.]+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert version is not None
    assert images == {f"septet:{version[1]}"} == {containers()["api"]["image"]}


@pytest.mark.parametrize("name", sorted(PODS))
def test_a_pod_may_do_nothing_that_it_need_not(name: str) -> None:
    spec, only = PODS[name]["spec"], container(PODS[name])
    who = spec["securityContext"]
    assert who["runAsNonRoot"] is True
    assert who["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {who["runAsUser"], who["runAsGroup"], who["fsGroup"]} == {UID}
    assert ("USER", f"{UID}:{UID}") in dockerfile()
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert {"cpu", "memory"} == only["resources"]["requests"].keys()
    assert "memory" in only["resources"]["limits"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
    accounts = {one["metadata"]["name"] for one in of("ServiceAccount")}
    assert spec["serviceAccountName"] in accounts


@pytest.mark.parametrize("name", sorted(PODS))
def test_a_pod_writes_where_it_may_and_keeps_what_others_read(name: str) -> None:
    settings = read(environment(PODS[name]))
    mounts = {one["mountPath"]: one["name"] for one in container(PODS[name])["volumeMounts"]}
    volumes = {one["name"]: one for one in PODS[name]["spec"]["volumes"]}
    expected = {"/tmp": "tmp", str(settings.data_dir): "data"}
    if name == "api" or name.startswith("stage-worker-"):
        expected[str(settings.data_dir / "artifacts")] = "artifacts"
        (claim,) = of("PersistentVolumeClaim")
        assert (
            volumes["artifacts"]["persistentVolumeClaim"]["claimName"]
            == (claim["metadata"]["name"])
        )
        assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert mounts == expected
    assert volumes.keys() == set(mounts.values())


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_a_probe_asks_what_the_service_tells(name: str) -> None:
    only = container(PODS[name])
    if name == "api":
        probes = [only[probe] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
        assert {json.dumps(probe["httpGet"]) for probe in probes} == {
            json.dumps({"path": "/healthz", "port": "http"})
        }
        port = read(environment(PODS[name])).port
        assert only["ports"] == [{"name": "http", "containerPort": port}]
        return
    assert "readinessProbe" not in only, "nobody calls it"
    for probe in (only["startupProbe"], only["livenessProbe"]):
        shell, option, script = probe["exec"]["command"]
        found = ALIVE.fullmatch(script)
        assert (shell, option) == ("sh", "-c")
        assert found is not None
        assert found[1] == str(read(environment(PODS[name])).alive_file)
        assert int(found[2]) >= 10 * BEAT_EVERY, "a busy machine is not a dead service"
    assert only["startupProbe"]["periodSeconds"] * only["startupProbe"]["failureThreshold"] >= 300


def test_a_pod_has_the_time_that_its_service_takes_to_stop() -> None:
    for name, pod in PODS.items():
        # A worker gives its batch 30 seconds, and its producer five; an API first waits for five.
        least = 40 if name.startswith("stage-worker-") else 20
        assert pod["spec"]["terminationGracePeriodSeconds"] >= least


def test_what_is_selected_is_there() -> None:
    labelled = {name: pod["metadata"]["labels"] for name, pod in PODS.items()}

    def chosen(labels: Tree) -> set[str]:
        return {name for name, its in labelled.items() if labels.items() <= its.items()}

    for name, one in DEPLOYMENTS.items():
        labels = one["spec"]["selector"]["matchLabels"]
        assert chosen(labels) == {name}
        (spread,) = PODS[name]["spec"]["topologySpreadConstraints"]
        assert spread["labelSelector"]["matchLabels"] == labels
    (service,) = of("Service")
    assert chosen(service["spec"]["selector"]) == {"api"}
    assert service["spec"]["ports"][0]["targetPort"] == "http"
    budgets = [chosen(one["spec"]["selector"]["matchLabels"]) for one in of("PodDisruptionBudget")]
    assert sorted(name for budget in budgets for name in budget) == sorted(DEPLOYMENTS)
    policies = {
        one["metadata"]["name"]: chosen(one["spec"]["podSelector"]["matchLabels"])
        for one in of("NetworkPolicy")
    }
    workers = {name for name in PODS if name.startswith("stage-worker-")}
    everybody = {"septet": set(PODS)}
    assert policies == everybody | {"septet-api": {"api"}, "septet-stage-workers": workers}


def test_stage_workers_reach_no_address_of_the_inside_for_a_provider() -> None:
    (policy,) = (
        one for one in of("NetworkPolicy") if one["metadata"]["name"] == "septet-stage-workers"
    )
    assert policy["spec"]["policyTypes"] == ["Egress"]
    (rule,) = policy["spec"]["egress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 443}]
    (reached,) = rule["to"]
    closed = [ip_network(one) for one in reached["ipBlock"]["except"]]
    for inside in ("10.1.2.3", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.169.254"):
        assert any(ip_address(inside) in one for one in closed), inside
    assert not any(ip_address("93.184.216.34") in one for one in closed)


def test_pods_reach_kafka_and_postgresql_where_the_settings_say() -> None:
    settings = read(environment(PODS["api"]))
    (policy,) = (one for one in of("NetworkPolicy") if one["metadata"]["name"] == "septet")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy["spec"], "nobody calls them"
    ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    assert ports == {53, 5432, int(settings.kafka_bootstrap_servers.rpartition(":")[2])}


def test_the_seven_stage_workers_differ_in_their_number_only() -> None:
    parts = (FOLDER / "stage-workers.yaml").read_text("utf-8").split("\n---\n")[:-1]
    parts[0] = parts[0][parts[0].index("apiVersion") :]
    plain = [
        part.replace(f"stage-worker-{stage.number}", "stage-worker-N").replace(
            f'--stage, "{stage.number}"', '--stage, "N"'
        )
        for stage, part in zip(STAGES, parts, strict=True)
    ]
    assert all(one.rstrip() == other.rstrip() for one, other in pairwise(plain))


def test_scalers_look_at_the_lag_of_the_group_that_they_scale() -> None:
    partitions = {topic.name: topic.partitions for topic in TOPICS}
    expected = {
        f"septet-stage-worker-{stage.number}": (group_of(stage.number), stage_topic(stage.number))
        for stage in STAGES
    } | {"septet-projector": (PROJECTOR, RUN_EVENTS)}
    (config,) = of("ConfigMap")
    found = {}
    for scaler in SCALERS:
        spec = scaler["spec"]
        target = spec["scaleTargetRef"]["name"]
        assert scaler["metadata"]["name"] == target
        (trigger,) = spec["triggers"]
        found[target] = (trigger["metadata"]["consumerGroup"], trigger["metadata"]["topic"])
        assert trigger["metadata"]["bootstrapServersFromEnv"] in config["data"]
        most = partitions[trigger["metadata"]["topic"]]
        assert 1 <= spec["minReplicaCount"] <= spec["maxReplicaCount"] <= most
        if "stage-worker" in target:
            assert spec["maxReplicaCount"] == most
    assert found == expected
    assert found.keys() <= {f"septet-{name}" for name in DEPLOYMENTS}
