"""Who trusts whom in a cluster: names and groups are what RBAC and the node authorizer go by.

Names are those that Kubernetes gives a meaning to (its documentation, "PKI certificates and requirements").
"""

from __future__ import annotations

from isthmus.lab.central import secret
from isthmus.lab.kubernetes import networks
from isthmus.lab.kubernetes.cluster import (
    ADMIN,
    DOMAIN,
    PKI,
    SERVICES,
    files,
    kubeconfig,
    kubeconfig_file,
    operators_keys,
    server,
)
from isthmus.lab.layout import Layout, Paths
from isthmus.lab.pki import Authority, bundle

MASTERS = "system:masters"
USERS = {
    "controller-manager": "system:kube-controller-manager",
    "scheduler": "system:kube-scheduler",
    networks.USER: networks.USER,
}
"""What runs beside the API server, by the name of its key pair and kubeconfig -> who it is to RBAC."""


def make_keys(paths: Paths, layout: Layout) -> None:
    """Every key pair and kubeconfig of all clusters; the authorities' own keys are forgotten at the end."""
    contexts = []
    for site in layout.sites:
        if site.site.type != "kubernetes":
            continue
        address = str(layout.nodes[site.name].address.ip)
        authority = Authority(f"{site.name} kubernetes")
        _central(paths, site.name, address, authority)
        for host in site.site.hosts:
            _host(paths, host.name, str(layout.nodes[host.name].address.ip), server(address), authority)
        own = operators_keys(paths, site.name)
        own.mkdir(parents=True, mode=0o700)
        bundle(own / "ca.pem", authority)
        authority.issue(own, ADMIN, common_name=f"{site.name}-admin", organisation=MASTERS)
        contexts.append((site.name, server(address), *files(f"kubernetes/{site.name}", ADMIN)))
    if contexts:
        secret(kubeconfig_file(paths), kubeconfig(contexts))


def _central(paths: Paths, site: str, address: str, authority: Authority) -> None:
    etc = paths.run(site) / "etc" / "kubernetes"
    pki = etc / "pki"
    pki.mkdir(parents=True, mode=0o700)
    bundle(pki / "ca.pem", authority)
    service = "kubernetes.default.svc"
    names = ("kubernetes", "kubernetes.default", service, f"{service}.{DOMAIN}", f"{site}.lab", site)
    addresses = (address, "127.0.0.1", *(str(network[1]) for network in SERVICES))
    authority.issue(pki, "apiserver", common_name="kube-apiserver", names=(*addresses, *names))
    authority.issue(pki, "kubelet-client", common_name="kube-apiserver-kubelet-client", organisation=MASTERS)
    authority.issue(pki, "service-account")
    for component, user in USERS.items():
        authority.issue(pki, component, common_name=user)
        context = (site, server(address), *files(PKI, component))
        secret(etc / f"{component}.kubeconfig", kubeconfig([context]))
    # Nobody with a key of the cluster opens its database.
    store = Authority(f"{site} etcd")
    bundle(pki / "etcd-ca.pem", store)
    store.issue(pki, "etcd", names=("127.0.0.1",))
    store.issue(pki, "etcd-client", common_name="kube-apiserver")


def _host(paths: Paths, host: str, address: str, api: str, authority: Authority) -> None:
    etc = paths.run(host) / "etc" / "kubernetes"
    pki = etc / "pki"
    pki.mkdir(parents=True, mode=0o700)
    bundle(pki / "ca.pem", authority)
    authority.issue(pki, "kubelet", common_name=f"system:node:{host}", organisation="system:nodes")
    authority.issue(pki, "kubelet-server", common_name=host, names=(address, host))
    secret(etc / "kubelet.kubeconfig", kubeconfig([(host, api, *files(PKI, "kubelet"))]))
