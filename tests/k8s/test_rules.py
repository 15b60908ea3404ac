"""Each rule can fail: change one value of what is shipped, and it says so."""

import copy

import pytest

from deployed import Deployed
from rules import RULES, problems

SIDECAR = "Deployment/spec/template/spec/initContainers/0"
APP = "Deployment/spec/template/spec/containers/0"
POD = "Deployment/spec/template/spec"
ANNOTATIONS = "Deployment/spec/template/metadata/annotations"
GONE = object()

# Where, the new value, and the problem that is found.
OBJECTS = [
    (f"{POD}/terminationGracePeriodSeconds", 39, "grace: a grace period of 39 s is too short"),
    (f"{POD}/terminationGracePeriodSeconds", GONE, "grace: a grace period of 30 s is too short"),
    (f"{APP}/lifecycle/preStop/sleep/seconds", 24, "grace: the app sleeps 24 s"),
    (f"{APP}/lifecycle", GONE, "grace: the app sleeps 0 s"),
    (f"{SIDECAR}/lifecycle", GONE, "commands: the sidecar's preStop runs []"),
    (f"{SIDECAR}/lifecycle/preStop/exec/command/1", "drian", "commands: the sidecar's preStop runs"),
    (f"{SIDECAR}/startupProbe", GONE, "commands: the startup probe runs []"),
    (f"{SIDECAR}/livenessProbe/exec/command/2", "ready", "commands: the liveness probe runs"),
    (f"{SIDECAR}/readinessProbe/exec/command/0", "sidestream", "commands: the readiness probe runs"),
    (f"{SIDECAR}/readinessProbe/timeoutSeconds", GONE, "probe_times: the readiness probe times out"),
    (f"{SIDECAR}/readinessProbe/failureThreshold", 3, "probe_times: readiness takes 15 s"),
    (f"{SIDECAR}/livenessProbe/failureThreshold", 1, "probe_times: liveness restarts the sidecar after 10 s"),
    (f"{SIDECAR}/ports/0/containerPort", 8081, "ports: listeners are {'http': 8080}, the sidecar's"),
    (f"{SIDECAR}/ports/0/name", "web", "ports: listeners are {'http': 8080}, the sidecar's"),
    (f"{APP}/ports/0/containerPort", 3001, "ports: the upstream is http://127.0.0.1:3000"),
    ("Service/spec/ports/0/targetPort", 3000, "ports: the Service leads {'http': 3000}"),
    ("Service/spec/ports/0/targetPort", "http", "ports: the Service leads {'http': 'http'}"),
    ("NetworkPolicy/spec/ingress/0/ports/0/port", 3000, "ports: the NetworkPolicy lets in"),
    ("NetworkPolicy/spec/ingress/0/ports/0/port", "http", "ports: the NetworkPolicy lets in"),
    ("NetworkPolicy/spec/ingress/0/ports", GONE, "ports: the NetworkPolicy lets in [['all'], [9902]]"),
    (f"{SIDECAR}/volumeMounts/0/subPath", "sidestream.yaml", "mounts: /etc/sidestream is mounted by subPath"),
    (f"{SIDECAR}/volumeMounts/0/readOnly", GONE, "mounts: /etc/sidestream is not read-only"),
    (f"{SIDECAR}/volumeMounts/0/mountPath", "/etc/app", "mounts: mounted are {'/etc/app'"),
    (f"{POD}/volumes/0/configMap/name", "other", "mounts: mounted are {'/etc/sidestream': 'other'}"),
    (f"{POD}/securityContext/runAsNonRoot", GONE, "security: the pod does not run as non-root"),
    (f"{POD}/securityContext/seccompProfile/type", "Unconfined", "security: the pod does not run as non-root"),
    (f"{POD}/automountServiceAccountToken", GONE, "security: the pod gets a token"),
    (f"{SIDECAR}/securityContext/runAsUser", 0, "security: the sidecar has no user of its own"),
    (f"{SIDECAR}/securityContext/readOnlyRootFilesystem", False, "security: the sidecar's root is writable"),
    (f"{SIDECAR}/securityContext/allowPrivilegeEscalation", GONE, "security: sidestream may gain privileges"),
    (f"{APP}/securityContext/capabilities/drop", [], "security: app keeps capabilities"),
    (f"{SIDECAR}/resources/limits/memory", "512Mi", "memory: 995 MiB may be needed, 512 MiB are allowed"),
    (f"{SIDECAR}/resources/limits", GONE, "memory: 995 MiB may be needed, 0 MiB"),
    (f"{APP}/resources/requests/cpu", GONE, "processor: app asks for nothing"),
    ("Deployment/spec/strategy/rollingUpdate/maxUnavailable", 1, "rollout: a rollout takes pods away"),
    ("Deployment/spec/minReadySeconds", GONE, "rollout: clients of a pod that goes"),
    ("PodDisruptionBudget/spec/maxUnavailable", GONE, "rollout: a drained node"),
    ("PodDisruptionBudget/spec/selector", GONE, "labels: PodDisruptionBudget does not select"),
    (f"{POD}/topologySpreadConstraints/1/labelSelector", GONE, "labels: spread 1 does not select"),
    ("NetworkPolicy/spec/podSelector/matchLabels/app.kubernetes.io~name", "other", "labels: NetworkPolicy does"),
    ("ConfigMap/metadata/labels", GONE, "labels: ConfigMap sidestream is not labelled"),
    (f"{SIDECAR}/image", "registry.example.com/sidestream:latest", "images: registry.example.com/sidestream:latest"),
    (f"{APP}/image", "registry.example.com/app", "images: registry.example.com/app is not 1.0.0"),
]

# Text of the configuration, its replacement, and the problem.
CONFIGURATIONS = [
    ("window: 20s", "window: 30s", "grace: the app sleeps 25 s"),
    ("margin: 5s", "margin: 10s", "grace: the app sleeps 25 s"),
    ("0.0.0.0:8080", "0.0.0.0:9090", "ports: listeners are {'http': 9090}"),
    ("127.0.0.1:3000", "127.0.0.1:3001", "ports: the upstream is http://127.0.0.1:3001"),
    ("subscribers_max: 5000", "subscribers_max: 50000", "memory: 1171 MiB may be needed"),
    ("connections_max: 5500", "", "memory: without connections_max there is no bound"),
    ("threads: 2", "", "processor: threads is not set"),
]

CASE = "base with components"

# The same of what is only there for a Prometheus outside.
MONITORED = [
    (f"{SIDECAR}/ports/1/containerPort", 9903, "metrics: metrics_address is 0.0.0.0:9902, the sidecar's port 9903"),
    (f"{SIDECAR}/ports/1/name", "numbers", "metrics: metrics_address is 0.0.0.0:9902, the sidecar's port None"),
    (f"{ANNOTATIONS}/prometheus.io~port", "9901", "metrics: Prometheus is told"),
    (ANNOTATIONS, GONE, "metrics: Prometheus is told {}"),
    ("Service/spec/ports/0/targetPort", 9902, "ports: the Service leads {'http': 9902}"),
    ("NetworkPolicy/spec/ingress/1", GONE, "metrics: the NetworkPolicy has 0 ways"),
    ("NetworkPolicy/spec/ingress/1/from", GONE, "metrics: the NetworkPolicy has 1 ways"),
    ("NetworkPolicy/spec/ingress/1/ports/0/port", "metrics", "metrics: the NetworkPolicy has 0 ways"),
    ("NetworkPolicy/spec/ingress/0/ports/0/port", 9902, "metrics: the NetworkPolicy has 2 ways"),
]
MONITORED_CASE = "overlays/monitoring with components"


def change(objects: list[dict], where: str, value) -> None:
    """Sets or removes one value; a slash in a key is written as a tilde."""
    kind, *keys = [key.replace("~", "/") for key in where.split("/")]
    (place,) = [each for each in objects if each["kind"] == kind]
    *way, last = [int(key) if key.isdigit() else key for key in keys]
    for key in way:
        place = place[key]
    if value is GONE:
        del place[last]
    else:
        place[last] = value


CHANGES = [(CASE, *each) for each in OBJECTS] + [(MONITORED_CASE, *each) for each in MONITORED]


@pytest.mark.parametrize(("case", "where", "value", "problem"), CHANGES)
def test_a_changed_manifest_is_found(deployed, case, where, value, problem):
    shipped = deployed[case]
    changed = Deployed(copy.deepcopy(shipped.objects), shipped.config)
    change(changed.objects, where, value)
    assert any(found.startswith(problem) for found in problems(changed)), problems(changed)


@pytest.mark.parametrize(("old", "new", "problem"), CONFIGURATIONS)
def test_a_changed_configuration_is_found(deployed, tmp_path, old, new, problem):
    objects = copy.deepcopy(deployed[CASE].objects)
    (data,) = [each["data"] for each in objects if each["kind"] == "ConfigMap"]
    assert old in data["sidestream.yaml"]
    data["sidestream.yaml"] = data["sidestream.yaml"].replace(old, new)
    found = problems(Deployed.load(objects, tmp_path))
    assert any(each.startswith(problem) for each in found), found


def test_metrics_that_nobody_was_told_of_are_found(deployed):
    changed = copy.deepcopy(deployed[CASE])
    changed.config["admin"]["metrics_address"] = "0.0.0.0:9902"
    assert [each.split(":")[0] for each in problems(changed)] == ["metrics", "metrics"]


def test_a_certificate_from_elsewhere_is_found(deployed):
    changed = copy.deepcopy(deployed["overlays/tls"])
    changed.config["listeners"][0]["tls"]["key"] = "/etc/keys/tls.pem"
    assert [each.split(":")[0] for each in problems(changed)] == ["mounts", "mounts"]


def test_no_rule_goes_unproven():
    proven = {problem.split(":")[0] for *_, problem in OBJECTS + MONITORED + CONFIGURATIONS}
    assert proven == {rule.__name__ for rule in RULES}
