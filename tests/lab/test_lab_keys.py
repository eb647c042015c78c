"""Who may open which database of a lab (docs/security.md)."""

from __future__ import annotations

import subprocess

import pytest

from isthmus.lab.lab import Lab

pytestmark = pytest.mark.lab

CHASSIS = ("/run/pki/chassis.pem", "/run/pki/chassis-key.pem")


def try_open(lab: Lab, where: str, remote: str, database: str, keys: tuple[str, str], ca: str | None) -> str:
    """Try to list a database's tables; "" where that works, else what the client says."""
    cert, key = keys
    trust = [f"--ca-cert={ca}"] if ca else ["--bootstrap-ca-cert=/run/trusted-at-first-sight.pem"]
    done = lab.exec(
        where,
        [
            "ovsdb-client",
            "--timeout=5",
            f"--certificate={cert}",
            f"--private-key={key}",
            *trust,
            "list-tables",
            remote,
            database,
        ],
    )
    return done.stderr if done.returncode else ""


def operator_keys(lab: Lab) -> tuple[str, str]:
    return str(lab.paths.tls / "operator.pem"), str(lab.paths.tls / "operator-key.pem")


def listeners(lab: Lab) -> dict[str, tuple[str, str]]:
    """Every TLS listener without a role -> remote, database."""
    found = {
        "ic-nb": (lab.fabric.nb, "OVN_IC_Northbound"),
        "ic-sb": (lab.fabric.sb, "OVN_IC_Southbound"),
    }
    for site in lab.sites:
        found[f"{site.name} nb"] = site.nb, "OVN_Northbound"
        found[f"{site.name} sb front"] = site.sb, "OVN_Southbound"
    return found


def test_the_operator_opens_every_database_with_one_certificate(two_sites: Lab) -> None:
    for name, (remote, database) in listeners(two_sites).items():
        ca = str(two_sites.paths.tls / "all-ca.pem")
        assert not try_open(two_sites, "operator", remote, database, operator_keys(two_sites), ca), name


@pytest.mark.parametrize("host", ["cloud-1", "cloud-3", "cluster-1"])
def test_a_chassis_key_opens_no_listener_without_the_role(two_sites: Lab, host: str) -> None:
    for name, (remote, database) in listeners(two_sites).items():
        said = try_open(two_sites, host, remote, database, CHASSIS, None)
        assert "failed" in said or "refused" in said or "closed" in said.lower(), f"{name}: {said!r}"


def test_a_chassis_key_does_not_open_another_sites_sb(two_sites: Lab) -> None:
    remote = two_sites.site("cluster").sb_chassis
    assert try_open(two_sites, "cloud-1", remote, "OVN_Southbound", CHASSIS, None)


def test_a_site_trusts_no_other_sites_authority(two_sites: Lab) -> None:
    ca = str(two_sites.paths.tls / "cluster-ca.pem")
    said = try_open(two_sites, "operator", two_sites.site("cloud").nb, "OVN_Northbound", operator_keys(two_sites), ca)
    assert "certificate verify failed" in said


def sbctl(lab: Lab, host: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`ovn-sbctl` with the chassis' own key on the listener for chassis."""
    remote = lab.site(lab.host(host).site).sb_chassis
    options = ["-c", CHASSIS[0], "-p", CHASSIS[1], "-C", "/run/pki/sb-ca.pem", "--timeout=5"]
    return lab.exec(host, ["ovn-sbctl", f"--db={remote}", *options, *arguments])


def test_the_role_lets_a_chassis_write_its_own_row_only(two_sites: Lab) -> None:
    own = sbctl(two_sites, "cloud-1", "set", "Chassis_Private", "cloud-1", "external_ids:isthmus-test=1")
    assert own.returncode == 0, own.stderr
    other = sbctl(two_sites, "cloud-1", "set", "Chassis_Private", "cloud-2", "external_ids:isthmus-test=1")
    assert "permission" in other.stderr.lower() or "RBAC" in other.stderr
    rows = sbctl(two_sites, "cloud-1", "destroy", "Port_Binding", "cloud-a-web-1")
    assert rows.returncode != 0


def test_keys_of_a_host_are_its_own(two_sites: Lab) -> None:
    found = two_sites.exec("cloud-1", ["find", "/run", "-name", "*key.pem"]).stdout.split()
    assert found == ["/run/pki/chassis-key.pem"]
    assert not two_sites.exec("cloud-1", ["ls", str(two_sites.paths.tls)]).stdout
