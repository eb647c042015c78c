"""What container runtimes ask, by the CNI specification 1.1.0: requests read, answers made. No input or output."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any

from isthmus.agent.cni_shim import VERSIONS
from isthmus.compile.networks import GATEWAYS, MTU, UID, port_name
from isthmus.model.intent import DEFAULT_MTU
from isthmus.model.rows import Record

Interface = IPv4Interface | IPv6Interface

VERSION, ENVIRONMENT, IO, DECODING, CONFIG, AGAIN = 1, 4, 5, 6, 7, 11
"""Error codes of the specification ("Error Codes")."""
UNAVAILABLE = 50
"""Of STATUS: ADD cannot be served."""

_CONTAINER = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
_LINK = re.compile(r"^[^/\s:]{1,15}$")


class Refused(Exception):
    """An answer that is an error of the specification."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.answer = {"error": [code, message, details]}


@dataclass(frozen=True, slots=True)
class Request:
    """What a runtime asks for one attachment. Names of Pods are "" where the command needs none."""

    command: str
    version: str
    container: str
    netns: str
    ifname: str
    namespace: str
    pod: str
    uid: str
    previous: Mapping[str, Any]
    valid: frozenset[tuple[str, str]]
    """GC: (container, interface) of all attachments that there still are."""

    @property
    def port(self) -> str:
        """The Pod's Logical_Switch_Port."""
        return port_name(self.namespace, self.pod)

    @property
    def link(self) -> str:
        """The node's end of the interface: one name for one attachment, at most 15 characters."""
        return "i" + hashlib.sha256(f"{self.container}/{self.ifname}".encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Wiring:
    """A Pod's interface as the southbound database says it must be.

    addresses  with the prefix lengths of its Subnet; gateways[i] belongs to addresses[i]
    mtu        bytes
    """

    port: str
    uid: str
    mac: str
    addresses: tuple[Interface, ...]
    gateways: tuple[Interface, ...]
    mtu: int


def read(data: Any) -> Request:
    """A request as the shim sends it. Raises Refused."""
    if not isinstance(data, dict) or not isinstance(data.get("environment"), dict):
        raise Refused(DECODING, "the plugin's request is not understood")
    config, words = data.get("config"), data["environment"]
    if not isinstance(config, dict):
        raise Refused(CONFIG, "the network configuration is not a mapping")
    command, version = str(words.get("COMMAND", "")), str(config.get("cniVersion", VERSIONS[0]))
    if version not in VERSIONS:
        raise Refused(VERSION, f"version {version} is not supported", f"one of {', '.join(VERSIONS)}")
    if command not in ("ADD", "DEL", "CHECK", "STATUS", "GC"):
        raise Refused(ENVIRONMENT, f"CNI_COMMAND {command!r} is not known")
    if command in ("STATUS", "GC") and version != VERSIONS[-1]:
        raise Refused(ENVIRONMENT, f"CNI_COMMAND {command} came with version {VERSIONS[-1]}")
    container, netns, ifname = (str(words.get(w, "")) for w in ("CONTAINERID", "NETNS", "IFNAME"))
    arguments = dict(part.partition("=")[::2] for part in str(words.get("ARGS", "")).split(";") if part)
    if command in ("ADD", "DEL", "CHECK"):
        _attachment(command, container, netns, ifname)
    if command in ("ADD", "CHECK") and not (arguments.get("K8S_POD_NAMESPACE") and arguments.get("K8S_POD_NAME")):
        raise Refused(ENVIRONMENT, "CNI_ARGS names no Pod", "K8S_POD_NAMESPACE and K8S_POD_NAME are needed")
    previous = config.get("prevResult")
    return Request(
        command=command,
        version=version,
        container=container,
        netns=netns,
        ifname=ifname,
        namespace=arguments.get("K8S_POD_NAMESPACE", ""),
        pod=arguments.get("K8S_POD_NAME", ""),
        uid=arguments.get("K8S_POD_UID", ""),
        previous=previous if isinstance(previous, dict) else {},
        valid=_valid(config.get("cni.dev/valid-attachments")),
    )


def _attachment(command: str, container: str, netns: str, ifname: str) -> None:
    if not _CONTAINER.match(container):
        raise Refused(ENVIRONMENT, f"CNI_CONTAINERID {container!r} is no container's id")
    if not _LINK.match(ifname) or ifname in (".", ".."):
        raise Refused(ENVIRONMENT, f"CNI_IFNAME {ifname!r} is no interface's name")
    if command != "DEL" and not netns:
        raise Refused(ENVIRONMENT, "CNI_NETNS is missing")


def _valid(found: Any) -> frozenset[tuple[str, str]]:
    if not isinstance(found, list):
        return frozenset()
    return frozenset((str(a.get("containerID", "")), str(a.get("ifname", ""))) for a in found if isinstance(a, dict))


def wiring(row: Record) -> Wiring | None:
    """From a Port_Binding of a Pod; None where it is not one, or not whole yet."""
    ids, macs = row["external_ids"], row["mac"]
    words = next((str(mac) for mac in macs), "").split() if isinstance(macs, frozenset) else []
    if not isinstance(ids, dict) or UID not in ids or len(words) < 2:
        return None
    gateways = [ip_interface(text) for text in ids.get(GATEWAYS, "").split()]
    pairs = []
    for word in words[1:]:
        gateway = next((g for g in gateways if g.version == ip_interface(word).version), None)
        if gateway is None:
            return None
        pairs.append((ip_interface(f"{word}/{gateway.network.prefixlen}"), gateway))
    return Wiring(
        port=str(row["logical_port"]),
        uid=ids[UID],
        mac=words[0],
        addresses=tuple(address for address, _ in pairs),
        gateways=tuple(gateway for _, gateway in pairs),
        mtu=int(ids.get(MTU, "0")) or DEFAULT_MTU,
    )


def result(request: Request, wired: Wiring) -> dict[str, Any]:
    """The success of an ADD, in the form of the version that was asked in."""
    ips = []
    for address, gateway in zip(wired.addresses, wired.gateways, strict=True):
        ip: dict[str, Any] = {"address": str(address), "gateway": str(gateway.ip), "interface": 1}
        ips.append(ip | ({"version": str(address.version)} if request.version == "0.4.0" else {}))
    routes = [
        {"dst": "0.0.0.0/0" if gateway.version == 4 else "::/0", "gw": str(gateway.ip)} for gateway in wired.gateways
    ]
    interfaces = [
        {"name": request.link, "mac": outer_mac(wired.mac)},
        {"name": request.ifname, "mac": wired.mac, "sandbox": request.netns},
    ]
    return {"cniVersion": request.version, "interfaces": interfaces, "ips": ips, "routes": routes, "dns": {}}


def outer_mac(mac: str) -> str:
    """Of the node's end: nobody's, and another than the Pod's."""
    return "fe" + mac[2:]


def conflist(socket: str) -> dict[str, Any]:
    """What a container runtime reads in its configuration folder."""
    plugin = {"type": "isthmus", "socket": socket}
    return {"cniVersion": "1.0.0", "name": "isthmus", "plugins": [plugin]}
