"""A container runtime in small: namespaces of a node, `cnitool`, and the plugin as the specification calls it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from isthmus.agent.cni import is_link_name, link_name
from isthmus.lab import rpc
from isthmus.lab.kubernetes.node import NETWORKS, PLUGINS
from isthmus.lab.lab import Lab

VERSIONS = ("0.4.0", "1.0.0", "1.1.0")
NETWORK = "spec"
"""Of the attachments made here; Pods of kubelet are on another."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A Pod's interface in a network namespace of the node, which is called as the Pod or as `place` says."""

    pod: str
    namespace: str = "red"
    ifname: str = "eth0"
    place: str = ""

    @property
    def where(self) -> str:
        return self.place or self.pod

    @property
    def netns(self) -> str:
        return f"/run/netns/{self.where}"

    @property
    def container(self) -> str:
        """As `cnitool` makes it of the namespace's path."""
        return f"cnitool-{hashlib.sha512(self.netns.encode()).digest()[:10].hex()}"

    @property
    def port(self) -> str:
        return f"{self.pod}.{self.namespace}"

    @property
    def link(self) -> str:
        return link_name(self.container, self.ifname)

    @property
    def arguments(self) -> str:
        return f"IgnoreUnknown=1;K8S_POD_NAMESPACE={self.namespace};K8S_POD_NAME={self.pod}"

    @property
    def valid(self) -> dict[str, str]:
        return {"containerID": self.container, "ifname": self.ifname}


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """What a command that was started has said, once it has ended: the plugin gives up after two minutes."""
    out, error = process.communicate(timeout=150)
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


@dataclass(frozen=True, slots=True)
class Runtime:
    """On one node; `cnitool` is the program's path."""

    lab: Lab
    node: str
    cnitool: str

    def configure(self, version: str, network: str) -> None:
        """Let `cnitool` find a network."""
        text = json.dumps({"cniVersion": version, "name": network, "plugins": [{"type": "isthmus"}]})
        folder = self.lab.paths.run(self.node) / "spec"
        folder.mkdir(exist_ok=True)
        (folder / f"{network}.conflist").write_text(text)

    def shell(self, script: str, *, input: str | None = None) -> str:
        done = self.lab.exec(self.node, ["sh", "-c", script], input=input)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def make(self, attachments: Iterable[Attachment]) -> None:
        """Their network namespaces."""
        self.shell("\n".join(f"ip netns add {each.where} || exit 1" for each in attachments))

    def unmake(self, attachments: Iterable[Attachment]) -> None:
        self.shell("\n".join(f"ip netns del {each.where} || exit 1" for each in attachments))

    def inside(self, attachment: Attachment, *argv: str) -> str:
        return self.shell(f"ip netns exec {attachment.where} {' '.join(argv)}")

    # -- cnitool --------------------------------------------------------------------------------------------------

    def argv(self, word: str, attachment: Attachment, network: str = NETWORK, folder: str = "/run/spec") -> list[str]:
        words = {
            "CNI_PATH": PLUGINS,
            "NETCONFPATH": folder,
            "CNI_ARGS": attachment.arguments,
            "CNI_IFNAME": attachment.ifname,
        }
        settings = [f"{name}={value}" for name, value in words.items()]
        return ["env", *settings, self.cnitool, word, network, attachment.netns]

    def tool(
        self, word: str, attachment: Attachment, network: str = NETWORK, folder: str = "/run/spec"
    ) -> subprocess.CompletedProcess[str]:
        return self.lab.exec(self.node, self.argv(word, attachment, network, folder))

    def start(self, word: str, attachment: Attachment) -> subprocess.Popen[str]:
        """`tool` that is not waited for."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return self.lab.popen(self.node, self.argv(word, attachment), **pipes)

    def add(self, attachment: Attachment, network: str = NETWORK) -> dict[str, Any]:
        done = self.tool("add", attachment, network)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def succeed(self, word: str, attachment: Attachment, network: str = NETWORK) -> None:
        done = self.tool(word, attachment, network)
        assert done.returncode == 0, done.stderr

    # -- the plugin itself ----------------------------------------------------------------------------------------

    def plugin(self, command: str, config: Any, attachment: Attachment | None = None, **words: str) -> tuple[int, Any]:
        """Exit code, and what it says if it says something; `words` instead of the attachment's own, without CNI_."""
        given = {"COMMAND": command, "PATH": PLUGINS}
        if attachment is not None:
            given |= {"CONTAINERID": attachment.container, "NETNS": attachment.netns}
            given |= {"IFNAME": attachment.ifname, "ARGS": attachment.arguments}
        settings = [f"CNI_{name}={value}" for name, value in (given | words).items()]
        text = config if isinstance(config, str) else json.dumps({"name": NETWORK, "type": "isthmus"} | config)
        done = self.lab.exec(self.node, ["env", *settings, f"{PLUGINS}/isthmus"], input=text)
        return done.returncode, json.loads(done.stdout) if done.stdout else None

    def installed(self) -> dict[str, Any]:
        """The configuration that the agent has put there."""
        return dict(json.loads(self.shell(f"cat {NETWORKS}/10-isthmus.conflist")))

    # -- what there is --------------------------------------------------------------------------------------------

    def left(self) -> set[str]:
        """Ends of links on the node, and interfaces of Pods in Open vSwitch, whether whole or not."""
        names = {line.split()[1].rstrip(":").partition("@")[0] for line in self.shell("ip -o link").splitlines()}
        rows = rpc.snapshot(self.lab.host(self.node).ovs_unix, "Open_vSwitch")["Interface"].values()
        marked = {str(row["name"]) for row in rows if "isthmus:container" in rpc.mapping(row["external_ids"])}
        return {name for name in names if is_link_name(name)} | marked
