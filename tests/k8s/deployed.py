"""What a folder of k8s/ deploys: rendered by kustomize, its configuration read by Sidestream."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
KUBECTL = HERE / ".venv" / "kubectl"
SIDESTREAM = os.environ.get("SIDESTREAM_BIN", str(ROOT / "target/debug/sidestream"))

# Where `sidestream run` finds its file without being told.
CONFIG_FILE = "/etc/sidestream/sidestream.yaml"

UNITS = {
    "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400,
    "": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30,
}  # fmt: skip


def number(text) -> float:
    """A duration in seconds or a size in bytes, as Sidestream and Kubernetes write them."""
    value, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text)).groups()
    return float(value) * UNITS[unit]


def render(folder: Path) -> list[dict]:
    """What `kubectl apply -k` would send."""
    text = subprocess.run([KUBECTL, "kustomize", folder], check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(text))


def effective(text: str, scratch: Path) -> dict:
    """A configuration with every default filled in, as the binary understands it."""
    file = scratch / "sidestream.yaml"
    file.write_text(text)
    command = [SIDESTREAM, "print-config", "--config", str(file)]
    printed = subprocess.run(command, capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    return yaml.safe_load(printed.stdout)


@dataclass
class Deployed:
    """The objects, and the effective configuration of the sidecar among them."""

    objects: list[dict]
    config: dict

    @classmethod
    def load(cls, objects: list[dict], scratch: Path) -> "Deployed":
        """Reads the configuration out of the only ConfigMap."""
        (data,) = [each["data"] for each in objects if each["kind"] == "ConfigMap"]
        return cls(objects, effective(data["sidestream.yaml"], scratch))

    def one(self, kind: str) -> dict:
        """The only object of a kind."""
        (found,) = self.all(kind)
        return found

    def all(self, kind: str) -> list[dict]:
        """All objects of a kind."""
        return [each for each in self.objects if each["kind"] == kind]

    @property
    def template(self) -> dict:
        """The pod template."""
        return self.one("Deployment")["spec"]["template"]

    @property
    def pod(self) -> dict:
        """Its spec."""
        return self.template["spec"]

    @property
    def sidecar(self) -> dict:
        """Sidestream's container, native or plain."""
        containers = self.pod.get("initContainers", []) + self.pod["containers"]
        (found,) = [each for each in containers if each["name"] == "sidestream"]
        return found

    @property
    def app(self) -> dict:
        """The app's container."""
        (found,) = [each for each in self.pod["containers"] if each["name"] != "sidestream"]
        return found

    @property
    def probes(self) -> dict[str, dict]:
        """The sidecar's probes by name; those it lacks are empty."""
        return {name: self.sidecar.get(f"{name}Probe", {}) for name in ("startup", "readiness", "liveness")}
