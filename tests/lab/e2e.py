"""Kubernetes' own tests (its `test/e2e`) against a cluster of the lab: the images that they want, and a run.

No registry is asked: images under the names that they go by are made of programs that are here. `agnhost` is built from
the same source as the tests, everything else is Debian's.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.lab.kubernetes import node, programs
from isthmus.lab.kubernetes.cluster import Cluster, whole
from isthmus.lab.kubernetes.images import BUSYBOX_PROGRAM, Entry, archive, busybox, layer
from isthmus.lab.lab import Lab

SPECS = Path(__file__).with_name("e2e-specs.txt")
"""Names of the specs that must pass, one a line."""
TOGETHER = 8
"""Specs at once: most of them wait most of the time."""
PATIENCE = "90m"
LONGEST = 2000
"""Characters of what a failure says: the rest shows the whole Pod."""
WEB = "/usr/local/apache2/htdocs"
"""Where the web server's pages are for the tests of StatefulSets."""
SERVE = f"trap 'exit 0' TERM; httpd -f -p 80 -h {WEB} & wait"


def wanted() -> list[str]:
    return SPECS.read_text(encoding="utf-8").splitlines()


def program(name: str) -> str:
    return str(programs.path(programs.CONFORMANCE) / "bin" / name)


# -- images ------------------------------------------------------------------------------------------------------------


def archives() -> Iterator[tuple[str, bytes]]:
    """Name and archive of every image that the chosen specs use."""
    # Debian's busybox as a shell runs its own applets before any program, and they know fewer options.
    shell = [*busybox(), *_applets(), *_of_debian("dash"), Entry("bin/sh", link="dash"), *_of_debian("mv")]
    shell += [Entry("tmp/", mode=0o1777)]
    agnhost = [*shell, Entry("agnhost", Path(program("agnhost")).read_bytes(), mode=0o755), Entry("uploads/")]
    agnhost += [entry for name in ("bash", "curl", "nc") for entry in _of_debian(name)]
    web = [*shell, Entry(f"{WEB[1:]}/index.html", b"It works!\n")]
    made: dict[str, tuple[list[Entry], dict[str, Any]]] = {
        "e2e-test-images/agnhost": (agnhost, {"Entrypoint": ["/agnhost"], "Cmd": ["pause"]}),
        "e2e-test-images/busybox": (shell, {"Cmd": ["/bin/sh"]}),
        "e2e-test-images/httpd": (web, {"Cmd": ["/bin/sh", "-c", SERVE]}),
        "e2e-test-images/nginx": (web, {"Cmd": ["/bin/sh", "-c", SERVE]}),
        "pause": (agnhost, {"Entrypoint": ["/agnhost"], "Cmd": ["pause"]}),
    }
    said = subprocess.run([program("e2e.test"), "--list-images"], capture_output=True, text=True, check=True).stdout
    path = {"PATH": "/usr/local/bin:/usr/bin:/bin:/"}
    for name in sorted(said.split()):
        short = name.removeprefix("registry.k8s.io/").partition(":")[0]
        if short in made:
            entries, config = made[short]
            files = list({entry.name: entry for entry in entries}.values())
            yield name, archive(name, [layer(files)], {"Env": [f"{k}={v}" for k, v in path.items()]} | config)


def _applets() -> Iterator[Entry]:
    """Everything that busybox can be called as."""
    said = subprocess.run([str(BUSYBOX_PROGRAM), "--list"], capture_output=True, text=True, check=True).stdout
    return (Entry(f"bin/{name}", link="busybox") for name in said.split() if name != "busybox")


def _of_debian(name: str) -> list[Entry]:
    """A program of this machine, with the libraries that it loads."""
    path = Path(f"/usr/bin/{name}")
    said = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"(/\S+) \(0x", said)
    return [Entry(file.lstrip("/"), Path(file).read_bytes(), mode=0o755) for file in (f"/bin/{name}", *libraries)]


def load(lab: Lab, site: str) -> None:
    """Give every node of a cluster the images."""
    cluster = Cluster(lab.state, lab.paths, lab.layout, lab.site(site).layout)
    for number, (_, data) in enumerate(archives()):
        file = lab.state.directory / f"e2e-{number}.tar"
        file.write_bytes(data)
        for host in lab.site(site).hosts:
            node.load(cluster, host.name, file)
        file.unlink()


# -- a run -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one spec; `state` in Ginkgo's words, `seconds` that it took."""

    name: str
    state: str
    seconds: float
    message: str


def run(lab: Lab, site: str, specs: list[str]) -> dict[str, Outcome]:
    """Run specs as the cluster's administrator; what Ginkgo says of each, by name."""
    folder = lab.state.directory / "e2e"
    folder.mkdir()
    focus = f"(?:{'|'.join(map(re.escape, specs))})$"
    words = [program("ginkgo"), f"--procs={TOGETHER}", "--no-color", "--succinct", f"--timeout={PATIENCE}"]
    words += [f"--focus={focus}", "--json-report=report.json", f"--output-dir={folder}", program("e2e.test"), "--"]
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(whole(lab.paths, site, lab.site(site).address))
    words += [f"--kubeconfig={kubeconfig}", "--provider=skeleton", "--num-nodes=2", "--dump-logs-on-failure=false"]
    with (folder / "log").open("w") as log:
        process = lab.popen("operator", words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        process.wait()
    report = folder / "report.json"
    assert report.exists(), (folder / "log").read_text(errors="replace")[-4000:]
    return {outcome.name: outcome for outcome in outcomes(json.loads(report.read_text()))}


def outcomes(report: Any) -> Iterator[Outcome]:
    """From Ginkgo's report; specs that were not asked for are not in it."""
    for suite in report:
        for spec in suite["SpecReports"]:
            if spec["LeafNodeType"] == "It" and (spec["State"] != "skipped" or spec.get("Failure")):
                name = " ".join([*(spec["ContainerHierarchyTexts"] or []), spec["LeafNodeText"]])
                message = str(spec.get("Failure", {}).get("Message", ""))[:LONGEST]
                yield Outcome(name, spec["State"], spec["RunTime"] / 1e9, message)
