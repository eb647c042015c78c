"""The services of a cloud, in the order of their definitions."""

from __future__ import annotations

from isthmus.lab.openstack import glance, keystone, neutron, nova, placement
from isthmus.lab.openstack.cloud import Part
from isthmus.lab.spec import Site


def parts(site: Site) -> list[Part]:
    """Keystone is the first: all others have their users there."""
    found = [keystone.PART, neutron.PART]
    if site.cloud.nova:
        found += [placement.PART, glance.PART, nova.PART]
    return found
