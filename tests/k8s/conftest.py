"""What several test files use."""

import os
from pathlib import Path

import pytest
import yaml

from deployed import ROOT, Deployed, render

K8S = ROOT / "k8s"
FOLDERS = ["base", "overlays/monitoring", "overlays/plain-container", "overlays/tls"]


@pytest.fixture(scope="session")
def rendered(tmp_path_factory) -> dict[str, list[dict]]:
    """The objects of each folder, and of each together with every component, by name."""
    objects = {}
    for folder in FOLDERS:
        objects[folder] = render(K8S / folder)
        overlay = tmp_path_factory.mktemp("overlay").resolve()
        kustomization = {
            "resources": [os.path.relpath(K8S / folder, overlay)],
            "components": [os.path.relpath(each, overlay) for each in sorted(K8S.glob("components/*"))],
        }
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        objects[f"{folder} with components"] = render(overlay)
    return objects


@pytest.fixture(scope="session")
def deployed(rendered, tmp_path_factory) -> dict[str, Deployed]:
    """The same with the configuration of each sidecar."""
    scratch: Path = tmp_path_factory.mktemp("config")
    return {name: Deployed.load(objects, scratch) for name, objects in rendered.items()}
