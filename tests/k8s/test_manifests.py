"""Every folder of k8s/: valid for Kubernetes, and in agreement with the configuration that it ships."""

import copy
import subprocess

import kubernetes_validate
import pytest
import yaml

from conftest import FOLDERS, K8S
from deployed import SIDESTREAM
from rules import problems

# The first that has everything by default, the first with stable native sidecars, the newest known.
VERSIONS = ["1.30", "1.33", "1.37"]
# The oldest that the plain form is for.
VERSIONS_PLAIN = ["1.27", *VERSIONS]

# Overlays with a configuration of their own, and the section that is theirs.
OWN_SECTION = {"overlays/tls": "listeners", "overlays/monitoring": "admin"}

CASES = [f"{folder}{more}" for folder in FOLDERS for more in ("", " with components")]
VERSION_CASES = [(case, version) for case in CASES for version in (VERSIONS_PLAIN if "plain" in case else VERSIONS)]


@pytest.mark.parametrize(("case", "version"), VERSION_CASES)
def test_objects_are_valid_to_the_letter(rendered, case, version):
    assert len(rendered[case]) >= 4
    for each in rendered[case]:
        used = kubernetes_validate.validate(each, version, strict=True)
        assert used == version, "the schemas of another version were used"


def test_schemas_refuse_what_kubernetes_does_not_know(rendered):
    for place, value in [("restartPolice", "Always"), ("args", "run"), ("tty", "yes")]:
        objects = copy.deepcopy(rendered["base"])
        (deployment,) = [each for each in objects if each["kind"] == "Deployment"]
        deployment["spec"]["template"]["spec"]["initContainers"][0][place] = value
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


@pytest.mark.parametrize("case", CASES)
def test_manifests_and_configuration_agree(deployed, case):
    assert problems(deployed[case]) == []


@pytest.mark.parametrize("case", CASES)
def test_the_sidecar_is_native_unless_the_cluster_is_old(deployed, case):
    native = "initContainers" in deployed[case].pod
    assert native == ("plain" not in case)
    assert deployed[case].sidecar.get("restartPolicy") == ("Always" if native else None)


def test_the_plain_form_differs_in_nothing_else(deployed):
    native = copy.deepcopy(deployed["base"].sidecar)
    del native["restartPolicy"]
    assert native == deployed["overlays/plain-container"].sidecar


def test_the_binary_understands_what_probes_and_hook_run(deployed, tmp_path):
    # Nobody listens there: an answer that says so is one of a command that was understood.
    file = tmp_path / "sidestream.yaml"
    file.write_text((K8S / "base/sidestream.yaml").read_text() + "admin: {address: 127.0.0.1:1}\n")
    hook = deployed["base"].sidecar["lifecycle"]["preStop"]
    for name, action in (deployed["base"].probes | {"preStop": hook}).items():
        command = [SIDESTREAM, *action["exec"]["command"][1:]]
        run = subprocess.run(command, env={"SIDESTREAM_CONFIG": str(file)}, capture_output=True, text=True)
        assert (run.returncode, "127.0.0.1:1: no answer" in run.stderr) == (1, True), f"{name}: {run.stderr}"


def test_configurations_are_read_as_they_are_shipped():
    files = sorted(K8S.glob("**/sidestream.yaml"))
    assert len(files) == 1 + len(OWN_SECTION)
    subprocess.run([SIDESTREAM, "check", *files], check=True)


@pytest.mark.parametrize(("overlay", "section"), OWN_SECTION.items())
def test_the_configuration_of_an_overlay_differs_in_one_section_only(overlay, section):
    base, other = (yaml.safe_load((K8S / folder / "sidestream.yaml").read_text()) for folder in ("base", overlay))
    assert base.pop(section, None) != other.pop(section)
    assert base == other


def test_every_folder_is_tested():
    assert sorted(str(each.relative_to(K8S)) for each in K8S.glob("overlays/*")) == FOLDERS[1:]
