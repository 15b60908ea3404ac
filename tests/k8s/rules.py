"""What must agree between manifests and configuration, beyond what the schemas of Kubernetes know.

A rule is a function that yields one line for each thing that is wrong. `test_rules.py` shows of each
that it can fail.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from deployed import CONFIG_FILE, ROOT, Deployed, number

Rule = Callable[[Deployed], Iterator[str]]
RULES: list[Rule] = []

# The app's own way out after its SIGTERM, at the least.
APP_EXIT_SECONDS_MIN = 10
# `healthcheck` is patient for 2 s; the kubelet must not be quicker, or it reads no answer.
HEALTHCHECK_SECONDS_MAX = 2
# A failing readiness probe takes the pod out within this time; a failing liveness probe restarts the
# sidecar, and with it every stream, only after this.
UNREADY_SECONDS_MAX = 10
RESTART_SECONDS_MIN = 30

# The name of the port that has the metrics and nothing else, and the number it has by the policy,
# which lets it in whether or not an overlay opens it.
METRICS = "metrics"
METRICS_PORT = 9902
# What a policy lets clients in to: HTTP, and HTTPS in the place of it.
CLIENT_PORTS = {8080, 8443}

# What the memory limit must have room for. The kernel charges twice what a send buffer is set to.
PROCESS_BYTES = 32 * 2**20
SUBSCRIBER_BYTES = 4 * 2**10
TLS_CONNECTION_BYTES = 32 * 2**10
SEND_BUFFER_FACTOR = 2


def rule(function: Rule) -> Rule:
    """Adds a rule to the list."""
    RULES.append(function)
    return function


def problems(deployed: Deployed) -> list[str]:
    """Everything that any rule finds, as `rule: problem`."""
    return [f"{each.__name__}: {text}" for each in RULES for text in each(deployed)]


@rule
def grace(deployed: Deployed) -> Iterator[str]:
    """The app outlives the drain, and the kubelet waits for both."""
    drain = {name: number(value) for name, value in deployed.config["drain"].items()}
    hook = deployed.app.get("lifecycle", {}).get("preStop", {})
    sleep = hook.get("sleep", {}).get("seconds", 0)
    match hook.get("exec", {}).get("command"):
        case ["sleep", seconds]:
            sleep = number(seconds)
    if sleep < drain["window"] + drain["margin"]:
        yield f"the app sleeps {sleep} s in its preStop, less than drain.window + drain.margin"
    given = deployed.pod.get("terminationGracePeriodSeconds", 30)
    if given < sleep + APP_EXIT_SECONDS_MIN + drain["margin"]:
        yield f"a grace period of {given} s is too short for the app's preStop, its exit, and ours"


@rule
def commands(deployed: Deployed) -> Iterator[str]:
    """Probes and hooks ask the right thing, and find the admin service as the binary finds it."""
    expected = {"startup": "ready", "readiness": "ready", "liveness": "live"}
    for name, probe in deployed.probes.items():
        command = probe.get("exec", {}).get("command", [])
        if command != ["/sidestream", "healthcheck", expected[name]]:
            yield f"the {name} probe runs {command}"
    hook = deployed.sidecar.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
    if hook != ["/sidestream", "drain"]:
        yield f"the sidecar's preStop runs {hook}"


@rule
def probe_times(deployed: Deployed) -> Iterator[str]:
    """Readiness fails fast, liveness slowly, and an answer that is on its way is waited for."""

    def seconds(name: str) -> int:
        probe = deployed.probes[name]
        return probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)

    for name, probe in deployed.probes.items():
        if probe.get("timeoutSeconds", 1) <= HEALTHCHECK_SECONDS_MAX:
            yield f"the {name} probe times out before `healthcheck` does"
    if seconds("readiness") > UNREADY_SECONDS_MAX:
        yield f"readiness takes {seconds('readiness')} s to fail"
    if seconds("liveness") < RESTART_SECONDS_MIN:
        yield f"liveness restarts the sidecar after {seconds('liveness')} s"


def port_of(address: str) -> int:
    """The port of an address that is listened on."""
    return int(address.rsplit(":", 1)[1])


def let_in(way: dict) -> set[int | str]:
    """The ports that a way of a NetworkPolicy leads to."""
    return {port["port"] for port in way.get("ports", [{"port": "all"}])}


def ports_of(container: dict) -> dict[str, int]:
    """Name -> number."""
    return {port.get("name", ""): port["containerPort"] for port in container.get("ports", [])}


@rule
def ports(deployed: Deployed) -> Iterator[str]:
    """Listeners, container ports, Services and policies have the same ports; the app's is private.

    Services and policies have them as numbers: before 1.32, Kubernetes does not look for names among
    the ports of native sidecars.
    """
    listening = {each["name"]: port_of(each["address"]) for each in deployed.config["listeners"]}
    sidecar, app = ports_of(deployed.sidecar), ports_of(deployed.app)
    sidecar.pop(METRICS, None)
    if listening != sidecar:
        yield f"listeners are {listening}, the sidecar's ports {sidecar}"
    (upstream,) = deployed.config["upstreams"].values()
    if upstream["address"] not in [f"http://127.0.0.1:{port}" for port in app.values()]:
        yield f"the upstream is {upstream['address']}, the app's ports are {app}"
    served = {each["name"]: each["targetPort"] for each in deployed.one("Service")["spec"]["ports"]}
    if served != sidecar:
        yield f"the Service leads {served}, the sidecar has {sidecar}"
    for policy in deployed.all("NetworkPolicy"):
        ways = [let_in(way) for way in policy["spec"]["ingress"]]
        clients = [ports for ports in ways if ports != {METRICS_PORT}]
        if not all(set(sidecar.values()) <= ports <= CLIENT_PORTS for ports in clients):
            yield f"the NetworkPolicy lets in {[sorted(ports, key=str) for ports in ways]}"


@rule
def metrics(deployed: Deployed) -> Iterator[str]:
    """Prometheus finds the metrics where they are, and only where they are; clients are not led there."""
    address = deployed.config["admin"].get("metrics_address")
    expected = port_of(address) if address else None
    port = ports_of(deployed.sidecar).get(METRICS)
    if port != expected:
        yield f"metrics_address is {address}, the sidecar's port {port}"
    told = deployed.template["metadata"].get("annotations", {})
    wanted = {"scrape": "true", "port": f"{expected}", "path": "/metrics"} if address else {}
    if told != {f"prometheus.io/{name}": value for name, value in wanted.items()}:
        yield f"Prometheus is told {told}"
    for policy in deployed.all("NetworkPolicy"):
        ways = [way for way in policy["spec"]["ingress"] if expected in let_in(way)]
        if address and (len(ways) != 1 or let_in(ways[0]) != {expected} or not ways[0].get("from")):
            yield f"the NetworkPolicy has {len(ways)} ways to the metrics, or one for others as well"


@rule
def mounts(deployed: Deployed) -> Iterator[str]:
    """Files come as folders, read-only, to where they are looked for: only then they are renewed."""
    volumes = {each["name"]: each for each in deployed.pod["volumes"]}
    found = {}
    for mount in deployed.sidecar.get("volumeMounts", []):
        if "subPath" in mount or "subPathExpr" in mount:
            yield f"{mount['mountPath']} is mounted by subPath and never renewed"
        if not mount.get("readOnly"):
            yield f"{mount['mountPath']} is not read-only"
        volume = volumes[mount["name"]]
        found[mount["mountPath"]] = volume.get("configMap", {}).get("name") or volume.get("secret", {}).get(
            "secretName"
        )
    expected = {str(PurePosixPath(CONFIG_FILE).parent): deployed.one("ConfigMap")["metadata"]["name"]}
    for listener in deployed.config["listeners"]:
        files = [PurePosixPath(file) for file in listener.get("tls", {}).values()]
        if files and [file.name for file in files] != ["tls.crt", "tls.key"]:
            yield f"{listener['name']}: a Secret of type kubernetes.io/tls has tls.crt and tls.key"
        expected |= {str(file.parent): "example-tls" for file in files}
    if found != expected:
        yield f"mounted are {found}, wanted {expected}"


@rule
def security(deployed: Deployed) -> Iterator[str]:
    """The Pod Security Standard `restricted`, and for the sidecar a root that nobody writes to."""
    expected = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if deployed.pod.get("securityContext") != expected:
        yield "the pod does not run as non-root under seccomp RuntimeDefault"
    for container in (deployed.sidecar, deployed.app):
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{container['name']} may gain privileges"
        if context.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{container['name']} keeps capabilities"
    context = deployed.sidecar.get("securityContext", {})
    if not (context.get("runAsNonRoot") and context.get("runAsUser") and context.get("runAsGroup")):
        yield "the sidecar has no user of its own"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "the sidecar's root is writable"
    if deployed.pod.get("automountServiceAccountToken") is not False:
        yield "the pod gets a token that it does not need"


@rule
def memory(deployed: Deployed) -> Iterator[str]:
    """When every client stalls at once, rings and socket buffers fit into the limit."""
    limits = deployed.config["limits"]
    bounds = ("ring_bytes_max", "subscribers_max", "connections_max")
    if missing := [name for name in bounds if name not in limits]:
        yield f"without {', '.join(missing)} there is no bound"
        return
    connection = SEND_BUFFER_FACTOR * number(limits["tcp_send_buffer_bytes"])
    if any("tls" in listener for listener in deployed.config["listeners"]):
        connection += TLS_CONNECTION_BYTES
    needed = PROCESS_BYTES + number(limits["ring_bytes_max"])
    needed += limits["subscribers_max"] * SUBSCRIBER_BYTES + limits["connections_max"] * connection
    given = number(deployed.sidecar["resources"].get("limits", {}).get("memory", 0))
    if given < needed:
        yield f"{needed / 2**20:.0f} MiB may be needed, {given / 2**20:.0f} MiB are allowed"


@rule
def processor(deployed: Deployed) -> Iterator[str]:
    """Neither container is unaccounted for; a sidecar must not start a thread for each core of a node."""
    for container in (deployed.sidecar, deployed.app):
        if not {"cpu", "memory"} <= set(container["resources"]["requests"]):
            yield f"{container['name']} asks for nothing"
    (file,) = deployed.one("ConfigMap")["data"].values()
    if "threads:" not in file and "cpu" not in deployed.sidecar["resources"].get("limits", {}):
        yield "threads is not set, and there is no CPU limit that it could follow"


@rule
def rollout(deployed: Deployed) -> Iterator[str]:
    """Pods go one by one, each when its successor has settled."""
    spec = deployed.one("Deployment")["spec"]
    if spec["strategy"].get("rollingUpdate") != {"maxSurge": 1, "maxUnavailable": 0}:
        yield "a rollout takes pods away before there are new ones"
    if spec.get("minReadySeconds", 0) < 1 or spec["replicas"] < 2:
        yield "clients of a pod that goes have nowhere settled to go to"
    if deployed.one("PodDisruptionBudget")["spec"].get("maxUnavailable") != 1:
        yield "a drained node may take more than one pod"


@rule
def labels(deployed: Deployed) -> Iterator[str]:
    """Everything that selects pods selects these, and everything is labelled."""
    pods = deployed.template["metadata"]["labels"].items()
    spreads = deployed.pod["topologySpreadConstraints"]
    selectors = {
        "Service": deployed.one("Service")["spec"].get("selector"),
        "Deployment": deployed.one("Deployment")["spec"]["selector"].get("matchLabels"),
        "PodDisruptionBudget": deployed.one("PodDisruptionBudget")["spec"].get("selector", {}).get("matchLabels"),
    }
    selectors |= {f"spread {n}": each.get("labelSelector", {}).get("matchLabels") for n, each in enumerate(spreads)}
    for policy in deployed.all("NetworkPolicy"):
        selectors["NetworkPolicy"] = policy["spec"]["podSelector"].get("matchLabels")
    for owner, selector in selectors.items():
        if not selector or not selector.items() <= pods:
            yield f"{owner} does not select the pods"
    for each in deployed.objects:
        if "app.kubernetes.io/name" not in each["metadata"].get("labels", {}):
            yield f"{each['kind']} {each['metadata']['name']} is not labelled"


@rule
def images(deployed: Deployed) -> Iterator[str]:
    """Images are pinned: the sidecar to this release, the app to what its label says."""
    release = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    expected = {
        "sidestream": release[1],
        "app": deployed.template["metadata"]["labels"].get("app.kubernetes.io/version"),
    }
    for container in (deployed.sidecar, deployed.app):
        tag = container["image"].rpartition(":")[2]
        if tag != expected[container["name"]]:
            yield f"{container['image']} is not {expected[container['name']]}"
