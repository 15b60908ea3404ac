"""The image: an empty root, a user who is nobody, and an event stream through it.

Runs in a network of its own (scripts/own-network.sh), as a pod does, so that its ports are fixed.
"""

import http.client
import itertools
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import trustme

from deployed import ROOT, SIDESTREAM
from image import Image, copy, mapped, stages
from servers import app, name_server

PATIENCE = 30 * float(os.environ.get("PATIENCE", "1"))

CONFIG = """\
version: 1
listeners: [{address: 127.0.0.1:8080}]
upstreams:
  by-hosts-file: http://app.hosts:3000
  by-name-server: http://app.example.internal:3000
  over-tls: https://secure.example.internal:3443
  of-a-stranger: https://stranger.example.internal:4443
  nowhere: http://missing.example.internal:3000
routes:
  - {path: /by-hosts-file, upstream: by-hosts-file, action: fanout}
  - {path: /by-name-server, upstream: by-name-server, action: fanout}
  - {path: /over-tls, upstream: over-tls, action: fanout}
  - {path: /of-a-stranger, upstream: of-a-stranger, action: fanout}
  - {path: /nowhere, upstream: nowhere, action: fanout}
defaults: {open_wait: 1s}
drain: {window: 0s, margin: 1s}
admin: {address: 127.0.0.1:9902}
"""


@pytest.fixture(scope="module")
def neighbours():
    """The apps and the name server; yields the authority that the image is to trust."""
    names = {f"{name}.example.internal" for name in ("app", "secure", "stranger")}
    trusted, unknown = trustme.CA(), trustme.CA()
    with (
        app(3000),
        app(3443, trusted, "secure.example.internal"),
        app(4443, unknown, "stranger.example.internal"),
        name_server(names),
    ):
        yield trusted


def mount_config(root: Path, text: str) -> None:
    """As the kubelet mounts a ConfigMap: the file is a link through a link that is swapped."""
    folder = root / "etc/sidestream"
    version = f"..{time.monotonic_ns()}"
    (folder / version).mkdir(parents=True)
    (folder / version / "sidestream.yaml").write_text(text)
    (folder / "..new").symlink_to(version)
    (folder / "..new").replace(folder / "..data")
    if not (folder / "sidestream.yaml").is_symlink():
        (folder / "sidestream.yaml").symlink_to("..data/sidestream.yaml")


@pytest.fixture(scope="module")
def root(tmp_path_factory, neighbours) -> Path:
    """The image's files, and what every container runtime adds."""
    build, root = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("root")
    (build / "out").mkdir()
    (build / "out/sidestream").write_bytes(Path(SIDESTREAM).read_bytes())
    (build / "out/sidestream").chmod(0o755)
    (build / "etc/ssl/certs").mkdir(parents=True)
    (build / "etc/ssl/certs/ca-certificates.crt").write_bytes(neighbours.cert_pem.bytes())
    Image.read().lay_out(root, build)
    (root / "etc/hosts").write_text("127.0.0.1 localhost app.hosts\n")
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    mount_config(root, CONFIG)
    # The folders on the way to pytest's own are closed to others, and a read-only root is to be one.
    for folder in [root, *root.parents][:3]:
        folder.chmod(0o755)
    for folder in [root, *(each for each in root.rglob("*") if each.is_dir())]:
        folder.chmod(0o555)
    return root


@pytest.fixture(scope="module")
def running(root, deployed):
    """The image's own command, ready as the pod's own probe finds out."""
    image = Image.read()
    probe = deployed["base"].probes["startup"]["exec"]["command"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = image.start(root, image.command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + PATIENCE
    while image.start(root, probe, **quiet).wait() != 0:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "not ready in time"
    yield process
    process.kill()
    process.wait()


def get(path: str) -> tuple[int, str]:
    """Status, and the first event's data when there is one."""
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=PATIENCE)
    connection.request("GET", path, headers={"Accept": "text/event-stream"})
    response = connection.getresponse()
    data = ""
    while response.status == 200 and not data:
        line = response.readline().decode()
        assert line, "the stream ended"
        data = line[6:].strip() if line.startswith("data: ") else ""
    connection.close()
    return response.status, data


@pytest.mark.parametrize("path", ["/by-hosts-file", "/by-name-server", "/over-tls"])
def test_an_event_comes_from_an_app_found_by_name(running, path):
    assert get(path) == (200, path)


@pytest.mark.parametrize("path", ["/of-a-stranger", "/nowhere"])
def test_an_app_that_is_not_found_or_not_trusted_is_not_served(running, path):
    assert get(path) == (502, "")


def test_the_process_is_nobody_and_may_nothing(running):
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{running.pid}/status").read_text().splitlines())
    user, group = Image.read().user.split(":")
    # Seen from a namespace that knows only its own root, whoever it started is that root.
    seen = [user, group] if mapped(int(user)) else ["0", "0"]
    assert [set(status[kind].split()) for kind in ("Uid", "Gid")] == [{seen[0]}, {seen[1]}]
    assert int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0
    assert os.readlink(f"/proc/{running.pid}/root") != "/"


def test_a_changed_configmap_takes_effect(running, root):
    folder = root / "etc/sidestream"
    folder.chmod(0o755)
    assert get("/by-hosts-file?again")[0] == 200
    mount_config(root, CONFIG.replace("path: /nowhere, upstream: nowhere", "path: /new, upstream: by-hosts-file"))
    deadline = time.monotonic() + PATIENCE
    while get("/new") != (200, "/new"):
        assert time.monotonic() < deadline, "the change did not take effect"


def test_nothing_is_written_and_sigterm_ends_it_well(running, root):
    files = {str(each.relative_to(root)) for each in root.rglob("*") if each.is_file() and "/.." not in str(each)}
    expected = {target.lstrip("/") for _, _, target in Image.read().copies if not target.endswith("/")}
    expected |= {"licenses/LICENSE-APACHE", "licenses/LICENSE-MIT", "etc/hosts", "etc/resolv.conf"}
    assert files == expected | {"etc/sidestream/sidestream.yaml"}
    running.terminate()
    assert running.wait(PATIENCE) == 0, running.stderr.read()


def test_the_dockerfile_says_what_the_manifests_rely_on(deployed):
    image = Image.read()
    sidecar = deployed["base"].sidecar
    context = sidecar["securityContext"]
    assert image.base == "scratch"
    assert image.user == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert image.command == ["/sidestream", *sidecar["args"]]
    assert sidecar["livenessProbe"]["exec"]["command"][0] == image.command[0]


def built_dependencies(folder: Path) -> None:
    """Makes `folder` a target folder in which only the dependencies are built, by links: to build them
    again takes minutes. What is ours is left out: cargo would write into the files that are linked."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    shutil.rmtree(folder, ignore_errors=True)
    ours = shutil.ignore_patterns("*sidestream*", ".cargo-lock")
    for profile in ("image", f"{platform.machine()}-unknown-linux-musl/image"):
        shutil.copytree(target / profile, folder / profile, copy_function=os.link, ignore=ours)


def test_the_layer_of_dependencies_builds(tmp_path):
    (build, _) = stages((ROOT / "Dockerfile").read_text())
    # Links do not cross file systems.
    layer = Path(SIDESTREAM).parent / "layer"
    built_dependencies(layer)
    environment = os.environ | {"CARGO_TARGET_DIR": str(layer)}
    before_our_code = itertools.takewhile(lambda each: each != ("COPY", "src/ src/"), build)
    steps = [each for each in before_our_code if each[0] in ("COPY", "RUN")]
    assert [word for word, _ in steps].count("RUN") == 2
    for word, arguments in steps:
        if word == "RUN":
            subprocess.run(["sh", "-c", arguments], cwd=tmp_path, env=environment, check=True)
        else:
            copy(arguments.split(), ROOT, tmp_path)


def test_the_dockerfile_copies_what_is_there_and_not_ignored():
    (*_, build, last) = stages((ROOT / "Dockerfile").read_text())
    kept = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    sources = [
        source
        for word, arguments in build + last
        if word == "COPY" and "--from" not in arguments
        for source in arguments.split()[:-1]
    ]
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(Path(source) == Path(each) or Path(each) in Path(source).parents for each in kept), source
    manifest = (ROOT / "Cargo.toml").read_text()
    for name, key in [("RUST_VERSION", "rust-version"), ("VERSION", "version")]:
        value = re.search(rf'^{key} = "(.+)"', manifest, re.MULTILINE)[1]
        assert re.search(rf"^ARG {name}={re.escape(value)}$", (ROOT / "Dockerfile").read_text(), re.MULTILINE), name
