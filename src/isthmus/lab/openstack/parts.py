"""The services of a cloud, in the order of their definitions."""

from __future__ import annotations

from isthmus.lab.openstack import keystone, neutron
from isthmus.lab.openstack.cloud import Part
from isthmus.lab.spec import Site


def parts(site: Site) -> list[Part]:
    """Keystone is the first: all others have their users there."""
    return [keystone.PART, neutron.PART]
