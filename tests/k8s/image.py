"""The container image without Docker: the last stage of the Dockerfile, laid out and run in a folder."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deployed import ROOT

Instruction = tuple[str, str]


def stages(text: str) -> list[list[Instruction]]:
    """The instructions of a Dockerfile, each stage from its FROM on."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found: list[list[Instruction]] = []
    for line in joined.splitlines():
        word, arguments = line.split(maxsplit=1)
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, arguments))
    return found


def copy(names: list[str], origin: Path, root: Path) -> None:
    """COPY of files: all but the last name, from `origin`, to the last, in `root`."""
    *sources, target = names
    place = root / target.lstrip("/")
    folder = place if target.endswith("/") else place.parent
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        shutil.copy2(origin / source.lstrip("/"), place)


def mapped(user: int) -> bool:
    """Whether this user exists here; who became root by a namespace of users is alone in it."""
    if os.geteuid() != 0:
        return False
    ranges = [map(int, line.split()) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(first <= user < first + count for first, _, count in ranges)


def tool(name: str) -> str:
    """Where a program is; some are in folders that only root looks in."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert found, f"{name} is missing"
    return found


@dataclass
class Image:
    """What the last stage says."""

    base: str
    copies: list[tuple[str | None, list[str], str]]
    user: str
    command: list[str]

    @classmethod
    def read(cls) -> "Image":
        """Reads the repository's Dockerfile."""
        last = stages((ROOT / "Dockerfile").read_text())[-1]
        copies = []
        for word, arguments in last:
            if word == "COPY":
                *options, target = arguments.split()
                stage = next((each[7:] for each in options if each.startswith("--from=")), None)
                copies.append((stage, [each for each in options if not each.startswith("--")], target))
        single = {word: arguments for word, arguments in last if word != "COPY"}
        command = json.loads(single["ENTRYPOINT"]) + json.loads(single["CMD"])
        return cls(single["FROM"], copies, single["USER"], command)

    def lay_out(self, root: Path, build: Path) -> None:
        """Copies what the image holds to `root`; `build` is the root of the stage that built."""
        for stage, sources, target in self.copies:
            copy([*sources, target], build if stage else ROOT, root)

    def start(self, root: Path, command: list[str], **options) -> subprocess.Popen:
        """Runs a command in the root, as the image's user, with no capability and no environment."""
        user, group = self.user.split(":")
        if mapped(int(user)):
            way = ["setpriv", "--no-new-privs", tool("chroot"), f"--userspec={self.user}", "--groups=", root]
        else:
            way = ["unshare", f"--map-user={user}", f"--map-group={group}", f"--root={root}", "--wd=/"]
        return subprocess.Popen([tool(way[0]), *way[1:], *command], env={}, text=True, **options)
