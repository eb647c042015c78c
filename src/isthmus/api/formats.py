"""What a string must look like, beyond the schema's patterns: one reader for each `format` of ours.

A reader returns None where the text is good, else a `Refusal`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple


class Refusal(NamedTuple):
    """Why a value cannot be taken: code, the rest of a sentence that starts with the value, and what to do."""

    code: str
    message: str
    remedy: str = ""


_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_OBJECT = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_HOST = re.compile(r"[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?")
_LABEL_REMEDY = "use lower-case ASCII letters, digits and hyphens, a letter or digit first and last, at most 63 in all"
LABEL_LENGTH, OBJECT_LENGTH, FOREIGN_LENGTH, PATH_LENGTH = 63, 253, 255, 4096


def label(text: str) -> Refusal | None:
    """A name of ours; part of rows' names and DNS labels."""
    if len(text) > LABEL_LENGTH:
        return Refusal("NameTooLong", f"has {len(text)} characters", _LABEL_REMEDY)
    if not _LABEL.fullmatch(text):
        return Refusal("InvalidName", "is not a name that Isthmus can give to an object", _LABEL_REMEDY)
    return None


def is_object_name(text: str) -> bool:
    """An object of a cluster may be called so (Kubernetes, "DNS Subdomain Names").

    >>> is_object_name("web.v2"), is_object_name("Web")
    (True, False)
    """
    return len(text) <= OBJECT_LENGTH and _OBJECT.fullmatch(text) is not None


def foreign(text: str) -> Refusal | None:
    """A name that another system gave. OVN, Neutron and Kubernetes take any Unicode; we, what can be shown."""
    if not text:
        return Refusal("InvalidName", "is empty", "write the name")
    if len(text) > FOREIGN_LENGTH:
        return Refusal("NameTooLong", f"has {len(text)} characters", f"use at most {FOREIGN_LENGTH}")
    if not text.isprintable():
        return Refusal(
            "InvalidName",
            "contains a character that cannot be shown (control, format, surrogate or unusual space)",
            "refer to the object by `id`, or rename it",
        )
    return None


def excepted(text: str) -> Refusal | None:
    """The name of a subnet that `"*"` leaves out."""
    if text == "*":
        return Refusal("InvalidExcept", "leaves nothing", "name the subnets, or remove the attachment")
    return foreign(text)


def path(text: str) -> Refusal | None:
    """A file name; whether it can be read is checked by whoever reads the document."""
    if not 0 < len(text) <= PATH_LENGTH or not text.isprintable():
        return Refusal("InvalidPath", "is not a file name", "write the path without control characters")
    return None


def cidr(text: str) -> Refusal | None:
    """A network that could hold hosts."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return Refusal("InvalidCidr", "is not an IPv4 or IPv6 network", "write it as 10.1.0.0/24 or fd00:1::/64")
    if "/" not in text or "%" in text:
        return Refusal("InvalidCidr", "has no prefix length or a zone", f"write {network}")
    if ip_address(text.partition("/")[0]) != network.network_address:
        return Refusal("HostBits", "has host bits set", f"write {network}, or the prefix length that you mean")
    return None


def address(text: str) -> Refusal | None:
    """One IP address."""
    try:
        parsed = ip_address(text)
    except ValueError:
        return Refusal("InvalidAddress", "is not an IPv4 or IPv6 address", "write it as 10.1.0.1 or fd00:1::1")
    if "%" in text:
        return Refusal("InvalidAddress", "has a zone", f"write {str(parsed).partition('%')[0]}")
    return None


def remote(text: str) -> Refusal | None:
    """An OVSDB server, in OVSDB's own notation, the port always written."""
    method, _, rest = text.partition(":")
    if method == "unix":
        return path(rest)
    if method not in ("ssl", "tcp"):
        return Refusal("InvalidRemote", "names no transport that we know", "write ssl:HOST:PORT or unix:PATH")
    host, _, port = rest.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < len(port) <= 5 and 0 < int(port) < 65536):
        return Refusal("InvalidRemote", "has no port", f"write {method}:HOST:PORT, an IPv6 address in brackets")
    if not _is_host(host):
        return Refusal("InvalidRemote", "has no usable host", f"write {method}:HOST:PORT, an IPv6 address in brackets")
    return None


def _is_host(host: str) -> bool:
    try:
        if host.startswith("[") and host.endswith("]"):
            IPv6Address(host[1:-1])
        elif host.replace(".", "").isdigit():
            IPv4Address(host)
        else:
            return bool(_HOST.fullmatch(host))
    except AddressValueError:
        return False
    return True


def remote_host(text: str) -> str:
    """The host of a valid ssl: or tcp: remote, without brackets.

    >>> remote_host("ssl:[2001:db8::1]:6641")
    '2001:db8::1'
    """
    return text.partition(":")[2].rpartition(":")[0].strip("[]")


def ports(text: str) -> Refusal | None:
    """A range of ports."""
    low, _, high = text.partition("-")
    if low.isascii() and high.isascii() and low.isdigit() and high.isdigit() and int(low) <= int(high) < 65536:
        return None
    return Refusal("InvalidPorts", "is not a range of ports", 'write it as "8000-8100"')


FORMATS: dict[str, Callable[[str], Refusal | None]] = {
    "isthmus-label": label,
    "isthmus-foreign": foreign,
    "isthmus-excepted": excepted,
    "isthmus-path": path,
    "isthmus-cidr": cidr,
    "isthmus-address": address,
    "isthmus-remote": remote,
    "isthmus-ports": ports,
}
