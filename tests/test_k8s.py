"""The manifests of k8s: valid for the newest Kubernetes versions, and what no schema holds."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import all_versions
from manifests import K8S, OVERLAYS, Manifests, Object, build, containers, overlay, selects
from packaging.version import Version
from typer.testing import CliRunner

from dataflows.cli import app
from dataflows.cluster import CLUSTERED
from schemas.settings import Settings
from schemas.topics import READ_BY

pytestmark = pytest.mark.services  # kustomize is fetched with the servers
ROOT = K8S.parent
VERSIONS = sorted(set(all_versions()), key=Version)[-3:]
FLOWS = READ_BY.keys() - {"pipeline"}
# what each setting's service is reached by: the setting, and which pods need it
NEEDS = {
    "ASSET_PIPELINE_EVENTS": {*FLOWS, "topics"},
    "ASSET_PIPELINE_S3_ENDPOINT": {*FLOWS, "maintain", "verify"},
    "ASSET_PIPELINE_INDEX": {"register", "verify"},
}
COMPONENT = "app.kubernetes.io/component"


@pytest.fixture(params=OVERLAYS)
def rendered(request: pytest.FixtureRequest) -> Manifests:
    """Each overlay."""
    return overlay(request.param)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_find_nothing(rendered: Manifests, version: str) -> None:
    """Every object is of a kind that this version of Kubernetes has, with no field that it does not know."""
    for found in rendered.objects:
        assert kubernetes_validate.validate(found, version, strict=True) == ".".join(version.split(".")[:2])


def test_a_wrong_field_is_found() -> None:
    """The strict schemas refuse what Kubernetes would drop."""
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"clusterIp": "None"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_every_pod_is_restricted(rendered: Manifests) -> None:
    """The Pod Security Standard `restricted`, which the namespace enforces; and no token."""
    (namespace,) = rendered.of("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in rendered.pods():
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert spec["securityContext"]["runAsNonRoot"] is True and spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim"}, name
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False and context["capabilities"] == {"drop": ["ALL"]}
            assert not {"privileged", "procMount", "runAsUser", "seccompProfile"} & context.keys()
            assert not any("hostPort" in port for port in container.get("ports", ()))
            assert "asset-pipeline" not in container["image"] or context["readOnlyRootFilesystem"] is True


def test_secrets_are_only_named(rendered: Manifests) -> None:
    """No Secret is among the objects; what the settings keep secret comes from one, and never as a value."""
    assert not rendered.of("Secret")
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    hidden = {f"ASSET_PIPELINE_{name.upper()}" for name in secret} | {"ASSET_PIPELINE_S3_ACCESS_KEY"}
    assert not any(hidden & (found.get("data") or {}).keys() for found in rendered.of("ConfigMap"))
    for _name, pod in rendered.pods():
        for variable in (each for container in containers(pod) for each in container.get("env", ())):
            assert variable["name"] not in hidden or variable["valueFrom"].keys() == {"secretKeyRef"}
    flow = rendered.flows()["ingest"]["spec"]["template"]["spec"]["containers"][0]
    assert hidden <= {variable["name"] for variable in flow["env"]}


def test_selectors_take_their_own_pods(rendered: Manifests) -> None:
    """Each selector takes a pod; of StatefulSets, services and disruption budgets each takes one set's pods."""
    labels = {name: pod["metadata"]["labels"] for name, pod in rendered.pods()}
    for found in rendered.of("StatefulSet", "PodDisruptionBudget", "Service"):
        selector = found["spec"]["selector"]
        selector = {"matchLabels": selector} if found["kind"] == "Service" else selector
        assert [name for name in labels if selects(selector, labels[name])] == [found["metadata"]["name"]]
    for found in rendered.of("NetworkPolicy"):
        assert any(selects(found["spec"]["podSelector"], each) for each in labels.values())
    for name, pod in rendered.pods():
        for constraint in pod["spec"].get("topologySpreadConstraints", ()):
            assert [each for each in labels if selects(constraint["labelSelector"], labels[each])] == [name]
    assert {f"flow-{flow}" for flow in FLOWS} == {o["metadata"]["name"] for o in rendered.of("PodDisruptionBudget")}


def test_every_flow_is_deployed_alike(rendered: Manifests) -> None:
    """Ordinals are numbers of processes, as many as replicas; all start at once; stores last, scratch is bounded."""
    assert rendered.flows().keys() == FLOWS
    for flow, found in rendered.flows().items():
        spec, template = found["spec"], found["spec"]["template"]
        assert template["metadata"]["annotations"]["asset-pipeline/processes"] == str(spec["replicas"])
        assert spec["podManagementPolicy"] == "Parallel"
        assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
        service = rendered.named("Service", spec["serviceName"])["spec"]
        assert service["clusterIP"] == "None" and service["publishNotReadyAddresses"] is True
        assert template["spec"]["terminationGracePeriodSeconds"] >= 90
        claims = [each["metadata"]["name"] for each in spec.get("volumeClaimTemplates", ())]
        assert claims == ([] if flow in CLUSTERED else ["recovery"])
        assert ("-r" in template["spec"]["containers"][0]["args"]) == bool(claims)
        for variable, path in {"PROCESS": "labels['apps.kubernetes.io/pod-index']",
                               "PROCESSES": "annotations['asset-pipeline/processes']"}.items():  # fmt: skip
            for container in containers(template):
                (given,) = (e for e in container["env"] if e["name"] == f"ASSET_PIPELINE_{variable}")
                assert given["valueFrom"]["fieldRef"]["fieldPath"] == f"metadata.{path}", flow
    usage = rendered.flows()["usage"]["spec"]["template"]["spec"]
    hosts = usage["initContainers"][0]["args"][-1]
    assert hosts == "flow-usage-{}.flow-usage:2101"
    assert {"name": "BYTEWAX_STATEFULSET_NAME", "value": "flow-usage"} in usage["containers"][0]["env"]


def test_what_pods_name_is_there(rendered: Manifests) -> None:
    """Volumes, claims, ConfigMaps by their hash, accounts, priorities, and the ports of probes and services."""
    maps = {found["metadata"]["name"] for found in rendered.of("ConfigMap")}
    assert all(re.fullmatch(r"[a-z]+-[a-z0-9]{10}", name) for name in maps)
    named: set[str] = set()
    for name, pod in rendered.pods():
        spec = pod["spec"]
        if "priorityClassName" in spec:
            rendered.named("PriorityClass", spec["priorityClassName"])
            account = rendered.named("ServiceAccount", spec["serviceAccountName"])
            assert account["automountServiceAccountToken"] is False
        named |= {volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume}
        for volume in spec["volumes"]:
            if claim := volume.get("persistentVolumeClaim"):
                rendered.named("PersistentVolumeClaim", claim["claimName"])
        for container in containers(pod):
            named |= {each["configMapRef"]["name"] for each in container.get("envFrom", ())}
            _check_container(rendered, name, spec, container)
    assert named == maps
    for service in rendered.of("Service"):
        ports = _ports(rendered.named("StatefulSet", service["metadata"]["name"])["spec"]["template"])
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def _ports(pod: Object) -> set[str]:
    return {port["name"] for container in containers(pod) for port in container.get("ports", ())}


def _check_container(rendered: Manifests, name: str, spec: Object, container: Object) -> None:
    """Mounts, probes and resources of one container."""
    claims = [found["spec"].get("volumeClaimTemplates", ()) for found in rendered.of("StatefulSet")
              if found["metadata"]["name"] == name]  # fmt: skip
    volumes = {each["name"] for each in spec["volumes"]} | {c["metadata"]["name"] for each in claims for c in each}
    assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    ports = {port["name"] for port in container.get("ports", ())}
    for probe in (container[key] for key in ("startupProbe", "livenessProbe", "readinessProbe") if key in container):
        assert probe.get("httpGet", probe.get("tcpSocket"))["port"] in ports
    resources = container["resources"]
    assert {"cpu", "memory"} <= resources["requests"].keys() and "memory" in resources["limits"]
    sized = [volume["emptyDir"] for volume in spec["volumes"] if "emptyDir" in volume]
    assert all(each["sizeLimit"] for each in sized)


def test_pods_reach_what_they_need_and_no_more(rendered: Manifests) -> None:
    """All is closed; each service is open to those who need it, at its port; the internet to ingest only."""
    policies = {found["metadata"]["name"]: found["spec"] for found in rendered.of("NetworkPolicy")}
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    settings = next(found["data"] for found in rendered.of("ConfigMap") if "ASSET_PIPELINE_EVENTS" in found["data"])
    pods = {name: pod["metadata"]["labels"] for name, pod in rendered.pods() if COMPONENT in pod["metadata"]["labels"]}
    for policy, spec in policies.items():
        rules = [*spec.get("ingress", ()), *spec.get("egress", ())]
        assert all(rule["ports"] and (rule.get("to") or rule.get("from")) for rule in rules), policy
    for setting, need in NEEDS.items():
        for port in {int(port) for port in re.findall(r":(\d+)", settings[setting])} or {443}:
            assert {labels[COMPONENT] for labels in pods.values() if _may_reach(policies, labels, port)} >= need
    for labels in pods.values():
        outside = [rule for rule in _egress(policies, labels) for to in rule["to"]
                   if to.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"]  # fmt: skip
        assert bool(outside) == (labels[COMPONENT] == "ingest")
        weaviate = policies["index"]["podSelector"]
        assert selects(weaviate, labels) == (labels[COMPONENT] in NEEDS["ASSET_PIPELINE_INDEX"])


def _egress(policies: dict[str, Any], labels: dict[str, str]) -> list[Object]:
    taken = (spec for spec in policies.values() if selects(spec["podSelector"], labels))
    return [rule for spec in taken for rule in spec.get("egress", ())]


def _may_reach(policies: dict[str, Any], labels: dict[str, str], port: int) -> bool:
    return any(port == each["port"] for rule in _egress(policies, labels) for each in rule["ports"])


def test_jobs_run_commands_that_there_are(rendered: Manifests) -> None:
    """What a job's container is given is a command of the program."""
    jobs = {found["metadata"]["name"] for found in rendered.of("Job", "CronJob")}
    assert jobs >= {"topics", "maintain", "verify"}
    for (container,) in (pod["spec"]["containers"] for name, pod in rendered.pods() if name in jobs):
        assert CliRunner().invoke(app, [*container["args"], "--help"]).exit_code == 0, container["args"]


def test_settings_are_settings(rendered: Manifests) -> None:
    """What the ConfigMap sets are settings that there are, with values that they take."""
    for found in rendered.of("ConfigMap"):
        given = {k: v for k, v in (found.get("data") or {}).items() if k.startswith("ASSET_PIPELINE_")}
        Settings(**{name.removeprefix("ASSET_PIPELINE_").lower(): value for name, value in given.items()})


def test_a_changed_setting_rolls_the_pods(tmp_path: Path) -> None:
    """A change gives the ConfigMap another name, and every pod's template that uses it is another."""
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": [f"../{'../' * (len(tmp_path.parts) - 2)}{(K8S / 'overlays/prod').relative_to('/')}"],
                "configMapGenerator": [{"name": "settings", "namespace": "asset-pipeline", "behavior": "merge",
                                        "literals": ["ASSET_PIPELINE_RETENTION_H=24"]}],
            }
        )
    )  # fmt: skip
    before, after = overlay("prod").flows(), build(tmp_path).flows()
    for flow in FLOWS:
        was, now = (found[flow]["spec"]["template"] for found in (before, after))
        assert was != now, flow


def test_the_dev_overlay_has_the_servers_of_compose() -> None:
    """The same images and settings; only addresses differ, and those are what the settings of the flows name."""
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for server in ("kafka", "s3", "weaviate"):
        (container,) = overlay("dev").named("StatefulSet", server)["spec"]["template"]["spec"]["containers"]
        assert container["image"] == compose[server]["image"]
    files = next(found["data"] for found in overlay("dev").of("ConfigMap") if "kafka.env" in found["data"])
    assert files == {path.name: path.read_text() for path in (ROOT / "services").glob("*.env") if path.name in files}


@pytest.mark.parametrize(
    ("server", "wanted"),
    [
        ("kafka", {"KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://kafka:9092", "KAFKA_NODE_ID=1"}),
        ("s3", {"VGW_PORT=:7070", "ROOT_ACCESS_KEY=test"}),
        ("weaviate", {"GRPC_PORT=50051", "PERSISTENCE_DATA_PATH=/var/lib/weaviate"}),
    ],
)
def test_the_dev_servers_get_their_settings(server: str, wanted: set[str], tmp_path: Path) -> None:
    """Their start script, but for the program itself, ends with these settings."""
    (container,) = overlay("dev").named("StatefulSet", server)["spec"]["template"]["spec"]["containers"]
    (script,) = container["args"]
    (tmp_path / "data").mkdir()
    script = script.replace("/settings/", f"{ROOT}/services/").replace("/data/assets", f"{tmp_path}/data/assets")
    script = re.sub(r"/data/tables", f"{tmp_path}/data/tables", script)
    script = re.sub(r"^exec .*$", "exec env", script, flags=re.M)
    done = subprocess.run([*container["command"], script], text=True, capture_output=True, check=True)
    assert wanted <= set(done.stdout.splitlines())


@pytest.mark.tool("promtool")
def test_prometheus_finds_the_pods(tmp_path: Path) -> None:
    """The scrape configuration for a cluster gives each target the flow that alerts speak of.

    Debian's promtool knows no cluster, so that it is shown the configuration with targets in files.
    """
    written = yaml.safe_load((ROOT / "ops" / "prometheus" / "kubernetes.yml").read_text())
    (job,) = written["scrape_configs"]
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    job["file_sd_configs"], written["rule_files"] = [{"files": ["none.json"]}], []
    (tmp_path / "config.yml").write_text(yaml.safe_dump(written))
    done = subprocess.run(["promtool", "check", "config", tmp_path / "config.yml"], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    labels = overlay("prod").flows()["derive"]["spec"]["template"]["metadata"]["labels"]
    rules = {rule.get("target_label", rule["action"]): rule for rule in job["relabel_configs"]}
    meta = {f"__meta_kubernetes_pod_label_{re.sub('[^a-z]', '_', label)}": value for label, value in labels.items()}
    meta["__meta_kubernetes_pod_container_port_name"] = "http"
    assert ";".join(meta[source] for source in rules["keep"]["source_labels"]) == rules["keep"]["regex"]
    assert [meta[source] for source in rules["flow"]["source_labels"]] == ["derive"]
