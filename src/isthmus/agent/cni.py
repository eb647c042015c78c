"""What container runtimes ask, by the CNI specification 1.1.0: requests read, answers made. No input or output."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network
from typing import Any

from isthmus.agent.cni_shim import NAMES, SOCKET, UNREADABLE, VERSIONS, parsed, version_of
from isthmus.compile.networks import GATEWAYS, MTU, UID, port_name
from isthmus.model.facts import Interface
from isthmus.model.intent import DEFAULT_MTU, Address, Prefix
from isthmus.model.rows import Record

VERSION, ENVIRONMENT, IO, DECODING, CONFIG, AGAIN = 1, 4, 5, 6, 7, 11
"""Error codes of the specification ("Error Codes")."""
UNAVAILABLE = 50
"""Of STATUS: ADD cannot be served."""
BROKEN = 100
"""Of CHECK, and our own: something of the attachment is not as ADD left it."""

_CONTAINER = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
_LINK = re.compile(r"^[^/\s:]{1,15}$")
_OUTER = re.compile(r"^i[0-9a-f]{12}$")


class Refused(Exception):
    """An answer that is an error of the specification."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code, self.details = code, details


class Question:
    """What the plugin sends (`cni_shim`), before it is known to be a request."""

    def __init__(self, body: bytes, again: bool = False) -> None:
        *words, config = body.split(b"\0", len(NAMES))
        self._words = dict(zip(NAMES, (word.decode(errors="replace") for word in words), strict=False))
        self._again = again
        self._config = parsed(config)

    def read(self) -> Request:
        """Raises Refused."""
        if self._config is None:
            raise Refused(DECODING, UNREADABLE)
        return read(self._config, self._words, self._again)

    def refusal(self, refused: Refused) -> bytes:
        """An error, in the version that was asked in."""
        error = {"code": refused.code, "msg": str(refused), "details": refused.details}
        return _answer(1, {"cniVersion": version_of(self._config), **error})


def success(found: dict[str, Any] | None) -> bytes:
    """The answer to a request that was carried out; only an ADD's has words."""
    return _answer(0, found)


def _answer(code: int, found: dict[str, Any] | None) -> bytes:
    text = json.dumps(found).encode() + b"\n" if found is not None else b""
    return b"%d %d\n" % (code, len(text)) + text


@dataclass(frozen=True, slots=True)
class Request:
    """What a runtime asks for one attachment. Names of Pods are "" where the command needs none."""

    command: str
    version: str
    network: str
    container: str
    netns: str
    ifname: str
    namespace: str
    pod: str
    uid: str
    previous: Mapping[str, Any]
    valid: frozenset[tuple[str, str]] | None
    """GC: (container, interface) of all attachments to the network that there still are; None where it does not say."""
    again: bool = False
    """An agent that was asked for the same hung up: it may have done a part."""

    @property
    def port(self) -> str:
        """The Pod's Logical_Switch_Port."""
        return port_name(self.namespace, self.pod)

    @property
    def link(self) -> str:
        """The node's end of the interface."""
        return link_name(self.container, self.ifname)

    def follows(self, earlier: Request) -> bool:
        """Whether it waits for the end of `earlier`: nobody else works on its container, nor on its Pod's port."""
        one_port = self.command == earlier.command == "ADD" and self.port == earlier.port
        return one_port or (bool(self.container) and self.container == earlier.container)

    def ends(self, earlier: Request) -> bool:
        """Whether nobody wants `earlier` any more, which may wait for OVN: it was an ADD of what is to go, or of a
        Pod that has another container by now."""
        if earlier.command != "ADD":
            return False
        if self.command == "DEL":
            return (self.container, self.ifname) == (earlier.container, earlier.ifname)
        return self.command == "ADD" and self.port == earlier.port and self.container != earlier.container


def link_name(container: str, ifname: str) -> str:
    """Of the node's end of an interface: one name for one attachment, at most 15 characters."""
    return "i" + hashlib.sha256(f"{container}/{ifname}".encode()).hexdigest()[:12]


def is_link_name(name: str) -> bool:
    """Whether a link of the node is called as the ends of interfaces are."""
    return bool(_OUTER.match(name))


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


def read(config: Mapping[str, Any], words: Mapping[str, str], again: bool = False) -> Request:
    """A network configuration, and the environment's words without CNI_ before them. Raises Refused."""
    command, version = words.get("COMMAND", ""), str(config.get("cniVersion", VERSIONS[0]))
    if version not in VERSIONS:
        raise Refused(VERSION, f"version {version} is not supported", f"one of {', '.join(VERSIONS)}")
    if command not in ("ADD", "DEL", "CHECK", "STATUS", "GC"):
        raise Refused(ENVIRONMENT, f"CNI_COMMAND {command!r} is not known")
    if command in ("STATUS", "GC") and version != VERSIONS[-1]:
        raise Refused(ENVIRONMENT, f"CNI_COMMAND {command} came with version {VERSIONS[-1]}")
    container, netns, ifname = (words.get(w, "") for w in ("CONTAINERID", "NETNS", "IFNAME"))
    arguments = dict(part.partition("=")[::2] for part in words.get("ARGS", "").split(";") if part)
    if command in ("ADD", "DEL", "CHECK"):
        _attachment(command, container, netns, ifname)
    if command in ("ADD", "CHECK") and not (arguments.get("K8S_POD_NAMESPACE") and arguments.get("K8S_POD_NAME")):
        raise Refused(ENVIRONMENT, "CNI_ARGS names no Pod", "K8S_POD_NAMESPACE and K8S_POD_NAME are needed")
    return Request(
        command=command,
        version=version,
        network=str(config.get("name", "")),
        container=container,
        netns=netns,
        ifname=ifname,
        namespace=arguments.get("K8S_POD_NAMESPACE", ""),
        pod=arguments.get("K8S_POD_NAME", ""),
        uid=arguments.get("K8S_POD_UID", ""),
        previous=_previous(config.get("prevResult")),
        valid=_valid(config.get("cni.dev/valid-attachments")),
        again=again,
    )


def _attachment(command: str, container: str, netns: str, ifname: str) -> None:
    if not _CONTAINER.match(container):
        raise Refused(ENVIRONMENT, f"CNI_CONTAINERID {container!r} is no container's id")
    if not _LINK.match(ifname) or ifname in (".", ".."):
        raise Refused(ENVIRONMENT, f"CNI_IFNAME {ifname!r} is no interface's name")
    if command != "DEL" and not netns:
        raise Refused(ENVIRONMENT, "CNI_NETNS is missing")


def _previous(found: Any) -> Mapping[str, Any]:
    """What an ADD gave, of an earlier plugin or the same. Raises Refused."""
    parts = ("interfaces", "ips", "routes")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(_dictionaries(found.get(part) or []) for part in parts):
        raise Refused(DECODING, "prevResult is not understood")
    return found | {part: found.get(part) or [] for part in parts}


def _valid(found: Any) -> frozenset[tuple[str, str]] | None:
    """Raises Refused: half a list would take away what the other half names."""
    if found is None:
        return None
    if not _dictionaries(found) or not all(a.get("containerID") and a.get("ifname") for a in found):
        raise Refused(CONFIG, "cni.dev/valid-attachments is not understood", "a list of {containerID, ifname}")
    return frozenset((str(a["containerID"]), str(a["ifname"])) for a in found)


def _dictionaries(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(each, dict) for each in found)


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
    """The success of an ADD, in the form of the version that was asked in, after what earlier plugins gave."""
    before = request.previous
    interfaces: list[dict[str, Any]] = [
        {"name": request.link, "mac": outer_mac(wired.mac)},
        {"name": request.ifname, "mac": wired.mac, "sandbox": request.netns},
    ]
    if request.version == "1.1.0":
        interfaces = [each | {"mtu": wired.mtu} for each in interfaces]
    inner = len(before.get("interfaces", ())) + 1
    ips = []
    for address, gateway in zip(wired.addresses, wired.gateways, strict=True):
        ip: dict[str, Any] = {"address": str(address), "gateway": str(gateway.ip), "interface": inner}
        ips.append(ip | ({"version": str(address.version)} if request.version == "0.4.0" else {}))
    routes = [{"dst": str(to), "gw": str(via)} for to, via in routes_of(wired)]
    return {
        "cniVersion": request.version,
        "interfaces": [*before.get("interfaces", ()), *interfaces],
        "ips": [*before.get("ips", ()), *ips],
        "routes": [*before.get("routes", ()), *routes],
        "dns": before.get("dns") or {},
    }


def routes_of(wired: Wiring) -> list[tuple[Prefix, Address]]:
    """Of the Pod: to where, by whom."""
    return [(ip_network("0.0.0.0/0" if gw.version == 4 else "::/0"), gw.ip) for gw in wired.gateways]


def expected_routes(request: Request, wired: Wiring) -> list[tuple[Prefix, Address]]:
    """Those of the Pod's that the last plugin left as they were: others may change them."""
    told = {(str(route.get("dst")), str(route.get("gw"))) for route in request.previous.get("routes", ())}
    return [(to, via) for to, via in routes_of(wired) if (str(to), str(via)) in told]


def outer_mac(mac: str) -> str:
    """Of the node's end: nobody's, and another than the Pod's."""
    return "fe" + mac[2:]


def conflist(socket: str) -> dict[str, Any]:
    """What a container runtime reads in its configuration folder."""
    plugin = {"type": "isthmus"} | ({} if socket == SOCKET else {"socket": socket})
    # One that does not know `cniVersions` speaks 1.0.0, every other the newest that both know.
    return {"cniVersion": "1.0.0", "cniVersions": VERSIONS, "name": "isthmus", "plugins": [plugin]}
