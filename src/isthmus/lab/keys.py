"""Who trusts whom in a lab: the one place that holds all authorities at once."""

from __future__ import annotations

from isthmus.lab import hosts, ovn
from isthmus.lab.kubernetes import keys as kubernetes
from isthmus.lab.layout import Layout, Paths
from isthmus.lab.pki import Authority, bundle


def make_keys(paths: Paths, layout: Layout) -> None:
    """Every key pair and CA file of the lab. The authorities' own keys are forgotten at the end."""
    operator, hub = Authority("operator"), Authority("fabric")
    servers = [hub]
    for site in layout.sites:
        nb_ca, sb_ca = Authority(f"{site.name} nb"), Authority(f"{site.name} sb")
        servers.append(nb_ca)
        ovn.central_pki(paths, site, str(layout.nodes[site.name].address.ip), nb_ca, sb_ca, operator)
        for host in site.site.hosts:
            hosts.host_pki(paths, host, str(layout.nodes[host.name].address.ip), sb_ca)
        bundle(paths.tls / f"{site.name}-ca.pem", nb_ca)
    pki = paths.run("fabric") / "pki"
    address = str(layout.nodes["fabric"].address.ip)
    hub.issue(pki, "server", common_name="fabric", names=(address, "127.0.0.1", "fabric.lab", "fabric"))
    bundle(pki / "clients.pem", hub, operator)
    bundle(paths.tls / "fabric-ca.pem", hub)
    bundle(paths.tls / "all-ca.pem", *servers)
    operator.issue(paths.tls, "operator", common_name="operator")
    kubernetes.make_keys(paths, layout)
